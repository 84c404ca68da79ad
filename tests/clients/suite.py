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
import json
import os
import pathlib
import random
import re
import shutil
import signal
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from proxy import Proxy  # noqa: E402

SEED = int(os.environ.get("SEED", time.time_ns() % 1_000_000))
KILLS = int(os.environ.get("KILLS", 20))
RECORDS = int(os.environ.get("RECORDS", 400))
PATIENCE = 120  # seconds until a client or the broker counts as stuck


class Failed(Exception):
    pass


def check(holds, text):
    if not holds:
        raise Failed(text)


class Broker:
    """`hanbeon serve` on a directory of its own; the port stays the same over restarts."""

    def __init__(self, binary, directory, *settings):
        self.binary, self.directory, self.settings = binary, directory, list(settings)
        self.port, self.process = 0, None

    async def start(self):
        command = [self.binary, "serve", "--data-dir", str(self.directory), "--listen", f"127.0.0.1:{self.port}"]
        for setting in self.settings:
            command += ["--set", setting]
        self.errors = open(f"{self.directory}.log", "ab")
        self.process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=self.errors)
        line = (await asyncio.wait_for(self.process.stdout.readline(), PATIENCE)).decode()
        found = re.match(r"hanbeon listening on (.+):(\d+)$", line.strip())
        check(found, f"the broker did not start: {line!r}; see {self.directory}.log")
        self.port = int(found[2])

    async def end(self, how):
        self.process.send_signal(how)
        code = await asyncio.wait_for(self.process.wait(), PATIENCE)
        self.errors.close()
        return code


class Client:
    def __init__(self, name, what):
        self.name, self.command, self.codecs = name, what["command"], what["codecs"]
        self.consumes = what.get("consumes", True)
        self.offsets = what.get("offsets", True)  # whether `acked` carries the offset

    async def lines(self, *args):
        process = await asyncio.create_subprocess_exec(
            *[part.replace("{here}", str(HERE)) for part in self.command],
            *[str(a) for a in args],
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=1 << 24,
        )
        try:
            out, errors = await asyncio.wait_for(process.communicate(), PATIENCE)
        except asyncio.TimeoutError:
            process.kill()
            raise Failed(f"{self.name} {' '.join(map(str, args))}: no end after {PATIENCE} s") from None
        text = errors.decode(errors="replace")[-2000:]
        check(process.returncode == 0, f"{self.name} {' '.join(map(str, args))} exited with {process.returncode}: {text}")
        return [line.split() for line in out.decode().splitlines()]

    async def produce(self, bootstrap, topic, codec, count, prefix):
        lines = await self.lines("produce", bootstrap, topic, codec, count, prefix)
        acked = {int(l[1]): (int(l[2]), int(l[3])) for l in lines if l and l[0] == "acked"}
        check(len(acked) == count, f"{self.name}: {len(acked)} of {count} acknowledged")
        return acked

    async def consume(self, bootstrap, ends):
        """`ends` maps (topic, partition) to where reading stops; gives the records of each."""
        found = {where: [] for where in ends}
        wanted = [f"{topic}:{partition}:{end}" for (topic, partition), end in ends.items() if end > 0]
        for l in await self.lines("consume", bootstrap, *wanted):
            if l and l[0] == "record":
                found[l[1], int(l[2])].append((int(l[3]), int(l[4]), l[5], l[6]))
        return found

    async def seek(self, bootstrap, topic, partition, timestamp):
        lines = await self.lines("seek", bootstrap, topic, partition, timestamp)
        return int(next(l[1] for l in lines if l and l[0] == "offset"))

    async def end(self, bootstrap, topic, partition):
        lines = await self.lines("end", bootstrap, topic, partition)
        return int(next(l[1] for l in lines if l and l[0] == "end"))


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


class Suite:
    def __init__(self, binary, clients, work):
        self.binary, self.clients, self.work = binary, clients, work
        self.reader = clients.get("java") or next((c for c in clients.values() if c.consumes), None)
        self.passed, self.failed = 0, []

    async def run(self, name, test):
        started = time.monotonic()
        try:
            said = await asyncio.wait_for(test(), 20 * PATIENCE)
            self.passed += 1
            print(f"ok    {name}  ({time.monotonic() - started:.1f} s){'  ' + said if said else ''}", flush=True)
        except Exception as why:  # a failure of any kind is a failed test, and the others go on
            self.failed.append(name)
            print(f"FAIL  {name}: {why!r}\n      replay: SEED={SEED} KILLS={KILLS} RECORDS={RECORDS} tests/clients/run {name.split()[0]}", flush=True)

    async def broker(self, name, *settings):
        broker = Broker(self.binary, self.work / name, "num.partitions=2", *settings)
        await broker.start()
        return broker

    async def everything(self):
        await self.matrix()
        for client in self.clients.values():
            await self.run(f"{client.name} cut-off-mid-answer", lambda c=client: self.cut(c))
            await self.run(f"{client.name} killed-broker", lambda c=client: self.kills(c))
        print(f"{self.passed} passed, {len(self.failed)} failed", flush=True)
        return 1 if self.failed else 0

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


async def main():
    binary, *names = sys.argv[1:]
    known = json.loads((HERE / "clients.json").read_text())
    for name in names:
        if name not in known:
            sys.exit(f"no client {name!r}; there are {', '.join(known)}")
    clients = {n: Client(n, known[n]) for n in (names or known)}
    work = pathlib.Path(tempfile.mkdtemp(prefix="hanbeon-clients-"))
    print(f"seed={SEED} kills={KILLS} records={RECORDS}", flush=True)
    suite = Suite(os.path.abspath(binary), clients, work)
    if suite.reader is None:
        suite.reader = Client("java", known["java"])
    code = await suite.everything()
    if code == 0:
        shutil.rmtree(work)
    else:
        print(f"the broker's logs and data are in {work}", flush=True)
    sys.exit(code)


asyncio.run(main())
