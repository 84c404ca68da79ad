//! The page that Prometheus reads.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that panics has found something"
)]

mod support;

use bytes::{Buf, BufMut};
use hanbeon::Record;
use support::*;

async fn get(broker: &Running, what: &str) -> String {
    http(broker.metrics.unwrap(), what).await
}

#[tokio::test]
async fn the_page_counts_what_was_produced_and_fetched() {
    let broker = Running::with(|options| options.metrics("127.0.0.1:0".parse().unwrap())).await;
    broker.topic("t");
    broker.engine.ensure_topic("unopened", 1).unwrap();
    let producer = broker.engine.init_producer_id().unwrap();
    let batch = batch_of((producer.id.get(), producer.epoch.get(), 0), &["a", "b"]);
    let mut client = broker.client().await;
    for id in 1..=2 {
        client.send(PRODUCE, 3, id, &produce(-1, "t", &batch)).await;
        assert_eq!(produced(client.answer(id).await), (0, 0));
    }
    client.send(FETCH, 11, 3, &FetchSpec::from("t", 0).body()).await;
    assert_eq!(fetched(client.answer(3).await).partitions.len(), 1);
    let page = get(&broker, "GET /metrics").await;
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    assert!(page.ends_with("# EOF\n"), "{page}");
    let bytes = batch.len();
    for line in [
        "kafka_server_brokertopicmetrics_messagesin_total{topic=\"t\"} 2",
        &format!("kafka_server_brokertopicmetrics_bytesin_total{{topic=\"t\"}} {bytes}"),
        &format!("kafka_server_brokertopicmetrics_bytesout_total{{topic=\"t\"}} {bytes}"),
        "kafka_server_brokertopicmetrics_totalproducerequests_total{topic=\"t\"} 2",
        "kafka_network_requestmetrics_requests_total{request=\"Produce\"} 2",
        "kafka_network_requestmetrics_requests_total{request=\"Fetch\"} 1",
        "kafka_log_log_logstartoffset{topic=\"t\",partition=\"0\"} 0",
        "kafka_log_log_logendoffset{topic=\"t\",partition=\"0\"} 2",
        &format!("kafka_log_log_size{{topic=\"t\",partition=\"0\"}} {bytes}"),
        "kafka_log_log_numlogsegments{topic=\"t\",partition=\"0\"} 1",
        "kafka_server_replicamanager_partitioncount 2",
        "kafka_server_socket_server_metrics_connection_count 1",
        "idempotent_decisions_total{decision=\"append\"} 1",
        "idempotent_decisions_total{decision=\"duplicate\"} 1",
    ] {
        assert!(page.contains(&format!("{line}\n")), "{line} is not on\n{page}");
    }
    let opened = broker.engine.partition("unopened", 0).unwrap().is_open();
    assert!(!opened, "looking at numbers opens no log");
    assert!(get(&broker, "GET /").await.starts_with("HTTP/1.1 404 "));
    assert!(get(&broker, "POST /metrics").await.starts_with("HTTP/1.1 405 "));
    broker.stop().await;
}

#[tokio::test]
async fn the_page_counts_what_the_transaction_coordinator_refuses() {
    const INIT_PRODUCER_ID: i16 = 22;
    const INVALID_TRANSACTION_TIMEOUT: i16 = 50;
    let broker = Running::with(|options| options.metrics("127.0.0.1:0".parse().unwrap())).await;
    let mut body = Vec::new();
    text(&mut body, "payments");
    body.put_i32(-1);
    let mut client = broker.client().await;
    client.send(INIT_PRODUCER_ID, 0, 1, &body).await;
    let mut answer = client.answer(1).await;
    assert_eq!((answer.get_i32(), answer.get_i16()), (0, INVALID_TRANSACTION_TIMEOUT));
    let labels = "{request=\"InitProducerId\",error=\"INVALID_TRANSACTION_TIMEOUT\"}";
    let page = get(&broker, "GET /metrics").await;
    assert!(
        page.contains(&format!("kafka_network_requestmetrics_errors_total{labels} 1\n")),
        "{page}"
    );
    broker.stop().await;
}

