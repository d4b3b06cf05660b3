use loom::thread;

use super::*;

#[test]
fn loom_items_arrive_whole_in_order_and_once() {
    loom::model(|| {
        let (mut producer, mut consumer) = ring(1);
        let pushing = thread::spawn(move || {
            for item in 0..3 {
                let mut item = Box::new(item);
                while let Err(back) = producer.push(item) {
                    item = back;
                    thread::yield_now();
                }
            }
        });
        for expected in 0..3 {
            let item = loop {
                match consumer.pop() {
                    Some(item) => break item,
                    None => thread::yield_now(),
                }
            };
            assert_eq!(*item, expected);
        }
        pushing.join().unwrap();
        assert!(consumer.pop().is_none());
    });
}

#[test]
fn loom_what_is_left_is_dropped_by_whoever_goes_last() {
    loom::model(|| {
        let item = Arc::new(());
        let (mut producer, mut consumer) = ring(2);
        let pushed = item.clone();
        let pushing = thread::spawn(move || {
            for _ in 0..3 {
                let _ = producer.push(pushed.clone());
            }
        });
        drop(consumer.pop());
        drop(consumer);
        pushing.join().unwrap();
        assert_eq!(Arc::strong_count(&item), 1);
    });
}
