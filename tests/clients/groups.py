#!/usr/bin/env python3
"""Consumer groups of real clients: members join, leave and are killed, and every record is consumed.

    groups.py BINARY [CLIENT]...        all clients when none is named

One verb beside those of suite.py and transactions.py:

    member BOOTSTRAP GROUP TOPIC PROTOCOL SESSION_TIMEOUT_MS
        a member of GROUP by the classic or the consumer protocol (KIP-848); prints `assigned COUNT` after each rebalance, and for each
        record `record PARTITION OFFSET VALUE` before its offset is committed. SIGTERM makes it leave the group and exit with 0.

ROUNDS (3) rounds for each: one member joins, one leaves, one is killed with SIGKILL, each among flowing records. Then every record was
consumed at least once, each by a member before the group's offset passed it, and the committed offsets stand at the log's end. Where a client
speaks both protocols, a group of it also goes over to the other one member by member, and back.
SEED and RECORDS come from the environment; PEER=kafka runs against Apache Kafka.
"""

import asyncio
import collections
import os
import random
import signal
import sys
import time

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

import ground
from ground import PATIENCE, PEER, SEED, Failed, check

ROUNDS = int(os.environ.get("ROUNDS", 2))
RECORDS = int(os.environ.get("RECORDS", 200))
PARTITIONS, SESSION_MS = 4, 2000
SETTINGS = [
    "offsets.topic.num.partitions=4",
    "group.min.session.timeout.ms=500",
    "group.initial.rebalance.delay.ms=0",
    "group.consumer.min.session.timeout.ms=500",
    f"group.consumer.session.timeout.ms={SESSION_MS}",
    "group.consumer.min.heartbeat.interval.ms=100",
    f"group.consumer.heartbeat.interval.ms={SESSION_MS // 5}",
]


class Member:
    """One process of a client's `member`."""

    def __init__(self, group, number, protocol):
        self.group, self.number, self.protocol, self.assigned, self.records, self.process = group, number, protocol, 0, 0, None

    async def start(self):
        g = self.group
        with open(g.suite.work / f"{g.name}.{self.number}.err", "wb") as errors:
            self.process = await g.client.spawn("member", g.bootstrap, g.name, g.topic, self.protocol, SESSION_MS, errors=errors)
        self.reading = asyncio.create_task(self.read())

    async def read(self):
        while line := await self.process.stdout.readline():
            match line.decode().split():
                case ["assigned", count]:
                    self.assigned = int(count)
                case ["record", partition, offset, value]:
                    self.records += 1
                    self.group.seen[int(partition), int(offset)].append((self.number, value))
            self.group.moved.set()
        await self.process.wait()
        self.group.moved.set()


