//! Fetch sessions (KIP-227): a client names its partitions once, and afterwards only what changed goes over the wire.

use std::{collections::BTreeMap, sync::Arc};

use hanbeon_records::{ErrorCode, LeaderEpoch, Offset, TopicId, TopicName};
use hanbeon_wire::{FetchPartition, FetchRequest, TopicRef};
use parking_lot::Mutex;

use crate::named::Places;

/// The epoch with which a client opens a session.
const OPENING_EPOCH: i32 = 0;
/// The epoch with which a client closes its session, or asks for none.
const FINAL_EPOCH: i32 = -1;
/// Partitions that one session may name.
const PARTITIONS_MAX: usize = 10_000;
/// Partitions that all sessions name together: some 250 MB, and twice that when each stands under the longest name of its own.
const ALL_PARTITIONS_MAX: usize = 1_000_000;

/// A topic as the session's client names it.
#[derive(Clone, Debug, Eq, PartialOrd, Ord)]
pub(crate) enum TopicKey {
    Name(Arc<str>),
    Id(TopicId),
}

/// Partitions that were named together share their topic's name, which is not compared byte by byte then.
impl PartialEq for TopicKey {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Name(a), Self::Name(b)) => Arc::ptr_eq(a, b) || a == b,
            (Self::Id(a), Self::Id(b)) => a == b,
            (Self::Name(_), Self::Id(_)) | (Self::Id(_), Self::Name(_)) => false,
        }
    }
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

    /// Whether a topic can be called so. What cannot is answered, and not kept: nothing else bounds its length.
    fn is_possible(&self) -> bool {
        match self {
            Self::Name(name) => name.len() <= TopicName::LEN_MAX,
            Self::Id(_) => true,
        }
    }
}

/// How a request names its topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    Names,
    Ids,
}

