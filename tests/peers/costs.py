#!/usr/bin/env python3
"""What idempotence and transactions themselves cost the broker, in its processor time: hundreds of short interleaved rounds.

  costs.py BINARY      ROUNDS (200) of MIB (12) each for plain, idempotent, idempotent over 8 partitions, and that in transactions of 100 ms

`sitting.py` asks the same with Kafka's own tools, whose batches arrive differently in each run: that noise hides a per cent. Here one
connection writes prepared batches of 16 KiB, five at a time, the same ones in each way (Produce 12; EndTxn 5, protocol 2), and what is counted
are the nanoseconds that the scheduler gave to the broker's threads. Topics are left after 48 MiB: no background sync falls into a round.
Prints ms of CPU per MB, and ratios of one round: geometric mean and 95 % interval.
"""
import os, random, shutil, struct, sys, tempfile, time

from pairs import ROOT, Client, batch, crc32c, serve
from sitting import spread, told

ROUNDS, MIB, IN_FLIGHT, RENEW = int(os.environ.get("ROUNDS", 200)), int(os.environ.get("MIB", 12)), 5, 4
# Name -> partitions, whether a producer id is in the batches, whether they are in transactions.
WAYS = {"plain": (1, False, False), "idempotent": (1, True, False), "idempotent, 8 partitions": (8, True, False), "transactional": (8, True, True)}
TRANSACTION_S = 0.1
TRANSACTIONAL = 1 << 4
CRC, COVERED = 17, 21
ATTRIBUTES, PRODUCER_ID, EPOCH, SEQUENCE = 21, 43, 51, 53


class Batches:
    """One batch whose producer, epoch and sequence change; CRC-32C is linear, so that each bit of them flips the same bits of the sum."""

    def __init__(self, attributes):
        self.bytes = bytearray(batch(16, 1000))
        self.records = struct.unpack_from(">i", self.bytes, 57)[0]
        struct.pack_into(">h", self.bytes, ATTRIBUTES, attributes)
        struct.pack_into(">qhi", self.bytes, PRODUCER_ID, 0, 0, 0)
        self.sum = crc32c(self.bytes[COVERED:])
        self.flips = [self.flipped(bit) for bit in range(8 * 14)]

    def flipped(self, bit):
        at, mask = SEQUENCE + 3 - bit // 8, 1 << bit % 8
        self.bytes[at] ^= mask
        other = crc32c(self.bytes[COVERED:])
        self.bytes[at] ^= mask
        return other ^ self.sum

    def of(self, producer_id, epoch, sequence):
        struct.pack_into(">qhi", self.bytes, PRODUCER_ID, producer_id, epoch, sequence)
        fields = int.from_bytes(self.bytes[PRODUCER_ID : SEQUENCE + 4], "big")
        crc = self.sum
        while fields:
            low = fields & -fields
            crc ^= self.flips[low.bit_length() - 1]
            fields ^= low
        struct.pack_into(">I", self.bytes, CRC, crc)
        return self.bytes


def compact(text):
    return b"\0" if text is None else bytes([len(text) + 1]) + text.encode()


def unsigned(number):
    out = bytearray()
    while number >= 128:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out + bytes([number]))


