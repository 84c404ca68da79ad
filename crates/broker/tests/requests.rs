//! What requests lead to, seen by a client that pipelines, waits, and leaves.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that panics has found something"
)]

mod support;

use bytes::Buf;
use hanbeon::{
    Engine, FetchSpec as EngineFetch, Options, Record, TopicName, TopicPartition,
    txn::{AddPartitions, EndTxn, InitProducerId, Outcome, Protocol, TransactionalId},
};
use hanbeon_broker::Limits;
use hanbeon_records::Offset;
use support::*;
use tokio::io::AsyncWriteExt;

/// Answered only when it is on the disk, so that answers are waited for.
const SYNC: &[(&str, &str)] = &[("flush.messages", "1")];

#[tokio::test]
async fn five_produces_in_flight_are_answered_in_order() {
    let broker = Running::standard().await;
    broker.topic_with("t", SYNC);
    let producer = broker.engine.init_producer_id().unwrap();
    let (id, epoch) = (producer.id.get(), producer.epoch.get());
    let mut client = broker.client().await;
    let mut all = Vec::new();
    for sequence in 0..5 {
        let batch = batch_of((id, epoch, sequence), &[&format!("v{sequence}")]);
        all.extend(request(PRODUCE, 3, sequence, &produce(-1, "t", &batch)));
    }
    all.extend(request(FETCH, 11, 5, &FetchSpec::from("t", 0).body()));
    client.raw(&all).await;
    for sequence in 0..5 {
        assert_eq!(produced(client.answer(sequence).await), (0, i64::from(sequence)));
    }
    // The Fetch has waited for all of them.
    let fetched = fetched(client.answer(5).await);
    let expected: Vec<_> = (0..5).map(|sequence| format!("v{sequence}")).collect();
    assert_eq!(fetched.partitions, [(0, 5, expected)]);
    broker.stop().await;
}

/// P1, P2, P3: what arrives together is judged one behind the other; a refusal is nobody else's.
#[tokio::test]
async fn requests_that_arrive_together_are_answered_each_for_itself() {
    const OUT_OF_ORDER: i16 = 45;
    const UNKNOWN_TOPIC: i16 = 3;
    let broker = Running::standard().await;
    broker.topic("t");
    broker.topic("other");
    let producer = broker.engine.init_producer_id().unwrap();
    let (id, epoch) = (producer.id.get(), producer.epoch.get());
    let of = |sequence: i32| batch_of((id, epoch, sequence), &["v"]);
    let mut client = broker.client().await;
    let turn = [
        (-1, "t", of(0), (0, 0)),
        (1, "t", of(1), (0, 1)),
        (-1, "t", of(1), (0, 1)),
        (-1, "other", of(0), (0, 0)),
        (-1, "t", of(3), (OUT_OF_ORDER, -1)),
        (1, "nowhere", of(0), (UNKNOWN_TOPIC, -1)),
        (-1, "t", of(2), (0, 2)),
        (-1, "t", batch(&["of nobody"]), (0, 3)),
        (-1, "t", of(3), (0, 4)),
        (-1, "other", of(1), (0, 1)),
    ];
    let frames = (0..)
        .zip(&turn)
        .map(|(n, (acks, topic, batch, _))| request(PRODUCE, 3, n, &produce(*acks, topic, batch)));
    client.raw(&frames.collect::<Vec<_>>().concat()).await;
    for (n, (_, _, _, expected)) in (0..).zip(turn) {
        assert_eq!(produced(client.answer(n).await), expected, "request {n}");
    }
    broker.stop().await;
}

