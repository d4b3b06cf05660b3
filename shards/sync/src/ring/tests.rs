use std::{sync::Arc, thread};

use proptest::prelude::*;

use super::*;

#[test]
fn items_come_out_in_the_order_they_went_in() {
    let (mut producer, mut consumer) = ring(4);
    for item in 0..3 {
        producer.push(item).unwrap();
    }
    assert_eq!((producer.len(), consumer.len()), (3, 3));
    let popped: Vec<i32> = std::iter::from_fn(|| consumer.pop()).collect();
    assert_eq!(popped, [0, 1, 2]);
    assert!(producer.is_empty() && consumer.is_empty());
}

#[test]
fn a_full_ring_gives_the_item_back() {
    for capacity in [1, 2, 3, 5, 8] {
        let (mut producer, mut consumer) = ring(capacity);
        for item in 0..capacity {
            producer.push(item).unwrap();
        }
        assert_eq!(producer.push(99), Err(99));
        assert_eq!(producer.len(), producer.capacity());
        assert_eq!(consumer.pop(), Some(0));
        assert_eq!(producer.push(99), Ok(()));
    }
}

#[test]
fn a_ring_without_capacity_holds_one_item() {
    let (mut producer, consumer) = ring(0);
    assert_eq!(producer.push(1), Ok(()));
    assert_eq!(producer.push(2), Err(2));
    assert_eq!(consumer.capacity(), 1);
}

#[test]
fn items_that_were_never_popped_are_dropped_once() {
    let item = Arc::new(());
    let (mut producer, mut consumer) = ring(8);
    for _ in 0..6 {
        producer.push(item.clone()).unwrap();
    }
    drop(consumer.pop());
    drop(consumer.pop());
    assert_eq!(Arc::strong_count(&item), 5);
    drop(producer);
    assert!(consumer.pop().is_some());
    drop(consumer);
    assert_eq!(Arc::strong_count(&item), 1);
}

#[test]
fn two_threads_lose_nothing_and_keep_the_order() {
    const ITEMS: u64 = 500_000;
    for capacity in [1, 7, 64] {
        let (mut producer, mut consumer) = ring(capacity);
        let pushing = thread::spawn(move || {
            for item in 0..ITEMS / 10 * capacity.min(10) as u64 {
                let mut item = Box::new(item);
                while let Err(back) = producer.push(item) {
                    item = back;
                    thread::yield_now();
                }
            }
        });
        let mut expected = 0;
        while !pushing.is_finished() || !consumer.is_empty() {
            match consumer.pop() {
                Some(item) => {
                    assert_eq!(*item, expected);
                    expected += 1;
                }
                None => thread::yield_now(),
            }
        }
        pushing.join().unwrap();
        assert_eq!(expected, ITEMS / 10 * capacity.min(10) as u64);
    }
}

proptest! {
    #[test]
    fn a_ring_behaves_like_a_bounded_queue(
        capacity in 1_usize..9,
        pushes in prop::collection::vec(any::<bool>(), 0..200),
    ) {
        let (mut producer, mut consumer) = ring(capacity);
        let mut model = std::collections::VecDeque::new();
        for (item, push) in pushes.into_iter().enumerate() {
            if push {
                let expected = if model.len() < capacity { Ok(()) } else { Err(item) };
                if expected.is_ok() {
                    model.push_back(item);
                }
                prop_assert_eq!(producer.push(item), expected);
            } else {
                prop_assert_eq!(consumer.pop(), model.pop_front());
            }
            prop_assert_eq!(producer.len(), model.len());
            prop_assert_eq!(consumer.len(), model.len());
        }
    }
}
