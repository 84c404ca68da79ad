"""librdkafka through confluent-kafka; the verbs are explained in ../suite.py, ../transactions.py and ../groups.py."""

import os
import select
import signal
import sys
import time

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, IsolationLevel, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

QUICK = {
    "reconnect.backoff.ms": 20,
    "reconnect.backoff.max.ms": 100,
    "retry.backoff.ms": 20,
    "topic.metadata.refresh.interval.ms": 1000,
    # librdkafka 2.16 forgets its only broker after a lost connection otherwise, and send_offsets_to_transaction then waits for it for ever.
    "metadata.recovery.strategy": "none",
}
FENCED = {KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH}


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


def say(*what):
    print(time.monotonic_ns(), *what, flush=True)


def member(bootstrap, group, session, **more):
    settings = {
        "bootstrap.servers": bootstrap,
        "group.id": group,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        "fetch.wait.max.ms": 100,
        "max.poll.interval.ms": 4 * int(session),  # also how long a rebalance waits for a member
        **QUICK,
        **more,
    }
    if settings.get("group.protocol") != "consumer":
        settings.update({"session.timeout.ms": int(session), "heartbeat.interval.ms": int(session) // 5})
    return Consumer(settings)


class Copier:
    def __init__(self, bootstrap, group, txn_id, source, output, batch, every, instance, timeout, session, offsets):
        self.output, self.batch, self.every, self.instance = output, int(batch), int(every), instance
        self.sends_offsets = offsets == "with-offsets"
        self.producer = Producer({
            "bootstrap.servers": bootstrap,
            "transactional.id": txn_id,
            "transaction.timeout.ms": int(timeout),
            "linger.ms": 1,
            **QUICK,
        })
        self.retried(lambda: self.producer.init_transactions(30))
        say("ready")
        self.consumer = member(bootstrap, group, session)
        self.consumer.subscribe([source])
        self.number = 0

    def retried(self, call):
        """What may be asked again is asked again until it has an answer."""
        while True:
            try:
                return call()
            except KafkaException as why:
                if not why.args[0].retriable():
                    raise

    def rewind(self):
        for where in self.consumer.committed(self.consumer.assignment(), timeout=30):
            if where.error is not None:
                raise KafkaException(where.error)
            where.offset = max(where.offset, 0)
            self.consumer.seek(where)

    def transaction(self, records):
        number, ends = self.number, {}
        self.number += 1
        label = f"{self.instance}.{number}"
        say("begin", number)
        self.producer.begin_transaction()
        for r in records:
            value = r.value().decode() + "@" + label
            self.producer.produce(self.output, key=f"{r.partition()}:{r.offset()}", value=value, partition=r.offset() % 2)
            ends[r.topic(), r.partition()] = r.offset() + 1
        left = self.producer.flush(30)
        if left:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{left} records unsent"))
        say("sent", number, len(records))
        if self.sends_offsets:
            wanted = [TopicPartition(*where, end) for where, end in ends.items()]
            self.retried(lambda: self.producer.send_offsets_to_transaction(wanted, self.consumer.consumer_group_metadata(), 30))
            say("offsets", number)
        if self.every and number % self.every == self.every - 1:
            say("abort", number)
            self.retried(lambda: self.producer.abort_transaction(30))
            say("aborted", number)
            self.rewind()
        else:
            say("commit", number)
            self.retried(lambda: self.producer.commit_transaction(110))
            say("committed", number)

    def run(self):
        while True:
            messages = self.consumer.consume(self.batch, 0.2)
            records = [m for m in messages if m.error() is None]
            if not records:
                continue
            try:
                self.transaction(records)
            except KafkaException as why:
                if not why.args[0].txn_requires_abort():
                    raise
                number = self.number - 1
                say("failed", number, why.args[0].name())
                self.retried(lambda: self.producer.abort_transaction(30))
                say("aborted", number)
                self.rewind()


def copy(*args):
    try:
        Copier(*args).run()
    except KafkaException as why:
        fenced = why.args[0].code() in FENCED
        say("fenced" if fenced else "broken", why.args[0].name(), str(why).replace(" ", "_"))
        os._exit(3 if fenced else 1)  # as a crash would: nothing is closed in order


def group_member(bootstrap, group, topic, protocol, session):
    leaving = []
    signal.signal(signal.SIGTERM, lambda *_: leaving.append(True))
    consumer = member(bootstrap, group, session, **{"group.protocol": protocol})
    consumer.subscribe([topic])
    held = None
    while not leaving:
        messages = [m for m in consumer.consume(20, 0.2) if m.error() is None]
        if held != (held := len(consumer.assignment())):
            print("assigned", held, flush=True)
        for m in messages:
            print("record", m.partition(), m.offset(), m.value().decode(), flush=True)
        if messages:
            ends = {m.partition(): m.offset() + 1 for m in messages}
            try:
                consumer.commit(offsets=[TopicPartition(topic, *end) for end in ends.items()], asynchronous=False)
            except KafkaException as why:
                print(why, file=sys.stderr)  # a rebalance came between: whoever holds the partition now reads it again
    consumer.close()


def isolated(bootstrap, level):
    return Consumer({
        "bootstrap.servers": bootstrap,
        "client.id": "reader",  # known to ../proxy.py
        "group.id": "unused",
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "isolation.level": level,
        "enable.partition.eof": True,
        "check.crcs": True,
        "fetch.wait.max.ms": 100,
        **QUICK,
    })


def partitions_of(consumer, topic):
    while True:
        try:
            found = consumer.list_topics(topic, timeout=5).topics[topic]
            if found.error is None:
                return sorted(found.partitions)
        except KafkaException:
            pass  # the server is away, the suite has the deadline


def follow(bootstrap, topic, level):
    """Reads along until standard input ends, and then to the end of every partition."""
    consumer = isolated(bootstrap, level)
    left = set(partitions_of(consumer, topic))
    consumer.assign([TopicPartition(topic, partition, 0) for partition in left])
    reached, ending = {}, False
    while left:
        message = consumer.poll(0.1)
        if not ending and select.select([sys.stdin], [], [], 0)[0]:
            # Only an end seen from now on counts: the reader starts over at where it stands.
            ending = True
            consumer.assign([TopicPartition(topic, partition, reached.get(partition, 0)) for partition in left])
            continue
        if message is None:
            continue
        if message.error() is None:
            say("record", message.partition(), message.offset(), message.key().decode(), message.value().decode())
            reached[message.partition()] = message.offset() + 1
        elif message.error().code() == KafkaError._PARTITION_EOF and ending:
            left.discard(message.partition())


def whole(bootstrap, topic, level):
    consumer = isolated(bootstrap, level)
    left = set(partitions_of(consumer, topic))
    consumer.assign([TopicPartition(topic, partition, 0) for partition in left])
    deadline = time.monotonic() + 60
    while left:
        message = consumer.poll(1)
        if time.monotonic() > deadline:
            sys.exit(f"{topic} at {level}: partitions {left} have no end")
        if message is None:
            continue
        if message.error() is None:
            yield message.partition(), message.offset(), (message.key() or b"-").decode(), message.value().decode()
        elif message.error().code() == KafkaError._PARTITION_EOF:
            left.discard(message.partition())
        else:
            raise KafkaException(message.error())
    consumer.close()


def audit(bootstrap, group, source, output):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for partition, offset, _, value in whole(bootstrap, source, "read_committed"):
        print("input", partition, offset, value)
    for level in ("committed", "uncommitted"):
        for record in whole(bootstrap, output, "read_" + level):
            print(level, *record)
    wheres = [TopicPartition(source, partition) for partition in partitions_of(isolated(bootstrap, "read_committed"), source)]
    answer = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, wheres)])
    for where in answer[group].result(30).topic_partitions:
        print("offset", where.partition, max(where.offset, -1))
    for topic in (source, output):
        for partition in partitions_of(isolated(bootstrap, "read_committed"), topic):
            ends = []
            for level in (IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED):
                where = TopicPartition(topic, partition)
                ends.append(admin.list_offsets({where: OffsetSpec.latest()}, isolation_level=level)[where].result(30).offset)
            print("ends", topic, partition, *ends)


{"produce": produce, "consume": consume, "seek": seek, "end": end, "copy": copy, "follow": follow, "audit": audit, "member": group_member}[sys.argv[1]](*sys.argv[2:])