#[tokio::test]
async fn the_page_counts_batches_and_requests_about_groups_that_are_refused() {
    const HEARTBEAT: i16 = 12;
    const UNKNOWN_MEMBER_ID: i16 = 25;
    let broker = Running::with(|options| options.metrics("127.0.0.1:0".parse().unwrap())).await;
    let mut client = broker.client().await;
    for correlation in 1..=2 {
        client.send(PRODUCE, 3, correlation, &produce(-1, "absent", &batch(&["a"]))).await;
        assert_eq!(produced(client.answer(correlation).await).0, 3);
    }
    let mut body = Vec::new();
    text(&mut body, "g");
    body.put_i32(1);
    text(&mut body, "nobody");
    client.send(HEARTBEAT, 0, 3, &body).await;
    assert_eq!(client.answer(3).await.get_i16(), UNKNOWN_MEMBER_ID);
    let page = get(&broker, "GET /metrics").await;
    for labels in [
        "{request=\"Produce\",error=\"UNKNOWN_TOPIC_OR_PARTITION\"} 2",
        "{request=\"Heartbeat\",error=\"UNKNOWN_MEMBER_ID\"} 1",
    ] {
        let line = format!("kafka_network_requestmetrics_errors_total{labels}\n");
        assert!(page.contains(&line), "{line} is not on\n{page}");
    }
    broker.stop().await;
}

#[tokio::test]
async fn the_page_counts_what_group_coordinators_refuse_of_single_members_and_whole_commits() {
    const JOIN_GROUP: i16 = 11;
    const LEAVE_GROUP: i16 = 13;
    const TXN_OFFSET_COMMIT: i16 = 28;
    const INVALID_SESSION_TIMEOUT: i16 = 26;
    const MEMBER_ID_REQUIRED: i16 = 79;
    let broker = Running::with(|options| options.metrics("127.0.0.1:0".parse().unwrap())).await;
    let mut client = broker.client().await;
    for (session_timeout_ms, code) in [(1, INVALID_SESSION_TIMEOUT), (10_000, MEMBER_ID_REQUIRED)] {
        let mut body = Vec::new();
        text(&mut body, "g");
        body.put_i32(session_timeout_ms);
        body.put_i32(10_000);
        text(&mut body, "");
        text(&mut body, "consumer");
        body.put_i32(1);
        text(&mut body, "range");
        body.put_i32(0);
        client.send(JOIN_GROUP, 4, 1, &body).await;
        let mut answer = client.answer(1).await;
        assert_eq!((answer.get_i32(), answer.get_i16()), (0, code));
    }
    let mut body = Vec::new();
    text(&mut body, "g");
    body.put_i32(2);
    for member_id in ["nobody", "nobody else"] {
        text(&mut body, member_id);
        body.put_i16(-1);
    }
    client.send(LEAVE_GROUP, 3, 2, &body).await;
    client.answer(2).await;
    let mut body = Vec::new();
    text(&mut body, "payments");
    text(&mut body, "");
    body.put_i64(1);
    body.put_i16(0);
    body.put_i32(0);
    client.send(TXN_OFFSET_COMMIT, 0, 3, &body).await;
    client.answer(3).await;
    let page = get(&broker, "GET /metrics").await;
    for labels in [
        "{request=\"JoinGroup\",error=\"INVALID_SESSION_TIMEOUT\"} 1",
        "{request=\"LeaveGroup\",error=\"UNKNOWN_MEMBER_ID\"} 2",
        "{request=\"TxnOffsetCommit\",error=\"INVALID_GROUP_ID\"} 1",
    ] {
        let line = format!("kafka_network_requestmetrics_errors_total{labels}\n");
        assert!(page.contains(&line), "{line} is not on\n{page}");
    }
    assert!(!page.contains("MEMBER_ID_REQUIRED"), "it is no error\n{page}");
    broker.stop().await;
}

#[tokio::test]
async fn the_page_tells_which_groups_are_behind() {
    let long = "x".repeat(256);
    let broker = Running::with(|options| options.metrics("127.0.0.1:0".parse().unwrap())).await;
    broker.topic_with("t", &[]);
    let mut client = broker.client().await;
    client.send(PRODUCE, 3, 1, &produce(-1, "t", &batch(&["a", "b", "c"]))).await;
    assert_eq!(produced(client.answer(1).await), (0, 0));
    for (group, committed) in [("g", 1), ("h", 2), (&*long, 0)] {
        client.send(OFFSET_COMMIT, 2, 2, &offset_commit(group, committed, "")).await;
        client.answer(2).await;
    }
    let page = get(&broker, "GET /metrics").await;
    for line in [
        "hanbeon_group_lag_offsets{group=\"g\",topic=\"t\",partition=\"0\"} 2\n",
        "hanbeon_group_lag_offsets{group=\"h\",topic=\"t\",partition=\"0\"} 1\n",
        "hanbeon_group_lags_left_out 1\n",
    ] {
        assert!(page.contains(line), "{line} is not on\n{page}");
    }
    assert!(!page.contains(&long), "an id as long as a client likes\n{page}");
    for (limit, lags) in [&[][..], &[3], &[3, 2], &[3, 2, 1]].into_iter().enumerate() {
        let largest = broker.engine.largest_lags(limit);
        assert_eq!(largest.lags.iter().map(|lag| lag.offsets).collect::<Vec<_>>(), lags);
        assert_eq!(largest.left_out, 3 - limit);
    }
    broker.stop().await;
}

