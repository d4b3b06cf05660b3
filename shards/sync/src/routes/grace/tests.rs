use super::*;

#[test]
fn what_was_unlinked_is_free_when_nobody_is_pinned() {
    let grace = Arc::new(Grace::new());
    let _reader = Reader::new(grace.clone());
    let mut limbo = Limbo::default();
    limbo.keep(grace.epoch(), 'x');
    assert_eq!(limbo.take_before(grace.epoch()), None);
    assert_eq!(limbo.take_before(grace.advance()), Some('x'));
    assert_eq!(limbo.len(), 0);
}

#[test]
fn a_pin_keeps_what_was_unlinked_since() {
    let grace = Arc::new(Grace::new());
    let mut reader = Reader::new(grace.clone());
    let mut limbo = Limbo::default();
    limbo.keep(grace.epoch(), "before");
    grace.advance();
    let pin = reader.pin();
    limbo.keep(grace.epoch(), "during");
    assert_eq!(limbo.take_before(grace.advance()), Some("before"));
    assert_eq!(limbo.take_before(grace.advance()), None);
    drop(pin);
    assert_eq!(limbo.take_before(grace.advance()), Some("during"));
}

#[test]
fn a_reader_that_is_gone_keeps_nothing() {
    let grace = Arc::new(Grace::new());
    let mut reader = Reader::new(grace.clone());
    std::mem::forget(reader.pin());
    let epoch = grace.epoch();
    assert_eq!(grace.advance(), epoch);
    drop(reader);
    assert_eq!(grace.advance(), epoch + 2);
}
