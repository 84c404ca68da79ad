"""Judges one run of a transactional copy loop from what was seen outside it.

The loop takes records from `input`, writes each to `output` with key `PARTITION:OFFSET` of where it came from and value
`VALUE@LABEL`, LABEL being the transaction, and sends its offsets in the same transaction. So every output record says which
transaction wrote it, and what happened to the transaction is known from the copier: a history, and nothing of any client
in here. Anomalies carry the names of the verification plan; `anomalies` gives all that a history shows.
"""

import collections
import dataclasses
import json


@dataclasses.dataclass
class Txn:
    """What a copier said of one transaction; times are of the machine's monotonic clock, in ns, None for never."""

    txn_id: str
    instance: int  # of the copiers that used this transactional id, which one
    begun: int = None
    sent: int = 0  # records handed to the producer
    commit: int = None  # EndTxn(commit) asked for
    committed: int = None  # and acknowledged
    abort: int = None
    aborted: int = None


@dataclasses.dataclass
class History:
    partitions: int
    input: list = dataclasses.field(default_factory=list)  # (partition, offset, value), of a reader after the run
    committed: list = dataclasses.field(default_factory=list)  # (partition, offset, key, value) at read_committed after the run
    uncommitted: list = dataclasses.field(default_factory=list)  # the same at read_uncommitted
    live: list = dataclasses.field(default_factory=list)  # (time, partition, offset, key, value) at read_committed during the run
    offsets: dict = dataclasses.field(default_factory=dict)  # partition -> what the group has committed, -1 for nothing
    ends: dict = dataclasses.field(default_factory=dict)  # (topic, partition) -> (last stable offset, high watermark)
    txns: dict = dataclasses.field(default_factory=dict)  # label -> Txn
    ready: dict = dataclasses.field(default_factory=dict)  # (transactional id, instance) -> when its InitProducerId was answered

    def dump(self, path):
        with open(path, "w") as file:
            what = {k: v for k, v in vars(self).items() if k not in ("ends", "txns", "ready")}
            what["ends"] = [[*where, *ends] for where, ends in self.ends.items()]
            what["txns"] = {label: vars(txn) for label, txn in self.txns.items()}
            what["ready"] = [[*who, at] for who, at in self.ready.items()]
            json.dump(what, file, indent=1)


def label_of(value):
    return value.rpartition("@")[2]


def anomalies(h):
    """Every anomaly of the history as (name, what was seen)."""
    return [*reads(h), *effects(h), *order(h), *verdicts(h), *timing(h), *rest(h)]


def reads(h):
    """The readers agree with each other."""
    at = {}
    for partition, offset, key, value in [*h.uncommitted, *h.committed, *(r[1:] for r in h.live)]:
        before = at.setdefault((partition, offset), (key, value))
        if before != (key, value):
            yield "inconsistent-offset", f"{partition}/{offset} holds {before} and {(key, value)}"
    everything = set(h.uncommitted)
    for record in h.committed:
        if record not in everything:
            yield "read-committed-only", f"{record} is unknown at read_uncommitted"
    for partition in range(h.partitions):
        live = [r[2:] for r in h.live if r[1] == partition]
        after = [r[1:] for r in h.committed if r[0] == partition]
        if live != after:
            first = next((i for i, (a, b) in enumerate(zip(live, after)) if a != b), min(len(live), len(after)))
            yield "live-differs", f"partition {partition}, record {first}: read during the run {live[first : first + 1]}, after it {after[first : first + 1]}"


def effects(h):
    """Visible outputs are the inputs below the group's offsets, each once."""
    source = {f"{partition}:{offset}": (partition, offset, value) for partition, offset, value in h.input}
    times = collections.Counter()
    for partition, offset, key, value in h.committed:
        found = source.get(key)
        if found is None:
            yield "effect-unknown", f"{key} at {partition}/{offset} was never in the input"
            continue
        times[key] += 1
        if times[key] == 2:
            yield "effect-twice", f"input {key} has more than one visible output, again at {partition}/{offset}"
        if value.rpartition("@")[0] != found[2]:
            yield "damaged", f"input {key} is {found[2]}, its output {value}"
        if found[1] >= h.offsets.get(found[0], -1):
            yield "effect-ahead", f"input {key} has a visible output, the group's offset is {h.offsets.get(found[0], -1)}"
    for key, (partition, offset, _) in source.items():
        if not times[key] and offset < h.offsets.get(partition, -1):
            yield "effect-missing", f"input {key} has no visible output, the group's offset is {h.offsets[partition]}"


