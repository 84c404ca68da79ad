//! Rolling and deleting segments against readers: a reader finds every offset below the end it saw, and what it found stays.

use hanbeon_log::{
    Published,
    sync::{Arc, AtomicBool, AtomicU64, Ordering, thread},
};
use hanbeon_records::Offset;

use super::model;

/// The list of the product, taken in by its source: it is no part of what the crate exports.
#[path = "../../src/segments.rs"]
#[allow(dead_code, unreachable_pub, reason = "the model uses a part of it")]
mod list;

use list::{Based, Segments, floor};

struct Segment {
    base: i64,
    end: Published,
    record: AtomicU64,
    /// Set when the last holder lets go; what is mapped is unmapped then.
    unmapped: Arc<AtomicBool>,
}

impl Segment {
    fn from(base: i64, unmapped: &Arc<AtomicBool>) -> Arc<Self> {
        let (end, record) = (Published::new(0), AtomicU64::new(0));
        Arc::new(Self { base, end, record, unmapped: Arc::clone(unmapped) })
    }

    /// One record a segment is enough; the order is that of `append.rs`: bytes, then their end.
    fn append(&self) {
        self.record.store(7, Ordering::Relaxed);
        self.end.advance(1);
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        self.unmapped.store(true, Ordering::Release);
    }
}

impl Based for Segment {
    fn base_offset(&self) -> Offset {
        Offset::new(self.base)
    }
}

struct Log {
    segments: Segments<Segment>,
    start: AtomicU64,
    end: Published,
    unmapped: [Arc<AtomicBool>; 2],
}

impl Log {
    fn new() -> Arc<Self> {
        let unmapped = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let [oldest, _] = &unmapped;
        let first = Segment::from(0, oldest);
        first.append();
        let (segments, end) = (Segments::new(vec![first]), Published::new(1));
        Arc::new(Self { segments, start: AtomicU64::new(0), end, unmapped })
    }

    /// In the order of `partition_log.rs`: the segment is in the list before an end inside it is published.
    fn roll_and_append(&self) {
        let [_, newest] = &self.unmapped;
        let second = Segment::from(1, newest);
        #[cfg(not(hanbeon_weak = "roll"))]
        self.segments.push(Arc::clone(&second));
        second.append();
        self.end.advance(2);
        #[cfg(hanbeon_weak = "roll")]
        self.segments.push(second);
    }

    /// The start is raised before the segment goes, so that a reader who misses it knows why.
    fn delete_oldest(&self) {
        self.start.store(1, Ordering::Release);
        let kept = self.segments.load().iter().skip(1).cloned().collect();
        self.segments.replace(kept);
    }

    /// In the order of `read.rs`: the end first, then the list.
    fn read_last(&self) {
        let end = self.end.get();
        let last = end - 1;
        let segments = self.segments.load();
        let Some(place) = floor(&segments, Offset::new(last.try_into().unwrap())) else {
            assert!(
                self.start.load(Ordering::Acquire) > last,
                "deleted without the log's start being raised"
            );
            return;
        };
        let segment = &segments[place];
        let from = u64::try_from(segment.base).unwrap();
        assert!(
            from + segment.end.get() > last,
            "L7: a published offset is in no segment of the list"
        );
        assert_eq!(
            segment.record.load(Ordering::Relaxed),
            7,
            "L7: a published record is not there"
        );
        let [oldest, newest] = &self.unmapped;
        let flag = if from == 0 { oldest } else { newest };
        assert!(!flag.load(Ordering::Acquire), "L10: unmapped under a reader");
    }
}

#[test]
fn l7_rolling_hides_nothing_that_is_published() {
    model("roll against readers", || {
        let log = Log::new();
        let readers =
            [Arc::clone(&log), Arc::clone(&log)].map(|log| thread::spawn(move || log.read_last()));
        log.roll_and_append();
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

#[test]
fn l10_deleting_takes_nothing_from_a_reader() {
    model("roll and deletion against a reader", || {
        let log = Log::new();
        let reading = Arc::clone(&log);
        let reader = thread::spawn(move || {
            reading.read_last();
            reading.read_last();
        });
        log.roll_and_append();
        log.delete_oldest();
        reader.join().unwrap();
        let [oldest, newest] = &log.unmapped;
        assert!(oldest.load(Ordering::Acquire), "a deleted segment was never let go");
        assert!(!newest.load(Ordering::Acquire));
    });
}
