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
import sys

from confluent_kafka import Consumer, Producer, TopicPartition

import ground
from ground import KAFKA_SH, PATIENCE, PEER, check

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
        for name in ("features", "topics", "configs", "console", "verifiable", "offsets", "log-dirs", "groups", "consumer-protocol", "transactions"):
            before = self.calls
            scenario = getattr(self, name.replace("-", "_"))

            async def counted(scenario=scenario, before=before):
                said = await scenario()
                return f"{self.calls - before} calls{'; ' + said if said else ''}"

            await self.run(f"tools {name}", counted, " ")
        await server.end(signal.SIGTERM)
        return self.close()

    async def features(self):
        found = await self.tool("features", "describe")
        levels = {}
        for name, level in (("transaction.version", "2"), ("group.version", "1")):
            line = self.holds(rf"^Feature: {re.escape(name)}\s.*FinalizedVersionLevel: (\d+)\s+Epoch: (\d+)", found)
            check(line[1] == level, f"{name} is finalized at {line[1]}, not {level}")
            levels[name] = line[1]
        return f"{levels}"

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


if __name__ == "__main__":
    ground.main(lambda work: Tools(os.path.abspath(sys.argv[1]), work).everything(), f"peer={PEER}")
