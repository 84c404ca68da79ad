#!/usr/bin/env python3
"""The checker goes red: a sound history by hand, and for each anomaly the smallest change that shows it."""

import copy
import unittest

from exactly_once import History, Txn, anomalies, hidden


def sound():
    """Two partitions of two records each; copier 0 commits partition 0, aborts partition 1 and is replaced, copier 1 does it again."""
    h = History(partitions=2)
    h.input = [(0, 0, "v0"), (0, 1, "v2"), (1, 0, "v1"), (1, 1, "v3")]
    h.committed = [(0, 0, "0:0", "v0@a.0"), (0, 5, "1:0", "v1@b.0"), (1, 0, "0:1", "v2@a.0"), (1, 5, "1:1", "v3@b.0")]
    aborted = [(0, 2, "1:0", "v1@a.1"), (1, 2, "1:1", "v3@a.1")]
    h.uncommitted = sorted([*h.committed, *aborted])
    h.live = [(25, 0, 0, "0:0", "v0@a.0"), (25, 1, 0, "0:1", "v2@a.0"), (65, 0, 5, "1:0", "v1@b.0"), (66, 1, 5, "1:1", "v3@b.0")]
    h.offsets = {0: 2, 1: 2}
    h.ends = {("output", 0): (7, 7), ("output", 1): (7, 7)}
    h.txns = {
        "a.0": Txn("t", 0, begun=10, sent=2, commit=20, committed=24),
        "a.1": Txn("t", 0, begun=30, sent=2, abort=35, aborted=36),
        "b.0": Txn("t", 1, begun=50, sent=2, commit=60, committed=64),
    }
    h.ready = {("t", 0): 5, ("t", 1): 45}
    return h


class Red(unittest.TestCase):
    def shows(self, name, change):
        h = copy.deepcopy(sound())
        change(h)
        found = {n for n, _ in anomalies(h)}
        self.assertIn(name, found)
        return found

    def only(self, name, change):
        self.assertEqual(self.shows(name, change), {name})

    def test_sound_history_shows_nothing(self):
        self.assertEqual(list(anomalies(sound())), [])
        self.assertEqual(hidden(sound()), 2)

    def test_aborted_read(self):
        """A dropped entry of the aborted list: the reader after the run sees what was rolled back."""

        def change(h):
            h.committed = list(h.uncommitted)

        self.assertLessEqual({"aborted-read", "effect-twice", "live-differs"}, self.shows("aborted-read", change))

    def test_aborted_read_of_the_live_reader_alone(self):
        self.assertEqual(self.shows("aborted-read", lambda h: h.live.insert(2, (40, 0, 2, "1:0", "v1@a.1"))), {"aborted-read", "live-differs"})

    def test_uncommitted_read(self):
        def change(h):
            h.txns["b.0"].commit = h.txns["b.0"].committed = None

        self.only("uncommitted-read", change)

    def test_dirty_read(self):
        self.only("dirty-read", lambda h: h.live.__setitem__(0, (15, 0, 0, "0:0", "v0@a.0")))

    def test_early_offset_commit(self):
        """Offsets published though the transaction was aborted: its records are never copied."""

        def change(h):
            h.committed = h.committed[0:1] + h.committed[2:3]
            h.live = h.live[:2]
            h.uncommitted = [r for r in h.uncommitted if not r[3].endswith("@b.0")]
            del h.txns["b.0"]

        self.only("effect-missing", change)

    def test_effect_twice(self):
        def change(h):
            h.committed.insert(2, (0, 7, "0:0", "v0@b.0"))
            h.uncommitted.append((0, 7, "0:0", "v0@b.0"))
            h.live.append((67, 0, 7, "0:0", "v0@b.0"))
            h.txns["b.0"].sent = 3

        self.assertEqual(self.shows("effect-twice", change), {"effect-twice", "nonmonotonic-send"})

    def test_effect_ahead_and_stale_commit(self):
        self.assertEqual(self.shows("effect-ahead", lambda h: h.offsets.update({1: 1})), {"effect-ahead", "stale-commit"})

    def test_stale_commit_with_no_offset(self):
        self.assertEqual(self.shows("stale-commit", lambda h: h.offsets.update({1: -1})), {"effect-ahead", "stale-commit"})

    def test_effect_unknown(self):
        self.assertIn("effect-unknown", self.shows("effect-unknown", lambda h: h.input.pop()))

    def test_damaged(self):
        self.only("damaged", lambda h: h.input.__setitem__(0, (0, 0, "other")))

    def test_torn_txn(self):
        """A marker that never reached one of the partitions."""

        def change(h):
            del h.committed[3], h.live[3]

        found = self.shows("torn-txn", change)
        self.assertEqual(found, {"torn-txn", "lost-write", "effect-missing"})

    def test_torn_txn_of_unknown_outcome(self):
        def change(h):
            del h.committed[3], h.live[3], h.uncommitted[-1]
            h.txns["b.0"].committed = None
            h.offsets[1] = 1

        self.assertIn("torn-txn", self.shows("torn-txn", change))

    def test_lost_write(self):
        def change(h):
            for records in (h.committed, h.uncommitted, h.live):
                records[:] = [r for r in records if not r[-1].endswith("@b.0")]
            h.offsets[1] = 0
            h.input = [r for r in h.input if r[0] == 0]
            h.offsets = {0: 2}

        self.only("lost-write", change)

    def test_zombie_commit(self):
        def change(h):
            h.ready["t", 1] = 15

        self.only("zombie-commit", change)

    def test_nonmonotonic_send(self):
        def change(h):
            for records in (h.committed, h.uncommitted):
                records[:] = [(0, 1, "0:1", "v2@a.0") if r[:2] == (1, 0) else r for r in records]
                records.sort()
            h.committed[0], h.committed[1] = (0, 0, "0:1", "v2@a.0"), (0, 1, "0:0", "v0@a.0")
            h.uncommitted[0], h.uncommitted[1] = h.committed[0], h.committed[1]
            h.live[0:2] = [(25, *h.committed[0]), (25, *h.committed[1])]

        self.assertEqual(self.shows("nonmonotonic-send", change), {"nonmonotonic-send", "int-nonmonotonic-send"})

    def test_inconsistent_offset(self):
        def change(h):
            h.live[0] = (25, 0, 0, "0:0", "v0@b.0")

        self.assertIn("inconsistent-offset", self.shows("inconsistent-offset", change))

    def test_read_committed_only(self):
        self.assertIn("read-committed-only", self.shows("read-committed-only", lambda h: h.uncommitted.pop(0)))

    def test_live_reader_skipped(self):
        self.only("live-differs", lambda h: h.live.pop())

    def test_unknown_transaction(self):
        self.assertIn("unknown-transaction", self.shows("unknown-transaction", lambda h: h.txns.pop("a.1")))

    def test_lso_stall(self):
        """A marker that was skipped for good."""
        self.only("lso-stall", lambda h: h.ends.update({("output", 1): (5, 7)}))


if __name__ == "__main__":
    unittest.main()
