//! Helper threads run the embedder's code when they wake its tasks, and outlive what that does.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    future::Future,
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex, mpsc},
    task::{Context, Wake, Waker},
    thread,
    time::Duration,
};

use hanbeon::{Acks, Engine, Options, Produce, Record};
use support::batch;

fn open(home: &Path) -> Engine {
    let engine = Engine::open_with(home, Options::embedded().helpers(1)).unwrap();
    engine.ensure_topic("t", 1).unwrap();
    engine
}

/// What a task does when a helper wakes it.
struct OnHelper<F>(F);

impl<F: Fn() + Send + Sync + 'static> Wake for OnHelper<F> {
    fn wake(self: Arc<Self>) {
        if thread::current().name() == Some("hanbeon-helper-0") {
            (self.0)();
        }
    }
}

fn waker(act: impl Fn() + Send + Sync + 'static) -> Waker {
    Waker::from(Arc::new(OnHelper(act)))
}

/// Polls one future after the other until one has to wait for the helper, which wakes it.
fn park<F: Future + Unpin>(mut make: impl FnMut() -> F, waker: &Waker) -> F {
    loop {
        let mut future = make();
        if Pin::new(&mut future).poll(&mut Context::from_waker(waker)).is_pending() {
            return future;
        }
    }
}

fn written(engine: &Engine) -> hanbeon::ProduceFuture {
    match engine.partition("t", 0).unwrap().produce(batch(&["x"]), Acks::All) {
        Produce::Waiting(future) => future,
        Produce::Done(answer) => panic!("not synced yet: {answer:?}"),
    }
}

/// Whether a record that is sent now is answered, one way or the other.
fn answers(engine: &Engine) -> Option<bool> {
    let delivery = engine.producer().send(Record::new("t", "y")).unwrap();
    let (answered, answer) = mpsc::channel();
    let waiting = move || answered.send(delivery.wait().is_ok());
    thread::Builder::new().spawn(waiting).unwrap();
    answer.recv_timeout(Duration::from_secs(60)).ok()
}

#[test]
fn a_record_whose_task_panics_when_it_is_woken_stops_nobody() {
    let home = tempfile::tempdir().unwrap();
    let engine = open(home.path());
    let (woken, waking) = mpsc::channel();
    let panics = waker(move || {
        woken.send(()).unwrap();
        panic!("planted");
    });
    let producer = engine.producer();
    let parked = park(|| producer.send(Record::new("t", "x")).unwrap(), &panics);
    waking.recv().unwrap();
    assert_eq!(answers(&engine), Some(true));
    drop((parked, producer));
    engine.shutdown().unwrap();
}

/// Here the waker is called in the middle of the sync.
#[test]
fn a_batch_whose_task_panics_when_it_is_woken_leaves_nobody_without_an_answer() {
    let home = tempfile::tempdir().unwrap();
    let engine = open(home.path());
    engine.ensure_topic("u", 1).unwrap();
    let (woken, waking) = mpsc::channel();
    let panics = waker(move || {
        woken.send(()).unwrap();
        panic!("planted");
    });
    let parked = park(|| written(&engine), &panics);
    waking.recv().unwrap();
    assert_eq!(answers(&engine), Some(true), "the sync went well");
    drop(parked);
    let other = engine.producer().send(Record::new("u", "y")).unwrap();
    other.wait().unwrap();
}

#[test]
fn the_last_engine_may_go_where_a_helper_wakes_somebody() {
    let home = tempfile::tempdir().unwrap();
    let engine = open(home.path());
    let ((left, leaving), (gone, going)) = (mpsc::channel(), mpsc::channel());
    let last = Mutex::new(Some((engine.clone(), leaving)));
    let holds = waker(move || {
        let Some((last, leaving)) = last.lock().unwrap().take() else { return };
        leaving.recv().unwrap();
        drop(last);
        gone.send(()).unwrap();
    });
    let parked = park(|| written(&engine), &holds);
    drop(engine);
    left.send(()).unwrap();
    going.recv_timeout(Duration::from_secs(60)).unwrap();
    let marker = home.path().join(".kafka_cleanshutdown");
    while !marker.exists() {
        thread::yield_now();
    }
    let engine = loop {
        // The directory is let go behind the marker.
        match Engine::open(home.path()) {
            Ok(engine) => break engine,
            Err(_) => thread::yield_now(),
        }
    };
    assert!(parked.wait().is_ok());
    let mut consumer = engine.consumer();
    consumer.assign_all("t").unwrap();
    assert!(!consumer.poll().unwrap().is_empty());
}
