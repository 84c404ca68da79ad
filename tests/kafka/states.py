#!/usr/bin/env python3
"""Our coordinators' partitions in Apache Kafka's hands, and Kafka's in ours.

    states.py BINARY

1. Against a broker of ours real clients commit offsets (by hand, in groups of both protocols and of one that changes from one to the other, inside transactions) and run transactions:
   committed, aborted, one left open, by librdkafka and by Kafka's own producer. The partition directories of `__transaction_state`, of
   `__consumer_offsets` and of the data are laid in place of those that a stopped Kafka made, topic ids kept. Kafka starts, reports nothing,
   and its tools and the admin client tell the same of every transactional id and every group.
2. Kafka goes on from there: it fences the producer that left a transaction open, aborts it, and commits another.
3. Ours opens the data directory that Kafka leaves, tells the same as Kafka did, and goes on in its turn.
"""

import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from suite import KAFKA, Kafka, Ours, dump, lay

TOPIC, PARTITIONS = "ledger", 2
STATES, OFFSETS, SHARDS = "__transaction_state", "__consumer_offsets", 4  # as many as kafka.sh gives Kafka
# Members whose clients are gone with the first server: on a slow machine their sessions would end while the second one is asked.
SESSIONS = ["group.consumer.session.timeout.ms=600000", "group.consumer.max.session.timeout.ms=600000"]
SETTINGS = [f"offsets.topic.num.partitions={SHARDS}", f"transaction.state.log.num.partitions={SHARDS}", "group.initial.rebalance.delay.ms=0", *SESSIONS]
IDS = ["committed", "aborted", "left-open", "java"]


def tool(bootstrap, name, *args):
    environment = {**os.environ, "JAVA_TOOL_OPTIONS": "-Xmx128m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC"}
    run = subprocess.run([KAFKA, "run", name, "--bootstrap-server", bootstrap, *args], capture_output=True, text=True, env=environment)
    if run.returncode:
        raise SystemExit(f"{name} {args} exited with {run.returncode}: {run.stdout[-800:]} {run.stderr[-800:]}")
    return [line.split() for line in run.stdout.splitlines() if line.strip()]


def table(lines, *columns):
    """The rows of a tool's table, these columns of them."""
    at = next((i for i, names in enumerate(lines) if set(columns) <= set(names)), None)
    if at is None:
        raise SystemExit(f"no table with {columns} in {lines}")
    names = lines[at]
    return sorted(tuple(dict(zip(names, row)).get(c, "") for c in columns) for row in lines[at + 1 :] if row != names)


def committed_offsets(admin, group):
    offsets = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result(30).topic_partitions
    return sorted((p.topic, p.partition, p.offset, p.metadata, p.leader_epoch) for p in offsets)


def told(bootstrap):
    """Everything that the server tells of transactions and groups and that does not pass with time."""
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        listed = pool.submit(tool, bootstrap, "transactions", "list")
        described = {name: pool.submit(tool, bootstrap, "transactions", "describe", "--transactional-id", name) for name in IDS}
        groups = pool.submit(tool, bootstrap, "groups", "--describe", "--all-groups")
    everything = {"transactions": table(listed.result(), "TransactionalId", "ProducerId", "TransactionState")}
    for name, lines in described.items():
        columns = ["TransactionalId", "ProducerId", "ProducerEpoch", "TransactionState", "TransactionTimeoutMs", "CurrentTransactionStartTimeMs", "TopicPartitions"]
        rows = table(lines.result(), *columns)
        # The order of the partitions is nobody's promise.
        everything[name] = [(*row[:-1], sorted(row[-1].split(","))) for row in rows]
    columns = ["GROUP", "TOPIC", "PARTITION", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG", "CONSUMER-ID", "HOST", "CLIENT-ID"]
    everything["groups"] = [row for row in table(groups.result(), *columns) if row[1] == TOPIC]
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    for group in sorted(g.group_id for g in admin.list_consumer_groups().result().valid):
        described = admin.describe_consumer_groups([group])[group].result(30)
        members = sorted((m.member_id, m.client_id, m.host, [(p.topic, p.partition) for p in m.assignment.topic_partitions]) for m in described.members)
        everything[f"group {group}"] = (
            described.state.name, described.type.name, described.partition_assignor, members,
            committed_offsets(admin, group),
        )  # fmt: skip
    return everything


def same(who, found, expected):
    wrong = [f"{what}: {found.get(what)} against {expected.get(what)}" for what in {**expected, **found} if found.get(what) != expected.get(what)]
    if wrong:
        raise SystemExit(f"{who} tells otherwise:\n" + "\n".join(wrong))


def create(bootstrap):
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    admin.create_topics([NewTopic(TOPIC, num_partitions=PARTITIONS, replication_factor=1)])[TOPIC].result(30)


def commit_by_hand(bootstrap, group, offsets):
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False})
    consumer.commit(offsets=[TopicPartition(TOPIC, p, offset, metadata) for p, offset, metadata in offsets], asynchronous=False)
    consumer.close()


