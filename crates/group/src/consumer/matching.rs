//! Which topics an expression stands for. Names are looked at a few at a time: all groups of a shard wait meanwhile.

use alloc::{boxed::Box, string::String, vec::Vec};

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

/// An expression whose topics are looked for. It is finished however often the topics change meanwhile: those that come behind the last
/// name looked at are seen, others with the next look, which is due because this one tells the version with which it began.
#[derive(Debug)]
pub(crate) struct Matching {
    regex: String,
    /// None for one that another broker accepted: it stands for nothing here.
    pattern: Option<TopicPattern>,
    version: i64,
    /// The last name looked at.
    last: Option<String>,
    found: Vec<String>,
}

impl Matching {
    fn new(regex: String, topics: &dyn TopicsImage) -> Self {
        let pattern = TopicPattern::new(&regex).ok();
        Self { regex, pattern, version: topics.version(), last: None, found: Vec::new() }
    }

    /// Looks at more names, one at least and about as many as `steps` allows; what it stands for once all were looked at.
    fn go_on(&mut self, now: Millis, topics: &dyn TopicsImage, steps: usize) -> Option<Resolution> {
        if let Some(pattern) = &self.pattern {
            let seen = |name: &&str| self.last.as_deref().is_some_and(|last| *name <= last);
            let mut names = topics.names().skip_while(seen).peekable();
            let (mut left, mut last) = (steps, None);
            let some = core::iter::from_fn(|| {
                if left == 0 {
                    return None;
                }
                let name = names.next()?;
                left = left.saturating_sub(pattern.steps(name));
                last = Some(name);
                Some(name)
            });
            self.found.extend(pattern.filter(some));
            let is_through = names.peek().is_none();
            drop(names);
            if let Some(last) = last {
                self.last = Some(last.into());
            }
            if !is_through {
                return None;
            }
        }
        let mut topics = self.found.clone();
        topics.sort_unstable();
        topics.dedup();
        let value = ResolvedRegex { topics, version: self.version, timestamp: now.get() };
        Some(Resolution { regex: self.regex.clone(), value })
    }
}

impl ConsumerGroup {
    /// Looks for the topics of an expression as far as that goes in one heartbeat: of the one that was begun with before another. It stays
    /// in `begun` also when it is through, until somebody has made use of it.
    pub(crate) fn look_on(
        &self,
        begun: &mut Option<Box<Matching>>,
        now: Millis,
        request: &Heartbeat,
        topics: &dyn TopicsImage,
        settings: &ConsumerSettings,
    ) -> Option<Resolution> {
        let goes_on = |begun: &Matching| {
            self.wants_regex(request, &begun.regex)
                && self.is_due(&begun.regex, now, topics, settings)
        };
        if !begun.as_deref().is_some_and(goes_on) {
            let due = self.due_regex(now, request, topics, settings);
            *begun = due.map(|due| Box::new(Matching::new(due, topics)));
        }
        begun.as_mut()?.go_on(now, topics, STEPS_MAX)
    }

    /// The same in one go.
    pub(super) fn look(
        &self,
        now: Millis,
        request: &Heartbeat,
        topics: &dyn TopicsImage,
        settings: &ConsumerSettings,
    ) -> Option<Resolution> {
        let due = self.due_regex(now, request, topics, settings)?;
        Matching::new(due, topics).go_on(now, topics, usize::MAX)
    }

    /// The expression whose topics are to be looked for with this heartbeat: the member's own before those of others, and one at a time.
    fn due_regex(
        &self,
        now: Millis,
        request: &Heartbeat,
        topics: &dyn TopicsImage,
        settings: &ConsumerSettings,
    ) -> Option<String> {
        let due = |regex: &&str| self.is_due(regex, now, topics, settings);
        let own = self.own_regex(request).filter(due);
        own.or_else(|| self.regexes.iter().find(due)).map(String::from)
    }

    /// Whether a member has this expression, or is about to.
    fn wants_regex(&self, request: &Heartbeat, regex: &str) -> bool {
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
    fn is_due(
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
