//! What reading and writing takes from the heap: next to nothing on the road of a batch, and never more than a bounded multiple of
//! what a stranger sent.
#![expect(clippy::unwrap_used, reason = "a test that panics has found something")]
#![expect(unsafe_code, reason = "an allocator that counts")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use bytes::{BufMut, Bytes, BytesMut};
use hanbeon_records::{ErrorCode, Offset};
use hanbeon_wire::{
    Advertised, ApiKey, Connection, ELEMENTS_MAX, FetchHead, FetchRequest, FetchResult,
    FetchWriter, Next, ProduceRequest, ProduceResult, ProduceWriter, ReplyTo, Request, Standing,
    TopicRef, WireError,
    messages::{create_topics, describe_configs, metadata},
};

struct Counting;

thread_local! {
    static CALLS: Cell<usize> = const { Cell::new(0) };
    static HELD: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is handed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        HELD.set(HELD.get() + layout.size());
        PEAK.set(PEAK.get().max(HELD.get()));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.set(HELD.get().saturating_sub(layout.size()));
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn calls_of(work: impl FnOnce()) -> usize {
    let before = CALLS.get();
    work();
    CALLS.get() - before
}

/// The most bytes that `work` held at once.
fn peak_of(work: impl FnOnce()) -> usize {
    let before = HELD.get();
    PEAK.set(before);
    work();
    PEAK.get() - before
}

/// A frame of Produce 9 with `partitions` record sets of `size` bytes.
fn produce_frame(partitions: u8, size: u32) -> Vec<u8> {
    let mut frame = vec![0, 0, 0, 9, 0, 0, 0, 7, 0, 2, b'm', b'e', 0];
    frame.extend_from_slice(&[0, 0xff, 0xff, 0, 0, 0, 9, 2, 2, b't', partitions + 1]);
    for index in 0..partitions {
        frame.put_i32(index.into());
        let mut length = size + 1;
        while length > 0x7f {
            frame.put_u8(u8::try_from(length & 0x7f).unwrap() | 0x80);
            length >>= 7;
        }
        frame.put_u8(u8::try_from(length).unwrap());
        frame.put_bytes(0x55, size.try_into().unwrap());
        frame.put_u8(0);
    }
    frame.extend_from_slice(&[0, 0]);
    frame
}

#[test]
fn a_produce_request_is_read_without_the_heap() {
    let advertised = Advertised::everything_readable();
    for (partitions, size) in [(1, 100), (100, 16_000), (1, 1_000_000)] {
        let frame = produce_frame(partitions, size);
        let mut connection = Connection::new(Standing::Trusted);
        connection.push(&u32::try_from(frame.len()).unwrap().to_be_bytes());
        connection.push(&frame);
        let mut request = None;
        let framing = calls_of(|| {
            if let Ok(Next::Request(place, read)) = connection.next_request(&advertised) {
                request = Some((place, read));
            }
        });
        // The buffer becomes shared, and the queue of owed answers gets its first room.
        assert!(framing <= 2, "{framing} allocations");
        let (_place, request) = request.unwrap();
        let mut seen = 0;
        let reading = calls_of(|| {
            let produce = ProduceRequest::read(&request).unwrap();
            for topic in produce.topics() {
                for partition in topic.partitions() {
                    seen += partition.records.map_or(0, |records| records.len());
                }
            }
        });
        assert_eq!(seen, usize::from(partitions) * usize::try_from(size).unwrap());
        assert_eq!(reading, 0);
    }
}

#[test]
fn a_fetch_request_is_read_without_the_heap() {
    let mut body = vec![0; 4 + 4 + 4 + 1 + 4 + 4];
    body.extend_from_slice(&[2, 2, b't', 3]);
    for _ in 0..2 {
        body.put_bytes(1, 4 + 4 + 8 + 4 + 8 + 4);
        body.put_u8(0);
    }
    body.extend_from_slice(&[0, 1, 1, 0]);
    let mut with_replica = vec![0xff; 4];
    with_replica.append(&mut body);
    let reply_to = ReplyTo { api: ApiKey::Fetch, version: 12, correlation_id: 1 };
    let request = Request { reply_to, client_id: None, body: Bytes::from(with_replica) };
    let mut seen = 0;
    let calls = calls_of(|| {
        let fetch = FetchRequest::read(&request).unwrap();
        seen = fetch.topics().map(|topic| topic.partitions().count()).sum();
    });
    assert_eq!((seen, calls), (2, 0));
}

#[test]
fn answers_reuse_their_buffer() {
    let reply_to = ReplyTo { api: ApiKey::Produce, version: 12, correlation_id: 1 };
    let mut scratch = BytesMut::with_capacity(4096);
    let calls = calls_of(|| {
        for _ in 0..1000 {
            let mut writer = ProduceWriter::begin(&mut scratch, reply_to, 1).unwrap();
            writer.topic(TopicRef::Name("orders"), 1).unwrap();
            writer.partition(&ProduceResult::written(0, Offset::ZERO, Offset::ZERO)).unwrap();
            drop(writer.finish(0, &[]).unwrap());
        }
    });
    assert!(calls <= 2, "{calls} allocations in a thousand answers");

    let reply_to = ReplyTo { api: ApiKey::Fetch, ..reply_to };
    let records = Bytes::from(vec![1; 1_000_000]).slice(1..);
    let head = FetchHead { throttle_ms: 0, error: ErrorCode::None, session_id: 0 };
    let peak = peak_of(|| {
        let mut writer = FetchWriter::begin(&mut scratch, reply_to, head, 1).unwrap();
        writer.topic(TopicRef::Name("orders"), 8).unwrap();
        for index in 0..8 {
            let result = FetchResult::refused(index, ErrorCode::None);
            writer.partition(&result, records.clone()).unwrap();
        }
        assert!(writer.finish(&[]).unwrap().len() > 8 * records.len());
    });
    assert!(peak < 8192, "{peak} bytes for eight megabytes of records");
}

/// A request whose body repeats `element` as often as `prefix` says.
fn hostile(api: ApiKey, version: i16, prefix: &[u8], element: &[u8], count: usize) -> Request {
    let mut body = BytesMut::from(prefix);
    let mut claim = count + 1;
    while claim > 0x7f {
        body.put_u8(u8::try_from(claim & 0x7f).unwrap() | 0x80);
        claim >>= 7;
    }
    body.put_u8(u8::try_from(claim).unwrap());
    for _ in 0..count {
        body.put_slice(element);
    }
    body.put_slice(&[0; 16]);
    let reply_to = ReplyTo { api, version, correlation_id: 1 };
    Request { reply_to, client_id: None, body: body.freeze() }
}

#[test]
fn cve_2026_111108_small_elements_do_not_grow_without_bound() {
    let configs = |count| {
        let topic = [2, 2, b't', 0, 0, 0, 1, 0, 1, 1];
        hostile(ApiKey::CreateTopics, 7, &topic, &[1, 0, 0], count)
    };
    let keys = |count| hostile(ApiKey::DescribeConfigs, 4, &[2, 2, 1], &[1], count);
    let topics = |count| {
        // A topic id, no name, no tags.
        hostile(ApiKey::Metadata, 12, &[], &[0; 18], count)
    };
    for count in [10, 1_000, 100_000] {
        for (name, request) in
            [("configs", configs(count)), ("keys", keys(count)), ("topics", topics(count))]
        {
            let peak = peak_of(|| match name {
                "configs" => drop(request.decode::<create_topics::Request>().unwrap()),
                "keys" => drop(request.decode::<describe_configs::Request>().unwrap()),
                _ => drop(request.decode::<metadata::Request>().unwrap()),
            });
            let bound = 160 * request.body.len() + 4096;
            assert!(peak <= bound, "{count} {name}: {peak} bytes for {}", request.body.len());
        }
    }
    // Those that are read without being decoded: whoever walks them keeps something for each.
    let partitions =
        hostile(ApiKey::Produce, 9, &[0, 0, 1, 0, 0, 0, 1, 2, 2, b't'], &[0; 6], ELEMENTS_MAX);
    let refused = ProduceRequest::read(&partitions).err();
    assert_eq!(refused, Some(WireError::TooManyElements { max: ELEMENTS_MAX }));
    let fetch_prefix = [&[0xff; 4][..], &[0; 8], &[0; 5], &[0; 8], &[2, 2, b't']].concat();
    let partitions = hostile(ApiKey::Fetch, 12, &fetch_prefix, &[0; 33], ELEMENTS_MAX);
    let refused = FetchRequest::read(&partitions).err();
    assert_eq!(refused, Some(WireError::TooManyElements { max: ELEMENTS_MAX }));

    let many = keys(ELEMENTS_MAX + 1);
    let mut refused = None;
    let peak = peak_of(|| refused = many.decode::<describe_configs::Request>().err());
    assert_eq!(refused, Some(WireError::TooManyElements { max: ELEMENTS_MAX }));
    assert_eq!(peak, 0, "refused before anything is built");
}

#[test]
fn cve_2026_111115_unknown_tags_are_not_kept() {
    // Topics of Metadata 12, each with 64 empty unknown tags.
    let mut topic = vec![0; 17];
    topic.push(64);
    for _ in 0..64 {
        topic.extend_from_slice(&[9, 0]);
    }
    let request = hostile(ApiKey::Metadata, 12, &[], &topic, 10_000);
    let mut decoded = None;
    let peak = peak_of(|| decoded = Some(request.decode::<metadata::Request>().unwrap()));
    let topics = decoded.unwrap().topics.unwrap();
    assert_eq!(topics.len(), 10_000);
    assert!(topics.iter().all(|topic| topic._unknown_tagged_fields.is_empty()));
    assert!(peak <= 4 * request.body.len(), "{peak} bytes for {}", request.body.len());
    // One more, and the connection is closed.
    topic[17] = 65;
    topic.extend_from_slice(&[9, 0]);
    let request = hostile(ApiKey::Metadata, 12, &[], &topic, 1);
    assert!(matches!(
        request.decode::<metadata::Request>(),
        Err(WireError::TooManyTags { found: 65, .. })
    ));
}