class Group:
    def __init__(self, suite, client, protocol, bootstrap):
        self.suite, self.client, self.protocol, self.bootstrap = suite, client, protocol, bootstrap
        self.name = f"{client.name}-{protocol}"
        self.topic = self.name
        self.chance = random.Random(f"{SEED} {self.name}")
        self.members, self.written = [], 0
        self.seen = collections.defaultdict(list)  # (partition, offset) -> (member, value) each time it was consumed
        self.moved = asyncio.Event()
        self.killed = self.left = 0

    def create(self):
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        admin.create_topics([NewTopic(self.topic, PARTITIONS, 1)])[self.topic].result(30)

    def type(self):
        """The protocol that the group is of."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        found = {g.group_id: g.type.name.lower() for g in admin.list_consumer_groups(request_timeout=30).result(60).valid}
        return found.get(self.name)

    def spoken(self, protocol):
        """The group is of the protocol asked for: a client may fall back to the other one without a word."""
        found = self.type()
        check(found == protocol, f"{self.name} is a group of type {found}, not {protocol}")

    async def feed(self):
        def write():
            producer = Producer({"bootstrap.servers": self.bootstrap, "enable.idempotence": True, "linger.ms": 1, "log_level": 0})
            failed = []
            for n in range(self.written, self.written + RECORDS):
                producer.produce(self.topic, value=f"v{n}", partition=n % PARTITIONS, on_delivery=lambda e, _: failed.append(e) if e else None)
            left = producer.flush(PATIENCE)
            check(not left and not failed, f"{self.name}: {left} unsent, {failed[:3]}")

        await asyncio.to_thread(write)
        self.written += RECORDS

    async def wait(self, holds, what):
        deadline = time.monotonic() + PATIENCE
        while not holds():
            self.moved.clear()
            try:
                await asyncio.wait_for(self.moved.wait(), max(deadline - time.monotonic(), 0))
            except asyncio.TimeoutError:
                by_partition = [sum(1 for p, _ in self.seen if p == partition) for partition in range(PARTITIONS)]
                state = [(m.number, m.process.returncode, m.assigned, m.records) for m in self.members]
                raise Failed(f"{self.name}: {what} did not come within {PATIENCE} s; (member, exit, partitions, records) {state}; by partition {by_partition}") from None

    async def join(self, protocol=None):
        member = Member(self, len(self.members), protocol or self.protocol)
        self.members.append(member)
        await member.start()
        await self.wait(lambda: member.assigned > 0, f"an assignment of member {member.number}")
        return member

    def alive(self):
        return [m for m in self.members if m.process.returncode is None]

    async def consumed(self):
        await self.wait(lambda: len(self.seen) == self.written, f"{self.written} records ({len(self.seen)} came)")

    async def leave(self, member):
        member.process.send_signal(signal.SIGTERM)
        await self.wait(lambda: member.process.returncode is not None, f"the end of member {member.number}")
        check(member.process.returncode == 0, f"{self.name}: member {member.number} left with {member.process.returncode}")
        self.left += 1

    async def kill(self, member):
        member.process.kill()
        await self.wait(lambda: member.process.returncode is not None, f"the end of member {member.number}")
        self.killed += 1

    async def offsets(self):
        """What the group has committed, asked until it is the log's end, by the clock of the suite."""
        asking = Consumer({"bootstrap.servers": self.bootstrap, "group.id": self.name, "enable.auto.commit": False, "log_level": 0})
        wheres = [TopicPartition(self.topic, partition) for partition in range(PARTITIONS)]
        ends = [(self.written + PARTITIONS - 1 - partition) // PARTITIONS for partition in range(PARTITIONS)]
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                found = [w.offset for w in await asyncio.to_thread(asking.committed, wheres, 5)]
            except KafkaException as why:
                found = str(why)
            for partition in range(PARTITIONS if isinstance(found, list) else 0):
                missing = [at for at in range(max(found[partition], 0)) if (partition, at) not in self.seen]
                check(not missing, f"{self.name}: committed {found}, never consumed: {partition}/{missing[:5]}")
            if found == ends:
                asking.close()
                return
            check(time.monotonic() < deadline, f"{self.name}: the group's offsets are {found}, the log ends at {ends}")
            self.moved.clear()
            try:
                await asyncio.wait_for(self.moved.wait(), 0.2)
            except asyncio.TimeoutError:
                pass

    async def run(self):
        await asyncio.to_thread(self.create)
        try:
            await self.members_come_and_go()
        finally:
            for member in self.alive():
                member.process.kill()
            await asyncio.gather(*(m.reading for m in self.members))
        for (partition, offset), reads in self.seen.items():
            values = {value for _, value in reads}
            check(values == {f"v{offset * PARTITIONS + partition}"}, f"{self.name}: {partition}/{offset} was read as {values}")
        again = sum(len(reads) - 1 for reads in self.seen.values())
        return f"{len(self.members)} members, {self.left} left, {self.killed} killed, {self.written} records, {again} consumed again"

    async def members_come_and_go(self):
        await self.feed()
        await self.join()
        await self.consumed()
        for _ in range(ROUNDS):
            await self.join()
            await self.feed()
            await self.consumed()
            # Whoever leaves or dies does so among records that are still coming.
            leaver = self.chance.choice(self.alive())
            before = leaver.records
            feeding = asyncio.create_task(self.feed())
            await self.wait(lambda: leaver.records > before, f"a record for member {leaver.number}")
            if self.client.drops:
                await feeding
                await self.consumed()
            await self.leave(leaver)
            await feeding
            await self.consumed()
            await self.join()
            victim = self.chance.choice(self.alive())
            before = victim.records
            feeding = asyncio.create_task(self.feed())
            await self.wait(lambda: victim.records > before, f"a record for member {victim.number}")
            await self.kill(victim)
            await feeding
            await self.consumed()
        await self.offsets()
        await asyncio.to_thread(self.spoken, self.protocol)
        for member in self.alive():
            await self.leave(member)
        await self.offsets()


class Moving(Group):
    """A group in use that goes over to the other protocol member by member and back, as `group.consumer.migration.policy` lets it (KIP-848)."""

    def __init__(self, suite, client, bootstrap):
        super().__init__(suite, client, "moving", bootstrap)

    async def members_come_and_go(self):
        await self.feed()
        for _ in range(2):
            await self.join("classic")
        await self.consumed()
        await asyncio.to_thread(self.spoken, "classic")
        for before, after in [("classic", "consumer"), ("consumer", "classic")] * ROUNDS:
            for end in (self.leave, self.kill):
                old = next(m for m in self.alive() if m.protocol == before)
                await self.join(after)
                # As long as one member speaks it, the group is of the newer type.
                await asyncio.to_thread(self.spoken, "consumer")
                records = old.records
                feeding = asyncio.create_task(self.feed())
                await self.wait(lambda: old.records > records, f"a record for member {old.number}")
                await end(old)
                await feeding
                await self.consumed()
            await self.offsets()
            # The one that was killed may have consumed all of its share before: then its session, which ends the older kind of group, goes on.
            started = time.monotonic()
            while await asyncio.to_thread(self.type) != after and time.monotonic() - started < PATIENCE:
                await asyncio.sleep(0.2)
            await asyncio.to_thread(self.spoken, after)


class Groups(ground.Suite):
    def __init__(self, binary, clients, work):
        super().__init__(binary, work, f"{'PEER=kafka ' if PEER == 'kafka' else ''}ROUNDS={ROUNDS} RECORDS={RECORDS} tests/clients/run groups")
        self.clients = clients

    async def everything(self):
        server = await self.server("groups", *SETTINGS)
        for client in self.clients.values():
            for protocol in client.protocols:
                group = Group(self, client, protocol, server.bootstrap)
                await self.run(f"{client.name} group-{protocol}", group.run)
            if {"classic", "consumer"} <= set(client.protocols):
                await self.run(f"{client.name} group-moving", Moving(self, client, server.bootstrap).run)
        await server.end(signal.SIGTERM)
        return self.close()


if __name__ == "__main__":
    binary, *names = sys.argv[1:]
    _, clients = ground.known_clients(names)
    ground.main(lambda work: Groups(os.path.abspath(binary), clients, work).everything(), f"peer={PEER} rounds={ROUNDS} records={RECORDS}")
