//! Fetch, versions 4 to 18, by hand: the request is walked in place, the response is pieces with the records between them.
//!
//! ```text
//! request    replica(-14) max_wait min_bytes max_bytes isolation session(7+) [topic [partition leader_epoch(9+) offset
//!            last_epoch(12+) log_start(5+) max_bytes {directory}(17+) {high watermark}(18+)]] [forgotten](7+) rack(11+)
//!            {cluster}(12+) {replica, its epoch}(15+)
//! response   throttle error(7+) session(7+) [topic [partition error high_watermark last_stable log_start(5+) [aborted]
//!            preferred_replica(11+) records {diverging}(12+) {leader}(12+) {snapshot}(12+)]] {endpoints}(16+)
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use hanbeon_records::{ErrorCode, LeaderEpoch, NodeId, Offset, ProducerId};

use crate::{
    answer::Answer,
    api::ApiKey,
    cursor::{Cursor, Elements, Form},
    error::WireError,
    header::{ReplyTo, Request},
    put,
    topic::{CurrentLeader, NodeEndpoint, Owed, TopicBy, TopicRef, put_endpoints, put_leader},
};

/// What a reader may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsolationLevel {
    /// Everything below the high watermark.
    ReadUncommitted,
    /// Everything below the last stable offset, and the list of aborted transactions.
    ReadCommitted,
    /// A number without a meaning.
    Unknown(i8),
}

impl IsolationLevel {
    /// The level with this number on the wire.
    #[must_use]
    pub const fn new(raw: i8) -> Self {
        match raw {
            0 => Self::ReadUncommitted,
            1 => Self::ReadCommitted,
            other => Self::Unknown(other),
        }
    }
}

/// Who fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetcher {
    /// A consumer (replica id -1).
    Consumer,
    /// A follower, with its broker epoch from version 15 on, else -1 (KIP-903).
    Replica {
        /// The follower.
        id: NodeId,
        /// Its broker epoch.
        epoch: i64,
    },
    /// Another negative replica id: debugging tools.
    Other(i32),
}

/// A Fetch request, checked from end to end, that borrows everything from its bytes.
#[derive(Clone, Copy, Debug)]
pub struct FetchRequest<'a> {
    /// Who fetches.
    pub fetcher: Fetcher,
    /// The cluster that a follower believes to be in.
    pub cluster_id: Option<&'a str>,
    /// How long the answer may wait for `min_bytes`, in milliseconds.
    pub max_wait_ms: i32,
    /// How many bytes make it worth answering earlier.
    pub min_bytes: i32,
    /// How many bytes of records the answer should hold at most (KIP-74: the first batch is given whole all the same).
    pub max_bytes: i32,
    /// What the reader may see.
    pub isolation: IsolationLevel,
    /// The fetch session (KIP-227); 0 for none.
    pub session_id: i32,
    /// The session's epoch; -1 for no session, 0 to open one.
    pub session_epoch: i32,
    /// The consumer's rack; empty for none.
    pub rack_id: &'a str,
    version: i16,
    topic_count: usize,
    topics: Cursor<'a>,
    forgotten_count: usize,
    forgotten: Cursor<'a>,
}

