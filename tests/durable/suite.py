#!/usr/bin/env python3
"""`sync` means synced: watches the broker's system calls with strace.

    suite.py BINARY EXAMPLE

A topic with flush.messages=1 takes records one at a time. Between the write of a batch into the partition's file and the answer on the
connection there must be a completed fdatasync of that file, every time. A topic without it must show none: else the watch is blind.

The same of state logs in sled (EXAMPLE is `state_logs_in_sled` of the engine): whatever is written into the database is synced before
a record or a marker in the topic's log rests on it. The answer to a commit rests on its decision and its markers.
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


def events(trace, watched, others):
    """W: bytes written into the file that `watched` knows; S: a sync of it that began after them completed; else as `others` say."""
    found, syncing = [], {}
    for line in trace.read_text(errors="replace").splitlines():
        thread = line.split()[0]
        if watched(line) and re.search(r"\bpwrite\w*\(", line):
            found.append("W")
        elif watched(line) and re.search(r"\bf(data)?sync\(", line):
            if "unfinished" in line:
                syncing[thread] = len(found)
            elif line.rstrip().endswith("= 0"):
                found.append("S")
        elif "sync resumed" in line and thread in syncing:
            # What was written while it ran may not be covered.
            if line.rstrip().endswith("= 0") and "W" not in found[syncing.pop(thread) :]:
                found.append("S")
        else:
            found += [letter for letter, matches in others.items() if matches(line)]
    return "".join(found)


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
    sent = lambda line: "<TCP" in line and re.search(r"\b(write|writev|sendto|sendmsg)\(", line)
    return events(trace, lambda line: f"/{topic}-0/" in line and ".log" in line, {"A": sent})


def watch_sled(example, work):
    """A: a commit was answered; D: a record or marker written into the topic's log."""
    trace = work / "sled.trace"
    command = ["strace", "-f", "-yy", "-s", "16", "-e", f"trace={CALLS}", "-o", str(trace), example, str(work / "sled")]
    subprocess.run(command, check=True, stdout=subprocess.PIPE)
    logged = lambda line: "/orders-0/" in line and ".log>" in line and "pwrite" in line
    return events(trace, lambda line: "/states/db>" in line, {"A": lambda line: '"answered ' in line, "D": logged})


def main():
    binary, example = sys.argv[1:]
    work = pathlib.Path(tempfile.mkdtemp(prefix="hanbeon-durable-"))
    seen = watch(binary, work, "synced", {"flush.messages": "1"})
    writes = re.findall(r"W([^W]*)", seen)
    early = [w for w in writes if "A" in w and "S" not in w.split("A")[0]]
    if len(writes) < RECORDS or early:
        raise SystemExit(f"{len(writes)} writes, {len(early)} answered before a completed sync: {seen}")
    print(f"ok    {len(writes)} batches on a synced topic, each answered after a completed fdatasync")
    seen = watch(binary, work, "cached", {})
    writes = re.findall(r"W([^W]*)", seen)
    early = [w for w in writes if "A" in w and "S" not in w.split("A")[0]]
    if len(early) < RECORDS:
        raise SystemExit(f"without flush.messages=1 only {len(early)} of {len(writes)} batches were answered unsynced: is the watch blind?")
    print(f"ok    {len(early)} batches on a page-cache topic answered without one, so the watch can see the difference")
    seen = watch_sled(example, work)
    answers = seen.split("A")[:-1]
    # A transaction is enrolled and decided: twice something is written, synced, and rested upon by the record, and by the marker. Nothing rests on
    # the completion, which goes to the disk with what comes next.
    early = [a for a in answers if not re.fullmatch("((W+S+)+D+){2,}W*S*", a)]
    if len(answers) < RECORDS or early:
        raise SystemExit(f"{len(answers)} commits with state logs in sled, {len(early)} that rest on what was not synced: {early} in {seen}")
    print(f"ok    {len(answers)} commits with state logs in sled, nothing in them rests on a write that no fdatasync followed")
    shutil.rmtree(work)
    print("3 passed, 0 failed")


main()
