//! Background work: recovery of what nobody has touched, syncs that are due, checkpoints, forgetting of producers, and the
//! shutdown.
//!
//! Who does it: [`crate::Options::helpers`] threads where they were asked for, otherwise whoever calls [`Engine::maintain`].

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use hanbeon_log::{
    Checked, Durability, LogError,
    sync::{Ordering, thread::JoinHandle},
};
use hanbeon_records::{Millis, Offset};

use crate::{
    Engine, Env, OpenError, PartitionHandle, Settings,
    checkpoints::{CheckpointFiles, Checkpoints, Offsets},
    data_dir::LastStop,
    engine::{Owner, Shared},
    ground::Due,
    partition::{Found, Opened},
    produce::Unpark,
    timer::Timer,
    transactions::TxnUpkeep,
};

/// Bytes written since the recovery point moved after which it is moved again, so that a restart checks no more than that.
const UNSYNCED_BYTES_MAX: u64 = 64 << 20;
/// Bytes whose checksums are looked at in one go: some ten milliseconds, so that what is due meanwhile does not wait long.
const UNREAD_BYTES_STEP: u64 = 32 << 20;
/// The longest sleep of a helper, milliseconds.
const PAUSE_MS_MAX: u64 = 1000;

/// When what is due next.
#[derive(Debug)]
pub(crate) struct Upkeep {
    positions: Timer,
    high_watermarks: Timer,
    expiry: Timer,
    transactions: TxnUpkeep,
}

impl Upkeep {
    pub(crate) fn new(settings: &Settings, now: Millis) -> Self {
        let timer = |key, otherwise| Timer::new(settings, key, otherwise, now);
        Self {
            positions: timer("log.flush.offset.checkpoint.interval.ms", 60_000),
            high_watermarks: timer("replica.high.watermark.checkpoint.interval.ms", 5000),
            expiry: timer("producer.id.expiration.check.interval.ms", 600_000),
            transactions: TxnUpkeep::new(settings, now),
        }
    }
}

impl<E: Env> Engine<E> {
    /// Does what is due: recovers a partition that nobody has touched since an unclean stop, syncs in the background, writes
    /// checkpoints, forgets producers. Returns the milliseconds until something is due again; 0 when there is more at once.
    ///
    /// With [`crate::Options::helpers`] their threads call it. Without, an embedder calls it now and then: for short restarts, for the timeouts
    /// of transactions and groups, and for `flush.ms`, which nobody else looks at. Of a topic that has it, and not `flush.messages` = 1, what
    /// was acknowledged survives a power cut only once this was called; no other acknowledgement depends on it.
    ///
    /// # Errors
    /// A checkpoint could not be written, or a sync failed: after a sync that failed the data directory takes no writes until it is opened
    /// again. What found a file or directory that it could not open ([`LogError::is_untried`]) is told when all else is done, and is due again.
    pub fn maintain(&self, now: Millis) -> Result<u64, LogError> {
        self.shared().maintain(now)
    }

    /// Syncs everything, writes the checkpoints and the clean-shutdown marker, joins the helpers, lets the directory go. All
    /// calls fail afterwards. A second call does nothing.
    ///
    /// # Errors
    /// Something could not be made durable: the next opening recovers.
    pub fn shutdown(&self) -> Result<(), LogError> {
        self.shared().shutdown()
    }
}

impl<E: Env> Shared<E> {
    fn shutdown(&self) -> Result<(), LogError> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.ground.due.stop();
        let helpers = std::mem::take(&mut *self.helpers.lock());
        for helper in helpers.into_iter().filter(|helper| !is_current(helper)) {
            if helper.join().is_err() {
                tracing::error!("a helper thread panicked");
            }
        }
        // What changes metadata now ends before the directory is let go, and nothing begins: its next holder reads the file once.
        let admin = self.admin.lock();
        self.ground.ids.stop();
        let result = self.close();
        drop(admin);
        // While the directory is held: logs elsewhere have no lock of their own, and the next holder writes to the same.
        self.txn.made().iter().for_each(|shard| shard.close());
        self.groups.made().iter().for_each(|shard| shard.close());
        self.ground.data.release();
        self.wake_members();
        result
    }

    /// For whom nobody is left to tell.
    fn shut_down_alone(&self) {
        if let Err(error) = self.shutdown() {
            tracing::error!(%error, "the engine did not close cleanly: the next opening recovers");
        }
    }
}

