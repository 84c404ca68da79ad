#!/usr/bin/env python3
"""What a MB of Produce costs two builds of the broker, in processor time of the server: interleaved rounds, one sitting.

  pairs.py BINARY BINARY...     each later one against the first; ROUNDS (8), BATCH_KIB ("16 256"), MIB a round (190), IN_FLIGHT (5)
  pairs.py --writes             what one pwritev of 1, 2, 5, 16 batches of 16 KiB costs, without any broker

Batches carry no producer id, so one batch can be sent again and again: the client costs little and the server is what is measured.
Prints medians with quartiles, and the processor time of each thread.
"""
import ctypes, os, random, resource, shutil, socket, statistics, struct, subprocess, sys, tempfile, time

ROOT = os.environ.get("DIR") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../target")
ROUNDS = int(os.environ.get("ROUNDS", 8))
TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")
FALLOC_KEEP_SIZE = 1


def crc32c(data):
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def varint(number):
    number = (number << 1 ^ number >> 31) & 0xFFFFFFFF
    out = bytearray()
    while number >= 128:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out + bytes([number]))


def batch(records, size):
    now = int(time.time() * 1000)
    body = b""
    for place in range(records):
        record = b"\0" + varint(0) + varint(place) + varint(-1) + varint(size) + random.randbytes(size) + varint(0)
        body += varint(len(record)) + record
    covered = struct.pack(">hiqqqhii", 0, records - 1, now, now, -1, -1, -1, records) + body
    return struct.pack(">qiibI", 0, len(covered) + 9, -1, 2, crc32c(covered)) + covered


class Client:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, frame):
        self.socket.sendall(frame)

    def answer(self):
        (length,) = struct.unpack(">i", self.socket.recv(4, socket.MSG_WAITALL))
        return self.socket.recv(length, socket.MSG_WAITALL)


def frame(api, version, body):
    message = struct.pack(">hhih", api, version, 7, -1) + body
    return struct.pack(">i", len(message)) + message


def cpu(stat):
    """User and system milliseconds of a /proc stat file."""
    fields = open(stat).read().rsplit(")", 1)[1].split()
    return int(fields[11]) * TICK_MS, int(fields[12]) * TICK_MS


def produce(port, pid, topic, batch, count):
    client, name = Client(port), struct.pack(">h", len(topic)) + topic.encode()
    client.send(frame(3, 4, struct.pack(">i", 1) + name + b"\1"))
    client.answer()
    body = struct.pack(">hhi", -1, -1, 30000) + struct.pack(">i", 1) + name + struct.pack(">iii", 1, 0, len(batch)) + batch
    request, waiting = frame(0, 3, body), 0
    before, began = cpu(f"/proc/{pid}/stat"), time.monotonic()
    for _ in range(count):
        client.send(request)
        waiting += 1
        if waiting == int(os.environ.get("IN_FLIGHT", 5)):
            client.answer()
            waiting -= 1
    for _ in range(waiting):
        answer = client.answer()
    at = 4 + 4 + len(name) + 4 + 4
    (code,) = struct.unpack(">h", answer[at : at + 2])
    assert code == 0, f"{topic}: error {code}"
    after, megabytes = cpu(f"/proc/{pid}/stat"), count * len(batch) / 1e6
    return [(b - a) / megabytes for a, b in zip(before, after)] + [megabytes / (time.monotonic() - began)]


def spread(values):
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def serve(binary, home):
    command = [binary, "serve", "--data-dir", home, "--listen", "127.0.0.1:0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return server, int(server.stdout.readline().rsplit(":", 1)[1])


def compare(binaries):
    home = tempfile.mkdtemp(dir=ROOT)
    servers = [(f"{at} {os.path.basename(binary)}", *serve(binary, f"{home}/{at}")) for at, binary in enumerate(binaries)]
    for kib in map(int, os.environ.get("BATCH_KIB", "16 256").split()):
        bytes, results = batch(kib, 1000), {}
        count = (int(os.environ.get("MIB", 190)) << 20) // len(bytes)
        for turn in range(ROUNDS):
            for name, server, port in servers[:: 1 if turn % 2 else -1]:
                results.setdefault(name, []).append(produce(port, server.pid, f"{kib}-{turn}", bytes, count))
        first = results[servers[0][0]]
        for name, _, _ in servers:
            user, system, rate = zip(*results[name])
            total = [sum(costs) for costs in zip(user, system)]
            ratio = [sum(mine[:2]) / sum(other[:2]) for mine, other in zip(results[name], first)]
            print(f"{kib} KiB, {name}: {spread(total)} ms/MB, user {statistics.median(user):.2f}, "
                  f"{statistics.median(rate):.0f} MB/s; / first {spread(ratio)}")
    for name, server, _ in servers:
        threads = {}
        for thread in os.listdir(f"/proc/{server.pid}/task"):
            comm = open(f"/proc/{server.pid}/task/{thread}/comm").read().strip()
            threads[comm] = threads.get(comm, 0) + sum(cpu(f"/proc/{server.pid}/task/{thread}/stat"))
        print(name, {comm: f"{ms:.0f} ms" for comm, ms in threads.items()})
        server.terminate()
        server.wait()
    shutil.rmtree(home)


def write_once(batches):
    """Milliseconds of processor time per MB into a file that is reserved ahead, as the log does it."""
    path = os.path.join(ROOT, "pairs.tmp")
    file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_TRUNC)
    slices, at, reserved, total = [random.randbytes(61), random.randbytes(16139)] * batches, 0, 0, 128 << 20
    length = sum(map(len, slices))
    spent = lambda: sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    before = spent()
    while at < total:
        if at + length > reserved:
            libc.fallocate(file, FALLOC_KEEP_SIZE, ctypes.c_long(reserved), ctypes.c_long(32 << 20))
            reserved += 32 << 20
        os.pwritev(file, slices, at)
        at += length
    cost = (spent() - before) * 1e9 / at
    os.close(file)
    os.unlink(path)
    return cost


def writes():
    costs = {batches: [] for batches in (1, 2, 5, 16)}
    for _ in range(ROUNDS):
        for batches, found in costs.items():
            found.append(write_once(batches))
    for batches, found in costs.items():
        print(f"{batches} batches in one pwritev: {spread(found)} ms/MB")


libc = ctypes.CDLL(None)
if __name__ == "__main__":
    if sys.argv[1:] == ["--writes"]:
        writes()
    elif sys.argv[1:]:
        compare(sys.argv[1:])
    else:
        sys.exit(__doc__)