/// The first asks the coordinator, those behind it find the transaction open, and one for a partition that is no part of it does not.
#[tokio::test]
async fn batches_of_a_transaction_that_arrive_together_are_answered_each_for_itself() {
    const INVALID_TXN_STATE: i16 = 48;
    const OUT_OF_ORDER: i16 = 45;
    let broker = Running::standard().await;
    broker.topic("t");
    broker.topic("strange");
    let transactions = broker.engine.transactions();
    let id = TransactionalId::new("tx").unwrap();
    let producer = transactions.init_producer_id(InitProducerId::new(id.clone(), 60_000));
    let producer = producer.await.unwrap();
    let at = TopicPartition { topic: TopicName::new("t").unwrap(), partition: 0 };
    let (partitions, protocol) = (vec![at], Protocol::V1);
    let add = AddPartitions { id: id.clone(), producer, partitions, protocol };
    transactions.add_partitions(add).await.unwrap();
    let of = |sequence: i32| {
        let stamp = (producer.id.get(), producer.epoch.get(), sequence);
        transactional(batch_of(stamp, &["v"]))
    };
    let turn = [
        ("t", of(0), (0, 0)),
        ("t", of(1), (0, 1)),
        ("t", of(1), (0, 1)),
        ("t", of(3), (OUT_OF_ORDER, -1)),
        ("strange", of(0), (INVALID_TXN_STATE, -1)),
        ("t", of(2), (0, 2)),
        ("t", of(3), (0, 3)),
    ];
    let mut client = broker.client().await;
    let frames = (0..).zip(&turn).map(|(n, (topic, batch, _))| {
        let mut body = Vec::new();
        text(&mut body, "tx");
        // Behind the name that is not there.
        body.extend_from_slice(&produce(-1, topic, batch)[2..]);
        request(PRODUCE, 3, n, &body)
    });
    client.raw(&frames.collect::<Vec<_>>().concat()).await;
    for (n, (_, _, expected)) in (0..).zip(turn) {
        assert_eq!(produced(client.answer(n).await), expected, "request {n}");
    }
    let end = EndTxn { id, producer, outcome: Outcome::Commit, protocol };
    transactions.end(end).await.unwrap();
    // Nobody's word is had for it any more.
    let mut body = Vec::new();
    text(&mut body, "tx");
    body.extend_from_slice(&produce(-1, "t", &of(4))[2..]);
    let late = [request(PRODUCE, 3, 8, &body), request(PRODUCE, 3, 9, &body)].concat();
    client.raw(&late).await;
    for n in [8, 9] {
        assert_eq!(produced(client.answer(n).await).0, INVALID_TXN_STATE);
    }
    broker.stop().await;
}

#[tokio::test]
async fn p2_a_retry_is_answered_with_the_original_offset() {
    let broker = Running::standard().await;
    broker.topic("t");
    let producer = broker.engine.init_producer_id().unwrap();
    let batch = |sequence| {
        let batch = batch_of((producer.id.get(), producer.epoch.get(), sequence), &["v"]);
        produce(-1, "t", &batch)
    };
    let mut client = broker.client().await;
    for sequence in 0..3 {
        client.send(PRODUCE, 3, 1, &batch(sequence)).await;
        assert_eq!(produced(client.answer(1).await), (0, i64::from(sequence)));
    }
    let mut again = broker.client().await;
    for sequence in 0..3 {
        again.send(PRODUCE, 3, 1, &batch(sequence)).await;
        assert_eq!(produced(again.answer(1).await), (0, i64::from(sequence)), "the original");
    }
    again.send(PRODUCE, 3, 2, &batch(7)).await;
    assert_eq!(produced(again.answer(2).await).0, 45, "a gap");
    assert_eq!(broker.engine.partition("t", 0).unwrap().log_end_offset().unwrap().get(), 3);
    broker.stop().await;
}

#[tokio::test]
async fn a_produce_without_acks_is_silent_and_a_refused_one_closes() {
    let broker = Running::standard().await;
    broker.topic("t");
    let mut client = broker.client().await;
    client.send(PRODUCE, 3, 1, &produce(0, "t", &batch(&["a"]))).await;
    client.send(PRODUCE, 3, 2, &produce(1, "t", &batch(&["b"]))).await;
    assert_eq!(produced(client.answer(2).await), (0, 1));
    client.send(PRODUCE, 3, 3, &produce(0, "nowhere", &batch(&["c"]))).await;
    client.is_closed().await;
    broker.client().await.works().await;
    broker.stop().await;
}

