#!/usr/bin/env python3
"""A Kafka Connect source with exactly-once support, through kills of the worker and of the broker.

    connect.py BINARY

A distributed worker (exactly.once.source.support=enabled) runs Kafka's file source on a file that the suite writes to. KILLS (6) times the
worker or the broker, in turn, is killed with SIGKILL while a transaction on the topic is open, and started again. Then every line stands
once, in order, in the topic at read_committed. SEED comes from the environment; PEER=kafka runs against Apache Kafka.
"""

import asyncio
import json
import os
import random
import signal
import sys
import threading
import time
import urllib.error
import urllib.request

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

import ground
from ground import HERE, KAFKA_SH, PATIENCE, PEER, SEED, Failed, check, free_ports

KILLS = int(os.environ.get("KILLS", 6))
TOPIC, CONNECTOR, NAME_SIZE = "lines", "file-source", 6
SETTINGS = [
    "offsets.topic.num.partitions=4",
    "transaction.state.log.num.partitions=4",
    "group.min.session.timeout.ms=500",
    "group.initial.rebalance.delay.ms=0",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms=200",
]


class Worker:
    """One distributed Connect worker; its REST port stays the same over restarts."""

    def __init__(self, suite):
        self.suite, self.port, self.process = suite, free_ports(), None

    async def start(self):
        settings = {
            "bootstrap.servers": self.suite.server_bootstrap,
            "group.id": "workers",
            "exactly.once.source.support": "enabled",
            "listeners": f"http://127.0.0.1:{self.port}",
            "key.converter": "org.apache.kafka.connect.storage.StringConverter",
            "value.converter": "org.apache.kafka.connect.storage.StringConverter",
            "plugin.discovery": "only_scan",
            "session.timeout.ms": 3000,
            "heartbeat.interval.ms": 600,
            "rebalance.timeout.ms": 10000,
            "scheduled.rebalance.max.delay.ms": 0,
            "reconnect.backoff.max.ms": 100,
            "producer.transaction.timeout.ms": 30000,
            "config.storage.replication.factor": 1,
            "offset.storage.replication.factor": 1,
            "offset.storage.partitions": 2,
            "status.storage.replication.factor": 1,
            "status.storage.partitions": 1,
            **{f"{what}.storage.topic": f"connect-{what}" for what in ("config", "offset", "status")},
        }
        path = self.suite.work / "worker.properties"
        path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        logs = f"-Dlog4j2.configurationFile={HERE}/java/log4j2.properties"
        with open(self.suite.work / "worker.log", "ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                "java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", logs, "-cp", self.suite.jars,
                "org.apache.kafka.connect.cli.ConnectDistributed", str(path), stdout=log, stderr=log,
            )  # fmt: skip

    async def kill(self):
        self.process.kill()
        await self.process.wait()

    def ask(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())


