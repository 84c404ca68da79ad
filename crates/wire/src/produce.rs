//! Produce, versions 3 to 13, by hand: a request is walked without copying or allocating, an answer goes straight into a buffer.
//!
//! ```text
//! request    transactional_id(3+) acks timeout [topic [partition records]]
//! response   [topic [partition error base_offset append_time(2+) log_start(5+) [record errors](8+) message(8+)
//!            {leader}(10+)]] throttle {endpoints}(10+)
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use hanbeon_records::{ErrorCode, Millis, Offset};

use crate::{
    answer::Answer,
    api::ApiKey,
    cursor::{Cursor, Elements, Form},
    error::WireError,
    header::{ReplyTo, Request},
    put,
    topic::{CurrentLeader, NodeEndpoint, Owed, TopicBy, TopicRef, put_endpoints, put_leader},
};

/// Whom a producer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// Nobody: there is no answer, and an error closes the connection.
    None,
    /// The leader.
    Leader,
    /// All in-sync replicas.
    All,
    /// Something else, to be answered with `INVALID_REQUIRED_ACKS`.
    Invalid(i16),
}

impl Acks {
    const fn new(raw: i16) -> Self {
        match raw {
            0 => Self::None,
            1 => Self::Leader,
            -1 => Self::All,
            other => Self::Invalid(other),
        }
    }
}

/// A Produce request, checked from end to end, that borrows everything from its bytes.
#[derive(Clone, Copy, Debug)]
pub struct ProduceRequest<'a> {
    /// The transaction's owner; absent for producers without transactions.
    pub transactional_id: Option<&'a str>,
    /// Whom the producer waits for.
    pub acks: Acks,
    /// How long it waits, in milliseconds.
    pub timeout_ms: i32,
    body: &'a Bytes,
    version: i16,
    topic_count: usize,
    topics: Cursor<'a>,
}

impl<'a> ProduceRequest<'a> {
    /// Walks the whole request, so that the iterators that follow cannot meet an error.
    ///
    /// # Errors
    /// The connection is to be closed: this is another API's request, or its body is broken.
    pub fn read(request: &'a Request) -> Result<Self, WireError> {
        let ReplyTo { api, version, .. } = request.reply_to;
        if api != ApiKey::Produce {
            return Err(WireError::OtherApi { asked: ApiKey::Produce, found: api });
        }
        let form = Form::of(api.is_flexible(version));
        let mut cursor = Cursor::new(&request.body);
        let transactional_id = cursor.nullable_text(form)?;
        let acks = Acks::new(cursor.i16()?);
        let timeout_ms = cursor.i32()?;
        let mut elements = Elements::default();
        let topic_count = elements.add(cursor.count(form, 1)?)?;
        let topics = cursor;
        for _ in 0..topic_count {
            TopicRef::read(&mut cursor, form, TopicBy::of(version))?;
            for _ in 0..elements.add(cursor.count(form, 1)?)? {
                read_partition(&mut cursor, form)?;
            }
            cursor.skip_tags(form)?;
        }
        cursor.skip_tags(form)?;
        // Bytes after the body are accepted, as Kafka does.
        Ok(Self {
            transactional_id,
            acks,
            timeout_ms,
            body: &request.body,
            version,
            topic_count,
            topics,
        })
    }

    /// How many topics it names.
    #[must_use]
    pub const fn topic_count(&self) -> usize {
        self.topic_count
    }

    /// The topics in the order of the request. The same topic, and the same partition, may come twice; Kafka then drops all but the
    /// last without a word, so the caller had better refuse them.
    #[must_use]
    pub const fn topics(&self) -> ProduceTopics<'a> {
        ProduceTopics {
            body: self.body,
            form: Form::of(ApiKey::Produce.is_flexible(self.version)),
            by: TopicBy::of(self.version),
            left: self.topic_count,
            cursor: self.topics,
        }
    }
}

fn read_partition<'a>(
    cursor: &mut Cursor<'a>,
    form: Form,
) -> Result<(i32, Option<&'a [u8]>), WireError> {
    let index = cursor.i32()?;
    let records = cursor.nullable_bytes(form)?;
    cursor.skip_tags(form)?;
    Ok((index, records))
}

