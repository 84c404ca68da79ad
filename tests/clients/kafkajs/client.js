// kafkajs, producing only: it consumes through groups alone. The verbs are explained in ../suite.py, ../transactions.py
// and ../groups.py.
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

const say = (...words) => process.stdout.write(`${process.hrtime.bigint()} ${words.join(' ')}\n`);
const quick = (bootstrap) =>
  new Kafka({ brokers: [bootstrap], logLevel: logLevel.NOTHING, retry: { initialRetryTime: 20, maxRetryTime: 100, retries: 500 } });

// As a crash would: nothing is closed in order.
function end(why) {
  let fenced = false;
  for (let w = why; w; w = w.originalError || w.cause) fenced ||= ['INVALID_PRODUCER_EPOCH', 'PRODUCER_FENCED'].includes(w.type);
  say(fenced ? 'fenced' : 'broken', why.type || why.name, String(why.message).replace(/\s/g, '_'));
  process.exit(fenced ? 3 : 1);
}

async function copy(bootstrap, group, txnId, input, output, batch, every, instance, timeout, session, offsets) {
  const kafka = quick(bootstrap);
  const producer = kafka.producer({ transactionalId: txnId, idempotent: true, maxInFlightRequests: 1, transactionTimeout: Number(timeout) });
  await producer.connect();
  let first = await producer.transaction(); // asks for the producer id; the transaction is used below
  say('ready');
  const consumer = kafka.consumer({
    groupId: group, sessionTimeout: Number(session), heartbeatInterval: Number(session) / 5, rebalanceTimeout: 4 * Number(session), maxWaitTimeInMs: 100,
  });
  await consumer.connect();
  await consumer.subscribe({ topics: [input], fromBeginning: true });
  let now = 0;

  async function transaction(partition, messages) {
    const number = now++;
    say('begin', number);
    const txn = first || (await producer.transaction());
    first = null;
    const out = messages.map((m) => ({ key: `${partition}:${m.offset}`, value: `${m.value}@${instance}.${number}`, partition: Number(m.offset) % 2 }));
    await txn.send({ topic: output, acks: -1, messages: out });
    say('sent', number, out.length);
    if (offsets === 'with-offsets') {
      const next = String(Number(messages[messages.length - 1].offset) + 1);
      await txn.sendOffsets({ consumerGroupId: group, topics: [{ topic: input, partitions: [{ partition, offset: next }] }] });
      say('offsets', number);
    }
    const abort = Number(every) && number % every === every - 1;
    say(abort ? 'abort' : 'commit', number);
    await (abort ? txn.abort() : txn.commit());
    say(abort ? 'aborted' : 'committed', number);
    return !abort;
  }

  await consumer.run({
    autoCommit: false,
    eachBatchAutoResolve: false,
    eachBatch: async ({ batch: fetched, resolveOffset, heartbeat, isRunning, isStale }) => {
      for (let from = 0; from < fetched.messages.length && isRunning() && !isStale(); from += Number(batch)) {
        const messages = fetched.messages.slice(from, from + Number(batch));
        try {
          while (!(await transaction(fetched.partition, messages))); // an aborted one is done again
        } catch (why) {
          end(why);
        }
        resolveOffset(messages[messages.length - 1].offset);
        await heartbeat();
      }
    },
  });
}

async function member(bootstrap, group, topic, protocol, session) {
  const consumer = quick(bootstrap).consumer({
    groupId: group, sessionTimeout: Number(session), heartbeatInterval: Number(session) / 5, rebalanceTimeout: 4 * Number(session), maxWaitTimeInMs: 100,
  });
  process.on('SIGTERM', () => consumer.disconnect().then(() => process.exit(0)));
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => console.log('assigned', (payload.memberAssignment[topic] || []).length));
  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning: true });
  await consumer.run({
    autoCommit: false,
    eachBatchAutoResolve: false,
    eachBatch: async ({ batch, resolveOffset, heartbeat, isRunning, isStale }) => {
      for (const m of batch.messages) {
        if (!isRunning() || isStale()) return;
        console.log('record', batch.partition, m.offset, String(m.value));
        resolveOffset(m.offset);
      }
      const last = batch.messages[batch.messages.length - 1];
      await consumer.commitOffsets([{ topic, partition: batch.partition, offset: String(Number(last.offset) + 1) }]);
      await heartbeat();
    },
  });
}

const [verb, ...args] = process.argv.slice(2);
const verbs = { produce, copy, member };
if (!verbs[verb]) throw new Error(`kafkajs has no part in ${verb} here`);
verbs[verb](...args).catch((why) => {
  if (verb === 'copy') end(why);
  console.error(why);
  process.exit(1);
});