impl<E: Env> Drop for Owner<E> {
    fn drop(&mut self) {
        if self.shared.helpers.lock().iter().any(is_current) {
            // Somebody whom a helper woke had the last engine, and the helper may lead a sync that a shutdown waits for: it does the rest of
            // its work first.
            self.shared.ground.due.stop();
        } else {
            self.shared.shut_down_alone();
        }
    }
}

/// Whether it is the thread that asks.
fn is_current(helper: &JoinHandle<()>) -> bool {
    helper.thread().id() == thread::current().id()
}

/// How long a closed engine may pass for an open one, to a thread that is parked and that nobody unparks for it.
const LOOK_FOR_THE_END: Duration = Duration::from_millis(50);

/// Whether logs are left that must be opened because the last holder of the directory did not close them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Recovering {
    Some,
    Nothing,
}

/// The first step of upkeep that found a file or directory it could not open. It is due again, and keeps nothing else from its upkeep.
struct Untried(Option<LogError>);

impl Untried {
    /// Keeps an error of that kind.
    fn keep<T>(&mut self, result: Result<T, LogError>) -> Result<Option<T>, LogError> {
        match result {
            Ok(done) => Ok(Some(done)),
            Err(error) if error.is_untried() => {
                self.0.get_or_insert(error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// What upkeep returns.
    fn or(self, pause: u64) -> Result<u64, LogError> {
        self.0.map_or(Ok(pause), Err)
    }
}

/// How far a background sync has moved a recovery point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Moved {
    /// Not, or by less than a restart would notice.
    Little,
    /// By [`UNSYNCED_BYTES_MAX`] or more.
    Far,
}

impl<E: Env> Shared<E> {
    pub(crate) fn partitions(&self) -> Vec<PartitionHandle<E>> {
        let image = Arc::clone(&self.image.read());
        image.topics().into_iter().flat_map(|topic| topic.partitions().iter().cloned()).collect()
    }

    pub(crate) fn maintain(&self, now: Millis) -> Result<u64, LogError> {
        if self.closed.load(Ordering::Acquire) {
            return Ok(PAUSE_MS_MAX);
        }
        if self.ground.data.poison.is_set() {
            self.ground.data.pages_in_doubt();
        }
        let partitions = self.partitions();
        let recovering = self.recovering(&partitions);
        let mut pause = PAUSE_MS_MAX;
        let mut moved = Moved::Little;
        let mut untried = Untried(None);
        for partition in &partitions {
            if let Some(opened) = partition.if_open() {
                let unread = match recovering {
                    // Somebody may wait for those that are not open.
                    Recovering::Some => Checked::Part,
                    Recovering::Nothing => {
                        let checked = self.check_unread(partition, opened, now);
                        untried.keep(checked)?.unwrap_or(Checked::All)
                    }
                };
                if unread == Checked::Part {
                    pause = 0;
                }
                let synced = self.sync_if_due(partition, opened, unread, now);
                if let Some((left, how_far)) = untried.keep(synced)? {
                    pause = pause.min(left);
                    moved = moved.max(how_far);
                }
            }
        }
        // One caller at a time; whoever comes meanwhile has nothing to do here.
        let Some(mut upkeep) = self.upkeep.try_lock() else {
            return untried.or(pause);
        };
        if upkeep.expiry.due(now) {
            for opened in partitions.iter().filter_map(PartitionHandle::if_open) {
                let gone = opened.log.expire_producers(now);
                self.ground.metrics.producers_expired.add(u64::try_from(gone).unwrap_or(0));
            }
        }
        // A recovery point that moved far is written down at once: what is not in the file is checked again after a kill.
        let positions = upkeep.positions.due(now) || moved == Moved::Far;
        if upkeep.high_watermarks.due(now) {
            let written = self.ground.data.write_high_watermarks(|files| self.checkpoints(files));
            let (Some(()) | None) = untried.keep(written)?;
        }
        if positions {
            let written = self.ground.data.write_positions(|files| self.checkpoints(files));
            let (Some(()) | None) = untried.keep(written)?;
        }
        for timer in [&upkeep.positions, &upkeep.high_watermarks, &upkeep.expiry] {
            pause = pause.min(timer.left(now));
        }
        pause = pause.min(self.tend_transactions(&mut upkeep.transactions, now));
        pause = pause.min(self.tend_groups());
        pause = pause.min(self.tend_members());
        // Not where one is offline: its pages are as the power cut left them. Nor where transactions are left that nobody will end.
        if recovering == Recovering::Nothing
            && partitions.iter().all(|partition| partition.if_open().is_some())
            && !self.has_orphans()
        {
            self.ground.data.all_checked();
        }
        drop(upkeep);
        match recovering {
            Recovering::Some => {
                self.recover_one(&partitions);
                untried.or(0)
            }
            Recovering::Nothing => untried.or(pause),
        }
    }

    /// Whether there are partitions that nobody has touched since an unclean stop.
    fn recovering(&self, partitions: &[PartitionHandle<E>]) -> Recovering {
        let data = &self.ground.data;
        if data.last_stop == LastStop::Clean {
            return Recovering::Nothing;
        }
        if partitions.iter().any(|partition| !partition.is_open()) {
            return Recovering::Some;
        }
        Recovering::Nothing
    }

    /// Opens one partition that nobody has touched since an unclean stop.
    fn recover_one(&self, partitions: &[PartitionHandle<E>]) {
        let Some(next) = partitions.iter().find(|partition| !partition.is_open()) else { return };
        if let Err(error) = next.open() {
            tracing::error!(partition = ?next, %error, "offline");
        }
    }

    /// Looks at some of the checksums that the opening left out. Over damage the recovery point moves at once, also in the file: behind it a
    /// power cut would make the damage a torn write, and the next opening would cut what was acknowledged behind that.
    fn check_unread(
        &self,
        partition: &PartitionHandle<E>,
        opened: &Opened<E>,
        now: Millis,
    ) -> Result<Checked, LogError> {
        let (checked, found) = opened.check_unread(partition, UNREAD_BYTES_STEP);
        if found == Found::Damage {
            opened.doubted.store(true, Ordering::Release);
        }
        if !opened.doubted.load(Ordering::Acquire) {
            return Ok(checked);
        }
        self.move_recovery_point(partition, opened, now)?;
        // It has looked at all the rest.
        let (Found::Nothing | Found::Damage) = opened.tell_damage(partition);
        self.ground.data.write_positions(|files| self.checkpoints(files))?;
        opened.doubted.store(false, Ordering::Release);
        Ok(Checked::All)
    }

    fn move_recovery_point(
        &self,
        partition: &PartitionHandle<E>,
        opened: &Opened<E>,
        now: Millis,
    ) -> Result<(), LogError> {
        self.ground.metrics.background_syncs.add(1);
        let end = opened.log.log_end_offset();
        opened.log.sync_written()?;
        opened.synced(partition, end, now);
        Ok(())
    }

    /// Syncs a partition in the background when its time has come; milliseconds until then otherwise, and whether its recovery
    /// point is worth writing down.
    fn sync_if_due(
        &self,
        partition: &PartitionHandle<E>,
        opened: &Opened<E>,
        unread: Checked,
        now: Millis,
    ) -> Result<(u64, Moved), LogError> {
        const NOTHING_DUE: (u64, Moved) = (PAUSE_MS_MAX, Moved::Little);
        if unread == Checked::All && opened.log.unsynced_bytes() >= UNSYNCED_BYTES_MAX {
            self.move_recovery_point(partition, opened, now)?;
            return Ok((PAUSE_MS_MAX, Moved::Far));
        }
        let Some(since) = opened.dirty_since() else {
            return Ok(NOTHING_DUE);
        };
        let after_ms = match opened.durability() {
            Durability::Os => return Ok(NOTHING_DUE),
            // Its producer did not wait; who does wait syncs at once.
            Durability::Sync => 0,
            Durability::Interval { ms, .. } => ms,
        };
        let left = after_ms.saturating_sub(now.since(since));
        if left > 0 {
            return Ok((u64::try_from(left).unwrap_or(0), Moved::Little));
        }
        self.ground.metrics.background_syncs.add(1);
        partition.sync_all()?;
        Ok(NOTHING_DUE)
    }

    /// What the checkpoint files are to say. Partitions that are not open keep what was found.
    fn checkpoints(&self, files: &CheckpointFiles) -> Checkpoints {
        let mut now = Checkpoints::default();
        for partition in &self.partitions() {
            let name = &partition.0.name;
            let Some(opened) = partition.if_open() else {
                let stood = files.stood(name);
                let keep = |offset: Option<Offset>, into: &mut Offsets| {
                    if let Some(offset) = offset {
                        into.insert(name.clone(), offset);
                    }
                };
                keep(stood.recovery_point, &mut now.recovery_points);
                keep(stood.log_start, &mut now.log_starts);
                keep(stood.high_watermark, &mut now.high_watermarks);
                continue;
            };
            let log = &opened.log;
            now.recovery_points.insert(name.clone(), log.recovery_point());
            now.high_watermarks.insert(name.clone(), log.high_watermark());
            let start = log.log_start_offset();
            // As Kafka: only where the log does not begin with its first segment.
            if start > log.first_base_offset() {
                now.log_starts.insert(name.clone(), start);
            }
        }
        now
    }

    /// Closes all partitions and says so.
    fn close(&self) -> Result<(), LogError> {
        let partitions = self.partitions();
        let mut failed = None;
        let mut untouched = false;
        for partition in &partitions {
            match partition.shut() {
                Some(Ok(_)) => {}
                Some(Err(error)) => failed = failed.or(Some(error)),
                None => untouched |= partition.is_older_than_opening(),
            }
        }
        let data = &self.ground.data;
        // First: where a write or a sync failed, the next ones do too.
        if data.poison.is_set() {
            data.pages_in_doubt();
        }
        data.write_high_watermarks(|files| self.checkpoints(files))?;
        data.write_positions(|files| self.checkpoints(files))?;
        if let Some(error) = failed {
            return Err(error);
        }
        data.poison.check(format_args!("{:?}", data.dir))?;
        // What was never checked since a crash must be checked next time.
        if data.last_stop == LastStop::Clean || !untouched && !self.has_orphans() {
            data.write_clean_marker()?;
        }
        Ok(())
    }
}

impl<E: Env> Shared<E> {
    /// Polls a future and leads the syncs that anybody waits for, which may be its own. `None` when the engine stops first.
    pub(crate) fn help_until<F: Future>(&self, future: F) -> Option<F::Output> {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut cx = Context::from_waker(&waker);
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                return Some(output);
            }
            match self.ground.due.take() {
                Due::Sync(partition) => lead(&partition),
                Due::Nothing => thread::park(),
                Due::Stop => return None,
            }
        }
    }
}

impl<E: Env> Shared<E> {
    /// Blocks until a future is ready. The syncs that it waits for, and others that come before them, this thread leads itself
    /// unless a helper is quicker: it depends on nobody, so that it ends also while the engine stops.
    pub(crate) fn drive<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        loop {
            // For ever: it always ends with an output.
            if let Some(output) = self.drive_on(future.as_mut(), || Some(Duration::MAX)) {
                return output;
            }
        }
    }

