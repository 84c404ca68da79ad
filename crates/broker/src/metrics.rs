//! What is counted about connections and requests, and everything that is counted under the names Kafka's dashboards know.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use hanbeon::{
    Counter, Engine, Env, Metrics, PartitionHandle, Pin, TopicMetrics, txn::TransactionalId,
};
use hanbeon_records::{ErrorCode, Millis};
use hanbeon_wire::ApiKey;
use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet},
    metrics::MetricType,
};

use crate::sessions::Sessions;

/// Connections opened, closed and refused. Clones count together.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConnectionMetrics(Arc<ConnectionCounts>);

#[derive(Debug, Default)]
struct ConnectionCounts {
    opened: AtomicU64,
    closed: AtomicU64,
    refused: AtomicU64,
}

impl ConnectionMetrics {
    // Relaxed, here and below: statistics order nothing.
    pub(crate) fn opened(&self) {
        self.0.opened.fetch_add(1, Relaxed);
    }

    pub(crate) fn closed(&self) {
        self.0.closed.fetch_add(1, Relaxed);
    }

    pub(crate) fn refused(&self) {
        self.0.refused.fetch_add(1, Relaxed);
    }

    /// How many are open.
    pub(crate) fn open(&self) -> u64 {
        self.0.opened.load(Relaxed).saturating_sub(self.0.closed.load(Relaxed))
    }
}

/// Requests by API, and what was refused of them by its code. Clones count together.
#[derive(Clone, Debug)]
pub(crate) struct RequestMetrics(Arc<RequestCounts>);

#[derive(Debug)]
struct RequestCounts {
    begun: Vec<AtomicU64>,
    /// By API and by number of the code.
    refused: Mutex<BTreeMap<(ApiKey, i16), u64>>,
}

impl RequestMetrics {
    pub(crate) fn new() -> Self {
        let slots = ApiKey::ALL.iter().filter_map(|api| slot(*api)).max().unwrap_or(0);
        let begun = (0..=slots).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(RequestCounts { begun, refused: Mutex::default() }))
    }

    pub(crate) fn count(&self, api: ApiKey) {
        if let Some(count) = slot(api).and_then(|at| self.0.begun.get(at)) {
            count.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn refused(&self, api: ApiKey, code: ErrorCode) {
        *self.0.refused.lock().entry((api, code.number())).or_default() += 1;
    }

    fn get(&self, api: ApiKey) -> u64 {
        slot(api).and_then(|at| self.0.begun.get(at)).map_or(0, |count| count.load(Relaxed))
    }
}

fn slot(api: ApiKey) -> Option<usize> {
    usize::try_from(api.number()).ok()
}

/// Everything that is counted, read when somebody asks. Logs that are not open yet are left alone.
pub(crate) struct Counted<E: Env> {
    pub(crate) engine: Engine<E>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) requests: RequestMetrics,
    pub(crate) connections: ConnectionMetrics,
}

impl<E: Env> fmt::Debug for Counted<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counted").finish_non_exhaustive()
    }
}

impl<E: Env> Collector for Counted<E> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(&mut encoder);
        self.topics(&mut page)?;
        self.partitions(&mut page)?;
        self.pins(&mut page)?;
        self.groups(&mut page)?;
        self.remembered(&mut page)?;
        self.requests(&mut page)?;
        ours(&mut page, self.engine.metrics())
    }
}

/// A number of a topic: its name on the page, what it is, where it is.
type OfTopic = (&'static str, &'static str, fn(&TopicMetrics) -> &Counter);
/// A number of a partition whose log is open.
type OfPartition<E> = (&'static str, &'static str, fn(&PartitionHandle<E>) -> Option<u64>);

/// A number of a transaction that holds readers back.
type OfPin = (&'static str, &'static str, fn(&Pin, Millis) -> i64);

/// Lags of groups on the page, each on one partition: a client makes groups at will, and who collects the page keeps each line for long.
const GROUP_LAGS_MAX: usize = 1000;
/// The longest id of a group on the page, in bytes. Clients choose it, and may choose 32 KiB.
const GROUP_ID_BYTES_MAX: usize = 255;