def joining(bootstrap, group, protocol):
    more = {} if protocol == "consumer" else {"session.timeout.ms": 300_000}
    consumer = Consumer({
        "bootstrap.servers": bootstrap, "group.id": group, "group.protocol": protocol, "client.id": f"member-{protocol}",
        "auto.offset.reset": "earliest", "enable.auto.commit": False, "log_level": 0, **more,
    })  # fmt: skip
    consumer.subscribe([TOPIC])
    return consumer


def member(bootstrap, protocol):
    """A member of a group of its own that has read and committed everything."""
    consumer = joining(bootstrap, f"group-{protocol}", protocol)
    message = None
    while message is None or message.error():
        message = consumer.poll(60)
        if message is None:
            raise SystemExit(f"a member of a {protocol} group got nothing")
    consumer.commit(message=message, asynchronous=False)
    return consumer


def on_its_way(bootstrap):
    """A group that goes over to the newer protocol: a member of each kind, with a partition each."""
    members = []
    for protocol in ("classic", "consumer"):
        members.append(joining(bootstrap, "group-mixed", protocol))
        deadline = time.monotonic() + 120
        while [len(m.assignment()) for m in members] != [PARTITIONS // len(members)] * len(members):
            for each in members:
                each.poll(0.1)
            if time.monotonic() > deadline:
                raise SystemExit(f"a group of both kinds came to no assignment: {[m.assignment() for m in members]}")
    for each in members:
        each.commit(offsets=[TopicPartition(TOPIC, p.partition, 7, "on its way") for p in each.assignment()], asynchronous=False)
    return members


def transactional(bootstrap, name):
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": name, "transaction.timeout.ms": 600_000, "log_level": 0})
    producer.init_transactions(60)
    return producer


def begin(bootstrap, producer, offset, metadata):
    """A transaction of a record for each partition and the offset of one of them."""
    producer.begin_transaction()
    for partition in range(PARTITIONS):
        producer.produce(TOPIC, partition=partition, value=metadata.encode())
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "inside", "enable.auto.commit": False})
    producer.send_offsets_to_transaction([TopicPartition(TOPIC, 0, offset, metadata)], consumer.consumer_group_metadata(), 60)
    consumer.close()
    if producer.flush(60):
        raise SystemExit("records of a transaction were not sent")


def write_states(bootstrap):
    """Gives what must stay alive as long as the server does."""
    commit_by_hand(bootstrap, "by-hand", [(0, 3, "noted, and not ASCII: \u00e9"), (1, 1, "")])
    commit_by_hand(bootstrap, "by-hand", [(0, 4, "noted again")])
    producer = transactional(bootstrap, "committed")
    for n in range(3):
        begin(bootstrap, producer, n, f"committed {n}")
        producer.commit_transaction(60)
    producer = transactional(bootstrap, "aborted")
    begin(bootstrap, producer, 100, "aborted")
    producer.abort_transaction(60)
    perf = ["--topic", TOPIC, "--num-records", "200", "--record-size", "20", "--throughput", "-1", "--transactional-id", "java", "--transaction-duration-ms", "20"]
    tool(bootstrap, "producer-perf", *perf)
    members = [*(member(bootstrap, protocol) for protocol in ("classic", "consumer")), *on_its_way(bootstrap)]
    producer = transactional(bootstrap, "left-open")
    begin(bootstrap, producer, 200, "left open")
    return [producer, *members]


def partitions():
    return [(TOPIC, p) for p in range(PARTITIONS)] + [(topic, p) for topic in (STATES, OFFSETS) for p in range(SHARDS)]


def ends(bootstrap):
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "unused"})
    found = {where: consumer.get_watermark_offsets(TopicPartition(*where), timeout=30)[1] for where in partitions()}
    consumer.close()
    return found


def committed(bootstrap, partition=0):
    """What a reader of committed data gets of a partition, what `java` wrote left out, and where it ends."""
    consumer = Consumer({
        "bootstrap.servers": bootstrap, "group.id": "unused", "isolation.level": "read_committed", "enable.auto.commit": False, "enable.partition.eof": True,
    })  # fmt: skip
    consumer.assign([TopicPartition(TOPIC, partition, 0)])
    values = []
    while True:
        message = consumer.poll(30)
        if message is None:
            raise SystemExit("a reader of committed data got nothing")
        if message.error():
            consumer.close()
            return values
        if len(message.value()) != 20:
            values.append(message.value().decode())


