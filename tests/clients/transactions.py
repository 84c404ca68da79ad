#!/usr/bin/env python3
"""The transactional copy loop of real clients, judged by another client.

    transactions.py BINARY [CLIENT]...        all clients with transactions when none is named

Verbs of the client programs, beside those of suite.py:

    copy BOOTSTRAP GROUP TXN_ID INPUT OUTPUT BATCH ABORT_EVERY INSTANCE TXN_TIMEOUT_MS SESSION_TIMEOUT_MS with-offsets|without-offsets
        takes up to BATCH records as a member of GROUP, writes each to OUTPUT (partition offset % 2, key `PARTITION:OFFSET`, value
        `VALUE@INSTANCE.N`), sends its offsets in the transaction and commits; transaction N is aborted and done again when N + 1 is a
        multiple of ABORT_EVERY. Runs until it is killed. Prints, with the monotonic clock in ns before each: `ready` (InitProducerId
        answered), `begin N`, `sent N COUNT` (all acknowledged), `offsets N`, `commit N` (about to ask), `committed N`, `abort N`,
        `aborted N`, `failed N WHY` (to be aborted), and as last line `fenced WHY` (exit 3) or `broken WHY` (exit 1).
    follow BOOTSTRAP TOPIC read_committed|read_uncommitted
        prints `NS record PARTITION OFFSET KEY VALUE` as records come; once standard input ends it reads to the ends and exits
    audit BOOTSTRAP GROUP INPUT OUTPUT
        prints `input P OFFSET VALUE`, `committed|uncommitted P OFFSET KEY VALUE` (OUTPUT at both isolation levels), `offset P N` (what the
        group has committed) and `ends TOPIC P LSO HIGH_WATERMARK`

SEED, KILLS (of the broker and of copiers, for each client) and RECORDS come from the environment; PEER=kafka runs against Apache Kafka.
EXPECT_RED names a fault planted in the server: then only aborts and killed copiers run, and each passes if the checker finds the anomaly that
belongs to the fault.
"""

import array
import asyncio
import collections
import fcntl
import os
import pathlib
import random
import signal
import sys
import termios
import time

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

import exactly_once
import ground
from exactly_once import History, Txn
from ground import PATIENCE, PEER, SEED, Failed, check
from proxy import KEYS, Proxy

EXPECT_RED = os.environ.get("EXPECT_RED")
# And what each must show, one of these. A transaction without its marker holds readers back until the next one's marker decides it, as that one went.
FAULTS = {"skipped-marker": {"lso-stall", "effect-missing"}, "dropped-abort-entry": {"aborted-read"}, "early-offset-commit": {"effect-missing"}}
KILLS = int(os.environ.get("KILLS", 3 if PEER == "kafka" else 6))
RECORDS = int(os.environ.get("RECORDS", 300))
BATCH, ABORT_EVERY, SESSION_MS = 10, 4, 2000
# The short one where the server is to abort, or to show that it does not; a restart has to fit into the other.
SHORT_TXN_TIMEOUT_MS = 6000
TXN_TIMEOUT_MS = SHORT_TXN_TIMEOUT_MS if EXPECT_RED else 60000
PARTITIONS = 2
SELDOM = ("FindCoordinator", "InitProducerId", "Metadata", "OffsetFetch", "JoinGroup", "SyncGroup", "Heartbeat")  # cut at the first one and the next
SETTINGS = [
    "num.partitions=2",
    "offsets.topic.num.partitions=4",
    "transaction.state.log.num.partitions=4",
    "group.min.session.timeout.ms=500",
    "group.initial.rebalance.delay.ms=0",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms=200",
]


class Anomalies(Failed):
    """What the checker found, as opposed to a run that did not come to its end."""

    def __init__(self, kinds, text):
        super().__init__(text)
        self.kinds = kinds