impl<'a> FetchRequest<'a> {
    /// Walks the whole request, so that the iterators that follow cannot meet an error.
    ///
    /// # Errors
    /// The connection is to be closed: this is another API's request, or its body is broken.
    pub fn read(request: &'a Request) -> Result<Self, WireError> {
        let ReplyTo { api, version, .. } = request.reply_to;
        if api != ApiKey::Fetch {
            return Err(WireError::OtherApi { asked: ApiKey::Fetch, found: api });
        }
        let layout = Layout::of(version);
        let mut cursor = Cursor::new(&request.body);
        let replica = if version <= 14 { cursor.i32()? } else { -1 };
        let (max_wait_ms, min_bytes) = (cursor.i32()?, cursor.i32()?);
        let (max_bytes, isolation) = (cursor.i32()?, IsolationLevel::new(cursor.i8()?));
        let (session_id, session_epoch) =
            if version >= 7 { (cursor.i32()?, cursor.i32()?) } else { (0, -1) };
        let mut elements = Elements::default();
        let topic_count = elements.add(cursor.count(layout.form, 1)?)?;
        let topics = cursor;
        for _ in 0..topic_count {
            elements.add(layout.topic(&mut cursor)?.partitions.left)?;
        }
        let forgotten_count = if version >= 7 { cursor.count(layout.form, 1)? } else { 0 };
        let forgotten = cursor;
        for _ in 0..elements.add(forgotten_count)? {
            elements.add(layout.forgotten(&mut cursor)?.partitions.remaining() / 4)?;
        }
        let rack_id = if version >= 11 { cursor.text(layout.form)? } else { "" };
        let mut read = Self {
            fetcher: fetcher(replica, -1),
            cluster_id: None,
            max_wait_ms,
            min_bytes,
            max_bytes,
            isolation,
            session_id,
            session_epoch,
            rack_id,
            version,
            topic_count,
            topics,
            forgotten_count,
            forgotten,
        };
        read.read_tags(&mut cursor, layout.form)?;
        Ok(read)
    }

    fn read_tags(&mut self, cursor: &mut Cursor<'a>, form: Form) -> Result<(), WireError> {
        for _ in 0..cursor.tag_count(form)? {
            match cursor.tag()? {
                (0, mut field) => self.cluster_id = field.nullable_text(Form::Compact)?,
                (1, mut field) if self.version >= 15 => {
                    let (id, epoch) = (field.i32()?, field.i64()?);
                    field.skip_tags(Form::Compact)?;
                    self.fetcher = fetcher(id, epoch);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// How many topics it names.
    #[must_use]
    pub const fn topic_count(&self) -> usize {
        self.topic_count
    }

    /// Whether it names topics by id, also where it names none; else by name.
    #[must_use]
    pub fn uses_topic_ids(&self) -> bool {
        TopicBy::of(self.version) == TopicBy::Id
    }

    /// The topics in the order of the request.
    #[must_use]
    pub const fn topics(&self) -> FetchTopics<'a> {
        FetchTopics {
            layout: Layout::of(self.version),
            left: self.topic_count,
            cursor: self.topics,
        }
    }

    /// The partitions that leave the session, by topic.
    #[must_use]
    pub const fn forgotten(&self) -> ForgottenTopics<'a> {
        ForgottenTopics {
            layout: Layout::of(self.version),
            left: self.forgotten_count,
            cursor: self.forgotten,
        }
    }
}

fn fetcher(id: i32, epoch: i64) -> Fetcher {
    match id {
        -1 => Fetcher::Consumer,
        0.. => Fetcher::Replica { id: NodeId::new(id), epoch },
        other => Fetcher::Other(other),
    }
}

/// How a version lays out its arrays.
#[derive(Clone, Copy, Debug)]
struct Layout {
    version: i16,
    form: Form,
    by: TopicBy,
}

impl Layout {
    const fn of(version: i16) -> Self {
        Self {
            version,
            form: Form::of(ApiKey::Fetch.is_flexible(version)),
            by: TopicBy::of(version),
        }
    }

    /// Reads one topic and steps over its partitions.
    fn topic<'a>(self, cursor: &mut Cursor<'a>) -> Result<FetchTopic<'a>, WireError> {
        let topic = TopicRef::read(cursor, self.form, self.by)?;
        let left = cursor.count(self.form, 16)?;
        let partitions = FetchPartitions { layout: self, left, cursor: *cursor };
        for _ in 0..left {
            self.partition(cursor)?;
        }
        cursor.skip_tags(self.form)?;
        Ok(FetchTopic { topic, partitions })
    }

