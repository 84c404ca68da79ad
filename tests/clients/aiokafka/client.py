"""aiokafka; the verbs are explained in ../suite.py, ../transactions.py and ../groups.py."""

import asyncio
import os
import signal
import sys
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import InvalidProducerEpoch, KafkaError, ProducerFenced


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


def say(*what):
    print(time.monotonic_ns(), *what, flush=True)


def member(bootstrap, group, session):
    return AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        session_timeout_ms=int(session),
        heartbeat_interval_ms=int(session) // 5,
        max_poll_interval_ms=4 * int(session),  # also how long a rebalance waits for a member
        rebalance_timeout_ms=4 * int(session),
        fetch_max_wait_ms=100,
        retry_backoff_ms=20,
    )


async def transaction(producer, consumer, group, output, found, label, number, every, offsets):
    say("begin", number)
    await producer.begin_transaction()
    waiting, ends = [], {}
    for where, records in found.items():
        for r in records:
            value = r.value + f"@{label}.{number}".encode()
            waiting.append(await producer.send(output, value, key=f"{r.partition}:{r.offset}".encode(), partition=r.offset % 2))
            ends[where] = r.offset + 1
    for sent in waiting:
        await sent
    say("sent", number, len(waiting))
    if offsets == "with-offsets":
        await producer.send_offsets_to_transaction(ends, group)
        say("offsets", number)
    if int(every) and number % int(every) == int(every) - 1:
        say("abort", number)
        await producer.abort_transaction()
        say("aborted", number)
        await consumer.seek_to_committed()
    else:
        say("commit", number)
        await producer.commit_transaction()
        say("committed", number)


async def copy(bootstrap, group, txn_id, source, output, batch, every, instance, timeout, session, offsets):
    try:
        producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap, transactional_id=txn_id, transaction_timeout_ms=int(timeout), linger_ms=1, retry_backoff_ms=20
        )
        await producer.start()
        say("ready")
        consumer = member(bootstrap, group, session)
        consumer.subscribe([source])
        await consumer.start()
        number = 0
        while True:
            found = await consumer.getmany(timeout_ms=200, max_records=int(batch))
            if found:
                await transaction(producer, consumer, group, output, found, instance, number, every, offsets)
                number += 1
    except KafkaError as why:
        fenced = isinstance(why, (ProducerFenced, InvalidProducerEpoch))
        say("fenced" if fenced else "broken", type(why).__name__, str(why).replace(" ", "_"))
        os._exit(3 if fenced else 1)  # as a crash would: nothing is closed in order


class Assignment(ConsumerRebalanceListener):
    async def on_partitions_revoked(self, revoked):
        pass

    async def on_partitions_assigned(self, assigned):
        print("assigned", len(assigned), flush=True)


async def group_member(bootstrap, group, topic, protocol, session):
    leaving = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leaving.set)
    consumer = member(bootstrap, group, session)
    consumer.subscribe([topic], listener=Assignment())
    await consumer.start()
    while not leaving.is_set():
        found = await consumer.getmany(timeout_ms=200, max_records=20)
        for records in found.values():
            for r in records:
                print("record", r.partition, r.offset, r.value.decode(), flush=True)
        if found:
            try:
                await consumer.commit({where: records[-1].offset + 1 for where, records in found.items()})
            except KafkaError as why:
                print(repr(why), file=sys.stderr)  # a rebalance came between: whoever holds the partition now reads it again
    await consumer.stop()


asyncio.run({"produce": produce, "consume": consume, "seek": seek, "end": end, "copy": copy, "member": group_member}[sys.argv[1]](*sys.argv[2:]))