    /// The same, until the environment's clock has reached `deadline`.
    pub(crate) fn drive_until<F: Future>(
        &self,
        future: F,
        deadline: Duration,
    ) -> Option<F::Output> {
        self.drive_on(pin!(future), || self.left(deadline))
    }

    /// The same, and until the engine is closed: for who holds what a shutdown waits for.
    pub(crate) fn drive_while_open<F: Future>(
        &self,
        future: F,
        deadline: Duration,
    ) -> Option<F::Output> {
        self.drive_on(pin!(future), || Some(self.left(deadline)?.min(self.look_again()?)))
    }

    /// The same, however long that takes.
    pub(crate) fn drive_till_closed<F: Future>(&self, future: F) -> Option<F::Output> {
        self.drive_on(pin!(future), || self.look_again())
    }

    /// How long who waits may leave it unasked whether the engine is open; nothing where it is not.
    fn look_again(&self) -> Option<Duration> {
        (!self.closed.load(Ordering::Acquire)).then_some(LOOK_FOR_THE_END)
    }

    /// How long it is to a deadline that is still to come.
    fn left(&self, deadline: Duration) -> Option<Duration> {
        let left = deadline.saturating_sub(self.ground.env.monotonic());
        Some(left).filter(|left| !left.is_zero())
    }

