#!/usr/bin/env python3
"""Our bytes in Apache Kafka's hands.

    suite.py BINARY

1. A broker of ours takes records of every shape and codec over several segments and is stopped, once cleanly and once by SIGKILL and
   recovery. Kafka's own dump tool reads every file of the partition without a complaint, and unpacks batches that we compressed
   (`compression.type` of a topic) to the records that went in.
2. The partition directory is laid in place of one that Kafka made (its topic id kept), and Kafka serves the same records: the canonical
   hash (README.md in tests/golden) of what a consumer gets is the same from both.
3. A data directory that Kafka wrote is opened by ours as it lies, and serves the same records again.
"""

import hashlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

HERE = pathlib.Path(__file__).resolve().parent
KAFKA = HERE.parent / "peers" / "kafka.sh"
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
TOPIC = "laid-in-place"


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


class Ours:
    def __init__(self, binary, directory, *settings):
        self.binary, self.directory, self.settings = binary, directory, settings

    def __enter__(self):
        command = [self.binary, "serve", "--data-dir", str(self.directory), "--listen", "127.0.0.1:0"]
        for setting in self.settings:
            command += ["--set", setting]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        found = re.match(r"hanbeon listening on (.+:\d+)$", line.strip())
        if not found:
            raise SystemExit(f"ours did not start: {line!r} {self.process.stderr.read()}")
        self.bootstrap = found[1]
        return self

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        code = self.process.wait(60)
        errors = self.process.stderr.read()
        if how == signal.SIGTERM and code != 0 or "panicked" in errors:
            raise SystemExit(f"ours ended with {code}: {errors}")

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.end()


class Kafka:
    def __init__(self, directory, *settings):
        self.directory, self.settings = directory, settings

    def __enter__(self):
        port = free_ports()
        environment = {"KAFKA_HEAP": "-Xms256m -Xmx512m -XX:TieredStopAtLevel=1", **os.environ}
        subprocess.run([KAFKA, "start", self.directory, str(port), *self.settings], check=True, env=environment)
        self.bootstrap = f"127.0.0.1:{port}"
        return self

    def __exit__(self, *_):
        subprocess.run([KAFKA, "stop", self.directory], check=True)


def create(bootstrap, name=TOPIC, **config):
    admin = AdminClient({"bootstrap.servers": bootstrap})  # a name of its own: the futures end with it
    config = {key.replace("_", "."): value for key, value in config.items()} or {"segment.bytes": "1048576"}
    topic = NewTopic(name, num_partitions=1, replication_factor=1, config=config)
    admin.create_topics([topic])[name].result(30)


def produce(bootstrap, start):
    failed = []
    for codec in CODECS:
        producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "compression.type": codec, "batch.num.messages": 50})
        for i in range(400):
            n = start + i
            shape = n % 5
            producer.produce(
                TOPIC,
                partition=0,
                key=[None, b"", b"key-%d" % n, bytes([0, 255, n % 256]), b"k"][shape],
                value=[b"value-%d" % n, None, os.urandom(6000), b"", b"x" * 900][shape],
                headers=[("h", b"%d" % n), ("h", None), ("empty", b"")] if shape == 2 else None,
                timestamp=1_700_000_000_000 + n * 7 - (n % 3) * 1000,
                on_delivery=lambda error, _: failed.append(error) if error else None,
            )
            producer.poll(0)
        left = producer.flush(60)
        if left or failed:
            raise SystemExit(f"{left} records unsent, errors {failed[:3]}")
        start += 400
    return start


def compress_here(bootstrap, directory):
    """Topics whose batches the broker compresses, since their producers do not: name to the values that went in."""
    texts = [f"value-{n} " * (n % 60) for n in range(500)]
    for codec in CODECS[1:]:
        create(bootstrap, f"made-{codec}", compression_type=codec)
        producer = Producer({"bootstrap.servers": bootstrap, "compression.type": "none", "batch.num.messages": 50})
        for text in texts:
            producer.produce(f"made-{codec}", partition=0, value=text.encode())
        if producer.flush(60):
            raise SystemExit(f"records for made-{codec} are unsent")
    return {codec: (directory / f"made-{codec}-0", texts) for codec in CODECS[1:]}


def read_elsewhere(made):
    """Kafka's dump tool unpacks what we compressed."""
    for codec, (partition, texts) in made.items():
        _, words = dump([partition])
        codecs = {name.lower() for name in re.findall(r"compresscodec: (\w+)", words)}
        found = re.findall(r"(?m)^\| offset: \d+ .* payload: ?(.*)$", words)
        if codecs != {codec} or found != texts:
            raise SystemExit(f"made-{codec}: of {len(texts)} records Kafka reads {len(found)}, with codecs {codecs}")