#[tokio::test]
async fn a_long_poll_wakes_when_something_is_written() {
    let broker = Running::standard().await;
    broker.topic("t");
    let (mut reader, mut writer) = (broker.client().await, broker.client().await);
    let waits = FetchSpec { wait_ms: 600_000, ..FetchSpec::from("t", 0) };
    reader.send(FETCH, 11, 1, &waits.body()).await;
    let partition = broker.engine.partition("t", 0).unwrap();
    while partition.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    writer.send(PRODUCE, 3, 1, &produce(-1, "t", &batch(&["news"]))).await;
    assert_eq!(produced(writer.answer(1).await), (0, 0));
    let fetched = fetched(reader.answer(1).await);
    assert_eq!(fetched.partitions, [(0, 1, vec!["news".to_owned()])]);
    // A reader that leaves while it waits is not waited with.
    let waits = FetchSpec { from: 1, ..waits };
    reader.send(FETCH, 11, 2, &waits.body()).await;
    while partition.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    drop(reader);
    while partition.waiting() > 0 {
        tokio::task::yield_now().await;
    }
    broker.stop().await;
}

/// Nothing is read while a Fetch waits and more has arrived behind it, so that a read would not tell.
#[tokio::test]
async fn a_reader_that_leaves_behind_what_it_has_sent_is_not_waited_with() {
    // Looked after every 50 ms.
    let limits = Limits { request_ms_max: 200, ..Limits::standard() };
    let broker = Running::limited(limits).await;
    broker.topic("t");
    let partition = broker.engine.partition("t", 0).unwrap();
    let no_frame = (-1_i32).to_be_bytes().to_vec();
    for behind in [request(METADATA, 1, 2, &[0xff; 4]), no_frame] {
        let mut reader = broker.client().await;
        let waits = FetchSpec { wait_ms: i32::MAX, ..FetchSpec::from("t", 0) };
        reader.send(FETCH, 11, 1, &waits.body()).await;
        while partition.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        reader.raw(&behind).await;
        drop(reader);
        let gone = async {
            while partition.waiting() > 0 {
                tokio::task::yield_now().await;
            }
        };
        timely(gone).await;
    }
    broker.stop().await;
}

