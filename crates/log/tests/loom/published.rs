//! L7: whoever sees the published end sees the bytes below it.

use hanbeon_log::{
    Published,
    sync::{Arc, AtomicU64, Ordering, thread},
};

use super::model;

#[test]
fn l7_readers_see_the_bytes_below_the_published_end() {
    model("published end against readers", || {
        let bytes = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
        let published = Arc::new(Published::new(0));
        let reader = |looks: u64, bytes: Arc<[AtomicU64; 2]>, published: Arc<Published>| {
            move || {
                let mut last = 0;
                for _ in 0..looks {
                    let end = published.get();
                    assert!(end >= last, "the published end went backwards");
                    last = end;
                    for (at, byte) in (0..).zip(bytes.iter()) {
                        let seen = byte.load(Ordering::Relaxed);
                        assert!(
                            at >= end || seen == at + 1,
                            "L7: read below the published end what was not written"
                        );
                    }
                }
            }
        };
        let other = thread::spawn(reader(1, Arc::clone(&bytes), Arc::clone(&published)));
        let writer = {
            let (bytes, published) = (Arc::clone(&bytes), Arc::clone(&published));
            thread::spawn(move || {
                for (at, byte) in (0..).zip(bytes.iter()) {
                    byte.store(at + 1, Ordering::Relaxed);
                    published.advance(at + 1);
                }
            })
        };
        reader(2, bytes, published)();
        other.join().unwrap();
        writer.join().unwrap();
    });
}