const PINS: &[OfPin] = &[
    ("hanbeon_lso_lag_offsets", "Offsets held back from readers of committed data", |pin, _| {
        pin.offsets_behind
    }),
    ("hanbeon_lso_lag_bytes", "Bytes held back from readers of committed data", |pin, _| {
        i64::try_from(pin.bytes_behind).unwrap_or(i64::MAX)
    }),
    (
        "hanbeon_lso_lag_ms",
        "Milliseconds since the transaction that holds them back began",
        |pin, now| now.since(pin.since),
    ),
];

const TOPICS: &[OfTopic] = &[
    ("kafka_server_brokertopicmetrics_messagesin", "Records appended", |m| &m.messages_in),
    ("kafka_server_brokertopicmetrics_bytesin", "Bytes of batches appended", |m| &m.bytes_in),
    ("kafka_server_brokertopicmetrics_bytesout", "Bytes of batches read", |m| &m.bytes_out),
    ("kafka_server_brokertopicmetrics_totalproducerequests", "Batches sent", |m| {
        &m.produce_requests
    }),
    ("kafka_server_brokertopicmetrics_failedproducerequests", "Batches not taken", |m| {
        &m.failed_produce_requests
    }),
    ("kafka_server_brokertopicmetrics_totalfetchrequests", "Reads", |m| &m.fetch_requests),
    ("kafka_server_brokertopicmetrics_failedfetchrequests", "Reads refused or failed", |m| {
        &m.failed_fetch_requests
    }),
];

impl<E: Env> Counted<E> {
    fn topics(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let image = self.engine.image();
        let topics = image.topics();
        for (name, help, read) in TOPICS {
            let mut family = page.counters(name, help)?;
            for topic in &topics {
                let labels = [("topic", topic.name().as_str())];
                count(&mut family, &labels, read(topic.metrics()).get())?;
            }
        }
        Ok(())
    }

    fn partitions(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let numbers: [OfPartition<E>; 5] = [
            ("kafka_log_log_logstartoffset", "First offset", |p| offset(p.log_start_offset())),
            ("kafka_log_log_logendoffset", "End of the log", |p| offset(p.log_end_offset())),
            ("kafka_log_log_size", "Bytes of batches on disk", |p| p.size_bytes().ok()),
            ("kafka_log_log_numlogsegments", "Segments", |p| {
                p.segment_count().ok().and_then(|count| u64::try_from(count).ok())
            }),
            (
                "kafka_cluster_partition_laststableoffsetlag",
                "Offsets that open transactions hold back",
                |p| offset(p.high_watermark())?.checked_sub(offset(p.last_stable_offset())?),
            ),
        ];
        let image = self.engine.image();
        let open: Vec<_> = image
            .topics()
            .into_iter()
            .flat_map(|topic| topic.partitions())
            .filter(|partition| partition.is_open())
            .collect();
        for (name, help, read) in numbers {
            let mut family = page.gauges(name, help)?;
            for partition in &open {
                let Some(value) = read(partition) else { continue };
                let number = partition.number().to_string();
                let labels = [("topic", partition.topic().as_str()), ("partition", &number)];
                family.encode_family(&labels)?.encode_gauge(&value)?;
            }
        }
        let all: usize = image.topics().iter().map(|topic| topic.partitions().len()).sum();
        page.gauges("kafka_server_replicamanager_partitioncount", "Partitions")?.encode_gauge(&all)
    }

    /// Which transactions hold readers of committed data back, and how far.
    fn pins(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let (pins, now) = (self.engine.pins(), self.engine.now());
        for (name, help, read) in PINS {
            let mut family = page.gauges(name, help)?;
            for pin in &pins {
                let number = pin.partition.partition.to_string();
                let producer = pin.producer_id.to_string();
                let id = pin.transactional_id.as_ref().map_or("", TransactionalId::as_str);
                let labels = [
                    ("topic", pin.partition.topic.as_str()),
                    ("partition", &number),
                    ("transactional_id", id),
                    ("producer_id", &producer),
                ];
                family.encode_family(&labels)?.encode_gauge(&read(pin, now))?;
            }
        }
        let oldest = pins.iter().map(|pin| now.since(pin.since)).max().unwrap_or(0);
        page.gauges(
            "hanbeon_oldest_open_transaction_age_ms",
            "Milliseconds since the oldest open transaction began",
        )?
        .encode_gauge(&oldest)
    }