impl Naming {
    fn of(request: &FetchRequest<'_>) -> Self {
        if request.uses_topic_ids() { Self::Ids } else { Self::Names }
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
    /// Of all sessions together.
    partitions_max: usize,
}

#[derive(Debug, Default)]
struct Inner {
    by_id: BTreeMap<i32, Session>,
    /// When each was last used, the longest unused first.
    by_use: BTreeMap<u64, i32>,
    /// How many partitions all of them name.
    partitions: usize,
    last_id: i32,
    uses: u64,
}

#[derive(Debug)]
struct Session {
    next_epoch: i32,
    /// A client that names its topics otherwise later has to open a new session.
    naming: Naming,
    used: u64,
    /// In the order in which they are read: a partition that gave records goes behind all others, as in Kafka. Whoever comes first may
    /// fill the answer, and alone gives a batch above its limit.
    partitions: BTreeMap<u64, Slot>,
    /// Where each stands in that order.
    places: BTreeMap<(TopicKey, i32), u64>,
    next_place: u64,
}

#[derive(Debug)]
struct Slot {
    wanted: Wanted,
    told: Option<Told>,
}

impl Sessions {
    pub(crate) fn new(sessions_max: usize, first_id: i32) -> Self {
        let inner = Inner { last_id: first_id.max(0), ..Inner::default() };
        Self { inner: Mutex::new(inner), sessions_max, partitions_max: ALL_PARTITIONS_MAX }
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
                    self.inner.lock().close(id);
                }
                Ok((Standing::None, named(request)))
            }
            (id, OPENING_EPOCH) => {
                let wanted = named(request);
                let opened = self.open(id, Naming::of(request), &wanted);
                Ok((opened.map_or(Standing::None, Standing::Opened), wanted))
            }
            (id, epoch) => {
                let use_of = Use { id, epoch, naming: Naming::of(request) };
                let wanted = self.go_on(use_of, named(request), &forgotten(request))?;
                Ok((Standing::Incremental(id), wanted))
            }
        }
    }

    /// Notes what was answered about partitions of a session, and says which of them have something new. Records and errors are always
    /// new. Those with records are read last next time.
    pub(crate) fn note(&self, id: i32, answers: &[(&Wanted, Option<Told>, News)]) -> Vec<bool> {
        self.inner.lock().note(id, answers)
    }

    /// Open sessions.
    pub(crate) fn len(&self) -> usize {
        self.inner.lock().by_id.len()
    }

    fn open(&self, replaces: i32, naming: Naming, wanted: &[Wanted]) -> Option<i32> {
        let keeps = self.sessions_max > 0
            && !wanted.is_empty()
            && wanted.len() <= self.session_partitions_max()
            && wanted.iter().all(|one| one.topic.is_possible());
        let mut session = Session::new(naming);
        if keeps {
            wanted.iter().cloned().for_each(|one| session.set(one));
        }
        let mut inner = self.inner.lock();
        inner.close(replaces);
        if !keeps {
            return None;
        }
        while inner.by_id.len() >= self.sessions_max
            || inner.partitions + session.partitions.len() > self.partitions_max
        {
            if !inner.close_longest_unused() {
                break;
            }
        }
        Some(inner.open(session))
    }

    fn go_on(
        &self,
        use_of: Use,
        changes: Vec<Wanted>,
        forgotten: &[(TopicKey, i32)],
    ) -> Result<Vec<Wanted>, ErrorCode> {
        let mut inner = self.inner.lock();
        let session = inner.change(use_of)?;
        let before = session.partitions.len();
        for (topic, partition) in forgotten {
            session.forget(topic, *partition);
        }
        let mut fits = true;
        for change in changes {
            fits &= change.topic.is_possible();
            if fits {
                session.set(change);
                fits = session.partitions.len() <= self.session_partitions_max();
            }
        }
        let wanted = session.partitions.values().map(|slot| slot.wanted.clone()).collect();
        let after = session.partitions.len();
        inner.partitions = inner.partitions - before + after;
        if !fits {
            // The client names all of its partitions again, and is answered without a session.
            inner.close(use_of.id);
            return Err(ErrorCode::FetchSessionIdNotFound);
        }
        // This one was used just now, and fits alone.
        while inner.partitions > self.partitions_max && inner.close_longest_unused() {}
        Ok(wanted)
    }

    fn session_partitions_max(&self) -> usize {
        PARTITIONS_MAX.min(self.partitions_max)
    }
}

/// How a request goes on with a session.
#[derive(Clone, Copy, Debug)]
struct Use {
    id: i32,
    epoch: i32,
    naming: Naming,
}

/// Whether an answer holds something that must be told whatever was told before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// Records.
    Records,
    /// An error, or a point of divergence.
    Always,
    /// Only the ends of the log.
    IfChanged,
}

/// The partitions that a request names, each once: the last entry counts, in the place of the first, as in Kafka's map of them.
fn named(request: &FetchRequest<'_>) -> Vec<Wanted> {
    let mut wanted: Vec<Wanted> = Vec::new();
    let mut places = Places::default();
    for topic in request.topics() {
        let key = TopicKey::of(topic.topic);
        let topic_place = places.topic(topic.topic);
        for partition in topic.partitions() {
            let earlier = places.earlier(topic_place, partition.index, wanted.len());
            match earlier.and_then(|place| wanted.get_mut(place)) {
                Some(earlier) => earlier.partition = partition,
                None => wanted.push(Wanted { topic: key.clone(), partition }),
            }
        }
    }
    wanted
}

fn forgotten(request: &FetchRequest<'_>) -> Vec<(TopicKey, i32)> {
    let topics = request.forgotten();
    topics
        .flat_map(|topic| {
            let key = TopicKey::of(topic.topic);
            topic.partitions().map(move |partition| (key.clone(), partition))
        })
        .collect()
}

impl Inner {
    fn note(&mut self, id: i32, answers: &[(&Wanted, Option<Told>, News)]) -> Vec<bool> {
        let Some(session) = self.by_id.get_mut(&id) else { return vec![true; answers.len()] };
        answers.iter().map(|(wanted, told, news)| session.note(wanted, *told, *news)).collect()
    }

