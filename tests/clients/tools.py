#!/usr/bin/env python3
"""Kafka's own command line tools against a server: what an operator types, and what it has to answer.

    tools.py BINARY

Every scenario uses the released tools of Apache Kafka (tests/peers/kafka.sh) and asserts on what they print. PEER=kafka runs it against
Apache Kafka.
"""

import asyncio
import json
import os
import re
import signal
import struct
import sys
import time

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from confluent_kafka import Consumer, Producer, TopicPartition

import ground
from ground import KAFKA_SH, PATIENCE, PEER, check
from proxy import KEYS, Proxy

SETTINGS = [
    "num.partitions=1",
    "offsets.topic.num.partitions=4",
    "transaction.state.log.num.partitions=4",
    "group.initial.rebalance.delay.ms=0",
]
GROUPS_COMMAND = "org.apache.kafka.tools.GroupsCommand"


def table(text, *columns):
    """The rows of a tool's table as dicts of the columns asked for."""
    lines = [line for line in text.splitlines() if line.strip()]
    at = next((i for i, line in enumerate(lines) if all(c in re.split(r"\s{2,}|\t|\s", line.strip()) for c in columns)), None)
    check(at is not None, f"no table with {columns} in {text!r}")
    names = lines[at].split()
    rows = [line.split() for line in lines[at + 1 :]]
    return [dict(zip(names, row)) for row in rows if len(row) >= len(names) - 1]