    /// Which groups are behind, the furthest ones.
    fn groups(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let mut largest = self.engine.largest_lags(GROUP_LAGS_MAX);
        let found = largest.lags.len();
        largest.lags.retain(|lag| lag.group.as_str().len() <= GROUP_ID_BYTES_MAX);
        largest.left_out += found - largest.lags.len();
        let mut family = page.gauges(
            "hanbeon_group_lag_offsets",
            "Offsets of committed data before what a group has committed",
        )?;
        for lag in &largest.lags {
            let number = lag.partition.partition.to_string();
            let labels = [
                ("group", lag.group.as_str()),
                ("topic", lag.partition.topic.as_str()),
                ("partition", &number),
            ];
            family.encode_family(&labels)?.encode_gauge(&lag.offsets)?;
        }
        page.gauges("hanbeon_group_lags_left_out", "Lags that are not on this page: smaller ones, and those of groups with ids over 255 bytes")?
            .encode_gauge(&largest.left_out)
    }

    /// How much is remembered of producers, and what coordinators still have to do.
    fn remembered(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let (shards, now) = (self.engine.transactions().counts(), self.engine.now());
        let mut family =
            page.gauges("hanbeon_transactional_ids", "Ids that a transaction coordinator knows")?;
        for shard in &shards {
            let labels = [("partition", shard.partition.to_string())];
            family.encode_family(&labels)?.encode_gauge(&shard.ids)?;
        }
        let owed: usize = shards.iter().map(|shard| shard.owed).sum();
        let since = shards.iter().filter_map(|shard| shard.oldest_owed).min();
        for (name, help, value) in [
            (
                "hanbeon_transactions_owed_markers",
                "Transactions that are decided and lack markers",
                i64::try_from(owed).unwrap_or(i64::MAX),
            ),
            (
                "hanbeon_oldest_owed_marker_age_ms",
                "Milliseconds for which the oldest of them has lacked markers",
                since.map_or(0, |since| now.since(since)),
            ),
            (
                "hanbeon_producers",
                "Producers that partitions remember",
                i64::try_from(self.engine.remembered_producers()).unwrap_or(i64::MAX),
            ),
        ] {
            page.gauges(name, help)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn requests(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        self.requests_by_api(page)?;
        self.connections(page)?;
        page.gauges(
            "kafka_server_fetchsessioncache_numincrementalfetchsessions",
            "Open fetch sessions",
        )?
        .encode_gauge(&self.sessions.len())
    }

    fn requests_by_api(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let mut family =
            page.counters("kafka_network_requestmetrics_requests", "Requests begun")?;
        for &api in ApiKey::ALL {
            let requests = self.requests.get(api);
            if requests > 0 {
                count(&mut family, &[("request", api.to_string().as_str())], requests)?;
            }
        }
        let mut family = page.counters(
            "kafka_network_requestmetrics_errors",
            "Requests about transactions and groups, and batches, that were refused",
        )?;
        let refused = self.requests.0.refused.lock().clone();
        for ((api, code), requests) in refused {
            let name = ErrorCode::from_number(code).map_or("", ErrorCode::name);
            let labels = [("request", api.to_string()), ("error", name.to_owned())];
            count(&mut family, &labels, requests)?;
        }
        Ok(())
    }

    fn connections(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let connections = &self.connections.0;
        let (opened, closed) = (connections.opened.load(Relaxed), connections.closed.load(Relaxed));
        page.gauges("kafka_server_socket_server_metrics_connection_count", "Open connections")?
            .encode_gauge(&self.connections.open())?;
        for (name, help, value) in [
            (
                "kafka_server_socket_server_metrics_connection_creation",
                "Connections opened",
                opened,
            ),
            ("kafka_server_socket_server_metrics_connection_close", "Connections closed", closed),
            (
                "hanbeon_connections_refused",
                "Connections refused for a limit",
                connections.refused.load(Relaxed),
            ),
        ] {
            plain(&mut page.counters(name, help)?, value)?;
        }
        Ok(())
    }
}

/// What is ours: what became of batches, and what syncs cost.
fn ours(page: &mut Page<'_, '_>, metrics: &Metrics) -> fmt::Result {
    decisions(page, metrics)?;
    upkeep(page, metrics)
}

fn decisions(page: &mut Page<'_, '_>, metrics: &Metrics) -> fmt::Result {
    let mut family = page.counters("idempotent_decisions", "What became of batches")?;
    for (decision, counter) in [
        ("append", &metrics.admitted),
        ("duplicate", &metrics.duplicates),
        ("out_of_order", &metrics.out_of_order),
        ("fenced", &metrics.fenced),
        ("refused", &metrics.refused),
    ] {
        count(&mut family, &[("decision", decision)], counter.get())?;
    }
    Ok(())
}

fn upkeep(page: &mut Page<'_, '_>, metrics: &Metrics) -> fmt::Result {
    let (syncs, batches) = (metrics.syncs.get(), metrics.synced_batches.get());
    page.0
        .encode_descriptor(
            "group_commit_batch_size",
            "Batches answered by one sync that was waited for",
            None,
            MetricType::Histogram,
        )?
        .encode_histogram::<NoLabelSet>(real(batches), syncs, &[(f64::INFINITY, syncs)], None)?;
    for (name, help, value) in [
        (
            "kafka_log_logflushstats_logflush",
            "Syncs",
            syncs.saturating_add(metrics.background_syncs.get()),
        ),
        ("hanbeon_transaction_markers", "Markers written", metrics.markers.get()),
        ("hanbeon_partitions_opened", "Logs opened", metrics.partitions_opened.get()),
        ("hanbeon_damage_found", "Damaged places found in logs", metrics.damage_found.get()),
        ("hanbeon_producer_ids", "Producer ids handed out", metrics.producer_ids.get()),
        ("hanbeon_producers_expired", "Producers forgotten", metrics.producers_expired.get()),
    ] {
        plain(&mut page.counters(name, help)?, value)?;
    }
    Ok(())
}

/// As exact as can be: from 2^53 on the last digits are lost.
fn real(count: u64) -> f64 {
    let half = |bits: u64| f64::from(u32::try_from(bits & u64::from(u32::MAX)).unwrap_or(u32::MAX));
    half(count >> 32) * 4_294_967_296.0 + half(count)
}

/// The page while it is written.
struct Page<'p, 'e>(&'p mut DescriptorEncoder<'e>);

impl Page<'_, '_> {
    fn counters<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
    ) -> Result<MetricEncoder<'s>, fmt::Error> {
        self.0.encode_descriptor(name, help, None, MetricType::Counter)
    }

    fn gauges<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
    ) -> Result<MetricEncoder<'s>, fmt::Error> {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)
    }
}

fn count(family: &mut MetricEncoder<'_>, labels: &impl EncodeLabelSet, value: u64) -> fmt::Result {
    plain(&mut family.encode_family(labels)?, value)
}

fn plain(metric: &mut MetricEncoder<'_>, value: u64) -> fmt::Result {
    metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
}

fn offset<Error>(offset: Result<hanbeon_records::Offset, Error>) -> Option<u64> {
    u64::try_from(offset.ok()?.get()).ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn counts_are_whole_beyond_32_bits() {
        for (count, expected) in [
            (7, 7.0),
            (u64::from(u32::MAX), 4_294_967_295.0),
            (5_000_000_000, 5_000_000_000.0),
            (1 << 52, 4_503_599_627_370_496.0),
        ] {
            assert_eq!(super::real(count), expected);
        }
    }
}
