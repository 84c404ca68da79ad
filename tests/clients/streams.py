#!/usr/bin/env python3
"""A Kafka Streams application with exactly_once_v2: counts per key in a RocksDB store, through kills.

    streams.py BINARY

Two instances (streams/Counts.java) share an input of two partitions while records flow. KILLS (10) times one of them is killed with SIGKILL
while the transactions of both partitions are open, at every second kill its state directory is deleted, and it is started again. The
suite counts the input itself: the output at read_committed has to be 1, 2, 3 and so on to the total for every key, nothing twice and
nothing left out, and the store's changelog has to end with the totals. SEED comes from the environment; PEER=kafka runs against Kafka.
"""

import asyncio
import collections
import os
import random
import shutil
import signal
import sys
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

import ground
from ground import HERE, KAFKA_SH, PATIENCE, PEER, SEED, Failed, check

KILLS = int(os.environ.get("KILLS", 10))
PARTITIONS, KEYS, SESSION_MS, TXN_TIMEOUT_MS = 2, 20, 2000, 5000
APPLICATION, INPUT, OUTPUT = "counting", "events", "totals"
CHANGELOG = f"{APPLICATION}-counts-changelog"
SETTINGS = [
    "offsets.topic.num.partitions=4",
    "transaction.state.log.num.partitions=4",
    "group.min.session.timeout.ms=500",
    "group.initial.rebalance.delay.ms=0",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms=200",
]


class Instance:
    def __init__(self, suite, number):
        self.suite, self.number, self.tasks, self.runs, self.process = suite, number, 0, 0, None
        self.state = suite.work / f"state-{number}"

    async def start(self):
        jars = f"{HERE}/streams/classes:{self.suite.jars}"
        logs = f"-Dlog4j2.configurationFile={HERE}/java/log4j2.properties"
        self.tasks, self.runs = 0, self.runs + 1
        with open(self.suite.work / f"instance-{self.number}.err", "ab") as errors:
            self.process = await asyncio.create_subprocess_exec(
                "java", "-Xmx192m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", logs, "-cp", jars, "Counts", self.suite.bootstrap, APPLICATION,
                INPUT, OUTPUT, str(self.state), str(SESSION_MS), str(TXN_TIMEOUT_MS), stdout=asyncio.subprocess.PIPE, stderr=errors,
            )  # fmt: skip
        self.reading = asyncio.create_task(self.read(self.process))

    async def read(self, process):
        while line := await process.stdout.readline():
            match line.decode().split():
                case ["tasks", count]:
                    self.tasks = int(count)

    async def kill(self):
        self.process.kill()
        await self.process.wait()
        await self.reading