/// Iterates over the topics of a [`ProduceRequest`].
#[derive(Clone, Debug)]
pub struct ProduceTopics<'a> {
    body: &'a Bytes,
    form: Form,
    by: TopicBy,
    left: usize,
    cursor: Cursor<'a>,
}

impl<'a> ProduceTopics<'a> {
    fn step(&mut self) -> Result<ProduceTopic<'a>, WireError> {
        let topic = TopicRef::read(&mut self.cursor, self.form, self.by)?;
        let partition_count = self.cursor.count(self.form, 1)?;
        let partitions = ProducePartitions {
            body: self.body,
            form: self.form,
            left: partition_count,
            cursor: self.cursor,
        };
        for _ in 0..partition_count {
            read_partition(&mut self.cursor, self.form)?;
        }
        self.cursor.skip_tags(self.form)?;
        Ok(ProduceTopic { topic, partitions })
    }
}

impl<'a> Iterator for ProduceTopics<'a> {
    type Item = ProduceTopic<'a>;

    fn next(&mut self) -> Option<ProduceTopic<'a>> {
        self.left = self.left.checked_sub(1)?;
        let step = self.step();
        debug_assert!(step.is_ok(), "the request was walked before: {step:?}");
        step.ok()
    }
}

/// One topic of a [`ProduceRequest`].
#[derive(Clone, Debug)]
pub struct ProduceTopic<'a> {
    /// Which topic.
    pub topic: TopicRef<'a>,
    partitions: ProducePartitions<'a>,
}

impl<'a> ProduceTopic<'a> {
    /// How many partitions of it the request names.
    #[must_use]
    pub const fn partition_count(&self) -> usize {
        self.partitions.left
    }

    /// Its partitions in the order of the request.
    #[must_use]
    pub fn partitions(&self) -> ProducePartitions<'a> {
        self.partitions.clone()
    }
}

/// Iterates over the partitions of a [`ProduceTopic`].
#[derive(Clone, Debug)]
pub struct ProducePartitions<'a> {
    body: &'a Bytes,
    form: Form,
    left: usize,
    cursor: Cursor<'a>,
}

impl Iterator for ProducePartitions<'_> {
    type Item = ProducePartition;

    fn next(&mut self) -> Option<ProducePartition> {
        self.left = self.left.checked_sub(1)?;
        let step = read_partition(&mut self.cursor, self.form);
        debug_assert!(step.is_ok(), "the request was walked before: {step:?}");
        let (index, records) = step.ok()?;
        Some(ProducePartition { index, records: records.map(|set| self.body.slice_ref(set)) })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

/// What one partition shall take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducePartition {
    /// The partition's number.
    pub index: i32,
    /// The record set as it stands in the request, not looked at. `None` is null, which Kafka never answers; answer `INVALID_RECORD`.
    pub records: Option<Bytes>,
}

/// Why one record made its whole batch fail (KIP-467).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadRecord<'a> {
    /// Which record of the batch.
    pub index: i32,
    /// What is wrong with it.
    pub message: Option<&'a str>,
}

/// What happened to one partition's records. Fields that the asked version does not have are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProduceResult<'a> {
    /// The partition's number.
    pub index: i32,
    /// What went wrong.
    pub error: ErrorCode,
    /// Offset of the first record, -1 with an error.
    pub base_offset: Offset,
    /// The broker's time, when the topic is stamped with it; else [`Millis::NONE`].
    pub log_append_time: Millis,
    /// The partition's first offset, -1 with an error.
    pub log_start_offset: Offset,
    /// The records that made the batch fail.
    pub bad_records: &'a [BadRecord<'a>],
    /// The error in words.
    pub message: Option<&'a str>,
    /// Who leads, with `NOT_LEADER_OR_FOLLOWER` and `FENCED_LEADER_EPOCH`.
    pub current_leader: Option<CurrentLeader>,
}