    fn open(&mut self, session: Session) -> i32 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if !self.by_id.contains_key(&self.last_id) {
                break;
            }
        }
        self.partitions += session.partitions.len();
        self.by_id.insert(self.last_id, session);
        self.note_use(self.last_id);
        self.last_id
    }

    fn note_use(&mut self, id: i32) {
        self.uses += 1;
        if let Some(session) = self.by_id.get_mut(&id) {
            self.by_use.remove(&session.used);
            session.used = self.uses;
            self.by_use.insert(session.used, id);
        }
    }

    fn close(&mut self, id: i32) {
        if let Some(session) = self.by_id.remove(&id) {
            self.by_use.remove(&session.used);
            self.partitions -= session.partitions.len();
        }
    }

    /// Whether there was one.
    fn close_longest_unused(&mut self) -> bool {
        let oldest = self.by_use.first_key_value().map(|(_, id)| *id);
        if let Some(id) = oldest {
            self.close(id);
        }
        oldest.is_some()
    }

    /// The session that this request changes, if it may.
    fn change(&mut self, Use { id, epoch, naming }: Use) -> Result<&mut Session, ErrorCode> {
        let session = self.by_id.get(&id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if epoch != session.next_epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if naming != session.naming {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        self.note_use(id);
        let session = self.by_id.get_mut(&id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        session.next_epoch = epoch.checked_add(1).unwrap_or(1);
        Ok(session)
    }
}

impl Session {
    const fn new(naming: Naming) -> Self {
        Self {
            next_epoch: 1,
            naming,
            used: 0,
            partitions: BTreeMap::new(),
            places: BTreeMap::new(),
            next_place: 0,
        }
    }

    fn set(&mut self, wanted: Wanted) {
        let key = (wanted.topic.clone(), wanted.partition.index);
        match self.places.get(&key).and_then(|place| self.partitions.get_mut(place)) {
            // The topic stays as it was first named: one copy of the name is enough.
            Some(slot) => slot.wanted.partition = wanted.partition,
            None => {
                let place = self.place();
                self.places.insert(key, place);
                self.partitions.insert(place, Slot { wanted, told: None });
            }
        }
    }

    /// The place behind all others.
    const fn place(&mut self) -> u64 {
        let place = self.next_place;
        self.next_place += 1;
        place
    }

    fn forget(&mut self, topic: &TopicKey, partition: i32) {
        if let Some(place) = self.places.remove(&(topic.clone(), partition)) {
            self.partitions.remove(&place);
        }
    }

    fn note(&mut self, wanted: &Wanted, told: Option<Told>, news: News) -> bool {
        let key = (wanted.topic.clone(), wanted.partition.index);
        let Some(&place) = self.places.get(&key) else { return true };
        let Some(slot) = self.partitions.get_mut(&place) else { return true };
        let new = news != News::IfChanged || told != slot.told;
        // After an error the next good answer is news, too.
        slot.told = told;
        if news == News::Records
            && let Some(slot) = self.partitions.remove(&place)
        {
            let last = self.place();
            self.partitions.insert(last, slot);
            self.places.insert(key, last);
        }
        new
    }
}

/// The leader epoch a reader named, if it named one.
pub(crate) fn known(epoch: LeaderEpoch) -> Option<LeaderEpoch> {
    (epoch.get() >= 0).then_some(epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(topic: &str, partitions: std::ops::Range<i32>) -> Vec<Wanted> {
        partitions.map(|index| from(topic, index, 0)).collect()
    }

    fn from(topic: &str, index: i32, offset: i64) -> Wanted {
        let partition = FetchPartition {
            index,
            current_leader_epoch: LeaderEpoch::UNKNOWN,
            fetch_offset: Offset::new(offset),
            last_fetched_epoch: LeaderEpoch::UNKNOWN,
            log_start_offset: Offset::new(-1),
            max_bytes: 1,
            directory_id: [0; 16],
            high_watermark: None,
        };
        Wanted { topic: TopicKey::Name(topic.into()), partition }
    }

    fn by_names(id: i32, epoch: i32) -> Use {
        Use { id, epoch, naming: Naming::Names }
    }

    fn with_room_for(partitions_max: usize) -> Sessions {
        Sessions { partitions_max, ..Sessions::new(100, 0) }
    }

    /// Sessions that are there, and how many partitions they are counted with.
    fn held(sessions: &Sessions) -> (Vec<i32>, usize) {
        let inner = sessions.inner.lock();
        assert!(inner.by_use.values().all(|id| inner.by_id.contains_key(id)));
        assert_eq!(inner.by_use.len(), inner.by_id.len());
        let found = inner.by_id.values().map(|session| session.partitions.len()).sum::<usize>();
        assert_eq!(inner.partitions, found);
        (inner.by_id.keys().copied().collect(), found)
    }

    #[test]
    fn the_longest_unused_sessions_make_room_for_the_partitions_of_others() {
        let sessions = with_room_for(10);
        for id in 1..=3 {
            assert_eq!(sessions.open(0, Naming::Names, &of("t", 0..3)), Some(id));
        }
        sessions.go_on(by_names(1, 1), Vec::new(), &[]).unwrap();
        assert_eq!(sessions.open(0, Naming::Names, &of("t", 0..4)), Some(4));
        assert_eq!(held(&sessions), (vec![1, 3, 4], 10), "the second was not used for longest");
        sessions.go_on(by_names(3, 1), of("u", 0..6), &[]).unwrap();
        assert_eq!(held(&sessions), (vec![3], 9), "one that grows stays");
        let forgotten: Vec<_> = (0..8).map(|n| (TopicKey::Name("u".into()), n)).collect();
        sessions.go_on(by_names(3, 2), Vec::new(), &forgotten).unwrap();
        assert_eq!(held(&sessions), (vec![3], 3));
        assert_eq!(sessions.open(3, Naming::Names, &of("t", 0..10)), Some(5));
        assert_eq!(held(&sessions), (vec![5], 10));
        assert_eq!(
            sessions.open(5, Naming::Names, &of("t", 0..11)),
            None,
            "more than there is room for"
        );
        assert_eq!(held(&sessions), (vec![], 0), "the client has given up its older one");
    }

    #[test]
    fn names_that_no_topic_can_have_are_not_kept() {
        let sessions = with_room_for(10);
        let (longest, longer) = ("x".repeat(249), "x".repeat(250));
        assert_eq!(sessions.open(0, Naming::Names, &of(&longer, 0..1)), None);
        assert_eq!(sessions.open(0, Naming::Names, &of(&longest, 0..1)), Some(1));
        let refused = sessions.go_on(by_names(1, 1), of(&longer, 0..1), &[]).map(drop);
        assert_eq!(refused, Err(ErrorCode::FetchSessionIdNotFound));
        assert_eq!(held(&sessions), (vec![], 0));
    }

    #[test]
    fn a_session_with_all_the_partitions_it_may_have_goes_on_and_one_that_outgrows_that_ends() {
        let sessions = Sessions::new(100, 0);
        let many = i32::try_from(PARTITIONS_MAX).unwrap();
        assert_eq!(sessions.open(0, Naming::Names, &of("t", 0..many + 1)), None);
        assert_eq!(sessions.open(0, Naming::Names, &of("t", 0..many)), Some(1));
        let wanted = sessions.go_on(by_names(1, 1), vec![from("t", 0, 7)], &[]).unwrap();
        assert_eq!(wanted[0].partition.fetch_offset, Offset::new(7));
        let refused = sessions.go_on(by_names(1, 2), of("t", many..many + 1), &[]).map(drop);
        assert_eq!(refused, Err(ErrorCode::FetchSessionIdNotFound), "it has to be opened anew");
        assert_eq!(held(&sessions), (vec![], 0));
    }
}
