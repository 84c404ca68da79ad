//! The page that Prometheus reads.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that panics has found something"
)]

mod support;

use support::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

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
async fn there_is_no_page_unless_it_is_asked_for() {
    let broker = Running::standard().await;
    assert_eq!(broker.metrics, None);
    broker.stop().await;
}
