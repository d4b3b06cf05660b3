use loom::{cell::UnsafeCell, sync::atomic::AtomicBool, thread};

use super::*;

/// Something that a link leads to; loom fails a test in which it is written while it is read.
struct Linked {
    is_linked: AtomicBool,
    content: UnsafeCell<u32>,
}

fn read(linked: &Linked, reader: &mut Reader) {
    let _pin = reader.pin();
    if linked.is_linked.load(Ordering::Acquire) {
        // SAFETY: the pin is what the test is about: loom checks that nobody writes.
        linked
            .content
            .with(|content| assert_eq!(unsafe { *content }, 1));
    }
}

/// Writes the content as soon as it may be used again. Returns whether it could be.
fn reuse(linked: &Linked, limbo: &mut Limbo<()>, grace: &Grace) -> bool {
    let is_free = limbo.take_before(grace.advance()).is_some();
    if is_free {
        // SAFETY: as above.
        linked.content.with_mut(|content| unsafe { *content = 2 });
    }
    is_free
}

#[test]
fn loom_nothing_is_reused_while_a_reader_looks_at_it() {
    loom::model(|| {
        let grace = Arc::new(Grace::new());
        let linked = Arc::new(Linked {
            is_linked: AtomicBool::new(true),
            content: UnsafeCell::new(1),
        });
        let mut reader = Reader::new(grace.clone());
        let reading = thread::spawn({
            let linked = linked.clone();
            move || {
                read(&linked, &mut reader);
                read(&linked, &mut reader);
            }
        });
        let mut limbo = Limbo::default();
        linked.is_linked.store(false, Ordering::Relaxed);
        limbo.keep(grace.epoch(), ());
        let reused = reuse(&linked, &mut limbo, &grace) || reuse(&linked, &mut limbo, &grace);
        reading.join().unwrap();
        assert!(reused || reuse(&linked, &mut limbo, &grace));
    });
}

#[test]
fn loom_a_reader_that_comes_and_goes_keeps_nothing_and_loses_nothing() {
    loom::model(|| {
        let grace = Arc::new(Grace::new());
        let linked = Arc::new(Linked {
            is_linked: AtomicBool::new(true),
            content: UnsafeCell::new(1),
        });
        let reading = thread::spawn({
            let (linked, grace) = (linked.clone(), grace.clone());
            move || read(&linked, &mut Reader::new(grace))
        });
        let mut limbo = Limbo::default();
        linked.is_linked.store(false, Ordering::Relaxed);
        limbo.keep(grace.epoch(), ());
        let reused = reuse(&linked, &mut limbo, &grace);
        reading.join().unwrap();
        assert!(reused || reuse(&linked, &mut limbo, &grace));
    });
}