    fn partition(self, cursor: &mut Cursor<'_>) -> Result<FetchPartition, WireError> {
        let version = self.version;
        let index = cursor.i32()?;
        let current_leader_epoch = if version >= 9 { cursor.i32()? } else { -1 };
        let fetch_offset = cursor.i64()?;
        let last_fetched_epoch = if version >= 12 { cursor.i32()? } else { -1 };
        let log_start_offset = if version >= 5 { cursor.i64()? } else { -1 };
        let mut read = FetchPartition {
            index,
            current_leader_epoch: LeaderEpoch::new(current_leader_epoch),
            fetch_offset: Offset::new(fetch_offset),
            last_fetched_epoch: LeaderEpoch::new(last_fetched_epoch),
            log_start_offset: Offset::new(log_start_offset),
            max_bytes: cursor.i32()?,
            directory_id: [0; 16],
            high_watermark: None,
        };
        for _ in 0..cursor.tag_count(self.form)? {
            match cursor.tag()? {
                (0, mut field) if version >= 17 => read.directory_id = field.uuid()?,
                (1, mut field) if version >= 18 => {
                    read.high_watermark = Some(Offset::new(field.i64()?));
                }
                _ => {}
            }
        }
        Ok(read)
    }

    /// Reads one forgotten topic and steps over its partitions.
    fn forgotten<'a>(self, cursor: &mut Cursor<'a>) -> Result<ForgottenTopic<'a>, WireError> {
        let topic = TopicRef::read(cursor, self.form, self.by)?;
        let count = cursor.count(self.form, 4)?;
        let partitions = Cursor::new(cursor.take(count.saturating_mul(4))?);
        cursor.skip_tags(self.form)?;
        Ok(ForgottenTopic { topic, partitions })
    }
}

/// Iterates over the topics of a [`FetchRequest`].
#[derive(Clone, Debug)]
pub struct FetchTopics<'a> {
    layout: Layout,
    left: usize,
    cursor: Cursor<'a>,
}

impl<'a> Iterator for FetchTopics<'a> {
    type Item = FetchTopic<'a>;

    fn next(&mut self) -> Option<FetchTopic<'a>> {
        self.left = self.left.checked_sub(1)?;
        let step = self.layout.topic(&mut self.cursor);
        debug_assert!(step.is_ok(), "the request was walked before: {step:?}");
        step.ok()
    }
}

/// One topic of a [`FetchRequest`].
#[derive(Clone, Debug)]
pub struct FetchTopic<'a> {
    /// Which topic.
    pub topic: TopicRef<'a>,
    partitions: FetchPartitions<'a>,
}

impl<'a> FetchTopic<'a> {
    /// How many partitions of it the request names.
    #[must_use]
    pub const fn partition_count(&self) -> usize {
        self.partitions.left
    }

    /// Its partitions in the order of the request.
    #[must_use]
    pub fn partitions(&self) -> FetchPartitions<'a> {
        self.partitions.clone()
    }
}

/// Iterates over the partitions of a [`FetchTopic`].
#[derive(Clone, Debug)]
pub struct FetchPartitions<'a> {
    layout: Layout,
    left: usize,
    cursor: Cursor<'a>,
}

impl Iterator for FetchPartitions<'_> {
    type Item = FetchPartition;

    fn next(&mut self) -> Option<FetchPartition> {
        self.left = self.left.checked_sub(1)?;
        let step = self.layout.partition(&mut self.cursor);
        debug_assert!(step.is_ok(), "the request was walked before: {step:?}");
        step.ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

/// What shall be read of one partition. Fields that the version does not have hold "unknown".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchPartition {
    /// The partition's number.
    pub index: i32,
    /// The leader epoch the reader knows of.
    pub current_leader_epoch: LeaderEpoch,
    /// From where to read.
    pub fetch_offset: Offset,
    /// The epoch of the last record the reader has (KIP-595).
    pub last_fetched_epoch: LeaderEpoch,
    /// A follower's first offset; -1 from consumers.
    pub log_start_offset: Offset,
    /// How many bytes of records to give at most; the first batch is given whole all the same.
    pub max_bytes: i32,
    /// The directory in which a follower keeps the partition (KIP-853); zeros when unknown.
    pub directory_id: [u8; 16],
    /// The high watermark a follower knows of (KIP-1166).
    pub high_watermark: Option<Offset>,
}

/// Iterates over the topics that leave a fetch session.
#[derive(Clone, Debug)]
pub struct ForgottenTopics<'a> {
    layout: Layout,
    left: usize,
    cursor: Cursor<'a>,
}

impl<'a> Iterator for ForgottenTopics<'a> {
    type Item = ForgottenTopic<'a>;

