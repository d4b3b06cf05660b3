//! Tasks on a whole engine, without listeners.

use std::cell::{Cell, RefCell};
use std::panic::resume_unwind;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use glommio::LocalExecutorBuilder;
use shard_sync::Doorbell;

use crate::engine::neighbours::Neighbours;
use crate::engine::{Engine, EngineSetup};
use crate::settings;
use crate::shard::{Shard, ShardSetup, Stats};

use super::{TASKS_PER_TURN, Tasks, YIELD_EVERY_MS};

/// More than any test takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs `test` with an engine on a thread of its own. Fails if that does not end.
fn on_a_shard<T: Send + 'static>(test: impl AsyncFnOnce(&mut Engine) -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::sync_channel(1);
    let shard = thread::spawn(move || sender.send(run_shard(test)).unwrap());
    match receiver.recv_timeout(PATIENCE) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => panic!("the shard waits for what does not happen"),
        Err(RecvTimeoutError::Disconnected) => resume_unwind(shard.join().unwrap_err()),
    }
}

fn run_shard<T>(test: impl AsyncFnOnce(&mut Engine) -> T) -> T {
    let doorbell = Arc::new(Doorbell::new().unwrap());
    let neighbours = Neighbours::connect(&[doorbell], 1).pop().unwrap();
    let shard = ShardSetup {
        id: 0,
        count: 1,
        limits: Arc::default(),
        hash_seed: 1,
        id_secret: [1, 2],
        retained_quota: Arc::default(),
        peer_bytes_max: 0,
        routes: None,
        stats: Arc::new(Stats::default()),
        common: Arc::default(),
        now_ms: 0,
    };
    let setup = EngineSetup {
        settings: settings::Engine {
            ring_entries: 64,
            receive_buffers: 8,
            ..settings::Engine::default()
        },
        acceptors: Vec::new(),
        neighbours,
        stop: Arc::default(),
        started: Instant::now(),
        routes: None,
        store: None,
    };
    let executor = LocalExecutorBuilder::default().io_memory(64 << 10);
    executor.make().unwrap().run(async {
        let mut engine = Engine::new(setup, Shard::new(shard)).unwrap();
        let result = test(&mut engine).await;
        engine.end().await;
        result
    })
}

/// A task that wakes itself whenever it is polled, and the number of times it was.
fn start_restless(tasks: &Tasks) -> Rc<Cell<u64>> {
    let polls = Rc::new(Cell::new(0));
    let count = Rc::clone(&polls);
    tasks.spawn(std::future::poll_fn(move |context| {
        count.set(count.get() + 1);
        context.waker().wake_by_ref();
        Poll::Pending
    }));
    polls
}

/// A task that waits for ever; its waker as it was when the task was polled first.
fn start_resting(tasks: &Tasks, polls: &Rc<Cell<u64>>) -> Waker {
    let (polls, waker) = (Rc::clone(polls), Rc::new(RefCell::new(None)));
    let own = Rc::clone(&waker);
    tasks.spawn(std::future::poll_fn(move |context| {
        polls.set(polls.get() + 1);
        own.borrow_mut()
            .get_or_insert_with(|| context.waker().clone());
        Poll::Pending
    }));
    waker.take().unwrap()
}

/// Runs a number of turns, if something keeps the engine from sleeping.
async fn run_turns(engine: &mut Engine, count: u64) {
    let mut turns = 0;
    let is_over = |_: &Engine| {
        turns += 1;
        turns == count
    };
    engine.turns_until(is_over).await.unwrap();
}

/// A task that waits for ever; holds nothing but what it is given.
async fn wait_with<T>(held: T) {
    std::future::pending::<()>().await;
    drop(held);
}

/// Numbers without a pattern that matters here.
fn random(state: &mut u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1);
    *state >> 40
}

#[test]
fn a_shard_passes_its_self_test() {
    let lateness = on_a_shard(async |engine| engine.self_test().await.unwrap());
    assert!(lateness.is_tolerable(), "{lateness:?}");
}

#[test]
fn a_shard_that_is_held_up_fails_its_self_test() {
    let lateness = on_a_shard(async |engine| {
        engine.tasks.spawn(std::future::poll_fn(|context| {
            thread::sleep(Duration::from_millis(100));
            context.waker().wake_by_ref();
            Poll::Pending
        }));
        engine.self_test().await.unwrap()
    });
    assert!(!lateness.is_tolerable(), "{lateness:?}");
}

/// What another thread and a task tell each other.
#[derive(Default)]
struct Conversation {
    said: AtomicU64,
    heard: AtomicU64,
}

/// Starts a task that hears what is said whenever it is woken, until it hears `last`. With
/// its waker and a flag that says that it is over.
fn start_listener(tasks: &Tasks, last: u64) -> (Arc<Conversation>, Waker, Rc<Cell<bool>>) {
    let conversation = Arc::new(Conversation::default());
    let (is_over, waker) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(None)));
    let (own, over, own_waker) = (
        Arc::clone(&conversation),
        Rc::clone(&is_over),
        Rc::clone(&waker),
    );
    tasks.spawn(std::future::poll_fn(move |context| {
        own_waker.set(Some(context.waker().clone()));
        let said = own.said.load(Ordering::Relaxed);
        own.heard.store(said, Ordering::Relaxed);
        over.set(said == last);
        if said == last {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }));
    (conversation, waker.take().unwrap(), is_over)
}