    /// Parks as long as `patience` says at most, and gives up when it has no more.
    fn drive_on<F: Future>(
        &self,
        mut future: Pin<&mut F>,
        patience: impl Fn() -> Option<Duration>,
    ) -> Option<F::Output> {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut cx = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                return Some(output);
            }
            if let Some(partition) = self.ground.due.take_sync() {
                lead(&partition);
                continue;
            }
            thread::park_timeout(patience()?);
        }
    }
}

/// Leads a sync that somebody waits for.
fn lead<E: Env>(partition: &PartitionHandle<E>) {
    let Err(error) = partition.sync_all() else { return };
    if error.is_untried() {
        tracing::warn!(?partition, %error, "no sync was begun: who waits for it is told, and the next is tried");
    } else {
        tracing::error!(?partition, %error, "the sync failed: nothing is taken until the directory is opened again");
    }
}

/// Starts the helper threads.
pub(crate) fn start_helpers<E: Env>(
    engine: &Arc<Shared<E>>,
    count: usize,
) -> Result<(), OpenError> {
    for number in 0..count {
        let shared = Arc::clone(engine);
        let name = format!("hanbeon-helper-{number}");
        let helper = thread::Builder::new().name(name).spawn(move || help(&shared));
        let helper = helper.map_err(|source| OpenError::Io {
            dir: format!("{:?}", engine.ground.data.dir),
            action: "start a helper thread",
            source: Arc::new(source),
        })?;
        engine.helpers.lock().push(helper);
    }
    Ok(())
}

fn help<E: Env>(shared: &Shared<E>) {
    loop {
        match shared.ground.due.take() {
            Due::Sync(partition) => {
                // A sync that unwinds has failed for all who wait for it: there is nothing to lead once more.
                let (Some(()) | None) = contained(|| lead(&partition));
            }
            // Where a shutdown has told it to stop, that is under way and this does nothing.
            Due::Stop => return shared.shut_down_alone(),
            Due::Nothing => {
                let maintained = contained(|| shared.maintain(shared.ground.env.now()));
                let pause = maintained.unwrap_or(Ok(PAUSE_MS_MAX)).unwrap_or_else(|error| {
                    tracing::error!(%error, "maintenance failed");
                    PAUSE_MS_MAX
                });
                thread::park_timeout(Duration::from_millis(pause));
            }
        }
    }
}

/// One turn of a helper; `None` when it panicked. Code of the embedder runs in it (wakers, state logs, storage), and whatever that does,
/// the helper stays: nobody else leads the syncs that futures wait for.
fn contained<T>(turn: impl FnOnce() -> T) -> Option<T> {
    let result = catch_unwind(AssertUnwindSafe(turn));
    if result.is_err() {
        tracing::error!("a turn of a helper panicked; it goes on");
    }
    result.ok()
}