    fn next(&mut self) -> Option<ForgottenTopic<'a>> {
        self.left = self.left.checked_sub(1)?;
        let step = self.layout.forgotten(&mut self.cursor);
        debug_assert!(step.is_ok(), "the request was walked before: {step:?}");
        step.ok()
    }
}

/// Partitions of one topic that leave a fetch session.
#[derive(Clone, Debug)]
pub struct ForgottenTopic<'a> {
    /// Which topic.
    pub topic: TopicRef<'a>,
    partitions: Cursor<'a>,
}

impl<'a> ForgottenTopic<'a> {
    /// The partitions' numbers.
    pub fn partitions(&self) -> impl Iterator<Item = i32> + use<'a> {
        self.partitions.rest().as_chunks().0.iter().map(|raw| i32::from_be_bytes(*raw))
    }
}

/// A transaction that a `read_committed` reader must leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Whose.
    pub producer_id: ProducerId,
    /// Its first offset in the partition.
    pub first_offset: Offset,
}

/// Where a follower's log and the leader's part (KIP-595).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Diverging {
    /// The largest epoch both know.
    pub epoch: LeaderEpoch,
    /// Its end offset at the leader.
    pub end_offset: Offset,
}

/// What one partition answers, apart from the records. Fields that the asked version does not have are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchResult<'a> {
    /// The partition's number.
    pub index: i32,
    /// What went wrong.
    pub error: ErrorCode,
    /// The high watermark, -1 with an error.
    pub high_watermark: Offset,
    /// The last stable offset, -1 with an error.
    pub last_stable_offset: Offset,
    /// The first offset, -1 with an error.
    pub log_start_offset: Offset,
    /// Aborted transactions among the records; `None` unless the reader is `read_committed`.
    pub aborted: Option<&'a [AbortedTransaction]>,
    /// The replica the consumer should read from, [`FetchResult::NO_REPLICA`] for this one.
    pub preferred_read_replica: NodeId,
    /// Where the follower must cut its log.
    pub diverging: Option<Diverging>,
    /// Who leads, with `NOT_LEADER_OR_FOLLOWER` and `FENCED_LEADER_EPOCH`.
    pub current_leader: Option<CurrentLeader>,
}

impl FetchResult<'_> {
    /// No other replica is preferred.
    pub const NO_REPLICA: NodeId = NodeId::new(-1);

    /// An answer without records.
    #[must_use]
    pub const fn refused(index: i32, error: ErrorCode) -> Self {
        Self {
            index,
            error,
            high_watermark: Offset::new(-1),
            last_stable_offset: Offset::new(-1),
            log_start_offset: Offset::new(-1),
            aborted: None,
            preferred_read_replica: Self::NO_REPLICA,
            diverging: None,
            current_leader: None,
        }
    }
}

/// What a Fetch response says about the whole request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchHead {
    /// How long the client shall pause.
    pub throttle_ms: i32,
    /// What is wrong with the session or the request; written from version 7 on.
    pub error: ErrorCode,
    /// The fetch session, 0 for none; written from version 7 on.
    pub session_id: i32,
}

/// Writes a Fetch response: the small parts into a buffer, the records beside it. After an error the buffer holds half an answer:
/// clear it.
#[derive(Debug)]
pub struct FetchWriter<'b> {
    out: &'b mut BytesMut,
    reply_to: ReplyTo,
    start: usize,
    topics: Owed,
    partitions: Owed,
    /// Record sets, each with the length of `out` at which it belongs.
    records: Vec<(usize, Bytes)>,
    record_bytes: usize,
}

impl<'b> FetchWriter<'b> {
    /// Begins the answer to `reply_to`. `out` is a scratch buffer; what it held goes out in front of the answer.
    ///
    /// # Errors
    /// `topic_count` has no form, or `reply_to` is another API's request.
    pub fn begin(
        out: &'b mut BytesMut,
        reply_to: ReplyTo,
        head: FetchHead,
        topic_count: usize,
    ) -> Result<Self, WireError> {
        if reply_to.api != ApiKey::Fetch {
            return Err(WireError::OtherApi { asked: ApiKey::Fetch, found: reply_to.api });
        }
        let start = put::begin_frame(out, reply_to);
        out.put_i32(head.throttle_ms);
        if reply_to.version >= 7 {
            out.put_i16(head.error.number());
            out.put_i32(head.session_id);
        }
        put::count(out, reply_to.form(), topic_count)?;
        let (topics, partitions) = (Owed::new(topic_count), Owed::new(0));
        let (records, record_bytes) = (Vec::new(), 0);
        Ok(Self { out, reply_to, start, topics, partitions, records, record_bytes })
    }

