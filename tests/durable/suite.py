#!/usr/bin/env python3
"""`sync` means synced: watches the broker's system calls with strace.

    suite.py BINARY

A topic with flush.messages=1 takes records one at a time. Between the write of a batch into the partition's file and the answer on the
connection there must be a completed fdatasync of that file, every time. A topic without it must show none: else the watch is blind.
"""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

RECORDS = 20
CALLS = "pwritev,pwrite64,pwritev2,write,writev,fdatasync,fsync,sendto,sendmsg"


def events(trace, topic):
    """W: a batch written into the topic's file; S: a sync of that file completed; A: bytes sent on a TCP connection."""
    found, syncing = [], set()
    for line in trace.read_text(errors="replace").splitlines():
        thread = line.split()[0]
        log = f"/{topic}-0/" in line and ".log" in line
        if re.search(r"\bpwrite\w*\(", line) and log:
            found.append("W")
        elif re.search(r"\bf(data)?sync\(", line) and log:
            if "unfinished" in line:
                syncing.add(thread)
            elif line.rstrip().endswith("= 0"):
                found.append("S")
        elif "sync resumed" in line and thread in syncing:
            syncing.discard(thread)
            if line.rstrip().endswith("= 0"):
                found.append("S")
        elif "<TCP" in line and re.search(r"\b(write|writev|sendto|sendmsg)\(", line):
            found.append("A")
    return found


def watch(binary, work, topic, config):
    trace = work / f"{topic}.trace"
    command = ["strace", "-f", "-yy", "-s", "0", "-e", f"trace={CALLS}", "-o", str(trace), binary, "serve", "--data-dir", str(work / topic), "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    bootstrap = re.match(r"hanbeon listening on (.+:\d+)$", process.stdout.readline().strip())[1]
    admin = AdminClient({"bootstrap.servers": bootstrap})  # a name of its own: the futures end with it
    admin.create_topics([NewTopic(topic, 1, 1, config=config)])[topic].result(30)
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 0})
    failed = []
    for i in range(RECORDS):
        producer.produce(topic, value=b"%d" % i, partition=0, on_delivery=lambda e, _: failed.append(e) if e else None)
        if producer.flush(30) or failed:
            raise SystemExit(f"record {i} of {topic} failed: {failed}")
    subprocess.run(["pkill", "-TERM", "-P", str(process.pid)], check=True)
    process.wait(60)
    return events(trace, topic)


def main():
    binary = sys.argv[1]
    work = pathlib.Path(tempfile.mkdtemp(prefix="hanbeon-durable-"))
    seen = "".join(watch(binary, work, "synced", {"flush.messages": "1"}))
    writes = re.findall(r"W([^W]*)", seen)
    early = [w for w in writes if "A" in w and "S" not in w.split("A")[0]]
    if len(writes) < RECORDS or early:
        raise SystemExit(f"{len(writes)} writes, {len(early)} answered before a completed sync: {seen}")
    print(f"ok    {len(writes)} batches on a synced topic, each answered after a completed fdatasync")
    seen = "".join(watch(binary, work, "cached", {}))
    writes = re.findall(r"W([^W]*)", seen)
    early = [w for w in writes if "A" in w and "S" not in w.split("A")[0]]
    if len(early) < RECORDS:
        raise SystemExit(f"without flush.messages=1 only {len(early)} of {len(writes)} batches were answered unsynced: is the watch blind?")
    print(f"ok    {len(early)} batches on a page-cache topic answered without one, so the watch can see the difference")
    shutil.rmtree(work)
    print("2 passed, 0 failed")


main()