#[test]
fn each_wake_by_another_thread_is_seen() {
    const WAKES: u64 = 1000;
    on_a_shard(async |engine| {
        let (conversation, waker, is_over) = start_listener(&engine.tasks, WAKES);
        let speaker = thread::spawn(move || {
            let mut seed = 1;
            for said in 1..=WAKES {
                // From none, when the shard may just be going to sleep, to long enough for
                // it to sleep.
                for _ in 0..random(&mut seed) % 20_000 {
                    std::hint::spin_loop();
                }
                conversation.said.store(said, Ordering::Relaxed);
                waker.wake_by_ref();
                while conversation.heard.load(Ordering::Relaxed) != said {
                    thread::yield_now();
                }
            }
        });
        engine.turns_until(|_| is_over.get()).await.unwrap();
        speaker.join().unwrap();
    });
}

#[test]
fn the_engine_does_not_sleep_over_a_wake_that_came_after_its_turn() {
    on_a_shard(async |engine| {
        let waker = start_resting(&engine.tasks, &Rc::default());
        // The shard is not parked yet, so this rings no bell.
        thread::spawn(|| waker.wake()).join().unwrap();
        engine.sleep().unwrap();
    });
}

#[test]
fn what_was_written_before_the_last_of_many_wakes_is_seen() {
    const WAKES: u64 = 1000;
    on_a_shard(async |engine| {
        let (conversation, waker, is_over) = start_listener(&engine.tasks, WAKES);
        let speaker = thread::spawn(move || {
            let mut seed = 2;
            for said in 1..=WAKES {
                for _ in 0..random(&mut seed) % 2000 {
                    std::hint::spin_loop();
                }
                conversation.said.store(said, Ordering::Relaxed);
                waker.wake_by_ref();
            }
            conversation
        });
        engine.turns_until(|_| is_over.get()).await.unwrap();
        let conversation = speaker.join().unwrap();
        assert_eq!(conversation.heard.load(Ordering::Relaxed), WAKES);
    });
}

#[test]
fn a_task_that_wakes_itself_for_ever_is_polled_once_a_turn() {
    on_a_shard(async |engine| {
        let polls = start_restless(&engine.tasks);
        run_turns(engine, 100).await;
        assert_eq!(polls.get(), 1 + 100);
    });
}

#[test]
fn a_task_that_wakes_itself_for_ever_holds_up_nothing() {
    on_a_shard(async |engine| {
        let polls = start_restless(&engine.tasks);
        let lateness = engine.self_test().await.unwrap();
        assert!(lateness.is_tolerable(), "{lateness:?}");
        let (stop, doorbell) = (Arc::clone(&engine.stop), Arc::clone(&engine.neighbours.own));
        let stopper = thread::spawn(move || {
            stop.store(true, Ordering::SeqCst);
            doorbell.ring();
        });
        engine.run().await.unwrap();
        stopper.join().unwrap();
        assert!(polls.get() > 1);
    });
}

#[test]
fn more_tasks_than_fit_into_a_turn_take_turns() {
    on_a_shard(async |engine| {
        let all: Vec<_> = (0..3 * TASKS_PER_TURN)
            .map(|_| start_restless(&engine.tasks))
            .collect();
        for turns in 1..=30 {
            run_turns(engine, 1).await;
            let polls: u64 = all.iter().map(|polls| polls.get() - 1).sum();
            assert_eq!(polls, turns * TASKS_PER_TURN as u64);
        }
        assert!(all.iter().all(|polls| polls.get() == 1 + 10));
    });
}

#[test]
fn a_task_that_is_woken_again_before_it_is_polled_is_polled_once() {
    on_a_shard(async |engine| {
        let polls = Rc::new(Cell::new(0));
        let waker = start_resting(&engine.tasks, &polls);
        start_restless(&engine.tasks);
        let elsewhere = waker.clone();
        waker.wake_by_ref();
        thread::spawn(move || elsewhere.wake()).join().unwrap();
        waker.wake_by_ref();
        run_turns(engine, 3).await;
        assert_eq!(polls.get(), 2);
    });
}

#[test]
fn a_task_may_start_another_and_be_woken_by_it() {
    on_a_shard(async |engine| {
        let (is_done, done) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(false)));
        let (tasks, outer) = (engine.tasks.clone(), Rc::clone(&is_done));
        engine.tasks.spawn(async move {
            let waker = std::future::poll_fn(|context| Poll::Ready(context.waker().clone())).await;
            let inner = Rc::clone(&done);
            tasks.clone().spawn(async move {
                tasks.sleep(1).await;
                inner.set(true);
                waker.wake();
            });
            let check = |_: &mut Context<'_>| {
                if done.get() {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            };
            std::future::poll_fn(check).await;
            outer.set(true);
        });
        engine.turns_until(|_| is_done.get()).await.unwrap();
    });
}