class Way:
    def __init__(self, client, name):
        self.partitions, self.idempotent, self.transactional = WAYS[name]
        self.client, self.name = client, name.replace(" ", "").replace(",", "-")
        self.id = "costs" if self.transactional else None
        self.batches = Batches(TRANSACTIONAL if self.transactional else 0)
        self.count = (MIB << 20) // len(self.batches.bytes)
        self.plain = batch(16, 1000)
        self.topic = None

    def ask(self, api, version, body, tags=b"\0"):
        self.client.send(self.framed(api, version, body, tags))
        return self.client.answer()[4:]

    @staticmethod
    def framed(api, version, body, tags=b"\0"):
        message = struct.pack(">hhih", api, version, 7, -1) + tags + body
        return struct.pack(">i", len(message)) + message

    def begin(self, number):
        """A topic and a producer id of its own."""
        self.topic = f"{self.name}-{number}"
        topic = struct.pack(">ih", 1, len(self.topic)) + self.topic.encode() + struct.pack(">ihii", self.partitions, 1, 0, 0)
        answer = self.ask(19, 4, topic + struct.pack(">i?", 30000, False), b"")
        (code,) = struct.unpack_from(">h", answer, 10 + len(self.topic))
        assert code == 0, f"{self.topic}: {code}"
        self.sequences = [0] * self.partitions
        self.producer, self.had = (0, 0), 0
        if self.transactional:
            self.ask(10, 3, compact(self.id) + b"\1\0")
        if self.idempotent:
            self.producer = self.told(self.ask(22, 4, compact(self.id) + struct.pack(">iqh", 60000, -1, -1) + b"\0"))

    def told(self, answer):
        code, producer_id, epoch = struct.unpack_from(">hqh", answer, 5)
        assert code == 0, f"{self.topic}: {code}"
        return producer_id, epoch

    def end(self):
        """Commits; the pair of the next transaction comes with the answer."""
        self.producer = self.told(self.ask(26, 5, compact(self.id) + struct.pack(">qh?", *self.producer, True) + b"\0"))
        self.sequences = [0] * self.partitions

    def delete(self):
        if self.transactional:
            self.end()
        self.ask(20, 3, struct.pack(">ih", 1, len(self.topic)) + self.topic.encode() + struct.pack(">i", 30000), b"")

    def answered(self):
        # correlation, tags, topics, name, partitions, index, code
        (code,) = struct.unpack_from(">h", self.client.answer(), 5 + 1 + 1 + len(self.topic) + 1 + 4)
        assert code == 0, f"{self.topic}: error {code}"

    def request(self, number):
        partition = number % self.partitions
        # The plain way computes the same and sends another.
        batch = self.batches.of(*self.producer, self.sequences[partition])
        if not self.idempotent:
            batch = self.plain
        self.sequences[partition] += self.batches.records
        head = compact(self.id) + struct.pack(">hi", -1, 30000) + b"\2" + compact(self.topic) + b"\2" + struct.pack(">i", partition)
        return self.framed(0, 12, head + unsigned(len(batch) + 1) + batch + b"\0\0\0")

    def produce(self):
        """All of a turn's requests at once, and then all of its answers: however fast a way is, as many batches arrive together.

        A round is shorter than a transaction, which stays open while the other ways have their turn and ends when it has had its time.
        """
        began = time.monotonic()
        for first in range(0, self.count, IN_FLIGHT):
            if self.transactional and self.had + time.monotonic() - began >= TRANSACTION_S:
                self.end()
                self.had, began = 0, time.monotonic()
            numbers = range(first, min(first + IN_FLIGHT, self.count))
            self.client.send(b"".join(map(self.request, numbers)))
            for _ in numbers:
                self.answered()
        self.had += time.monotonic() - began


def spent(pid):
    """Nanoseconds that the scheduler has given to the process's threads."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/schedstat") as stat:
            total += int(stat.read().split()[0])
    return total


def main(binary):
    home = tempfile.mkdtemp(dir=ROOT, prefix="costs-")
    server, port = serve(binary, home)
    ways = {name: Way(Client(port), name) for name in WAYS}
    found = {name: [] for name in WAYS}
    try:
        for round in range(ROUNDS + 1):
            if round % RENEW == 0:
                for way in ways.values():
                    if way.topic:
                        way.delete()
                    way.begin(round)
            for name in random.sample(list(ways), len(ways)):
                before = spent(server.pid)
                ways[name].produce()
                cost = (spent(server.pid) - before) / (ways[name].count * len(ways[name].batches.bytes))
                if round:
                    found[name].append(cost)
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(home)
    print("| ms of CPU per MB | median (least to largest) |")
    for name in WAYS:
        print(f"| {name} | {spread(found[name])} |")
    print("| ratio | mean | 95 % interval | least to largest |")
    for dear, cheap in [("idempotent", "plain"), ("transactional", "idempotent, 8 partitions")]:
        told(f"{dear} / {cheap}", [a / b for a, b in zip(found[dear], found[cheap])])


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1])) if sys.argv[1:] else sys.exit(__doc__)