#[tokio::test]
async fn what_was_sent_behind_a_fetch_that_waits_runs_when_the_client_leaves() {
    let broker = Running::limited(Limits { request_ms_max: 200, ..Limits::standard() }).await;
    broker.topic("t");
    broker.topic("u");
    let partition = broker.engine.partition("u", 0).unwrap();
    for (acks, written) in [(1, 1), (0, 2)] {
        let mut client = broker.client().await;
        let waits = FetchSpec { wait_ms: i32::MAX, ..FetchSpec::from("t", 0) };
        let behind = request(PRODUCE, 3, 2, &produce(acks, "u", &batch(&["v"])));
        client.raw(&[request(FETCH, 11, 1, &waits.body()), behind].concat()).await;
        drop(client);
        timely(async {
            while partition.high_watermark().unwrap() < Offset::new(written) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_client_that_sends_no_more_gets_its_answers() {
    let broker = Running::limited(Limits { request_ms_max: 200, ..Limits::standard() }).await;
    broker.topic_with("t", SYNC);
    broker.topic("u");
    let mut client = broker.client().await;
    let produces = (0..5).map(|id| request(PRODUCE, 3, id, &produce(-1, "t", &batch(&["v"]))));
    client.raw(&produces.collect::<Vec<_>>().concat()).await;
    client.stream.shutdown().await.unwrap();
    for id in 0..5 {
        assert_eq!(produced(client.answer(id).await), (0, i64::from(id)));
    }
    client.is_closed().await;

    let mut client = broker.client().await;
    let waits = FetchSpec { wait_ms: i32::MAX, ..FetchSpec::from("u", 0) };
    let behind = request(METADATA, 1, 2, &[0xff; 4]);
    client.raw(&[request(FETCH, 11, 1, &waits.body()), behind].concat()).await;
    client.stream.shutdown().await.unwrap();
    assert_eq!(fetched(client.answer(1).await).partitions, [(0, 0, vec![])]);
    assert!(client.answer(2).await.has_remaining());
    client.is_closed().await;
    broker.stop().await;
}

#[tokio::test]
async fn a_fetch_waits_no_longer_than_a_silent_client_is_kept() {
    let limits = Limits { idle_ms_max: 200, ..Limits::standard() };
    let broker = Running::limited(limits).await;
    broker.topic("t");
    let mut reader = broker.client().await;
    let waits = FetchSpec { wait_ms: i32::MAX, ..FetchSpec::from("t", 0) };
    reader.send(FETCH, 11, 1, &waits.body()).await;
    assert_eq!(fetched(reader.answer(1).await).partitions, [(0, 0, vec![])]);
    broker.stop().await;
}

#[tokio::test]
async fn sessions_tell_what_is_new_and_nothing_else() {
    let broker = Running::standard().await;
    broker.topic("t");
    let mut client = broker.client().await;
    let mut id = 0;
    let mut ask = async |session, topic: Option<&str>, from| {
        let spec = FetchSpec { wait_ms: 0, session, topic, from };
        id += 1;
        client.send(FETCH, 11, id, &spec.body()).await;
        fetched(client.answer(id).await)
    };
    let opened = ask((0, 0), Some("t"), 0).await;
    assert_eq!((opened.error, opened.partitions.len()), (0, 1));
    assert!(opened.session > 0);
    let session = opened.session;
    assert_eq!(ask((session, 1), None, 0).await.partitions, [], "nothing is new");
    let partition = broker.engine.partition("t", 0).unwrap();
    partition.produce(batch(&["a"]).into(), hanbeon::Acks::All).wait().unwrap();
    let told = ask((session, 2), None, 0).await;
    assert_eq!(told.partitions, [(0, 1, vec!["a".to_owned()])]);
    // The client moves on.
    assert_eq!(ask((session, 3), Some("t"), 1).await.partitions, []);
    // Epochs may not be repeated, strange sessions are not known, and a closed one is gone.
    assert_eq!(ask((session, 3), None, 0).await.error, 71);
    assert_eq!(ask((session + 1, 1), None, 0).await.error, 70);
    assert_eq!(ask((session, -1), Some("t"), 1).await.session, 0);
    assert_eq!(ask((session, 4), None, 0).await.error, 70);
    broker.stop().await;
}

#[tokio::test]
async fn a_stop_answers_what_was_begun_and_the_next_start_has_it() {
    let broker = Running::standard().await;
    broker.topic_with("t", SYNC);
    let mut writer = broker.client().await;
    let mut reader = broker.client().await;
    let waits = FetchSpec { wait_ms: 600_000, ..FetchSpec::from("t", 100) };
    writer.send(PRODUCE, 3, 1, &produce(-1, "t", &batch(&["a"]))).await;
    assert_eq!(produced(writer.answer(1).await), (0, 0));
    reader.send(FETCH, 11, 1, &FetchSpec { from: 1, ..waits }.body()).await;
    let partition = broker.engine.partition("t", 0).unwrap();
    while partition.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    let address = broker.address;
    let stopped = tokio::spawn(broker.stop());
    // Who waits for data is told that there is none.
    assert_eq!(fetched(reader.answer(1).await).partitions, [(0, 1, vec![])]);
    reader.is_closed().await;
    writer.is_closed().await;
    let home = stopped.await.unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens any more");
    let engine = Engine::open_with(home.path(), Options::broker()).unwrap();
    let fetched =
        engine.partition("t", 0).unwrap().fetch(&EngineFetch::from(Offset::ZERO)).unwrap();
    assert_eq!(fetched.high_watermark.get(), 1);
}

/// What Kafka does: the topic's setting decides, and what a producer has compressed itself is given as it is.
#[tokio::test]
async fn readers_that_do_not_know_zstd_are_told_that_a_topic_has_it() {
    const UNSUPPORTED_COMPRESSION_TYPE: i16 = 76;
    let broker = Running::standard().await;
    broker.topic_with("t", &[("compression.type", "zstd")]);
    let mut client = broker.client().await;
    client.send(PRODUCE, 3, 1, &produce(1, "t", &batch(&["a"]))).await;
    assert_eq!(produced(client.answer(1).await), (0, 0));
    // Version 11 ends with a rack, which those before do not have.
    let body = FetchSpec::from("t", 0).body();
    let without_rack = &body[..body.len() - 2];
    client.send(FETCH, 9, 2, without_rack).await;
    let mut answer = client.answer(2).await;
    // Throttle time, code, session, how many topics, "t", how many partitions, which.
    answer.advance(4 + 2 + 4 + 4 + 3 + 4 + 4);
    assert_eq!(answer.get_i16(), UNSUPPORTED_COMPRESSION_TYPE);
    client.send(FETCH, 10, 3, without_rack).await;
    let mut answer = client.answer(3).await;
    answer.advance(4 + 2 + 4 + 4 + 3 + 4 + 4);
    assert_eq!((answer.get_i16(), answer.get_i64()), (0, 1));
    answer.advance(8 + 8 + 4);
    assert!(answer.get_i32() > 60, "the batch is there");
    broker.stop().await;
}

/// Versions 10 and 11 have a place for an id, and look nothing up by it.
#[tokio::test]
async fn metadata_looks_up_by_id_from_version_12_on() {
    const INVALID_REQUEST: i16 = 42;
    let broker = Running::standard().await;
    broker.topic("t");
    let id = broker.engine.topic("t").unwrap().id().get();
    let mut client = broker.client().await;
    // Tags of the header, one topic: its id, its name, tags; nothing is created, no operations are asked for.
    let ask =
        |name: &[u8], id: [u8; 16], rest: &[u8]| [&[0, 2], &id[..], name, &[0], rest].concat();
    for (version, rest) in [(10, &[0, 0, 0, 0][..]), (11, &[0, 0, 0])] {
        for (name, id) in [(&[0][..], id), (&[0], [0; 16]), (&[2, b't'], id)] {
            client.send(METADATA, version, 1, &ask(name, id, rest)).await;
            let mut answer = client.answer(1).await;
            // Tags of the header, throttle time, no brokers, no cluster id, no controller, one topic.
            answer.advance(1 + 4);
            assert_eq!(answer.split_to(1 + 1 + 4 + 1), [1, 0, 0xff, 0xff, 0xff, 0xff, 2][..]);
            assert_eq!(answer.get_i16(), INVALID_REQUEST, "{version} {name:?}");
        }
        client.send(METADATA, version, 2, &ask(&[2, b't'], [0; 16], rest)).await;
        let answer = client.answer(2).await;
        assert!(answer.windows(16).any(|part| part == id), "{version}");
    }
    client.send(METADATA, 12, 3, &ask(&[0], id, &[0, 0, 0])).await;
    let answer = client.answer(3).await;
    assert!(answer.windows(3).any(|part| part == [2, b't', id[0]]), "found by its id");
    broker.stop().await;
}

/// What Kafka does: the API is there on a listener without SASL, too.
#[tokio::test]
async fn a_sasl_handshake_without_sasl_is_refused_and_the_connection_goes_on() {
    const SASL_HANDSHAKE: i16 = 17;
    const ILLEGAL_SASL_STATE: i16 = 34;
    let broker = Running::standard().await;
    let mut client = broker.client().await;
    for version in 0..=1 {
        let mut body = Vec::new();
        text(&mut body, "PLAIN");
        client.send(SASL_HANDSHAKE, version, 1, &body).await;
        let mut answer = client.answer(1).await;
        assert_eq!((answer.get_i16(), answer.get_i32()), (ILLEGAL_SASL_STATE, 0));
        client.works().await;
    }
    broker.stop().await;
}

/// N13: who cannot sort aborted data out is named in `hanbeon.filter.aborted.clients`.
#[tokio::test]
async fn a_client_that_is_named_gets_no_aborted_data_and_others_all() {
    for (named, expected) in [("t", &["a", "c"][..]), ("u", &["a", "b", "c", "d"])] {
        let broker = Running::with(|options| options.filter_aborted_for(vec![named.into()])).await;
        broker.topic("t");
        let mut producer = broker.engine.transactional_producer("tx").unwrap();
        for (value, is_committed) in [("a", true), ("b", false), ("c", true)] {
            let mut transaction = producer.begin();
            transaction.send(Record::new("t", value).partition(0)).unwrap();
            // What was not sent yet would not be aborted, but forgotten.
            transaction.flush().unwrap();
            if is_committed {
                transaction.commit().unwrap();
            } else {
                transaction.abort().unwrap();
            }
        }
        let mut open = producer.begin();
        open.send(Record::new("t", "d").partition(0)).unwrap();
        open.flush().unwrap();
        // It asks for everything, and is the client "t".
        let mut client = broker.client().await;
        client.send(FETCH, 11, 1, &FetchSpec::from("t", 0).body()).await;
        let (code, _, values) = fetched(client.answer(1).await).partitions.remove(0);
        // Beside those of markers.
        let values: Vec<_> = values.into_iter().filter(|value| value.len() == 1).collect();
        assert_eq!(code, 0);
        assert_eq!(values, expected);
        open.abort().unwrap();
        broker.stop().await;
    }
}
