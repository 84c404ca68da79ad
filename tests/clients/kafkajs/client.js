// kafkajs, producing only: it consumes through groups alone. The verbs are explained in ../suite.py.
const { Kafka, CompressionTypes, CompressionCodecs, logLevel } = require('kafkajs');
CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy');

const codecs = { none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy };

async function produce(bootstrap, topic, codec, count, prefix) {
  const kafka = new Kafka({
    brokers: [bootstrap],
    logLevel: logLevel.NOTHING,
    retry: { initialRetryTime: 20, maxRetryTime: 100, retries: 500 },
  });
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
  await producer.connect();
  const step = 10;
  for (let from = 0; from < Number(count); from += step) {
    for (const partition of [0, 1]) {
      const mine = [];
      for (let i = from; i < Math.min(from + step, Number(count)); i++) if (i % 2 === partition) mine.push(i);
      const messages = mine.map((i) => ({ key: `k${i}`, value: `${prefix}-${i}`, partition, headers: { n: String(i) } }));
      const [answer] = await producer.send({ topic, acks: -1, compression: codecs[codec], messages });
      mine.forEach((i, n) => console.log('acked', i, partition, Number(answer.baseOffset) + n));
    }
  }
  await producer.disconnect();
}

const [verb, ...args] = process.argv.slice(2);
if (verb !== 'produce') throw new Error(`kafkajs only produces here, not ${verb}`);
produce(...args).catch((why) => {
  console.error(why);
  process.exit(1);
});