#[test]
fn the_waker_of_a_finished_task_does_not_wake_the_task_in_its_place() {
    on_a_shard(async |engine| {
        let kept = Rc::new(RefCell::new(None));
        let own = Rc::clone(&kept);
        engine.tasks.spawn(std::future::poll_fn(move |context| {
            *own.borrow_mut() = Some(context.waker().clone());
            Poll::Ready(())
        }));
        let before = kept.take().unwrap();
        let running = engine.tasks.local.running.borrow().len();
        let polls = Rc::new(Cell::new(0));
        start_resting(&engine.tasks, &polls);
        assert_eq!(engine.tasks.local.running.borrow().len(), running + 1);
        before.wake();
        start_restless(&engine.tasks);
        run_turns(engine, 2).await;
        assert_eq!(polls.get(), 1);
    });
}

#[test]
fn tasks_are_dropped_with_their_shard_and_their_wakers_wake_nothing() {
    let (waker, polls) = on_a_shard(async |engine| {
        let (held, polls) = (Rc::new(()), Rc::new(Cell::new(0)));
        let sleep = engine.tasks.sleep(1000);
        let own = Rc::clone(&held);
        engine.tasks.spawn(async {
            sleep.await;
            drop(own);
        });
        engine.tasks.spawn(wait_with(Rc::clone(&held)));
        start_restless(&engine.tasks);
        let waker = start_resting(&engine.tasks, &polls);
        run_turns(engine, 2).await;
        assert_eq!(Rc::strong_count(&held), 3);
        engine.end().await;
        assert_eq!(Rc::strong_count(&held), 1);
        engine.tasks.spawn(wait_with(Rc::clone(&held)));
        assert_eq!(Rc::strong_count(&held), 1);
        assert_eq!(engine.tasks.local.running.borrow().len(), 0);
        waker.wake_by_ref();
        (waker, polls.get())
    });
    waker.wake();
    assert_eq!(polls, 1);
}

#[test]
fn sleeps_end_in_order_and_none_too_early() {
    on_a_shard(async |engine| {
        let ends = Rc::new(RefCell::new(Vec::new()));
        for ms in [30, 10, 0, 20] {
            let (ends, tasks, begun) = (Rc::clone(&ends), engine.tasks.clone(), Instant::now());
            engine.tasks.spawn(async move {
                tasks.sleep(ms).await;
                assert!(begun.elapsed() >= Duration::from_millis(ms));
                ends.borrow_mut().push(ms);
            });
        }
        let is_over = |_: &Engine| ends.borrow().len() == 4;
        engine.turns_until(is_over).await.unwrap();
        assert_eq!(*ends.borrow(), [0, 10, 20, 30]);
    });
}

#[test]
fn a_sleep_that_is_dropped_leaves_nothing_behind() {
    on_a_shard(async |engine| {
        let sleepers = |engine: &Engine| engine.tasks.local.sleepers.borrow().len();
        let before = sleepers(engine);
        let mut sleep = Box::pin(engine.tasks.sleep(1000));
        let mut context = Context::from_waker(Waker::noop());
        assert!(sleep.as_mut().poll(&mut context).is_pending());
        assert!(sleep.as_mut().poll(&mut context).is_pending());
        assert_eq!(sleepers(engine), before + 1);
        drop(sleep);
        assert_eq!(sleepers(engine), before);
    });
}

#[test]
fn a_sleep_wakes_who_polled_it_last() {
    on_a_shard(async |engine| {
        let polls = [(); 2].map(|()| Rc::new(Cell::new(0)));
        let [first, last] = [0, 1].map(|index| start_resting(&engine.tasks, &polls[index]));
        let mut sleep = Box::pin(engine.tasks.sleep(5));
        for waker in [&first, &last] {
            assert!(
                sleep
                    .as_mut()
                    .poll(&mut Context::from_waker(waker))
                    .is_pending()
            );
        }
        engine.turns_until(|_| polls[1].get() == 2).await.unwrap();
        assert_eq!(polls[0].get(), 1);
        assert!(
            sleep
                .as_mut()
                .poll(&mut Context::from_waker(&first))
                .is_ready()
        );
    });
}

#[test]
fn the_engine_yields_once_an_hour_without_a_task() {
    let tasks = Tasks::new(Instant::now(), Arc::new(Doorbell::new().unwrap()));
    assert!(!tasks.release(1));
    assert!(!tasks.release(YIELD_EVERY_MS - 1));
    assert_eq!(tasks.next_deadline_ms(), YIELD_EVERY_MS);
    assert!(tasks.release(YIELD_EVERY_MS));
    assert!(!tasks.release(YIELD_EVERY_MS + 1));
    assert!(!tasks.has_work());
    assert_eq!(tasks.next_deadline_ms(), 2 * YIELD_EVERY_MS);
}