def order(h):
    """Outputs of one input partition stand in its order in each output partition; also those that are not visible, inside their transaction."""
    last = {}
    for partition, offset, key, value in h.committed:
        source, _, at = key.partition(":")
        if last.get((partition, source), -1) >= int(at):
            yield "nonmonotonic-send", f"output {partition}/{offset} is of input {key}, after one of {last[partition, source]}"
        last[partition, source] = int(at)
    last = {}
    for partition, offset, key, value in h.uncommitted:
        source, _, at = key.partition(":")
        if last.get((partition, source, label_of(value)), -1) >= int(at):
            yield "int-nonmonotonic-send", f"{label_of(value)} wrote input {key} at {partition}/{offset} after a later one"
        last[partition, source, label_of(value)] = int(at)


def visible_of(h):
    """label -> (records visible at read_committed, records in the log)."""
    count = collections.defaultdict(lambda: [0, 0])
    for record in h.committed:
        count[label_of(record[3])][0] += 1
    for record in h.uncommitted:
        count[label_of(record[3])][1] += 1
    return count


def verdicts(h):
    """What became of each transaction is what its copier was told, whole or not at all."""
    count = visible_of(h)
    for label, (seen, there) in count.items():
        if label not in h.txns:
            yield "unknown-transaction", f"{label} has {there} records in the log and no copier begun it"
        if 0 < seen < there:
            yield "torn-txn", f"{label} has {there} records in the log, {seen} visible"
    live = {label_of(r[4]) for r in h.live}
    for label, txn in h.txns.items():
        seen, _ = count[label]
        if txn.aborted and not txn.committed and (seen or label in live):
            yield "aborted-read", f"{label} was aborted and {seen} of its records are visible"
        if txn.commit is None and not txn.aborted and (seen or label in live):
            yield "uncommitted-read", f"{label} was never asked to commit and {seen} of its records are visible"
        if txn.committed and seen != txn.sent:
            yield "lost-write", f"{label} was committed with {txn.sent} records, {seen} are visible"
        if txn.commit and not txn.committed and not txn.aborted and seen and seen != txn.sent:
            yield "torn-txn", f"{label} sent {txn.sent} records, {seen} are visible"


def timing(h):
    """Nothing was read before its commit was asked for, nothing was committed by a copier that had been replaced."""
    for at, partition, offset, _, value in h.live:
        txn = h.txns.get(label_of(value))
        if txn and txn.commit and at < txn.commit:
            yield "dirty-read", f"{value} at {partition}/{offset} was read {txn.commit - at} ns before its commit was asked for"
    count = visible_of(h)
    for (txn_id, instance), ready in h.ready.items():
        for label, txn in h.txns.items():
            if txn.txn_id == txn_id and txn.instance < instance and txn.commit and txn.commit > ready and count[label][0]:
                yield "zombie-commit", f"{label} became visible, asked for after instance {instance} of {txn_id} was ready"


def rest(h):
    """All is read, the offsets say so, and nothing is left open."""
    ends = collections.Counter()
    for partition, offset, _ in h.input:
        ends[partition] = max(ends[partition], offset + 1)
    for partition, end in ends.items():
        if h.offsets.get(partition, -1) != end:
            yield "stale-commit", f"the group's offset of {partition} is {h.offsets.get(partition, -1)}, the input ends at {end}"
    for (topic, partition), (stable, high) in h.ends.items():
        if stable != high:
            yield "lso-stall", f"{topic} {partition}: last stable offset {stable}, high watermark {high}"


def hidden(h):
    """How many records stand in the log that read_committed does not show: a run that has none was weak."""
    return len(h.uncommitted) - len(h.committed)
