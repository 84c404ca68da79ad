#!/usr/bin/env python3
"""Real clients against `hanbeon serve`.

    suite.py BINARY [CLIENT]...        all clients when none is named

What each client does is a small program in a folder of its own, called by `clients.json`, with four verbs:

    produce BOOTSTRAP TOPIC CODEC COUNT PREFIX    idempotent; record i goes to partition i % 2 with key `k<i>` and value
                                                  `PREFIX-<i>`; prints `acked <i> <partition> <offset>` for each answer
    consume BOOTSTRAP TOPIC:PARTITION:END...      by assignment, each from 0 until END; prints
                                                  `record <topic> <partition> <offset> <timestamp> <key> <value>`
    seek BOOTSTRAP TOPIC PARTITION TIMESTAMP      prints `offset <n>`: the first record at or after the time
    end BOOTSTRAP TOPIC PARTITION                 prints `end <n>`: the offset after the last record

SEED, KILLS and RECORDS come from the environment; a failure prints the seed and the command that repeats it.
"""

import asyncio
import os
import random
import signal
import sys

import ground
from ground import SEED, check
from proxy import Proxy

KILLS = int(os.environ.get("KILLS", 20))
RECORDS = int(os.environ.get("RECORDS", 400))


def once(client, acked, parts, prefix, count):
    """Each acknowledged record is there once, where its acknowledgement says, and nothing is there twice."""
    where = {}
    for partition, records in parts.items():
        offsets = [r[0] for r in records]
        check(offsets == list(range(len(offsets))), f"{client.name}: offsets of partition {partition} are not 0..{len(offsets)}")
        for offset, _, key, value in records:
            check(value not in where, f"{client.name}: {value} is at {where.get(value)} and again at {(partition, offset)}")
            where[value] = (partition, offset, key)
    for i in range(count):
        found = where.get(f"{prefix}-{i}")
        check(found is not None, f"{client.name}: acknowledged {prefix}-{i} is lost")
        check(found[2] == f"k{i}", f"{client.name}: {prefix}-{i} has key {found[2]}")
        check(found[0] == acked[i][0], f"{client.name}: {prefix}-{i} is in partition {found[0]}, acknowledged in {acked[i][0]}")
        if client.offsets:
            check(found[1] == acked[i][1], f"{client.name}: {prefix}-{i} is at {found[1]}, acknowledged at {acked[i][1]}")


