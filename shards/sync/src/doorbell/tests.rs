use std::{sync::Arc, thread};

use super::*;
use crate::ring;

/// Waits for the eventfd as the kernel does for a shard, up to 20 seconds.
fn wait(doorbell: &Doorbell) -> bool {
    readable_within(doorbell, 20_000)
}

fn readable_within(doorbell: &Doorbell, milliseconds: i32) -> bool {
    let mut poll = libc::pollfd {
        fd: doorbell.fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: `poll` is one valid pollfd for the length of the call.
    unsafe { libc::poll(&raw mut poll, 1, milliseconds) == 1 }
}

#[test]
fn ringing_a_shard_that_is_awake_leaves_the_eventfd_alone() {
    let doorbell = Doorbell::new().unwrap();
    doorbell.ring();
    assert!(!readable_within(&doorbell, 0));
}

#[test]
fn ringing_a_parked_shard_makes_the_eventfd_readable_until_it_is_drained() {
    let doorbell = Doorbell::new().unwrap();
    assert!(doorbell.park(|| true));
    doorbell.ring();
    doorbell.ring();
    assert!(readable_within(&doorbell, 0));
    doorbell.drain();
    assert!(!readable_within(&doorbell, 0));
    doorbell.drain();
}

#[test]
fn a_shard_with_something_to_do_is_not_parked() {
    let doorbell = Doorbell::new().unwrap();
    assert!(!doorbell.park(|| false));
    doorbell.ring();
    assert!(!readable_within(&doorbell, 0));
}

#[test]
fn a_shard_that_woke_by_itself_is_not_rung() {
    let doorbell = Doorbell::new().unwrap();
    assert!(doorbell.park(|| true));
    doorbell.unpark();
    doorbell.ring();
    assert!(!readable_within(&doorbell, 0));
}

#[test]
fn two_threads_that_sleep_between_items_miss_none() {
    const ITEMS: u32 = 100_000;
    let doorbell = Arc::new(Doorbell::new().unwrap());
    let (mut producer, mut consumer) = ring(4);
    let pushing = thread::spawn({
        let doorbell = doorbell.clone();
        move || {
            for mut item in 0..ITEMS {
                while let Err(back) = producer.push(item) {
                    item = back;
                    thread::yield_now();
                }
                doorbell.ring();
                for _ in 0..item % 512 {
                    std::hint::spin_loop();
                }
            }
        }
    });
    let mut expected = 0;
    while expected < ITEMS {
        while let Some(item) = consumer.pop() {
            assert_eq!(item, expected);
            expected += 1;
        }
        if expected < ITEMS && doorbell.park(|| consumer.is_empty()) {
            assert!(wait(&doorbell), "item {expected} was slept through");
            doorbell.unpark();
            doorbell.drain();
        }
    }
    pushing.join().unwrap();
}
