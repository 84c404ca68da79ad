//! Fetch sessions (KIP-227): a client names its partitions once, and afterwards only what changed goes over the wire.

use std::{collections::BTreeMap, sync::Arc};

use hanbeon_records::{ErrorCode, LeaderEpoch, Offset, TopicId};
use hanbeon_wire::{FetchPartition, FetchRequest, TopicRef};
use parking_lot::Mutex;

/// The epoch with which a client opens a session.
const OPENING_EPOCH: i32 = 0;
/// The epoch with which a client closes its session, or asks for none.
const FINAL_EPOCH: i32 = -1;
/// Partitions that one session may name.
const PARTITIONS_MAX: usize = 10_000;

/// A topic as the session's client names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TopicKey {
    Name(Arc<str>),
    Id(TopicId),
}

impl TopicKey {
    pub(crate) fn of(topic: TopicRef<'_>) -> Self {
        match topic {
            TopicRef::Name(name) => Self::Name(name.into()),
            TopicRef::Id(id) => Self::Id(id),
        }
    }

    pub(crate) fn as_wire(&self) -> TopicRef<'_> {
        match self {
            Self::Name(name) => TopicRef::Name(name),
            Self::Id(id) => TopicRef::Id(*id),
        }
    }
}

/// One partition that is to be read.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) topic: TopicKey,
    pub(crate) partition: FetchPartition,
}

/// What a partition's last answer said, so that an unchanged one can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) high_watermark: Offset,
    pub(crate) last_stable_offset: Offset,
    pub(crate) log_start_offset: Offset,
}

/// How a request stands to a session.
#[derive(Debug)]
pub(crate) enum Standing {
    /// No session: all partitions are answered.
    None,
    /// A session was opened by this request: all partitions are answered, with the session's id.
    Opened(i32),
    /// The session goes on: only partitions with something new are answered.
    Incremental(i32),
}

/// The sessions of all connections.
#[derive(Debug)]
pub(crate) struct Sessions {
    inner: Mutex<Inner>,
    sessions_max: usize,
}

#[derive(Debug, Default)]
struct Inner {
    by_id: BTreeMap<i32, Session>,
    last_id: i32,
    uses: u64,
}

#[derive(Debug)]
struct Session {
    next_epoch: i32,
    used: u64,
    partitions: Vec<Slot>,
    places: BTreeMap<(TopicKey, i32), usize>,
}

#[derive(Debug)]
struct Slot {
    wanted: Wanted,
    told: Option<Told>,
}

impl Sessions {
    pub(crate) fn new(sessions_max: usize, first_id: i32) -> Self {
        let inner = Inner { last_id: first_id.max(0), ..Inner::default() };
        Self { inner: Mutex::new(inner), sessions_max }
    }

    /// What a request asks for, with what its session already knew.
    ///
    /// # Errors
    /// `FETCH_SESSION_ID_NOT_FOUND` (70), `INVALID_FETCH_SESSION_EPOCH` (71) or `FETCH_SESSION_TOPIC_ID_ERROR` (106) for the whole request.
    pub(crate) fn resolve(
        &self,
        request: &FetchRequest<'_>,
    ) -> Result<(Standing, Vec<Wanted>), ErrorCode> {
        match (request.session_id, request.session_epoch) {
            (id, FINAL_EPOCH) => {
                if id != 0 {
                    self.inner.lock().by_id.remove(&id);
                }
                Ok((Standing::None, named(request)))
            }
            (id, OPENING_EPOCH) => {
                let wanted = named(request);
                let opened = self.open(id, &wanted);
                Ok((opened.map_or(Standing::None, Standing::Opened), wanted))
            }
            (id, epoch) => {
                let wanted = self.inner.lock().go_on(id, epoch, request)?;
                Ok((Standing::Incremental(id), wanted))
            }
        }
    }

    /// Notes what was answered about partitions of a session, and says which of them have something new. Records and errors are always new.
    pub(crate) fn note(&self, id: i32, answers: &[(&Wanted, Option<Told>, News)]) -> Vec<bool> {
        self.inner.lock().note(id, answers)
    }

    /// Open sessions.
    pub(crate) fn len(&self) -> usize {
        self.inner.lock().by_id.len()
    }