    /// Begins a topic of which `partition_count` partitions follow.
    ///
    /// # Errors
    /// The topic is named the wrong way for the version, or the topic before it lacks partitions.
    pub fn topic(&mut self, topic: TopicRef<'_>, partition_count: usize) -> Result<(), WireError> {
        self.end_topic()?;
        self.topics.pay()?;
        self.partitions = Owed::new(partition_count);
        topic.write(self.out, self.reply_to)?;
        put::count(self.out, self.reply_to.form(), partition_count)
    }

    /// Adds a partition with its records, empty for none, to the topic begun last.
    ///
    /// # Errors
    /// It was not announced, or a list is too long.
    pub fn partition(&mut self, result: &FetchResult<'_>, records: Bytes) -> Result<(), WireError> {
        self.partitions.pay()?;
        let (version, form) = (self.reply_to.version, self.reply_to.form());
        let out = &mut *self.out;
        out.put_i32(result.index);
        out.put_i16(result.error.number());
        out.put_i64(result.high_watermark.get());
        out.put_i64(result.last_stable_offset.get());
        if version >= 5 {
            out.put_i64(result.log_start_offset.get());
        }
        put::nullable_count(out, form, result.aborted.map(<[_]>::len))?;
        for aborted in result.aborted.unwrap_or_default() {
            out.put_i64(aborted.producer_id.get());
            out.put_i64(aborted.first_offset.get());
            put::no_tags(out, form);
        }
        if version >= 11 {
            out.put_i32(result.preferred_read_replica.get());
        }
        put::count(out, form, records.len())?;
        if !records.is_empty() {
            self.record_bytes = self.record_bytes.saturating_add(records.len());
            self.records.push((out.len(), records));
        }
        if form.is_compact() {
            put_partition_tags(out, result);
        }
        Ok(())
    }

    /// Ends the answer. `endpoints` says where the leaders named in it are.
    ///
    /// # Errors
    /// Topics or partitions that were announced are missing, or a text is too long.
    pub fn finish(mut self, endpoints: &[NodeEndpoint<'_>]) -> Result<Answer, WireError> {
        self.end_topic()?;
        self.topics.settle()?;
        if self.reply_to.version >= 16 {
            put_endpoints(self.out, endpoints)?;
        } else {
            put::no_tags(self.out, self.reply_to.form());
        }
        put::end_frame(self.out, self.start, self.record_bytes)?;
        let mut small = self.out.split().freeze();
        let mut answer = Answer::none();
        let mut done = 0_usize;
        for (at, records) in self.records {
            answer.push(small.split_to(at.saturating_sub(done)));
            answer.push(records);
            done = at;
        }
        answer.push(small);
        Ok(answer)
    }

    fn end_topic(&mut self) -> Result<(), WireError> {
        self.partitions.settle()?;
        if self.topics.has_paid() {
            put::no_tags(self.out, self.reply_to.form());
        }
        Ok(())
    }
}

/// Appends the tags of a partition: 0 diverging epoch, 1 current leader.
fn put_partition_tags(out: &mut BytesMut, result: &FetchResult<'_>) {
    let count =
        u8::from(result.diverging.is_some()).saturating_add(result.current_leader.is_some().into());
    out.put_u8(count);
    if let Some(diverging) = result.diverging {
        out.put_u8(0);
        out.put_u8(13); // a 32-bit and a 64-bit number and an empty tag section
        out.put_i32(diverging.epoch.get());
        out.put_i64(diverging.end_offset.get());
        out.put_u8(0);
    }
    if let Some(current) = result.current_leader {
        put_leader(out, 1, current);
    }
}
