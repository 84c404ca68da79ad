//! Which topics an expression stands for. Names are looked at a few at a time: all groups of a shard wait meanwhile.

use alloc::{string::String, vec::Vec};

use hanbeon_records::Millis;

use super::{ConsumerGroup, ConsumerSettings, Heartbeat, TopicPattern, TopicsImage};
use crate::record::consumer::ResolvedRegex;

/// Steps that one heartbeat has for matching, see [`TopicPattern::steps`]: some ten milliseconds at most.
const STEPS_MAX: usize = 4_000_000;

/// How soon an expression may be matched again because topics changed.
pub(crate) const REGEX_REFRESH_MIN_MS: i64 = 10_000;

/// What an expression stands for, still to be logged.
#[derive(Clone, Debug)]
pub(crate) struct Resolution {
    pub(crate) regex: String,
    pub(crate) value: ResolvedRegex,
}

/// An expression whose topics are looked for.
#[derive(Debug)]
pub(crate) struct Matching {
    regex: String,
    /// None for one that another broker accepted: it stands for nothing here.
    pattern: Option<TopicPattern>,
    version: i64,
    /// How many names were looked at.
    seen: usize,
    found: Vec<String>,
}

impl Matching {
    pub(crate) fn new(regex: String, topics: &dyn TopicsImage) -> Self {
        let pattern = TopicPattern::new(&regex).ok();
        Self { regex, pattern, version: topics.version(), seen: 0, found: Vec::new() }
    }

    pub(crate) fn regex(&self) -> &str {
        &self.regex
    }

    /// Whether these are the topics it has begun with.
    pub(crate) fn is_of(&self, topics: &dyn TopicsImage) -> bool {
        self.version == topics.version()
    }

    /// Looks at more names, one at least; what it stands for once all were looked at.
    pub(crate) fn go_on(&mut self, now: Millis, topics: &dyn TopicsImage) -> Option<Resolution> {
        if let Some(pattern) = &self.pattern {
            let mut names = topics.names().skip(self.seen);
            let mut left = STEPS_MAX;
            let some = core::iter::from_fn(|| {
                if left == 0 {
                    return None;
                }
                let name = names.next()?;
                left = left.saturating_sub(pattern.steps(name));
                self.seen += 1;
                Some(name)
            });
            self.found.extend(pattern.filter(some));
            if names.next().is_some() {
                return None;
            }
        }
        let mut found = core::mem::take(&mut self.found);
        found.sort_unstable();
        found.dedup();
        let value = ResolvedRegex { topics: found, version: self.version, timestamp: now.get() };
        Some(Resolution { regex: self.regex.clone(), value })
    }
}

impl ConsumerGroup {
    /// The expression whose topics are to be looked for with this heartbeat: the member's own before those of others, and one at a time.
    pub(crate) fn due_regex(
        &self,
        now: Millis,
        request: &Heartbeat,
        topics: &dyn TopicsImage,
        settings: &ConsumerSettings,
    ) -> Option<String> {
        if request.member_epoch < 0 {
            return None;
        }
        let due = |regex: &&str| self.is_due(regex, now, topics, settings);
        let own = self.own_regex(request).filter(due);
        own.or_else(|| self.regexes.iter().find(due)).map(String::from)
    }

    /// Whether a member has this expression, or is about to.
    pub(crate) fn wants_regex(&self, request: &Heartbeat, regex: &str) -> bool {
        self.regexes.contains(regex) || self.own_regex(request) == Some(regex)
    }

    fn own_regex<'a>(&'a self, request: &'a Heartbeat) -> Option<&'a str> {
        match request.subscribed_topic_regex.as_deref() {
            Some("") => None,
            Some(said) => Some(said),
            None => self.member(&request.member_id)?.regex(),
        }
    }

    /// Whether it is time to look for the topics of an expression.
    pub(crate) fn is_due(
        &self,
        regex: &str,
        now: Millis,
        topics: &dyn TopicsImage,
        settings: &ConsumerSettings,
    ) -> bool {
        if self.failed.get(regex).is_some_and(|at| is_soon_after(*at, now)) {
            return false;
        }
        let Some(found) = self.resolved.get(regex) else { return true };
        let at = Millis::new(found.timestamp);
        let age = now.since(at);
        // A clock that went back counts as time gone by.
        age < 0
            || (!is_soon_after(at, now) && found.version != topics.version())
            || age >= settings.regex_refresh_interval_ms
    }

    /// The log did not take what an expression stands for: what it stood for holds on, and it is tried again later.
    pub(crate) fn note_failed(&mut self, regex: String, now: Millis) {
        let regexes = &self.regexes;
        self.failed.retain(|regex, _| regexes.contains(regex));
        self.failed.insert(regex, now);
    }
}

fn is_soon_after(at: Millis, now: Millis) -> bool {
    (0..REGEX_REFRESH_MIN_MS).contains(&now.since(at))
}
