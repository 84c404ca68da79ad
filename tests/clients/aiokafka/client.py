"""aiokafka; the verbs are explained in ../suite.py."""

import asyncio
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition


async def produce(bootstrap, topic, codec, count, prefix):
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        enable_idempotence=True,
        compression_type=None if codec == "none" else codec,
        max_batch_size=1024,
        linger_ms=1,
        request_timeout_ms=110000,
        retry_backoff_ms=20,
    )
    await producer.start()
    try:
        waiting = []
        for i in range(int(count)):
            sent = await producer.send(topic, f"{prefix}-{i}".encode(), key=f"k{i}".encode(), partition=i % 2, headers=[("n", str(i).encode())])
            waiting.append((i, sent))
        for i, sent in waiting:
            found = await sent
            print("acked", i, found.partition, found.offset)
    finally:
        await producer.stop()


async def with_consumer(bootstrap, wheres, work):
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="none", check_crcs=True)
    await consumer.start()
    try:
        consumer.assign(wheres)
        await work(consumer)
    finally:
        await consumer.stop()


async def consume(bootstrap, *wanted):
    ends = {}
    for where in wanted:
        topic, partition, end = where.split(":")
        ends[TopicPartition(topic, int(partition))] = int(end)

    async def work(consumer):
        for where in ends:
            consumer.seek(where, 0)
        while ends:
            r = await asyncio.wait_for(consumer.getone(), 30)
            print("record", r.topic, r.partition, r.offset, r.timestamp, r.key.decode(), r.value.decode())
            where = TopicPartition(r.topic, r.partition)
            if r.offset + 1 == ends[where]:
                del ends[where]

    await with_consumer(bootstrap, list(ends), work)


async def seek(bootstrap, topic, partition, timestamp):
    where = TopicPartition(topic, int(partition))

    async def work(consumer):
        print("offset", (await consumer.offsets_for_times({where: int(timestamp)}))[where].offset)

    await with_consumer(bootstrap, [where], work)


async def end(bootstrap, topic, partition):
    where = TopicPartition(topic, int(partition))

    async def work(consumer):
        print("end", (await consumer.end_offsets([where]))[where])

    await with_consumer(bootstrap, [where], work)


asyncio.run({"produce": produce, "consume": consume, "seek": seek, "end": end}[sys.argv[1]](*sys.argv[2:]))