class Tools(ground.Suite):
    def __init__(self, binary, work):
        super().__init__(binary, work, f"{'PEER=kafka ' if PEER == 'kafka' else ''}tests/clients/run tools")
        self.calls = 0

    async def tool(self, name, *args, text="", code=0, connect="--bootstrap-server"):
        """Runs a tool and gives what it printed; `code` None takes any exit."""
        environment = {**os.environ, "JAVA_TOOL_OPTIONS": "-Xmx128m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC"}
        process = await asyncio.create_subprocess_exec(
            str(KAFKA_SH), "run", name, connect, self.bootstrap, *map(str, args), env=environment,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, errors = await asyncio.wait_for(process.communicate(text.encode()), PATIENCE)
        self.calls += 1
        out, errors = out.decode(), errors.decode().replace("Picked up JAVA_TOOL_OPTIONS", "")
        if code is not None:
            check((process.returncode == 0) == (code == 0), f"{name} {args} exited with {process.returncode}: {out[-800:]} {errors[-800:]}")
        return out if code == 0 else out + errors

    def holds(self, pattern, text):
        found = re.search(pattern, text, re.M)
        check(found, f"no {pattern!r} in {text!r}")
        return found

    async def everything(self):
        server = await self.server("tools", *SETTINGS)
        self.bootstrap = server.bootstrap
        for name in ("features", "topics", "configs", "console", "verifiable", "offsets", "log-dirs", "groups", "consumer-protocol", "transactions", "levels", "hanging"):
            before = self.calls
            scenario = getattr(self, name.replace("-", "_"))

            async def counted(scenario=scenario, before=before):
                self.bootstrap = server.bootstrap
                said = await scenario()
                return f"{self.calls - before} calls{'; ' + said if said else ''}"

            await self.run(f"tools {name}", counted, " ")
        await server.end(signal.SIGTERM)
        return self.close()

    async def finalized(self, name, level):
        line = self.holds(rf"^Feature: {re.escape(name)}\s.*FinalizedVersionLevel: (\d+)\s+Epoch: (\d+)", await self.tool("features", "describe"))
        check(line[1] == level, f"{name} is finalized at {line[1]}, not {level}")

    async def features(self):
        levels = {"transaction.version": "2", "group.version": "1"}
        for name, level in levels.items():
            await self.finalized(name, level)
        return f"{levels}"

    async def levels(self):
        """transaction.version goes down and up again, and Kafka's own producer speaks the protocol of each level (KIP-890)."""
        proxy = Proxy(None)
        await proxy.start()
        server = await self.server("levels", *SETTINGS, f"advertised.listeners=PLAINTEXT://127.0.0.1:{proxy.port}")
        proxy.target = ("127.0.0.1", server.port)
        self.bootstrap = server.bootstrap
        await self.tool("topics", "--create", "--topic", "levelled", "--partitions", 1)
        told = []
        for move, level in ((None, 2), ("downgrade", 1), ("upgrade", 2)):
            if move:
                await self.tool("features", move, "--feature", f"transaction.version={level}")
            await self.finalized("transaction.version", f"{level}")
            proxy.versions.clear()
            await self.tool(
                "producer-perf", "--topic", "levelled", "--num-records", 5, "--record-size", 10, "--throughput", -1,
                "--transactional-id", f"perf-{len(told)}", "--transaction-duration-ms", 60000,
            )  # fmt: skip
            spoken = {name: max(proxy.versions[KEYS[name]]) for name in ("Produce", "EndTxn", "AddPartitionsToTxn") if KEYS[name] in proxy.versions}
            check(("AddPartitionsToTxn" in spoken) == (level == 1), f"at level {level} the producer spoke {spoken}")
            check((spoken["EndTxn"] >= 5) == (spoken["Produce"] >= 12) == (level == 2), f"at level {level} the producer spoke {spoken}")
            check(await self.stable("levelled") == (6 * len(told) + 6,) * 2, f"at level {level}: {await self.stable('levelled')}")
            told.append(f"level {level}: " + " ".join(f"{name} {version}" for name, version in spoken.items()))
        await server.end(signal.SIGTERM)
        await proxy.stop()
        return "; ".join(told)

    async def topics(self):
        self.holds(r"Created topic made\.", await self.tool("topics", "--create", "--topic", "made", "--partitions", 3, "--config", "retention.ms=3600000"))
        self.holds(r"TopicExistsException|already exists", await self.tool("topics", "--create", "--topic", "made", "--partitions", 3, code=1))
        self.holds(r"^made$", await self.tool("topics", "--list"))
        found = await self.tool("topics", "--describe", "--topic", "made")
        self.holds(r"Topic: made\s+TopicId: \S{22}\s+PartitionCount: 3\s+ReplicationFactor: 1\s+Configs: .*retention\.ms=3600000", found)
        check(len(re.findall(r"Partition: \d\s+Leader: \d+\s+Replicas: \d+\s+Isr: \d+", found)) == 3, found)
        await self.tool("topics", "--alter", "--topic", "made", "--partitions", 4)
        self.holds(r"PartitionCount: 4", await self.tool("topics", "--describe", "--topic", "made"))
        await self.tool("topics", "--delete", "--topic", "made")
        check("made" not in (await self.tool("topics", "--list")).split(), "a deleted topic is listed")

    async def configs(self):
        await self.tool("topics", "--create", "--topic", "configured", "--partitions", 1)
        entity = ("--entity-type", "topics", "--entity-name", "configured")
        self.holds(r"Completed updating config", await self.tool("configs", "--alter", *entity, "--add-config", "max.message.bytes=2000000,cleanup.policy=compact"))
        found = await self.tool("configs", "--describe", *entity)
        self.holds(r"max\.message\.bytes=2000000", found)
        self.holds(r"cleanup\.policy=compact", found)
        await self.tool("configs", "--alter", *entity, "--delete-config", "cleanup.policy")
        found = await self.tool("configs", "--describe", *entity)
        check("cleanup.policy=compact" not in found and "max.message.bytes=2000000" in found, found)
        self.holds(r"(?i)unknown|invalid", await self.tool("configs", "--alter", *entity, "--add-config", "no.such.config=1", code=1))
        self.holds(r"retention\.ms=604800000", await self.tool("configs", "--describe", *entity, "--all"))

    async def console(self):
        await self.tool("topics", "--create", "--topic", "console", "--partitions", 1)
        lines = [f"k{i}:v{i}" for i in range(20)]
        await self.tool("console-producer", "--topic", "console", "--reader-property", "parse.key=true", "--reader-property", "key.separator=:", text="\n".join(lines) + "\n")
        for level in ("read_uncommitted", "read_committed"):
            found = await self.tool(
                "console-consumer", "--topic", "console", "--from-beginning", "--max-messages", 20, "--timeout-ms", 60000, "--isolation-level", level,
                "--formatter-property", "print.key=true", "--formatter-property", "key.separator=:",
            )  # fmt: skip
            check(found.split() == lines, f"{level}: {found!r}")
        return f"{len(lines)} lines"

    @staticmethod
    def events(text):
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    async def verifiable(self, *more):
        topic = f"verifiable{len(more)}"
        await self.tool("topics", "--create", "--topic", topic, "--partitions", 2)
        sent = self.events(await self.tool("verifiable-producer", "--topic", topic, "--max-messages", 200, "--acks", -1, "--value-prefix", 7))
        good = {e["value"] for e in sent if e["name"] == "producer_send_success"}
        check(len(good) == 200, f"{len(good)} of 200 acknowledged")
        args = ("--topic", topic, "--group-id", topic, "--max-messages", 200, "--reset-policy", "earliest", "--verbose")
        read = self.events(await self.tool("verifiable-consumer", *args, *more, code=None))
        got = [e["value"] for e in read if e["name"] == "record_data"]
        check(sorted(got) == sorted(good), f"{len(got)} read, {len(set(got) & good)} of them sent")
        check(any(e["name"] == "offsets_committed" and e["success"] for e in read), "no offsets were committed")
        return topic

    async def consumer_protocol(self):
        group = await self.verifiable("--group-protocol", "consumer")
        rows = table(await self.tool(GROUPS_COMMAND, "--list"), "GROUP", "TYPE", "PROTOCOL")
        check(any(r["GROUP"] == group and r["TYPE"] == "Consumer" for r in rows), f"{group} is not of the consumer type: {rows}")
        rows = table(await self.tool("groups", "--describe", "--group", group), "GROUP", "TOPIC", "PARTITION", "CURRENT-OFFSET", "LAG")
        check(sum(int(r["CURRENT-OFFSET"]) for r in rows) == 200 and all(r["LAG"] == "0" for r in rows), f"{rows}")

    async def offsets(self):
        await self.tool("topics", "--create", "--topic", "counted", "--partitions", 1)
        producer = Producer({"bootstrap.servers": self.bootstrap, "log_level": 0})
        for n in range(10):
            producer.produce("counted", value=f"{n}", timestamp=1_700_000_000_000 + n * 1000)
        await asyncio.to_thread(producer.flush, PATIENCE)
        for time, expected in (("latest", "10"), ("earliest", "0"), ("max-timestamp", "9"), (1_700_000_003_500, "4")):
            found = await self.tool("get-offsets", "--topic", "counted", "--time", time)
            check(found.strip() == f"counted:0:{expected}", f"--time {time}: {found!r}")

    async def log_dirs(self):
        found = self.events(await self.tool("log-dirs", "--describe", "--topic-list", "counted"))
        sizes = [p["size"] for broker in found[0]["brokers"] for d in broker["logDirs"] for p in d["partitions"] if p["partition"] == "counted-0"]
        check(len(sizes) == 1 and sizes[0] > 0, f"{found}")
        return f"{sizes[0]} bytes"

    async def groups(self):
        group = "verifiable0"
        check(group in (await self.tool("groups", "--list")).split(), "the group is not listed")
        columns = ("GROUP", "TOPIC", "PARTITION", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG")
        rows = table(await self.tool("groups", "--describe", "--group", group), *columns)
        check(sum(int(r["CURRENT-OFFSET"]) for r in rows) == 200 and all(r["LAG"] == "0" for r in rows), f"{rows}")
        full = max(rows, key=lambda r: int(r["CURRENT-OFFSET"]))["PARTITION"]  # the producer may have kept to one
        self.holds(rf"{group}\s.*\bEmpty\s+0", await self.tool("groups", "--describe", "--group", group, "--state"))
        rows = table(await self.tool(GROUPS_COMMAND, "--list"), "GROUP", "TYPE", "PROTOCOL")
        check(any(r["GROUP"] == group and r["TYPE"] == "Classic" for r in rows), f"{group} is not of the classic type: {rows}")
        found = await self.tool("groups", "--reset-offsets", "--group", group, "--topic", f"{group}:{full}", "--to-earliest", "--execute")
        self.holds(rf"{group}\s+{group}\s+{full}\s+0\b", found)
        rows = table(await self.tool("groups", "--describe", "--group", group), *columns)
        check(any(r["PARTITION"] == full and r["CURRENT-OFFSET"] == "0" and int(r["LAG"]) > 0 for r in rows), f"{rows}")
        self.holds(r"Successful", await self.tool("groups", "--delete-offsets", "--group", group, "--topic", f"{group}:{full}"))
        found = await self.tool("groups", "--describe", "--group", group, code=None)  # it may have no offset left
        check(not re.search(rf"{group}\s+{group}\s+{full}\s+\d", found), found)
        self.holds(r"was successful", await self.tool("groups", "--delete", "--group", group))
        check(group not in (await self.tool("groups", "--list")).split(), "a deleted group is listed")
        self.holds(r"(?i)does not exist|not found", await self.tool("groups", "--describe", "--group", group, code=None) + await self.tool("groups", "--delete", "--group", group, code=None))

    async def stable(self, topic):
        """The last stable offset and the high watermark, as two consumers see them."""
        ends = []
        for level in ("read_committed", "read_uncommitted"):
            asking = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "unused", "isolation.level": level, "log_level": 0})
            ends.append((await asyncio.to_thread(asking.get_watermark_offsets, TopicPartition(topic, 0), 30))[1])
            asking.close()
        return tuple(ends)

    async def transactions(self):
        await self.tool("topics", "--create", "--topic", "opened", "--partitions", 1)
        owner = Producer({"bootstrap.servers": self.bootstrap, "transactional.id": "owner", "transaction.timeout.ms": 600000, "log_level": 0})
        await asyncio.to_thread(owner.init_transactions, 60)
        owner.begin_transaction()
        for n in range(3):
            owner.produce("opened", value=f"{n}")
        check(not await asyncio.to_thread(owner.flush, 60), "unsent")
        check(await self.stable("opened") == (0, 3), f"{await self.stable('opened')}")
        rows = table(await self.tool("transactions", "list"), "TransactionalId", "Coordinator", "ProducerId", "TransactionState")
        mine = [r for r in rows if r["TransactionalId"] == "owner"]
        check(len(mine) == 1 and mine[0]["TransactionState"] == "Ongoing", f"{rows}")
        found = await self.tool("transactions", "describe", "--transactional-id", "owner")
        self.holds(r"\bOngoing\b", found)
        self.holds(r"\bopened-0\b", found)
        self.holds(rf"\b{mine[0]['ProducerId']}\b", found)
        self.holds(r"\b600000\b", found)
        found = await self.tool("transactions", "describe-producers", "--topic", "opened", "--partition", 0)
        rows = table(found, "ProducerId", "ProducerEpoch", "LastSequence", "CurrentTransactionStartOffset")
        check(any(r["ProducerId"] == mine[0]["ProducerId"] and r["LastSequence"] == "2" and r["CurrentTransactionStartOffset"] == "0" for r in rows), found)
        leader = self.holds(r"Leader: (\d+)", await self.tool("topics", "--describe", "--topic", "opened"))[1]
        hanging = await self.tool("transactions", "find-hanging", "--broker-id", leader)
        check("opened" not in hanging, f"an open transaction with a live coordinator entry is no hanging one: {hanging}")
        await self.tool("transactions", "abort", "--topic", "opened", "--partition", 0, "--start-offset", 0)
        check(await self.stable("opened") == (4, 4), f"after the abort marker {await self.stable('opened')}")
        await asyncio.to_thread(owner.abort_transaction, 60)
        owner.begin_transaction()
        owner.produce("opened", value="kept")
        await asyncio.to_thread(owner.commit_transaction, 60)
        rows = table(await self.tool("transactions", "list"), "TransactionalId", "TransactionState")
        check(any(r["TransactionalId"] == "owner" and r["TransactionState"] == "CompleteCommit" for r in rows), f"{rows}")
        found = await self.tool("console-consumer", "--topic", "opened", "--from-beginning", "--max-messages", 1, "--timeout-ms", 60000, "--isolation-level", "read_committed")
        check(found.split() == ["kept"], found)
        self.holds(r"(?i)success|terminat|^\s*$", await self.tool("transactions", "forceTerminateTransaction", "--transactionalId", "owner"))
        return f"producer {mine[0]['ProducerId']}"

    async def raw_produce(self, topic, producer_id, value):
        """A transactional batch of protocol 1 that nobody enrolled, as it comes late over another connection."""
        batch = DefaultRecordBatchBuilder(
            magic=2, compression_type=0, is_transactional=True, producer_id=producer_id, producer_epoch=0, base_sequence=0, batch_size=1 << 16
        )
        batch.append(0, timestamp=int(time.time() * 1000) - 60_000, key=None, value=value, headers=[])
        batch = bytes(batch.build())

        def text(word):
            return struct.pack(">h", len(word)) + word.encode()

        version, partition = 8, 0
        request = struct.pack(">hhi", KEYS["Produce"], version, 1) + text("raw") + text("late") + struct.pack(">hii", -1, 30_000, 1)
        request += text(topic) + struct.pack(">iii", 1, partition, len(batch)) + batch
        host, _, port = self.bootstrap.rpartition(":")
        answers, requests = await asyncio.open_connection(host, int(port))
        requests.write(struct.pack(">i", len(request)) + request)
        head, answer = await asyncio.wait_for(Proxy.frame(answers), PATIENCE)
        requests.close()
        error = struct.unpack_from(">h", answer, 4 + 4 + len(text(topic)) + 4 + 4)[0]
        check(error == 0, f"the batch was refused with {error}")

    async def hanging(self):
        """A transaction that no coordinator knows holds readers back, is found, and is ended (KIP-664)."""
        server = await self.server("hanging", *SETTINGS, "transaction.partition.verification.enable=false")
        self.bootstrap = server.bootstrap
        await self.tool("topics", "--create", "--topic", "held", "--partitions", 1)
        late = Producer({"bootstrap.servers": self.bootstrap, "transactional.id": "late", "log_level": 0})
        await asyncio.to_thread(late.init_transactions, 60)
        rows = table(await self.tool("transactions", "list"), "TransactionalId", "Coordinator", "ProducerId", "TransactionState")
        producer_id = next(r["ProducerId"] for r in rows if r["TransactionalId"] == "late")
        await self.raw_produce("held", int(producer_id), b"late")
        behind = Producer({"bootstrap.servers": self.bootstrap, "log_level": 0})
        behind.produce("held", value="behind")
        check(not await asyncio.to_thread(behind.flush, 60), "unsent")
        check(await self.stable("held") == (0, 2), f"{await self.stable('held')}")
        leader = self.holds(r"Leader: (\d+)", await self.tool("topics", "--describe", "--topic", "held"))[1]
        asked = ("find-hanging", "--broker-id", leader, "--max-transaction-timeout", 0)
        found = await self.tool("transactions", *asked)
        rows = table(found, "Topic", "Partition", "ProducerId", "ProducerEpoch", "StartOffset")
        check([(r["Topic"], r["Partition"], r["ProducerId"], r["StartOffset"]) for r in rows] == [("held", "0", producer_id, "0")], found)
        await self.tool("transactions", "abort", "--topic", "held", "--partition", 0, "--start-offset", 0)
        check(await self.stable("held") == (3, 3), f"after the abort {await self.stable('held')}")
        found = await self.tool("console-consumer", "--topic", "held", "--from-beginning", "--max-messages", 1, "--timeout-ms", 60000, "--isolation-level", "read_committed")
        check(found.split() == ["behind"], found)
        found = await self.tool("transactions", *asked)
        check("held" not in found, f"it is ended and still found: {found}")
        await server.end(signal.SIGTERM)
        return f"producer {producer_id}"


if __name__ == "__main__":
    ground.main(lambda work: Tools(os.path.abspath(sys.argv[1]), work).everything(), f"peer={PEER}")