class Connect(ground.Suite):
    def __init__(self, binary, work):
        super().__init__(binary, work, f"{'PEER=kafka ' if PEER == 'kafka' else ''}KILLS={KILLS} tests/clients/run connect")
        self.chance = random.Random(f"{SEED} connect")
        self.lines, self.writing = 0, threading.Event()
        self.file = work / "source.txt"

    async def everything(self):
        found = await asyncio.create_subprocess_exec(str(KAFKA_SH), "classpath", "connect", stdout=asyncio.subprocess.PIPE)
        self.jars = (await found.communicate())[0].decode().strip()
        await self.run("connect each-line-once", self.once, " ")
        return self.close()

    def create(self):
        admin = AdminClient({"bootstrap.servers": self.server_bootstrap, "log_level": 0})
        admin.create_topics([NewTopic(TOPIC, 1, 1)])[TOPIC].result(60)

    def write(self):
        """Lines at a pace, until told to stop."""
        with open(self.file, "a") as file:
            while not self.writing.wait(0.02):
                for _ in range(self.chance.randint(1, 5)):
                    file.write(f"line {self.lines:0{NAME_SIZE}d}\n")
                    self.lines += 1
                file.flush()

    async def until(self, call, holds, what):
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                found = await asyncio.to_thread(call)
                if holds(found):
                    return found
            except (KafkaException, OSError, urllib.error.URLError, ValueError) as why:
                found = why
            check(time.monotonic() < deadline, f"{what} did not come within {PATIENCE} s: {str(found)[:300]}")
            check(self.worker.process.returncode is None, f"the worker ended with {self.worker.process.returncode}; see worker.log")
            await asyncio.sleep(0)

    def ends(self):
        return tuple(self.eyes[level].get_watermark_offsets(TopicPartition(TOPIC, 0), timeout=5)[1] for level in ("read_committed", "read_uncommitted"))

    def whole(self, level="read_committed"):
        consumer = Consumer({
            "bootstrap.servers": self.server_bootstrap, "group.id": "judge", "enable.auto.commit": False, "isolation.level": level,
            "auto.offset.reset": "error", "enable.partition.eof": True, "check.crcs": True, "log_level": 0,
        })  # fmt: skip
        consumer.assign([TopicPartition(TOPIC, 0, 0)])
        found = []
        while True:
            message = consumer.poll(30)
            if message is None:
                raise Failed("the topic has no end")
            if message.error() is None:
                found.append(message.value().decode())
            elif message.error().code() == KafkaError._PARTITION_EOF:
                consumer.close()
                return found
            else:
                raise KafkaException(message.error())

    async def once(self):
        server = await self.server("connect", *SETTINGS)
        self.server_bootstrap = server.bootstrap
        await asyncio.to_thread(self.create)
        asking = {"bootstrap.servers": server.bootstrap, "group.id": "eyes", "enable.auto.commit": False, "log_level": 0, "reconnect.backoff.max.ms": 200}
        self.eyes = {level: Consumer({**asking, "isolation.level": level}) for level in ("read_committed", "read_uncommitted")}
        self.file.touch()
        self.worker = Worker(self)
        writing = asyncio.create_task(asyncio.to_thread(self.write))
        killed = {"worker": 0, "broker": 0}
        try:
            await self.worker.start()
            await self.until(lambda: self.worker.ask("GET", "/"), bool, "the worker")
            wanted = {
                "connector.class": "org.apache.kafka.connect.file.FileStreamSourceConnector",
                "tasks.max": "1",
                "file": str(self.file),
                "topic": TOPIC,
                "exactly.once.support": "required",
                "transaction.boundary": "interval",
                "transaction.boundary.interval.ms": "400",
            }
            await self.until(lambda: self.worker.ask("PUT", f"/connectors/{CONNECTOR}/config", wanted), bool, "the connector")
            for kill in range(KILLS):
                high = (await self.until(self.ends, bool, "the topic"))[1]
                # New records since the last kill, and their transaction is open.
                await self.until(self.ends, lambda found: found[1] > high and found[0] < found[1], "an open transaction")
                if kill % 2 == 0:
                    await self.worker.kill()
                    await self.worker.start()
                    killed["worker"] += 1
                else:
                    await server.end(signal.SIGKILL)
                    await server.start()
                    killed["broker"] += 1
            self.writing.set()
            await writing
            await self.until(self.whole, lambda found: found and found[-1] == f"line {self.lines - 1:0{NAME_SIZE}d}", "the last line")
            await self.until(self.ends, lambda found: found[0] == found[1], "an end of all transactions")
            found = await asyncio.to_thread(self.whole)
            status = await asyncio.to_thread(self.worker.ask, "GET", f"/connectors/{CONNECTOR}/status")
        finally:
            self.writing.set()
            if self.worker.process.returncode is None:
                await self.worker.kill()
            for eye in self.eyes.values():
                eye.close()
        expected = [f"line {n:0{NAME_SIZE}d}" for n in range(self.lines)]
        wrong = next(((i, a) for i, (a, b) in enumerate(zip(found, expected)) if a != b), None)
        check(found == expected, f"{len(found)} lines in the topic, {self.lines} in the file; first difference {wrong}")
        hidden = len(await asyncio.to_thread(self.whole, "read_uncommitted")) - len(found)
        check(hidden > 0, "a weak run: nothing was aborted")
        check(status["connector"]["state"] == "RUNNING", f"{status}")
        await server.end(signal.SIGTERM)
        return f"{killed['worker']} kills of the worker, {killed['broker']} of the broker, {self.lines} lines once, {hidden} aborted records hidden"


if __name__ == "__main__":
    ground.main(lambda work: Connect(os.path.abspath(sys.argv[1]), work).everything(), f"peer={PEER} kills={KILLS}")
