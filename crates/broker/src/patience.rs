//! How long a client may dawdle. It reads no clock: whoever owns the connection tells it when a tick has passed.

use crate::limits::Limits;

/// Longest time between two looks at a connection.
const TICK_MS_MAX: u64 = 5_000;
/// Looks within the shortest limit, so that none is exceeded by much.
const TICKS_PER_LIMIT: u64 = 4;

/// What a tick finds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// Bytes of a request that has begun to arrive and that the broker would take more of.
    pub(crate) partial: Option<usize>,
    /// Answers lie there that the socket did not take.
    pub(crate) answers: Answers,
    /// Requests are under way.
    pub(crate) work: Work,
}

/// Whether answers wait to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answers {
    Unread,
    Gone,
}

/// Whether requests wait for their answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    UnderWay,
    None,
}

/// Which limit was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exhausted {
    Idle { ms: u64 },
    SlowRequest { ms: u64 },
    SlowReader { ms: u64 },
}

/// For how long one client has been idle, slow to send, slow to read.
#[derive(Debug)]
pub(crate) struct Patience {
    tick_ms: u64,
    /// Bytes in a tick below which a client is slow.
    bytes_min: usize,
    idle_ms_max: u64,
    request_ms_max: u64,
    answer_ms_max: u64,
    idle_ms: u64,
    partial_ms: u64,
    partial_bytes: usize,
    unread_ms: u64,
    written_bytes: usize,
}

impl Patience {
    pub(crate) fn new(limits: &Limits) -> Self {
        let shortest = limits.idle_ms_max.min(limits.request_ms_max).min(limits.answer_ms_max);
        let tick_ms = (shortest / TICKS_PER_LIMIT).clamp(1, TICK_MS_MAX);
        let per_tick = usize::try_from(tick_ms).unwrap_or(usize::MAX);
        Self {
            tick_ms,
            bytes_min: Limits::BYTES_PER_SECOND_MIN.saturating_mul(per_tick) / 1000,
            idle_ms_max: limits.idle_ms_max,
            request_ms_max: limits.request_ms_max,
            answer_ms_max: limits.answer_ms_max,
            idle_ms: 0,
            partial_ms: 0,
            partial_bytes: 0,
            unread_ms: 0,
            written_bytes: 0,
        }
    }

    /// Milliseconds between two calls of [`Patience::tick`].
    pub(crate) const fn tick_ms(&self) -> u64 {
        self.tick_ms
    }

    /// A whole request has arrived.
    pub(crate) const fn request_came(&mut self) {
        self.idle_ms = 0;
        self.partial_ms = 0;
        self.partial_bytes = 0;
    }

    /// The socket took bytes of answers.
    pub(crate) const fn wrote(&mut self, bytes: usize) {
        self.written_bytes = self.written_bytes.saturating_add(bytes);
    }

    /// A tick has passed.
    pub(crate) fn tick(&mut self, seen: Seen) -> Result<(), Exhausted> {
        match seen.partial {
            Some(bytes) => {
                let came = bytes.saturating_sub(self.partial_bytes);
                self.partial_ms = self.gone_on(self.partial_ms, came);
                self.partial_bytes = bytes;
            }
            None => (self.partial_ms, self.partial_bytes) = (0, 0),
        }
        self.unread_ms = match seen.answers {
            Answers::Unread => self.gone_on(self.unread_ms, self.written_bytes),
            Answers::Gone => 0,
        };
        self.written_bytes = 0;
        let idle =
            seen.partial.is_none() && (seen.answers, seen.work) == (Answers::Gone, Work::None);
        self.idle_ms = if idle { self.idle_ms + self.tick_ms } else { 0 };
        if self.partial_ms >= self.request_ms_max {
            return Err(Exhausted::SlowRequest { ms: self.request_ms_max });
        }
        if self.unread_ms >= self.answer_ms_max {
            return Err(Exhausted::SlowReader { ms: self.answer_ms_max });
        }
        if self.idle_ms >= self.idle_ms_max {
            return Err(Exhausted::Idle { ms: self.idle_ms_max });
        }
        Ok(())
    }

    /// The time that something slow has lasted, when `bytes` of it moved in the last tick.
    const fn gone_on(&self, ms: u64, bytes: usize) -> u64 {
        if bytes >= self.bytes_min { 0 } else { ms + self.tick_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Seen = Seen { partial: None, answers: Answers::Gone, work: Work::None };

    /// Milliseconds until patience ends, and how; `None` when it never does.
    fn ends(mut seen: impl FnMut(&mut Patience, usize) -> Seen) -> Option<(u64, Exhausted)> {
        let mut patience = Patience::new(&Limits::standard());
        (1..1_000).find_map(|tick| {
            let seen = seen(&mut patience, tick);
            let ended = patience.tick(seen).err()?;
            Some((u64::try_from(tick).unwrap() * patience.tick_ms(), ended))
        })
    }

    #[test]
    fn t_l4_a_request_that_trickles_is_given_up_and_a_steady_one_is_not() {
        let slow = |_: &mut Patience, tick| Seen { partial: Some(tick), ..QUIET };
        assert_eq!(ends(slow), Some((30_000, Exhausted::SlowRequest { ms: 30_000 })));
        let steady = |_: &mut Patience, tick| Seen { partial: Some(tick * 5 * 8 * 1024), ..QUIET };
        assert_eq!(ends(steady), None);
    }

    #[test]
    fn t_l5_answers_that_nobody_reads_end_the_connection_and_a_slow_link_does_not() {
        let unread = Seen { answers: Answers::Unread, ..QUIET };
        assert_eq!(ends(|_, _| unread), Some((60_000, Exhausted::SlowReader { ms: 60_000 })));
        let slow_link = |patience: &mut Patience, _| {
            patience.wrote(5 * 8 * 1024);
            unread
        };
        assert_eq!(ends(slow_link), None);
    }

    #[test]
    fn a_silent_client_is_idle_and_one_that_waits_for_an_answer_is_not() {
        assert_eq!(ends(|_, _| QUIET), Some((600_000, Exhausted::Idle { ms: 600_000 })));
        assert_eq!(ends(|_, _| Seen { work: Work::UnderWay, ..QUIET }), None);
        let busy = |patience: &mut Patience, _| {
            patience.request_came();
            QUIET
        };
        assert_eq!(ends(busy), None);
    }
}
