"""A TCP proxy between a Kafka client and a broker that knows just enough of the protocol to be unkind at chosen moments.

It forwards frames whole, keeps a log of every Produce request (producer id, epoch, base sequence of each batch), can
cut the connection in the middle of the answer to a Produce request, and can call out while one is unanswered.
It can also cut the connection at any request type, before the request reaches the broker or after the broker answered.
"""

import asyncio
import struct

PRODUCE = 0
LOST = object()  # stands for a request whose answer is dropped
KEYS = {
    "Produce": 0, "Fetch": 1, "Metadata": 3, "OffsetFetch": 9, "FindCoordinator": 10, "JoinGroup": 11, "Heartbeat": 12, "SyncGroup": 14, "InitProducerId": 22,
    "AddPartitionsToTxn": 24, "AddOffsetsToTxn": 25, "EndTxn": 26, "TxnOffsetCommit": 28,
}  # fmt: skip
SPARED = {b"suite", b"reader"}  # client ids of those who only look on: they are not counted and their connections are not cut


class Reader:
    """A cursor over a request's bytes."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, form):
        value = struct.unpack_from(">" + form, self.data, self.at)[0]
        self.at += struct.calcsize(">" + form)
        return value

    def uvarint(self):
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def skip(self, count):
        self.at += max(count, 0)

    def tags(self):
        for _ in range(self.uvarint()):
            self.uvarint()
            self.skip(self.uvarint())


def produced_batches(frame):
    """The (partition, producer id, epoch, base sequence, records) of each batch in a Produce request."""
    r = Reader(frame)
    _, version, _ = r.take("h"), r.take("h"), r.take("i")
    flexible = version >= 9
    length = (lambda: r.uvarint() - 1) if flexible else (lambda: r.take("i"))
    r.skip(r.take("h"))  # client id
    if flexible:
        r.tags()
        r.skip(r.uvarint() - 1)  # transactional id
    else:
        r.skip(r.take("h"))
    r.skip(2 + 4)  # acks, timeout
    found = []
    for _ in range(length()):
        if version >= 13:
            r.skip(16)
        else:
            r.skip(r.uvarint() - 1 if flexible else r.take("h"))
        for _ in range(length()):
            partition = r.take("i")
            size = length()
            batch = frame[r.at : r.at + size]
            r.skip(size)
            if size >= 61:
                pid, epoch, sequence, count = struct.unpack_from(">qhii", batch, 43)
                found.append((partition, pid, epoch, sequence, count))
            if flexible:
                r.tags()
        if flexible:
            r.tags()
    return found


class Proxy:
    """Listens on a free port of loopback; `target` may change while it runs."""

    def __init__(self, target):
        self.target = target  # (host, port)
        self.port = None
        self.log = []  # every Produce request's batches, in order of arrival
        self.produces = 0  # Produce requests seen
        self.swallow = set()  # numbers of Produce requests whose connection is cut in the middle of the answer
        self.on_produce = None  # called with the number after a Produce request was forwarded, before its answer
        self.open = set()
        self.seen = {}  # API key -> requests seen
        self.versions = {}  # API key -> the versions in which it was asked
        self.cuts = {}  # (API key, "before" or "after") -> the request count from which on one connection is cut there
        self.cut_at = []  # the cuts that happened, in order

    def cuts_now(self, key, when):
        """Whether this request is the one to be cut; each cut happens once."""
        if self.seen[key] < self.cuts.get((key, when), 1 << 60):
            return False
        del self.cuts[key, when]
        self.cut_at.append((key, when))
        return True

    async def start(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]

    async def stop(self):
        self.server.close()
        for writer in list(self.open):
            writer.close()

    def cut(self):
        """Ends every connection that is open."""
        for writer in list(self.open):
            writer.transport.abort()

    async def serve(self, client_in, client_out):
        self.open.add(client_out)
        broker_out = None
        try:
            broker_in, broker_out = await asyncio.open_connection(*self.target)
            self.open.add(broker_out)
            numbers = {}  # correlation id -> number of the Produce request
            up = asyncio.create_task(self.up(client_in, broker_out, numbers))
            down = asyncio.create_task(self.down(broker_in, client_out, numbers))
            _, rest = await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
            for task in rest:
                task.cancel()
        except OSError:
            pass
        finally:
            for writer in (client_out, broker_out):
                if writer is not None:
                    self.open.discard(writer)
                    writer.transport.abort()

    @staticmethod
    async def frame(stream):
        head = await stream.readexactly(4)
        return head, await stream.readexactly(struct.unpack(">i", head)[0])

    async def up(self, source, sink, numbers):
        try:
            while True:
                head, body = await self.frame(source)
                key, version, correlation, named = struct.unpack_from(">hhih", body)
                by_broker = key == KEYS["AddPartitionsToTxn"] and version >= 4  # Apache Kafka asks itself by its advertised name
                if not by_broker and body[10 : 10 + max(named, 0)] not in SPARED:
                    self.seen[key] = self.seen.get(key, 0) + 1
                    self.versions.setdefault(key, set()).add(version)
                    if self.cuts_now(key, "before"):
                        return  # the request is lost, and so is the connection
                    if self.cuts_now(key, "after"):
                        numbers[correlation] = LOST
                sink.write(head + body)
                await sink.drain()
                if key == PRODUCE:
                    number = self.produces
                    self.produces += 1
                    numbers.setdefault(correlation, number)
                    self.log.extend(produced_batches(body))
                    if self.on_produce is not None:
                        self.on_produce(number)
        except (asyncio.IncompleteReadError, OSError):
            pass

    async def down(self, source, sink, numbers):
        try:
            while True:
                head, body = await self.frame(source)
                number = numbers.pop(struct.unpack_from(">i", body)[0], None)
                if number is LOST:
                    return  # the answer is lost, and so is the connection
                if number in self.swallow:
                    sink.write(head + body[: len(body) // 2])
                    return  # cut off in the middle of it
                sink.write(head + body)
                await sink.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