def canonical(bootstrap):
    """Count and canonical hash of partition 0."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "unused", "enable.auto.commit": False, "enable.partition.eof": True, "check.crcs": True})
    consumer.assign([TopicPartition(TOPIC, 0, 0)])
    digest, count = hashlib.sha256(), 0
    hexed = lambda b: "-" if b is None else b.hex()
    while True:
        message = consumer.poll(30)
        if message is None:
            raise SystemExit(f"nothing came after {count} records from {bootstrap}")
        if message.error():
            if message.error().code() == KafkaError._PARTITION_EOF:
                consumer.close()
                return count, digest.hexdigest()
            raise SystemExit(str(message.error()))
        headers = ";".join(f"{k.encode().hex()}={hexed(v)}" for k, v in message.headers() or [])
        line = (message.offset(), message.timestamp()[1], hexed(message.key()), hexed(message.value()), headers)
        digest.update(("\t".join(map(str, line)) + "\n").encode())
        count += 1


def dump(partitions, *decoder):
    """Kafka's dump tool on every file it knows of these directories; anything it grumbles about is a failure. Gives how many, and its words."""
    suffixes = (".log", ".index", ".timeindex", ".txnindex", ".snapshot")
    files = [str(path) for partition in partitions for path in sorted(partition.iterdir()) if path.suffix in suffixes]
    options = ["--deep-iteration", *(decoder or ["--print-data-log"])]
    run = subprocess.run([KAFKA, "run", "dump-log", "--files", ",".join(files), *options], capture_output=True, text=True)
    text = run.stdout + run.stderr
    complaint = re.search(r"(?im)^.*(mismatch|corrupt|invalid|exception|found timestamp|out of order|isvalid: false).*$", text)
    unread = [name for name in files if f"Dumping {name}" not in text]
    if run.returncode or complaint or unread:
        raise SystemExit(f"dump-log exited with {run.returncode}: {complaint and complaint[0]}; not read: {unread}")
    return len(files), text


def checkpoint(data, name, topic, partition, offset):
    """Sets one line of a checkpoint file."""
    path = data / name
    lines = path.read_text().splitlines()[2:] if path.exists() else []
    lines = [l for l in lines if l.split()[:2] != [topic, str(partition)]] + [f"{topic} {partition} {offset}"]
    path.write_text(f"0\n{len(lines)}\n" + "\n".join(lines) + "\n")


def lay(partition, data, end):
    """Lays a partition directory in place of Kafka's own, whose topic id stays. Kafka must have been stopped."""
    place = data / partition.name
    identity = (place / "partition.metadata").read_bytes()
    shutil.rmtree(place)
    shutil.copytree(partition, place)
    (place / "partition.metadata").write_bytes(identity)
    topic, number = partition.name.rsplit("-", 1)
    for name in ("recovery-point-offset-checkpoint", "replication-offset-checkpoint"):
        checkpoint(data, name, topic, number, end)


def main():
    binary = os.path.abspath(sys.argv[1])
    work = pathlib.Path(tempfile.mkdtemp(prefix="hanbeon-kafka-"))
    ours, theirs = work / "ours", work / "kafka"
    with Ours(binary, ours) as broker:
        create(broker.bootstrap)
        end = produce(broker.bootstrap, 0)
        broker.end(signal.SIGKILL)
    with Ours(binary, ours) as broker:
        end = produce(broker.bootstrap, end)
        count, expected = canonical(broker.bootstrap)
        made = compress_here(broker.bootstrap, ours)
    if count != end:
        raise SystemExit(f"{end} records were acknowledged, {count} came back")
    partition = ours / f"{TOPIC}-0"
    segments = len(list(partition.glob("*.log")))
    if segments < 3:
        raise SystemExit(f"only {segments} segments: the test would show little")
    print(f"ok    {count} records in {segments} segments, one SIGKILL between")
    print(f"ok    dump-log read {dump([partition])[0]} files without complaint")
    read_elsewhere(made)
    print(f"ok    dump-log reads what we compressed with {', '.join(made)}")

    with Kafka(theirs) as kafka:
        create(kafka.bootstrap)
    lay(partition, theirs / "data", count)
    with Kafka(theirs) as kafka:
        found = canonical(kafka.bootstrap)
        if found != (count, expected):
            raise SystemExit(f"Kafka serves {found}, ours {(count, expected)}")
        print("ok    Kafka serves our directory with the same canonical hash")
        end = produce(kafka.bootstrap, count)
        count, expected = canonical(kafka.bootstrap)

    copy = work / "kafka-copy"
    shutil.copytree(theirs / "data", copy)
    with Ours(binary, copy) as broker:
        found = canonical(broker.bootstrap)
        if found != (count, expected):
            raise SystemExit(f"ours serves {found} from Kafka's data directory, Kafka {(count, expected)}")
        print("ok    a data directory that Kafka wrote opens here with the same canonical hash")
        produce(broker.bootstrap, count)
        count, expected = canonical(broker.bootstrap)
        broker.end(signal.SIGKILL)
    added = sorted(f.name for f in copy.iterdir() if f.name.startswith("hanbeon."))
    if "hanbeon.boot" not in added:
        raise SystemExit(f"there is nothing of ours for Kafka to pass by: {added}")
    shutil.rmtree(theirs / "data")
    shutil.move(copy, theirs / "data")
    with Kafka(theirs) as kafka:
        found = canonical(kafka.bootstrap)
        if found != (count, expected):
            raise SystemExit(f"Kafka serves {found} from its own directory, ours {(count, expected)}")
        print(f"ok    Kafka goes on in that directory, past {', '.join(added)}")
    shutil.rmtree(work)
    print("6 passed, 0 failed")


if __name__ == "__main__":
    main()
