"""librdkafka through confluent-kafka; the verbs are explained in ../suite.py."""

import sys

from confluent_kafka import Consumer, Producer, TopicPartition


def produce(bootstrap, topic, codec, count, prefix):
    failed = []

    def answered(error, message):
        if error is not None:
            failed.append(error)
            return
        print("acked", message.value().decode().rsplit("-", 1)[1], message.partition(), message.offset())

    producer = Producer({
        "bootstrap.servers": bootstrap,
        "enable.idempotence": True,
        "compression.type": codec,
        "batch.num.messages": 20,
        "linger.ms": 1,
        "reconnect.backoff.ms": 20,
        "reconnect.backoff.max.ms": 100,
        "retry.backoff.ms": 20,
        "message.timeout.ms": 100000,
        "topic.metadata.refresh.interval.ms": 1000,
    })
    for i in range(int(count)):
        producer.produce(topic, key=f"k{i}", value=f"{prefix}-{i}", partition=i % 2, headers={"n": str(i)}, on_delivery=answered)
        producer.poll(0)
    left = producer.flush(110)
    if failed or left:
        sys.exit(f"{left} unsent, failed: {failed[:3]}")


def reader(bootstrap):
    return Consumer({"bootstrap.servers": bootstrap, "group.id": "unused", "enable.auto.commit": False, "auto.offset.reset": "error", "check.crcs": True})


def consume(bootstrap, *wanted):
    ends = {}
    for where in wanted:
        topic, partition, end = where.split(":")
        ends[topic, int(partition)] = int(end)
    consumer = reader(bootstrap)
    consumer.assign([TopicPartition(topic, partition, 0) for topic, partition in ends])
    while ends:
        message = consumer.poll(30)
        if message is None or message.error():
            sys.exit(f"{ends} left: {message and message.error()}")
        where = message.topic(), message.partition()
        print("record", *where, message.offset(), message.timestamp()[1], message.key().decode(), message.value().decode())
        if message.offset() + 1 == ends[where]:
            del ends[where]
    consumer.close()


def seek(bootstrap, topic, partition, timestamp):
    consumer = reader(bootstrap)
    print("offset", consumer.offsets_for_times([TopicPartition(topic, int(partition), int(timestamp))], timeout=30)[0].offset)


def end(bootstrap, topic, partition):
    print("end", reader(bootstrap).get_watermark_offsets(TopicPartition(topic, int(partition)), timeout=30)[1])


{"produce": produce, "consume": consume, "seek": seek, "end": end}[sys.argv[1]](*sys.argv[2:])