class Streams(ground.Suite):
    def __init__(self, binary, work):
        super().__init__(binary, work, f"{'PEER=kafka ' if PEER == 'kafka' else ''}KILLS={KILLS} tests/clients/run streams")
        self.chance = random.Random(f"{SEED} streams")
        self.written = collections.Counter()  # key -> records sent
        self.instances, self.feeding = [], True

    async def everything(self):
        found = await asyncio.create_subprocess_exec(str(KAFKA_SH), "classpath", "streams", stdout=asyncio.subprocess.PIPE)
        self.jars = (await found.communicate())[0].decode().strip()
        await self.run("streams counts-through-kills", self.counts, " ")
        return self.close()

    def create(self):
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        for answer in admin.create_topics([NewTopic(t, PARTITIONS, 1) for t in (INPUT, OUTPUT)]).values():
            answer.result(60)

    def feed(self):
        """Keeps records flowing to all keys until told to stop; every one is acknowledged."""
        producer = Producer({"bootstrap.servers": self.bootstrap, "enable.idempotence": True, "linger.ms": 20, "partitioner": "murmur2_random", "log_level": 0})
        failed = []
        while self.feeding:
            for _ in range(10):
                key = f"k{self.chance.randrange(KEYS)}"
                self.written[key] += 1
                producer.produce(INPUT, key=key, value="x", on_delivery=lambda e, _: failed.append(e) if e else None)
            producer.poll(0.05)  # the pace of the input
        left = producer.flush(PATIENCE)
        check(not left and not failed, f"input: {left} unsent, {failed[:3]}")

    def ends(self, eyes, topic):
        """(last stable offset, high watermark) of each partition."""
        levels = ("read_committed", "read_uncommitted")
        return [tuple(eyes[level].get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1] for level in levels) for p in range(PARTITIONS)]

    async def until(self, call, holds, what):
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                found = await asyncio.to_thread(call)
            except KafkaException as why:
                found = None
                check(time.monotonic() < deadline, f"{what}: {why}")
            if found is not None and holds(found):
                return found
            check(time.monotonic() < deadline, f"{what} did not come within {PATIENCE} s: {str(found)[:300]}")

    def whole(self, topic, level="read_committed"):
        """(partition, key, value) of every record, to the end of each partition."""
        consumer = Consumer({
            "bootstrap.servers": self.bootstrap, "group.id": "judge", "enable.auto.commit": False, "isolation.level": level,
            "auto.offset.reset": "error", "enable.partition.eof": True, "check.crcs": True, "log_level": 0,
        })  # fmt: skip
        left, found = set(range(PARTITIONS)), []
        consumer.assign([TopicPartition(topic, partition, 0) for partition in left])
        while left:
            message = consumer.poll(30)
            if message is None:
                raise Failed(f"{topic}: partitions {left} have no end")
            if message.error() is None:
                value = message.value()
                found.append((message.partition(), message.key().decode(), value if topic == CHANGELOG else value.decode()))
            elif message.error().code() == KafkaError._PARTITION_EOF:
                left.discard(message.partition())
            else:
                raise KafkaException(message.error())
        consumer.close()
        return found

    async def counts(self):
        server = await self.server("streams", *SETTINGS)
        self.bootstrap = server.bootstrap
        await asyncio.to_thread(self.create)
        asking = {"bootstrap.servers": self.bootstrap, "group.id": "eyes", "enable.auto.commit": False, "log_level": 0}
        eyes = {level: Consumer({**asking, "isolation.level": level}) for level in ("read_committed", "read_uncommitted")}
        feeding = asyncio.create_task(asyncio.to_thread(self.feed))
        self.instances = [Instance(self, number) for number in range(2)]
        try:
            for instance in self.instances:
                await instance.start()
            kills = deleted = 0
            highs = [0] * PARTITIONS
            while kills < KILLS:
                # What was open at the last kill is ended, and what is open now is of an instance that lives.
                found = await self.until(
                    lambda: self.ends(eyes, CHANGELOG),
                    lambda found: all(high <= stable < end for high, (stable, end) in zip(highs, found)) and any(i.tasks for i in self.instances),
                    "open transactions of both partitions",
                )
                victim = self.chance.choice([i for i in self.instances if i.tasks])
                await victim.kill()
                kills += 1
                highs = [end for _, end in found]
                if kills % 2 == 0:
                    shutil.rmtree(victim.state, ignore_errors=True)
                    deleted += 1
                await victim.start()
            self.feeding = False
            await feeding
            total = sum(self.written.values())
            await self.until(lambda: self.whole(OUTPUT), lambda found: len(found) >= total, f"{total} outputs")
            await self.until(lambda: self.ends(eyes, OUTPUT) + self.ends(eyes, CHANGELOG), lambda found: all(stable == end for stable, end in found), "an end of all transactions")
        finally:
            self.feeding = False
            for instance in self.instances:
                if instance.process is not None and instance.process.returncode is None:
                    await instance.kill()
            for eye in eyes.values():
                eye.close()
        said = await asyncio.to_thread(self.judge)
        await server.end(signal.SIGTERM)
        return f"{kills} kills inside open transactions, {deleted} state directories deleted; {said}"

    def judge(self):
        totals = collections.Counter(key for _, key, _ in self.whole(INPUT))
        check(totals == self.written, f"the input has {sum(totals.values())} records, {sum(self.written.values())} were written")
        seen = collections.defaultdict(list)
        for _, key, value in self.whole(OUTPUT):
            seen[key].append(int(value))
        for key, total in totals.items():
            wrong = next(((i, n) for i, n in enumerate(seen[key]) if n != i + 1), None)
            check(wrong is None, f"{key}: output {wrong and wrong[0] + 1} is {wrong and wrong[1]}")
            check(len(seen[key]) == total, f"{key}: counted to {len(seen[key])}, the input has {total}")
        last = {key: int.from_bytes(value[-8:], "big") for _, key, value in self.whole(CHANGELOG) if value is not None}
        check(last == dict(totals), "the changelog does not end with the totals")
        hidden = len(self.whole(OUTPUT, "read_uncommitted")) - sum(totals.values())
        check(hidden > 0, "a weak run: nothing was aborted")
        return f"{sum(totals.values())} records of {len(totals)} keys counted once, {hidden} aborted outputs hidden"


if __name__ == "__main__":
    ground.main(lambda work: Streams(os.path.abspath(sys.argv[1]), work).everything(), f"peer={PEER} kills={KILLS}")