#[tokio::test]
async fn there_is_no_page_unless_it_is_asked_for() {
    let broker = Running::standard().await;
    assert_eq!(broker.metrics, None);
    broker.stop().await;
}

/// Every bucket of a histogram that a reader of the page wants, the last above all: without it the whole page is thrown away.
#[tokio::test]
async fn the_page_has_the_last_bucket_of_its_histogram() {
    let broker = Running::with(|options| options.metrics("127.0.0.1:0".parse().unwrap())).await;
    broker.topic_with("t", &[("flush.messages", "1")]);
    let mut client = broker.client().await;
    client.send(PRODUCE, 3, 1, &produce(-1, "t", &batch(&["a"]))).await;
    assert_eq!(produced(client.answer(1).await), (0, 0));
    let page = get(&broker, "GET /metrics").await;
    for line in [
        "group_commit_batch_size_sum 1.0\n",
        "group_commit_batch_size_count 1\n",
        "group_commit_batch_size_bucket{le=\"+Inf\"} 1\n",
    ] {
        assert!(page.contains(line), "{line} is not on\n{page}");
    }
    assert_eq!(page.matches("_bucket{").count(), 1);
    broker.stop().await;
}

#[tokio::test]
async fn the_page_says_which_transaction_holds_readers_back() {
    let broker = Running::with(|options| options.metrics("127.0.0.1:0".parse().unwrap())).await;
    broker.topic("t");
    let mut producer = broker.engine.transactional_producer("payments").unwrap();
    let value_of = |page: &str, of: &str| {
        let line = page.lines().find(|line| line.starts_with(of));
        line.map(|line| line.rsplit_once(' ').unwrap().1.parse::<i64>().unwrap())
    };
    let before = get(&broker, "GET /metrics").await;
    assert!(!before.contains("hanbeon_lso_lag_offsets{"), "{before}");
    assert_eq!(value_of(&before, "hanbeon_oldest_open_transaction_age_ms "), Some(0));
    let mut transaction = producer.begin();
    for value in ["a", "b"] {
        transaction.send(Record::new("t", value).partition(0)).unwrap();
    }
    transaction.flush().unwrap();
    let begun = broker.engine.pins()[0].since;
    // Until its age can be told from none.
    while broker.engine.now() == begun {
        tokio::task::yield_now().await;
    }
    let page = get(&broker, "GET /metrics").await;
    let id = broker.engine.pins()[0].producer_id;
    let labels = format!(
        "{{topic=\"t\",partition=\"0\",transactional_id=\"payments\",producer_id=\"{id}\"}} "
    );
    let lag = |name: &str| value_of(&page, &format!("hanbeon_lso_lag_{name}{labels}"));
    let bytes = broker.engine.partition("t", 0).unwrap().size_bytes().unwrap();
    assert_eq!(lag("offsets"), Some(2), "{page}");
    assert_eq!(lag("bytes"), i64::try_from(bytes).ok());
    assert!(lag("ms").is_some_and(|age| age > 0));
    assert!(value_of(&page, "hanbeon_oldest_open_transaction_age_ms ") >= lag("ms"));
    assert_eq!(value_of(&page, "hanbeon_producers "), Some(1));
    let ids: i64 = page
        .lines()
        .filter(|line| line.starts_with("hanbeon_transactional_ids{"))
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<i64>().unwrap())
        .sum();
    assert_eq!(ids, 1);
    assert_eq!(value_of(&page, "hanbeon_transactions_owed_markers "), Some(0));
    transaction.commit().unwrap();
    let after = get(&broker, "GET /metrics").await;
    assert!(!after.contains("hanbeon_lso_lag_offsets{"), "{after}");
    broker.stop().await;
}