class World:
    """One server, the input, the copiers and the reader that follows them; at its end, the history."""

    def __init__(self, suite, client, name, server="shared", txn_timeout=TXN_TIMEOUT_MS):
        self.suite, self.client, self.name, self.wanted = suite, client, f"{client.name}-{name}", server
        self.group, self.input, self.output = f"{self.name}-copiers", f"{self.name}-input", f"{self.name}-output"
        self.reader, self.txn_timeout = suite.reader_for(client), txn_timeout
        self.chance = random.Random(f"{SEED} {self.name}")
        self.history = History(PARTITIONS)
        self.copiers, self.tasks, self.instances = [], [], {}
        self.written = self.restarts = 0
        self.on_line = None  # called with the copier and the words of each line
        self.stopping = False
        self.moved = asyncio.Event()  # set by every line of a copier
        self.proxy = None

    async def __aenter__(self):
        if self.wanted == "shared":
            self.server = await self.suite.shared_server()
        elif self.wanted == "own":
            self.server = await self.suite.server(self.name, *SETTINGS)
        else:
            self.proxy = Proxy(None)
            await self.proxy.start()
            advertised = f"advertised.listeners=PLAINTEXT://127.0.0.1:{self.proxy.port}"
            self.server = await self.suite.server(self.name, *SETTINGS, advertised)
            self.proxy.target = ("127.0.0.1", self.server.port)
        # Consumers that only ask: admin calls of librdkafka do not survive a server that goes while they wait.
        asking = {**self.own(), "group.id": self.group, "enable.auto.commit": False, "reconnect.backoff.max.ms": 200}
        self.eyes = {level: Consumer({**asking, "isolation.level": level}) for level in ("read_committed", "read_uncommitted")}
        await self.patiently(self.create)
        await self.feed()
        self.live = await self.reader.spawn("follow", self.server.bootstrap, self.output, "read_committed", stdin=asyncio.subprocess.PIPE)
        self.tasks.append(asyncio.create_task(self.read_live()))
        return self

    async def __aexit__(self, kind, why, _):
        self.stopping = True
        for copier in self.copiers:
            if copier.process is not None and copier.process.returncode is None:
                copier.process.kill()
        if self.live.returncode is None:
            self.live.kill()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for eye in self.eyes.values():
            eye.close()
        if self.wanted != "shared" and self.server.running:
            await self.server.end(signal.SIGTERM if why is None else signal.SIGKILL)
        if self.proxy:
            await self.proxy.stop()
        if why is not None:
            self.history.dump(self.suite.work / f"{self.name}.history.json")
            with open(self.suite.work / f"{self.name}.copiers.log", "w") as log:
                log.writelines(f"{c.instance}: {' '.join(l)}\n" for c in self.copiers for l in c.lines)

    async def patiently(self, call, seconds=PATIENCE):
        """Asks a server that may be starting until it answers."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return await asyncio.to_thread(call)
            except KafkaException as why:
                check(time.monotonic() < deadline, f"{self.name}: {why}")

    def own(self):
        """Settings of a client of the suite itself, which a proxy lets alone."""
        return {"bootstrap.servers": self.server.bootstrap, "client.id": "suite", "log_level": 0}

    def create(self):
        admin = AdminClient(self.own())  # a name of its own: the futures end with it
        for answer in admin.create_topics([NewTopic(t, PARTITIONS, 1) for t in (self.input, self.output)]).values():
            try:
                answer.result(30)
            except KafkaException as why:
                if why.args[0].name() != "TOPIC_ALREADY_EXISTS":
                    raise

    async def feed(self, count=RECORDS):
        def write():
            producer = Producer({**self.own(), "enable.idempotence": True, "linger.ms": 1})
            failed = []
            for n in range(self.written, self.written + count):
                producer.produce(self.input, value=f"v{n}", partition=n % PARTITIONS, on_delivery=lambda e, _: failed.append(e) if e else None)
                producer.poll(0)
            left = producer.flush(PATIENCE)
            check(not left and not failed, f"input: {left} unsent, {failed[:3]}")

        await asyncio.to_thread(write)
        self.written += count

    async def read_live(self):
        while line := await self.live.stdout.readline():
            at, _, partition, offset, key, value = line.decode().split()
            self.history.live.append((int(at), int(partition), int(offset), key, value))
            self.moved.set()

    def copier(self, txn_id, replaced=True, offsets="with-offsets"):
        """Starts a copier; one that ends is replaced by another with its transactional id, if it is to be."""
        copier = Copier(self, txn_id, replaced, offsets)
        self.copiers.append(copier)
        self.tasks.append(asyncio.create_task(copier.run()))
        return copier

    async def wait(self, holds, what, seconds=PATIENCE):
        """Until `holds()`, looked at after each line of a copier."""
        deadline = time.monotonic() + seconds
        while not holds():
            self.undone()
            self.moved.clear()
            try:
                await asyncio.wait_for(self.moved.wait(), max(deadline - time.monotonic(), 0))
            except asyncio.TimeoutError:
                raise Failed(f"{self.name}: {what} did not come within {seconds} s; last lines {self.tail()}") from None

    def undone(self):
        """Says so when a task of this run has failed: nothing would come any more."""
        for task in self.tasks:
            if task.done() and not task.cancelled() and task.exception() is not None:
                raise task.exception()

    def tail(self):
        return [f"{c.instance}: {' '.join(l[1:])}" for c in self.copiers[-3:] for l in c.lines[-3:]]

    def group_offsets(self):
        wheres = [TopicPartition(self.input, partition) for partition in range(PARTITIONS)]
        return {w.partition: w.offset for w in self.eyes["read_uncommitted"].committed(wheres, timeout=5)}

    def open_partitions(self):
        """The output's partitions whose last stable offset is below the high watermark."""

        def end(level, partition):
            return self.eyes[level].get_watermark_offsets(TopicPartition(self.output, partition), timeout=5)[1]

        return [p for p in range(PARTITIONS) if end("read_committed", p) < end("read_uncommitted", p)]

    async def until(self, call, holds, what, seconds=PATIENCE):
        """Asks the server until the answer is right; between two questions a copier says something or a moment passes."""
        deadline = time.monotonic() + seconds
        while True:
            found = await self.patiently(call, seconds)
            if holds(found):
                return found
            self.undone()
            check(time.monotonic() < deadline, f"{self.name}: {what} after {seconds} s: {found}; last lines {self.tail()}")
            self.moved.clear()
            try:
                await asyncio.wait_for(self.moved.wait(), 0.2)
            except asyncio.TimeoutError:
                pass

    async def copied(self):
        """The group's offsets stand at the end of the input."""
        ends = {partition: (self.written + PARTITIONS - 1 - partition) // PARTITIONS for partition in range(PARTITIONS)}
        try:
            await self.until(self.group_offsets, lambda found: found == ends, "the input is not copied", 15 if EXPECT_RED else PATIENCE)
        except Failed:
            if not EXPECT_RED:
                raise  # with a planted fault the checker says what is missing

    async def finish(self, offsets_moved=True):
        """Ends the copiers, waits until nothing is open, reads everything and judges; gives the line's figures."""
        self.stopping = True
        for copier in self.copiers:
            if copier.process.returncode is None:
                copier.process.kill()
        try:
            await self.until(self.open_partitions, lambda found: not found, "open transactions", self.txn_timeout / 1000 + 15)
        except Failed:
            pass  # the audit shows it
        self.live.stdin.close()
        try:
            await asyncio.wait_for(self.live.wait(), 30)
        except asyncio.TimeoutError:
            raise Failed(f"{self.name}: the reader found no end of the output") from None
        await asyncio.gather(*self.tasks)
        for words in await self.reader.lines("audit", self.server.bootstrap, self.group, self.input, self.output):
            self.audited(words)
        h = self.history
        check(len(h.input) == self.written, f"{self.name}: {len(h.input)} records in the input, {self.written} were written")
        found = list(exactly_once.anomalies(h))
        if not offsets_moved:
            check(all(n == -1 for n in h.offsets.values()), f"{self.name}: offsets moved without being sent: {h.offsets}")
            # What was aborted is done again from the start of the input.
            found = [a for a in found if a[0] not in ("effect-ahead", "stale-commit", "effect-twice", "nonmonotonic-send")]
        if found:
            kinds = collections.Counter(name for name, _ in found)
            first = {name: what for name, what in reversed(found)}
            told = "; ".join(f"{name} x{times}, first: {first[name]}" for name, times in kinds.most_common())
            raise Anomalies(set(kinds), f"{self.name}: {told}")
        hidden = exactly_once.hidden(h)
        aborted = sum(1 for t in h.txns.values() if t.aborted)
        check(hidden and aborted, f"{self.name}: a weak run: {aborted} transactions aborted, {hidden} records hidden")
        committed = sum(1 for t in h.txns.values() if t.committed)
        unknown = len(h.txns) - committed - aborted
        again = f", {self.restarts} copiers restarted" if self.restarts else ""
        return f"{self.written} records, {committed} commits, {aborted} aborts, {unknown} cut short, {hidden} records hidden{again}"

    def audited(self, words):
        h = self.history
        match words:
            case ["input", partition, offset, value]:
                h.input.append((int(partition), int(offset), value))
            case ["committed" | "uncommitted" as level, partition, offset, key, value]:
                getattr(h, level).append((int(partition), int(offset), key, value))
            case ["offset", partition, offset]:
                h.offsets[int(partition)] = int(offset)
            case ["ends", topic, partition, stable, high]:
                h.ends[topic, int(partition)] = (int(stable), int(high))


class Copier:
    """One run of a client's `copy`, or several one after the other with the same transactional id."""

    def __init__(self, world, txn_id, replaced, offsets):
        self.world, self.txn_id, self.replaced, self.offsets = world, txn_id, replaced, offsets
        self.lines, self.process, self.open, self.fenced, self.last = [], None, None, False, None

    async def run(self):
        world = self.world
        while not world.stopping:
            number = world.instances.get(self.txn_id, 0)
            world.instances[self.txn_id] = number + 1
            self.number, self.instance, self.open = number, f"{self.txn_id}-{number}", None
            bootstrap = f"127.0.0.1:{world.proxy.port}" if world.proxy else world.server.bootstrap
            with open(world.suite.work / f"{world.name}.{self.instance}.err", "wb") as errors:
                self.process = await world.client.spawn(
                    "copy", bootstrap, world.group, f"{world.name}-{self.txn_id}", world.input, world.output, BATCH, ABORT_EVERY, self.instance,
                    world.txn_timeout, SESSION_MS, self.offsets, errors=errors,
                )  # fmt: skip
            if world.stopping:
                self.process.kill()  # the end came while it was started
            while line := await self.process.stdout.readline():
                if line.endswith(b"\n") and len(words := line.decode().split()) > 1:  # the last one may be cut off by a kill
                    self.line(words)
            await self.process.wait()
            world.moved.set()
            if not self.replaced:
                return
            if not world.stopping:
                world.restarts += 1
                check(world.restarts < 100, f"{world.name}: the copiers end again and again; {world.tail()}")

    async def still(self):
        """Until the stopped process stands still and all it said is known."""
        status = pathlib.Path(f"/proc/{self.process.pid}/stat")
        while status.read_text().rpartition(")")[2].split()[0] != "T":
            await asyncio.sleep(0)
        pipe = self.process._transport.get_pipe_transport(1).get_extra_info("pipe")
        waiting, known = array.array("i", [1]), -1
        while waiting[0] or known != len(self.lines):
            known = len(self.lines)
            fcntl.ioctl(pipe.fileno(), termios.FIONREAD, waiting)
            for _ in range(20):  # turns of the loop that the reading task needs
                await asyncio.sleep(0)

    def line(self, words):
        self.lines.append(words)
        h, at = self.world.history, int(words[0])
        match words[1:]:
            case ["ready"]:
                h.ready[self.txn_id, self.number] = at
            case ["fenced", *_]:
                self.fenced = True
            case [stage, number, *more] if stage != "broken":
                label = f"{self.instance}.{number}"
                if stage == "begin":
                    h.txns[label] = Txn(self.txn_id, self.number, begun=at)
                    self.open = self.last = label
                elif stage == "sent":
                    h.txns[label].sent = int(more[0])
                elif stage in ("commit", "committed", "abort", "aborted"):
                    setattr(h.txns[label], stage, at)
                    if stage in ("committed", "aborted"):
                        self.open = None
        self.world.moved.set()
        if self.world.on_line is not None:
            self.world.on_line(self, words)


class Transactions(ground.Suite):
    def __init__(self, binary, known, clients, work):
        super().__init__(binary, work, f"{'PEER=kafka ' if PEER == 'kafka' else ''}KILLS={KILLS} RECORDS={RECORDS} tests/clients/run transactions")
        self.known, self.clients = known, clients
        self.shared = None

    async def shared_server(self):
        """One server for the scenarios that do it no harm."""
        if self.shared is None or not self.shared.running:
            self.shared = await self.server(f"shared-{len(self.servers)}", *SETTINGS)
        return self.shared

    def reader_for(self, client):
        """Of another kind than the copier, so that one client's mistake does not hide itself."""
        return self.known["java" if client.name == "librdkafka" else "librdkafka"]

    async def everything(self):
        scenarios = [
            ("aborts", self.plain),
            ("offsets-omitted", self.omitted),
            ("killed-broker", self.killed_broker),
            ("killed-copiers", self.killed_copiers),
            ("zombie", self.zombie),
            ("frozen", self.frozen),
            ("cut-at-each-request", self.cut),
        ]
        for client in self.clients.values():
            for name, scenario in scenarios:
                if not EXPECT_RED:
                    await self.run(f"{client.name} {name}", lambda c=client, s=scenario: s(c))
                elif name in ("aborts", "killed-copiers"):
                    await self.run(f"{client.name} {name} with {EXPECT_RED}", lambda c=client, s=scenario: self.red(s, c))
        if self.shared is not None and self.shared.running:
            await self.shared.end(signal.SIGTERM)
        return self.close()

    async def red(self, scenario, client):
        """A scenario on a server with a planted fault passes by the anomaly of that fault alone: any other, or that it does not end, shows nothing."""
        try:
            said = await scenario(client)
        except Anomalies as found:
            shows = FAULTS[EXPECT_RED]
            check(not shows.isdisjoint(found.kinds), f"{EXPECT_RED} shows none of {sorted(shows)}: {found}")
            return str(found)
        raise Failed(f"{EXPECT_RED} was not found: {said}")

    def members(self, world):
        """Two members share the work where the client waits for stable offsets; without that a takeover may do work twice (KIP-447)."""
        return [world.copier(f"t{i}") for i in range(2 if world.client.stable else 1)]

    async def plain(self, client):
        async with World(self, client, "aborts") as world:
            self.members(world)
            await world.copied()
            return await world.finish()

    async def omitted(self, client):
        async with World(self, client, "omitted", txn_timeout=SHORT_TXN_TIMEOUT_MS) as world:
            copier = world.copier("t0", replaced=False, offsets="without-offsets")

            def commits():
                return sum(1 for t in world.history.txns.values() if t.committed)

            def line(_, words):
                if words[1] == "committed" and commits() == 5:
                    copier.process.kill()  # between two transactions, where nothing is open that had to time out

            world.on_line = line
            await world.wait(lambda: copier.process is not None and copier.process.returncode is not None, "the fifth commit")
            check(commits() >= 5, f"{world.name}: {world.tail()}")
            return await world.finish(offsets_moved=False)

    async def kills(self, client, name, server, kill):
        """Calls `kill(copier)` at KILLS random lines of the copiers, most of them inside open transactions."""
        async with World(self, client, name, server) as world:
            state = {"kills": 0, "open": 0, "left": world.chance.randint(3, 12), "stage": None}
            killed = asyncio.Event()

            async def strike(copier):
                await asyncio.sleep(world.chance.choice([0, 0.0002, 0.001, 0.003]))  # any point after the line
                await kill(world, copier)
                state["kills"] += 1
                state["left"] = world.chance.randint(3, 12)
                if state["kills"] == KILLS:
                    killed.set()

            def line(copier, words):
                if words[1] not in ("begin", "sent", "offsets", "commit", "abort", "committed") or state["kills"] >= KILLS:
                    return
                state["left"] -= 1
                if state["left"] == 0:
                    state["open"] += copier.open is not None
                    world.tasks.append(asyncio.create_task(strike(copier)))

            world.on_line = line
            self.members(world)
            while not killed.is_set():
                await world.copied()
                if not killed.is_set():
                    await world.feed()
            await world.copied()
            said = await world.finish()
            return f"{state['kills']} kills, {state['open']} inside open transactions; {said}"

    async def killed_broker(self, client):
        async def kill(world, _):
            await world.server.end(signal.SIGKILL)
            await world.server.start()

        return await self.kills(client, "killed-broker", "own", kill)

    async def killed_copiers(self, client):
        async def kill(_, copier):
            if copier.process.returncode is None:
                copier.process.kill()

        return await self.kills(client, "killed-copiers", "shared", kill)

    async def stopped_inside(self, world):
        """A copier that is stopped with records of its transaction in the log and before it asked for the end, after some commits."""
        first = world.copier("t0", replaced=False)
        stopped = asyncio.Event()
        tries = 0

        def line(copier, words):
            done = sum(1 for t in world.history.txns.values() if t.committed)
            # One that is about to be aborted anyway would show little.
            fits = done >= 2 and words[1] in ("begin", "sent") and int(words[2]) % ABORT_EVERY != ABORT_EVERY - 1
            if copier is first and fits and words[1] == ("sent", "begin")[tries % 2] and not stopped.is_set():
                copier.process.send_signal(signal.SIGSTOP)
                stopped.set()

        world.on_line = line
        while True:
            await world.wait(stopped.is_set, "a chance to stop the copier inside a transaction")
            await first.still()
            txn = world.history.txns[first.last]
            if first.open and txn.commit is None and txn.abort is None and await world.patiently(world.open_partitions):
                world.on_line = None
                return first, first.last
            tries += 1  # it was faster, or too slow
            check(tries < 50, f"{world.name}: never stopped inside a transaction")
            await world.feed(2 * ABORT_EVERY * BATCH)  # else it could reach the end of the input before the next chance
            stopped.clear()
            first.process.send_signal(signal.SIGCONT)

    async def zombie(self, client):
        """A second copier with the same transactional id, while the first is stopped inside a transaction: the first is fenced."""
        async with World(self, client, "zombie") as world:
            first, label = await self.stopped_inside(world)
            second = world.copier("t0")
            await world.wait(lambda: any(l[1] == "committed" for l in second.lines), "a commit of the second copier")
            check(not first.fenced, f"{world.name}: fenced before the second was there")
            first.process.send_signal(signal.SIGCONT)
            await world.wait(lambda: first.process.returncode is not None, "the end of the first copier")
            check(first.fenced, f"{world.name}: the first copier ended with {first.process.returncode}, not fenced: {first.lines[-2:]}")
            await world.copied()
            said = await world.finish()
            check(not exactly_once.visible_of(world.history)[label][0], f"{world.name}: {label} of the fenced copier is visible")
            return f"{' '.join(first.lines[-1][1:3])}; {said}"

    async def frozen(self, client):
        """A copier stopped past its transaction's timeout: the server aborts, and what it does afterwards changes nothing."""
        async with World(self, client, "frozen", txn_timeout=SHORT_TXN_TIMEOUT_MS) as world:
            first, label = await self.stopped_inside(world)
            await world.until(world.open_partitions, bool, "an open transaction")
            stopped = time.monotonic()
            await world.until(world.open_partitions, lambda found: not found, "the server's abort", world.txn_timeout / 1000 + 15)
            waited = time.monotonic() - stopped
            first.replaced = True
            first.process.send_signal(signal.SIGCONT)
            await world.copied()
            said = await world.finish()
            check(not exactly_once.visible_of(world.history)[label][0], f"{world.name}: {label} timed out and is visible")
            check(world.history.txns[label].committed is None, f"{world.name}: {label} timed out and was acknowledged")
            after = next((" ".join(l[1:4])[:60] for l in first.lines if l[1] in ("failed", "fenced", "broken")), "nothing")
            return f"aborted after {waited:.1f} s, then {after}; {said}"

    async def cut(self, client):
        """The connection is cut at each request that a copier sends, before the server has it and after it answered."""
        async with World(self, client, "cut", server="behind a proxy") as world:
            proxy, chance = world.proxy, world.chance
            for name, key in KEYS.items():
                first = 1 if name in SELDOM else chance.randint(2, 6)
                proxy.cuts[key, "before"] = first
                proxy.cuts[key, "after"] = first + (1 if name in SELDOM else chance.randint(2, 6))
            self.members(world)
            await world.copied()
            rounds = 0
            while any(key in proxy.versions for key, _ in proxy.cuts):
                await world.feed()
                await world.copied()
                rounds += 1
                check(rounds < 10, f"{world.name}: never cut at {proxy.cuts}, seen {proxy.seen}")
            spoken = {name: sorted(proxy.versions[key]) for name, key in KEYS.items() if key in proxy.versions}
            self.protocol(client, spoken)
            told = " ".join(f"{name} {'/'.join(map(str, versions))}" for name, versions in spoken.items())
            return f"{len(proxy.cut_at)} cuts at {told}; {await world.finish()}"

    @staticmethod
    def protocol(client, spoken):
        """Every kind of request was seen, and every transaction was of the client's protocol: none fell back to an older one behind a cut connection (KIP-890)."""
        enrolling = {"AddPartitionsToTxn", "AddOffsetsToTxn"}  # which protocol 2 has no use for
        unsent = set(KEYS) - set(spoken)
        check(unsent == (enrolling if client.protocol == 2 else set()), f"{client.name} of protocol {client.protocol} did not send {sorted(unsent) or 'nothing'}")
        for name, first in (("EndTxn", 5), ("Produce", 12), ("TxnOffsetCommit", 5)):  # in protocol 2
            check(all((version >= first) == (client.protocol == 2) for version in spoken[name]), f"{client.name} of protocol {client.protocol} spoke {name} {spoken[name]}")


if __name__ == "__main__":
    binary, *names = sys.argv[1:]
    if EXPECT_RED and EXPECT_RED not in FAULTS:
        raise SystemExit(f"no fault {EXPECT_RED!r}; there are {', '.join(FAULTS)}")
    known, clients = ground.known_clients(names, lambda client: client.copies)
    ground.main(lambda work: Transactions(os.path.abspath(binary), known, clients, work).everything(), f"peer={PEER} kills={KILLS} records={RECORDS}")