class Producing(ground.Suite):
    def __init__(self, binary, known, clients, work):
        super().__init__(binary, work, f"KILLS={KILLS} RECORDS={RECORDS} tests/clients/run")
        self.clients = clients
        self.reader = clients.get("java") or next((c for c in clients.values() if c.consumes), known["java"])

    async def broker(self, name, *settings):
        return await self.server(name, "num.partitions=2", *settings)

    async def everything(self):
        await self.matrix()
        for client in self.clients.values():
            await self.run(f"{client.name} cut-off-mid-answer", lambda c=client: self.cut(c))
            await self.run(f"{client.name} killed-broker", lambda c=client: self.kills(c))
        return self.close()

    async def matrix(self):
        """Every client writes with every codec it has; every client that consumes reads what the others wrote."""
        broker = await self.broker("matrix")
        bootstrap = f"127.0.0.1:{broker.port}"
        written = {}
        count = 50

        async def write(client, codec):
            topic = f"{client.name}-{codec}"
            written[topic] = (client, await client.produce(bootstrap, topic, codec, count, topic))

        async def read(client):
            ends = {(t, part): sum(1 for p, _ in acked.values() if p == part) for t, (_, acked) in written.items() for part in (0, 1)}
            found = await client.consume(bootstrap, ends)
            for topic, (writer, acked) in written.items():
                once(writer, acked, {part: found[topic, part] for part in (0, 1)}, topic, count)
            topic = next(iter(written))
            records = found[topic, 0]
            moment = records[7][1]
            expected = next(r[0] for r in records if r[1] >= moment)
            found = await client.seek(bootstrap, topic, 0, moment)
            check(found == expected, f"{client.name}: seek to {moment} gave {found}, expected {expected}")
            return f"{len(written)} topics"

        for client in self.clients.values():
            for codec in client.codecs:
                await self.run(f"{client.name} produces-{codec}", lambda c=client, k=codec: write(c, k))
        for client in self.clients.values():
            if client.consumes:
                await self.run(f"{client.name} reads-all-others", lambda c=client: read(c))
        code = await broker.end(signal.SIGTERM)
        check(code == 0, f"SIGTERM ended the broker with {code}")

    async def behind_proxy(self, name):
        """A broker whose clients only know the proxy's address."""
        proxy = Proxy(None)
        await proxy.start()
        broker = await self.broker(name, f"advertised.listeners=PLAINTEXT://127.0.0.1:{proxy.port}")
        proxy.target = ("127.0.0.1", broker.port)
        return proxy, broker

    async def read_back(self, broker, topic):
        """Both partitions, by a client that was not the writer where there is one, not through the proxy."""
        bootstrap = f"127.0.0.1:{broker.port}"
        ends = {(topic, part): await self.reader.end(bootstrap, topic, part) for part in (0, 1)}
        found = await self.reader.consume(bootstrap, ends)
        return {part: found[topic, part] for part in (0, 1)}

    async def cut(self, client):
        """The answer to some Produce requests is lost with the connection: the retry is answered with the original offset."""
        proxy, broker = await self.behind_proxy(f"cut-{client.name}")
        chance = random.Random(SEED)
        proxy.swallow = set(chance.sample(range(2, 12), 4))
        topic, bootstrap = f"cut-{client.name}", f"127.0.0.1:{proxy.port}"
        acked = await client.produce(bootstrap, topic, client.codecs[0], RECORDS, topic)
        once(client, acked, await self.read_back(broker, topic), topic, RECORDS)
        with_id = [b for b in proxy.log if b[1] >= 0]
        twice = len(with_id) - len(set(with_id))
        check(with_id, f"{client.name}: no batch carried a producer id")
        check(twice > 0, f"{client.name}: no batch came a second time with the same id, epoch and sequence")
        await broker.end(signal.SIGTERM)
        await proxy.stop()
        return f"{twice} batches came twice"

    async def kills(self, client):
        """SIGKILL while a Produce request is unanswered, again and again: nothing acknowledged is lost, nothing doubled."""
        proxy, broker = await self.behind_proxy(f"kill-{client.name}")
        chance = random.Random(SEED)
        state = {"kills": 0, "next": chance.randint(2, 4), "killing": None}

        async def kill():
            await asyncio.sleep(chance.choice([0, 0, 0.0002, 0.001, 0.003]))  # any point between arrival and answer
            proxy.cut()
            await broker.end(signal.SIGKILL)
            await broker.start()
            state["next"] = proxy.produces + chance.randint(1, 3)

        def unanswered(number):
            if state["kills"] < KILLS and number >= state["next"]:
                state["kills"] += 1
                state["next"] = 1 << 60
                proxy.swallow.add(number)  # should the answer come before the kill, it stays here
                # A task of its own: the connection that brought the request ends with the broker.
                state["killing"] = asyncio.create_task(kill())

        proxy.on_produce = unanswered
        topic, bootstrap = f"kill-{client.name}", f"127.0.0.1:{proxy.port}"
        total = 0
        acked_all, rounds = {}, 0
        while state["kills"] < KILLS:
            prefix = f"{topic}-{rounds}"
            acked = await client.produce(bootstrap, topic, client.codecs[rounds % len(client.codecs)], RECORDS, prefix)
            acked_all[prefix] = acked
            total += len(acked)
            rounds += 1
            if state["killing"] is not None:
                await state["killing"]
            check(rounds < 100, f"{client.name}: only {state['kills']} kills in {rounds} runs")
        parts = await self.read_back(broker, topic)
        for prefix, acked in acked_all.items():
            once(client, acked, parts, prefix, RECORDS)
        found = sum(len(p) for p in parts.values())
        check(found == total, f"{client.name}: {found} records, {total} were acknowledged")
        await broker.end(signal.SIGTERM)
        await proxy.stop()
        return f"{state['kills']} kills, {total} records, {len(proxy.log)} batches sent"


if __name__ == "__main__":
    binary, *names = sys.argv[1:]
    known, clients = ground.known_clients(names)
    ground.main(lambda work: Producing(os.path.abspath(binary), known, clients, work).everything(), f"kills={KILLS} records={RECORDS}")