impl<'a> ProduceResult<'a> {
    /// The batch is in the log.
    #[must_use]
    pub const fn written(index: i32, base_offset: Offset, log_start_offset: Offset) -> Self {
        Self {
            index,
            error: ErrorCode::None,
            base_offset,
            log_append_time: Millis::NONE,
            log_start_offset,
            bad_records: &[],
            message: None,
            current_leader: None,
        }
    }

    /// The batch is not in the log.
    #[must_use]
    pub const fn refused(index: i32, error: ErrorCode, message: Option<&'a str>) -> Self {
        Self {
            index,
            error,
            base_offset: Offset::new(-1),
            log_append_time: Millis::NONE,
            log_start_offset: Offset::new(-1),
            bad_records: &[],
            message,
            current_leader: None,
        }
    }
}

/// Writes a Produce response into a buffer, topic by topic. After an error the buffer holds half an answer: clear it.
#[derive(Debug)]
pub struct ProduceWriter<'b> {
    out: &'b mut BytesMut,
    reply_to: ReplyTo,
    start: usize,
    topics: Owed,
    partitions: Owed,
}

impl<'b> ProduceWriter<'b> {
    /// Begins the answer to `reply_to`. `out` is a scratch buffer; what it held goes out in front of the answer.
    ///
    /// # Errors
    /// `topic_count` has no form, or `reply_to` is another API's request.
    pub fn begin(
        out: &'b mut BytesMut,
        reply_to: ReplyTo,
        topic_count: usize,
    ) -> Result<Self, WireError> {
        if reply_to.api != ApiKey::Produce {
            return Err(WireError::OtherApi { asked: ApiKey::Produce, found: reply_to.api });
        }
        let start = put::begin_frame(out, reply_to);
        put::count(out, reply_to.form(), topic_count)?;
        let (topics, partitions) = (Owed::new(topic_count), Owed::new(0));
        Ok(Self { out, reply_to, start, topics, partitions })
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

    /// Adds a partition to the topic begun last.
    ///
    /// # Errors
    /// It was not announced, or a text is too long for the version.
    pub fn partition(&mut self, result: &ProduceResult<'_>) -> Result<(), WireError> {
        self.partitions.pay()?;
        let (version, form) = (self.reply_to.version, self.reply_to.form());
        let out = &mut *self.out;
        out.put_i32(result.index);
        out.put_i16(result.error.number());
        out.put_i64(result.base_offset.get());
        out.put_i64(result.log_append_time.get());
        if version >= 5 {
            out.put_i64(result.log_start_offset.get());
        }
        if version >= 8 {
            put::count(out, form, result.bad_records.len())?;
            for bad in result.bad_records {
                out.put_i32(bad.index);
                put::nullable_text(out, form, bad.message)?;
                put::no_tags(out, form);
            }
            put::nullable_text(out, form, result.message)?;
        }
        match result.current_leader {
            Some(current) if version >= 10 => {
                out.put_u8(1);
                put_leader(out, 0, current);
            }
            Some(_) | None => put::no_tags(out, form),
        }
        Ok(())
    }

    /// Ends the answer. `throttle_ms` says how long the client shall pause; `endpoints` where the leaders named in it are.
    ///
    /// # Errors
    /// Topics or partitions that were announced are missing, or a text is too long.
    pub fn finish(
        mut self,
        throttle_ms: i32,
        endpoints: &[NodeEndpoint<'_>],
    ) -> Result<Answer, WireError> {
        self.end_topic()?;
        self.topics.settle()?;
        self.out.put_i32(throttle_ms);
        if self.reply_to.version >= 10 {
            put_endpoints(self.out, endpoints)?;
        } else {
            put::no_tags(self.out, self.reply_to.form());
        }
        put::end_frame(self.out, self.start, 0)?;
        Ok(Answer::from(self.out.split().freeze()))
    }

    fn end_topic(&mut self) -> Result<(), WireError> {
        self.partitions.settle()?;
        if self.topics.has_paid() {
            put::no_tags(self.out, self.reply_to.form());
        }
        Ok(())
    }
}