def go_on(bootstrap, before, text):
    """Fences the producer that left a transaction open, and commits another."""
    producer = transactional(bootstrap, "left-open")
    begin(bootstrap, producer, 300, text)
    producer.commit_transaction(60)
    if committed(bootstrap) != [*before, text]:
        raise SystemExit(f"after {text!r} readers of committed data get {committed(bootstrap)}, before it {before}")
    offsets = committed_offsets(AdminClient({"bootstrap.servers": bootstrap, "log_level": 0}), "inside")
    if [offset[:4] for offset in offsets] != [(TOPIC, 0, 300, text)]:
        raise SystemExit(f"after {text!r} the offsets committed inside transactions are {offsets}")


def main():
    binary = os.path.abspath(sys.argv[1])
    work = pathlib.Path(tempfile.mkdtemp(prefix="hanbeon-states-"))
    ours, theirs = work / "ours", work / "kafka"
    with Kafka(theirs, *SESSIONS) as kafka:
        create(kafka.bootstrap)
        transactional(kafka.bootstrap, "only to have the topic made")
        commit_by_hand(kafka.bootstrap, "only to have the topic made", [(0, 0, "")])
    # Groups of KIP-848 keep assignments under topic ids: ours takes the topic over with Kafka's, and nothing else.
    ours.mkdir()
    for kept in [theirs / "data" / "meta.properties", *(theirs / "data").glob(f"{TOPIC}-*")]:
        (shutil.copytree if kept.is_dir() else shutil.copy)(kept, ours / kept.name)
    with Ours(binary, ours, *SETTINGS) as broker:
        alive = write_states(broker.bootstrap)
        expected, end = told(broker.bootstrap), ends(broker.bootstrap)
        values = committed(broker.bootstrap)
    inside = [(TOPIC, 0, 2, "committed 2")]
    states = sorted(row[2] for row in expected["transactions"])
    if states != ["CompleteAbort", "CompleteCommit", "CompleteCommit", "Ongoing"] or [offset[:4] for offset in expected["group inside"][4]] != inside:
        raise SystemExit(f"the ground is not what it is to be: {expected}")
    if (expected["group group-mixed"][1], len(expected["group group-mixed"][3])) != ("CONSUMER", 2):
        raise SystemExit(f"the group on its way is not: {expected['group group-mixed']}")
    print(f"ok    {len(expected['transactions'])} transactional ids, {sum('group ' in k for k in expected)} groups, {sum(end.values())} records in {len(end)} partitions")
    for topic, decoder, names in ((STATES, "--transaction-log-decoder", IDS), (OFFSETS, "--offsets-decoder", ["by-hand", "inside", "group-classic", "group-consumer", "group-mixed"])):
        _, said = dump([ours / f"{topic}-{p}" for p in range(SHARDS)], decoder)
        missing = [name for name in names if f'"{name}"' not in said]
        if missing:
            raise SystemExit(f"dump-log {decoder} reads nothing of {missing}: {said[:2000]}")
        print(f"ok    dump-log {decoder} reads {topic}")

    for topic, number in partitions():
        lay(ours / f"{topic}-{number}", theirs / "data", end[topic, number])
    with Kafka(theirs, *SESSIONS) as kafka:
        same("Kafka", told(kafka.bootstrap), expected)
        same("Kafka", {"ends": ends(kafka.bootstrap), "committed": committed(kafka.bootstrap)}, {"ends": end, "committed": values})
        print("ok    Kafka's tools tell the same of every transaction and group, from our directories")
        go_on(kafka.bootstrap, values, "Kafka went on")
        expected, values = told(kafka.bootstrap), committed(kafka.bootstrap)
        print("ok    Kafka aborts the transaction that was left open and commits the next")
    del alive
    # A slow machine is no complaint about what was laid there.
    said = [line for line in (theirs / "broker.out").read_text().splitlines() if "EventPerformanceMonitor" not in line]
    complaints = [line for line in said if re.search(r"(?i)\] (ERROR|FATAL) |exception|corrupt|fail(ed|ure)|unable to", line)]
    if complaints:
        raise SystemExit(f"Kafka complains: {complaints[:5]}")
    print("ok    Kafka's log has no complaint")

    copy = work / "kafka-copy"
    shutil.copytree(theirs / "data", copy)
    with Ours(binary, copy, *SETTINGS) as broker:
        same("ours", told(broker.bootstrap), expected)
        same("ours", {"committed": committed(broker.bootstrap)}, {"committed": values})
        print("ok    ours tells the same of every transaction and group, from the directory that Kafka left")
        go_on(broker.bootstrap, values, "ours went on")
        print("ok    and goes on")
    shutil.rmtree(work)
    print("8 passed, 0 failed")


if __name__ == "__main__":
    main()