    fn open(&self, replaces: i32, wanted: &[Wanted]) -> Option<i32> {
        if wanted.is_empty() || wanted.len() > PARTITIONS_MAX || self.sessions_max == 0 {
            return None;
        }
        let mut inner = self.inner.lock();
        inner.by_id.remove(&replaces);
        if inner.by_id.len() >= self.sessions_max {
            inner.forget_longest_unused();
        }
        Some(inner.open(wanted))
    }
}

/// Whether an answer holds something that must be told whatever was told before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// Records, an error, or a point of divergence.
    Always,
    /// Only the ends of the log.
    IfChanged,
}

fn named(request: &FetchRequest<'_>) -> Vec<Wanted> {
    let topics = request.topics();
    topics
        .flat_map(|topic| {
            let key = TopicKey::of(topic.topic);
            topic.partitions().map(move |partition| Wanted { topic: key.clone(), partition })
        })
        .collect()
}

impl Inner {
    fn note(&mut self, id: i32, answers: &[(&Wanted, Option<Told>, News)]) -> Vec<bool> {
        let Some(session) = self.by_id.get_mut(&id) else { return vec![true; answers.len()] };
        answers.iter().map(|(wanted, told, news)| session.note(wanted, *told, *news)).collect()
    }

    fn open(&mut self, wanted: &[Wanted]) -> i32 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if !self.by_id.contains_key(&self.last_id) {
                break;
            }
        }
        self.uses += 1;
        let mut session = Session {
            next_epoch: 1,
            used: self.uses,
            partitions: Vec::new(),
            places: BTreeMap::new(),
        };
        for one in wanted {
            session.set(one.clone());
        }
        self.by_id.insert(self.last_id, session);
        self.last_id
    }

    fn forget_longest_unused(&mut self) {
        let oldest = self.by_id.iter().min_by_key(|(_, session)| session.used).map(|(id, _)| *id);
        if let Some(id) = oldest {
            self.by_id.remove(&id);
        }
    }

    fn go_on(
        &mut self,
        id: i32,
        epoch: i32,
        request: &FetchRequest<'_>,
    ) -> Result<Vec<Wanted>, ErrorCode> {
        self.uses += 1;
        let session = self.by_id.get_mut(&id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if epoch != session.next_epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        let changes = named(request);
        if changes.iter().any(|change| !session.speaks_like(change)) {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        session.used = self.uses;
        session.next_epoch = epoch.checked_add(1).unwrap_or(1);
        for topic in request.forgotten() {
            let key = TopicKey::of(topic.topic);
            for partition in topic.partitions() {
                session.forget(&key, partition);
            }
        }
        for change in changes {
            if session.partitions.len() < PARTITIONS_MAX {
                session.set(change);
            }
        }
        Ok(session.partitions.iter().map(|slot| slot.wanted.clone()).collect())
    }
}

impl Session {
    /// A session goes by names or by ids; a client that changes its version in between has to open a new one.
    fn speaks_like(&self, change: &Wanted) -> bool {
        match self.partitions.first() {
            None => true,
            Some(slot) => matches!(
                (&slot.wanted.topic, &change.topic),
                (TopicKey::Name(_), TopicKey::Name(_)) | (TopicKey::Id(_), TopicKey::Id(_))
            ),
        }
    }

    fn set(&mut self, wanted: Wanted) {
        let key = (wanted.topic.clone(), wanted.partition.index);
        match self.places.get(&key) {
            Some(&at) => self.partitions[at].wanted = wanted,
            None => {
                self.places.insert(key, self.partitions.len());
                self.partitions.push(Slot { wanted, told: None });
            }
        }
    }

    fn forget(&mut self, topic: &TopicKey, partition: i32) {
        let Some(at) = self.places.remove(&(topic.clone(), partition)) else { return };
        self.partitions.remove(at);
        for place in self.places.values_mut().filter(|place| **place > at) {
            *place -= 1;
        }
    }

    fn note(&mut self, wanted: &Wanted, told: Option<Told>, news: News) -> bool {
        let key = (wanted.topic.clone(), wanted.partition.index);
        let Some(slot) = self.places.get(&key).and_then(|&at| self.partitions.get_mut(at)) else {
            return true;
        };
        let new = news == News::Always || told != slot.told;
        // After an error the next good answer is news, too.
        slot.told = told;
        new
    }
}

/// The leader epoch a reader named, if it named one.
pub(crate) fn known(epoch: LeaderEpoch) -> Option<LeaderEpoch> {
    (epoch.get() >= 0).then_some(epoch)
}
