use loom::{model::Builder, sync::Arc, thread};

use super::*;
use crate::{Consumer, Producer, ring};

/// All executions in which threads are interrupted at most three times.
fn bounded_model() -> Builder {
    let mut model = Builder::new();
    model.preemption_bound = Some(3);
    model
}

/// One shard's loop: takes `count` items from all rings, sleeps whenever they are empty.
fn receive(doorbell: &Doorbell, mut consumers: Vec<Consumer<u32>>, count: usize) -> Vec<u32> {
    let mut received = Vec::new();
    loop {
        for consumer in &mut consumers {
            received.extend(std::iter::from_fn(|| consumer.pop()));
        }
        if received.len() == count {
            return received;
        }
        if doorbell.park(|| consumers.iter().all(Consumer::is_empty)) {
            doorbell.bell.wait();
            doorbell.unpark();
            doorbell.drain();
        }
    }
}

fn push_and_ring(doorbell: &Doorbell, producer: &mut Producer<u32>, item: u32) {
    assert!(producer.push(item).is_ok());
    doorbell.ring();
}

#[test]
fn loom_no_item_is_slept_through() {
    bounded_model().check(|| {
        let doorbell = Arc::new(Doorbell::new().unwrap());
        let (mut producer, consumer) = ring(2);
        let pushing = thread::spawn({
            let doorbell = doorbell.clone();
            move || {
                push_and_ring(&doorbell, &mut producer, 1);
                push_and_ring(&doorbell, &mut producer, 2);
            }
        });
        assert_eq!(receive(&doorbell, vec![consumer], 2), [1, 2]);
        pushing.join().unwrap();
    });
}

#[test]
fn loom_no_item_of_two_pushers_is_slept_through() {
    bounded_model().check(|| {
        let doorbell = Arc::new(Doorbell::new().unwrap());
        let (first, first_consumer) = ring(1);
        let (second, second_consumer) = ring(1);
        let pushing = [(1, first), (2, second)].map(|(item, mut producer)| {
            let doorbell = doorbell.clone();
            thread::spawn(move || push_and_ring(&doorbell, &mut producer, item))
        });
        let mut received = receive(&doorbell, vec![first_consumer, second_consumer], 2);
        received.sort_unstable();
        assert_eq!(received, [1, 2]);
        for thread in pushing {
            thread.join().unwrap();
        }
    });
}
