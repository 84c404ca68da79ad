"""What every suite of this folder stands on: the server under test, the clients, and the line each scenario prints.

PEER=kafka runs any suite against Apache Kafka instead of ours. Settings are Kafka's names and mean the same to both.
"""

import asyncio
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
KAFKA_SH = HERE.parent / "peers" / "kafka.sh"
PEER = os.environ.get("PEER", "ours")
SEED = int(os.environ.get("SEED", time.time_ns() % 1_000_000))
ONLY = os.environ.get("ONLY", "")  # a scenario runs when this pattern is found in its name
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

    @property
    def bootstrap(self):
        return f"127.0.0.1:{self.port}"

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

    @property
    def running(self):
        return self.process is not None and self.process.returncode is None

    async def end(self, how):
        self.process.send_signal(how)
        code = await asyncio.wait_for(self.process.wait(), PATIENCE)
        self.errors.close()
        check(how != signal.SIGTERM or code == 0, f"the broker ended with {code} when it was asked to stop; see {self.directory}.log")
        return code

    def panic(self):
        """The first panic that it spoke of, in whatever thread or connection: clients try again and hide it."""
        with open(f"{self.directory}.log", errors="replace") as said:
            return next((line.strip() for line in said if "panicked" in line), None)


class Kafka:
    """Apache Kafka on a directory of its own, with the same face as `Broker`."""

    def __init__(self, directory, *settings):
        self.directory, self.settings = directory, list(settings)
        self.port = free_ports()
        self.running = False

    @property
    def bootstrap(self):
        return f"127.0.0.1:{self.port}"

    async def shell(self, *args):
        environment = {"KAFKA_HEAP": "-Xms256m -Xmx512m -XX:TieredStopAtLevel=1", **os.environ}
        # No pipes: the server inherits them, and they would stay open after the script ends.
        with open(f"{self.directory}.sh.log", "ab") as said:
            process = await asyncio.create_subprocess_exec("nice", "-n", "5", str(KAFKA_SH), *args, stdout=said, stderr=said, env=environment)
            code = await asyncio.wait_for(process.wait(), PATIENCE)
        check(code == 0, f"kafka.sh {args[0]} ended with {code}; see {self.directory}.sh.log")

    async def start(self):
        await self.shell("start", str(self.directory), str(self.port), *self.settings)
        self.running = True

    async def end(self, how):
        self.running = False
        await self.shell("stop", str(self.directory), signal.Signals(how).name[3:])
        return 0

    def panic(self):
        return None


def free_ports():
    """Two free ports that follow each other: Kafka's controller takes the second."""
    while True:
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            try:
                two.bind(("127.0.0.1", port + 1))
                return port
            except OSError:
                continue


class Client:
    """One client's program: see the folder named in `clients.json`."""

    def __init__(self, name, what):
        self.name, self.command, self.codecs = name, what["command"], what["codecs"]
        self.consumes = what.get("consumes", True)
        self.offsets = what.get("offsets", True)  # whether `acked` carries the offset
        self.copies = what.get("copies", True)  # whether it has transactions
        self.stable = what.get("stable", True)  # whether it asks for stable offsets (KIP-447)
        self.drops = what.get("drops", False)  # whether a record that it holds when it is told to leave is lost to it
        self.protocols = what.get("groups", ["classic"])
        self.protocol = what.get("protocol", 1)  # of transactions, the latest that it has (KIP-890)

    def argv(self, *args):
        return [part.replace("{here}", str(HERE)) for part in self.command] + [str(a) for a in args]

    async def spawn(self, *args, stdin=None, errors=asyncio.subprocess.DEVNULL):
        return await asyncio.create_subprocess_exec(
            *self.argv(*args), stdin=stdin, stdout=asyncio.subprocess.PIPE, stderr=errors, limit=1 << 24
        )

    async def lines(self, *args):
        process = await self.spawn(*args, errors=asyncio.subprocess.PIPE)
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


def known_clients(names, fits=lambda client: True):
    """The clients named, or all that fit."""
    known = {name: Client(name, what) for name, what in json.loads((HERE / "clients.json").read_text()).items()}
    for name in names:
        if name not in known:
            raise SystemExit(f"no client {name!r}; there are {', '.join(known)}")
        if not fits(known[name]):
            raise SystemExit(f"{name} has no part in this suite")
    return known, {n: c for n, c in known.items() if (n in names if names else fits(c))}


class Suite:
    """Runs scenarios one after the other and prints a line for each."""

    def __init__(self, binary, work, again):
        self.binary, self.work, self.again = binary, work, again
        self.passed, self.failed = 0, []
        self.servers = []
        self.playing = None
        signal.signal(signal.SIGTERM, self.cut_off)

    def cut_off(self, *_):
        """A time limit from outside names the scenario that it hit."""
        print(f"cut off in {self.playing}; {self.passed} passed, {len(self.failed)} failed", flush=True)
        os._exit(1)  # the servers are in the same process group and were told, too

    async def run(self, name, test, replay=""):
        if not re.search(ONLY, name):
            return
        started, before = time.monotonic(), len(self.servers)
        try:
            self.playing = name
            said = await asyncio.wait_for(test(), 20 * PATIENCE)
            for server in self.servers:
                panic = server.panic()
                check(panic is None, f"the broker panicked: {panic}; see {server.directory}.log")
            self.passed += 1
            print(f"ok    {name}  ({time.monotonic() - started:.1f} s){'  ' + said if said else ''}", flush=True)
        except Exception as why:  # a failure of any kind is a failed test, and the others go on
            self.failed.append(name)
            print(f"FAIL  {name}: {why!r}\n      replay: SEED={SEED} ONLY='{name}' {self.again} {replay or name.split()[0]}", flush=True)
            for server in self.servers[before:]:  # what a failed scenario left behind
                if server.running:
                    await server.end(signal.SIGKILL)

    async def server(self, name, *settings):
        """A new server of the kind under test; `settings` are Kafka's."""
        if PEER == "kafka":
            server = Kafka(self.work / name, *settings)
        else:
            server = Broker(self.binary, self.work / name, *settings)
        self.servers.append(server)
        await server.start()
        return server

    def close(self):
        print(f"{self.passed} passed, {len(self.failed)} failed", flush=True)
        if not self.passed and not self.failed:
            print(f"no scenario's name has {ONLY!r}", flush=True)
        return 1 if self.failed or not self.passed else 0


def main(make, head):
    """Runs `make(work)`, a coroutine that gives the exit code, in a folder that is kept when something failed."""
    work = pathlib.Path(tempfile.mkdtemp(prefix="hanbeon-clients-"))
    print(f"seed={SEED} {head}", flush=True)
    code = asyncio.run(make(work))
    if code == 0:
        shutil.rmtree(work)
    else:
        print(f"the server's logs and data are in {work}", flush=True)
    raise SystemExit(code)
