//! The store as a whole: what was confirmed comes back.

mod faults;
mod full;
mod killed;
mod simulated;

use std::fs;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use protocol::message::{Message, MessageRef};
use protocol::session::{Identifiers, Membership};
use protocol::wire::{PacketId, QoS, RetainHandling, SubscriptionOptions};
use shard_sync::Doorbell;

use crate::*;

/// A folder that goes when the test ends.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("shardmq-store-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn options() -> Options {
    Options {
        started: Instant::now(),
        durability: Durability::Synced,
        reserve_bytes: 16 << 20,
        cache_bytes: 8 << 20,
        log_bytes: 64 << 20,
    }
}

pub(crate) fn stored(folder: &Path) -> Stored {
    open(folder, Expect::Existing, options()).unwrap().1
}

pub(crate) struct Running {
    pub(crate) link: StoreLink,
    pub(crate) handle: StoreHandle,
    number: u64,
}

impl Running {
    pub(crate) fn new(folder: &Path, options: Options) -> Self {
        let (store, _) = open(folder, Expect::Any, options).unwrap();
        Self::of(store)
    }

    pub(crate) fn of(store: Store) -> Self {
        let doorbell = Arc::new(Doorbell::new().unwrap());
        let (mut links, handle) = store.start(&[doorbell], Box::new(|_| {})).unwrap();
        Self {
            link: links.pop().unwrap(),
            handle,
            number: 0,
        }
    }

    pub(crate) fn send(&mut self, changes: Vec<Change>) -> u64 {
        self.number += 1;
        self.link.send(Commit {
            number: self.number,
            changes,
            bytes: 100,
        });
        self.link.ring();
        self.number
    }

    pub(crate) fn wait(&mut self, number: u64) {
        let end = Instant::now() + Duration::from_secs(20);
        while self.link.committed() < number {
            self.link.ring();
            assert!(Instant::now() < end, "commit {number} is not stored");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn store(&mut self, changes: Vec<Change>) {
        let number = self.send(changes);
        self.wait(number);
    }
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub(crate) fn message(topic: &str, payload: &[u8]) -> Arc<Message> {
    MessageRef {
        topic,
        properties: &[],
        payload,
        qos: QoS::AtLeastOnce,
        retain: false,
        expires_ms: u64::MAX,
        publisher: 5,
    }
    .to_message()
}

pub(crate) fn session(number: u64) -> Change {
    Change::PutSession {
        session: SessionNumber(number),
        record: Box::new(SessionRecord {
            client_id: format!("client-{number}").into(),
            expiry_s: 60,
            ends_ms: None,
            will: None,
            perhaps_sent: 0,
        }),
    }
}

pub(crate) fn entry(session: u64, number: u64) -> Change {
    Change::PutEntry {
        session: SessionNumber(session),
        number,
        body: Body::Own(message("a/b", &number.to_be_bytes())),
        qos: QoS::AtLeastOnce,
        retain: false,
        identifiers: Identifiers::None,
        sent: None,
        membership: None,
    }
}

pub(crate) fn shared(session: u64, number: u64, message: u64) -> Change {
    Change::PutEntry {
        session: SessionNumber(session),
        number,
        body: Body::Shared(message),
        qos: QoS::ExactlyOnce,
        retain: true,
        identifiers: Identifiers::One(3),
        sent: None,
        membership: Some(Membership(NonZeroU32::MIN)),
    }
}

pub(crate) fn drop_entry(session: u64, number: u64) -> Change {
    Change::DropEntry {
        session: SessionNumber(session),
        number,
    }
}

fn subscription(session: u64, filter: &str) -> Change {
    Change::PutSubscription {
        session: SessionNumber(session),
        filter: filter.into(),
        options: SubscriptionOptions {
            qos: QoS::ExactlyOnce,
            no_local: true,
            retain_as_published: false,
            retain_handling: RetainHandling::SendIfNew,
        },
        identifier: 9,
        membership: Some(Membership(NonZeroU32::MIN)),
    }
}

fn packet_id(id: u16) -> PacketId {
    PacketId(id.try_into().unwrap())
}

pub(crate) fn everything() -> Vec<Change> {
    let hold = |id| Change::HoldPacketId {
        session: SessionNumber(1),
        packet_id: packet_id(id),
    };
    vec![
        session(1),
        session(2),
        subscription(1, "a/+"),
        subscription(2, &"x/".repeat(500)),
        Change::PutMessage {
            number: 10,
            message: message("s", b"shared"),
        },
        entry(1, 3),
        shared(1, 11, 10),
        shared(2, 12, 10),
        Change::MarkSent {
            session: SessionNumber(1),
            number: 3,
            sent: Sent {
                packet_id: packet_id(77),
                received: true,
            },
        },
        hold(5),
        hold(6),
        Change::ReleasePacketId {
            session: SessionNumber(1),
            packet_id: packet_id(6),
        },
        Change::Retain {
            message: message("r/1", b"kept"),
            version: 9,
        },
        Change::Retain {
            message: message("r/2", b"not kept"),
            version: 10,
        },
        Change::Forget {
            topic: "r/2".into(),
        },
        Change::PutDelayed {
            number: 20,
            due_ms: 5_000,
            message: message("d", b"later"),
        },
    ]
}

fn assert_everything(stored: &Stored) {
    let [first, second] = &stored.sessions[..] else {
        panic!("{stored:?}");
    };
    assert_eq!(&*first.record.client_id, "client-1");
    assert_eq!(&*first.subscriptions[0].filter, "a/+");
    assert_eq!(first.subscriptions[0].identifier, 9);
    assert_eq!(second.subscriptions[0].filter.len(), 1000);
    assert_eq!(first.held, [packet_id(5)]);
    let numbers: Vec<u64> = first.entries.iter().map(|entry| entry.number).collect();
    assert_eq!(numbers, [3, 11]);
    let sent = first.entries[0].sent.unwrap();
    assert_eq!((sent.packet_id, sent.received), (packet_id(77), true));
    assert_eq!(first.entries[1].shared, Some(10));
    assert!(Arc::ptr_eq(
        &first.entries[1].message,
        &second.entries[0].message
    ));
    assert_eq!(stored.retained.len(), 1);
    assert_eq!(stored.retained[0].message.payload(), b"kept");
    assert_eq!(stored.retained[0].version, 9);
    assert!((4_000..=5_000).contains(&stored.delayed[0].due_ms));
    assert_eq!(stored.next_number, 21);
}

#[test]
fn everything_comes_back() {
    let folder = Folder::new();
    let mut running = Running::new(&folder.0, options());
    running.store(everything());
    assert_eq!(running.link.bytes_under_way(), 0);
    running.handle.stop().unwrap();
    assert_everything(&stored(&folder.0));
    // And once more, after a start that has read it.
    assert_everything(&stored(&folder.0));
}

#[test]
fn it_does_not_matter_which_changes_share_a_group() {
    let folder = Folder::new();
    let mut running = Running::new(&folder.0, options());
    for change in everything() {
        running.store(vec![change]);
    }
    running.handle.stop().unwrap();
    assert_everything(&stored(&folder.0));
}

#[test]
fn a_session_goes_with_everything_it_has() {
    for together in [true, false] {
        let folder = Folder::new();
        let mut running = Running::new(&folder.0, options());
        let mut changes = everything();
        if !together {
            running.store(changes.split_off(0));
        }
        changes.push(Change::DropSession {
            session: SessionNumber(1),
        });
        running.store(changes);
        running.handle.stop().unwrap();
        let stored = stored(&folder.0);
        assert_eq!(stored.sessions.len(), 1);
        assert_eq!(stored.sessions[0].number, SessionNumber(2));
        assert_eq!(stored.sessions[0].entries.len(), 1);
    }
}

#[test]
fn what_was_handed_over_before_the_stop_is_stored() {
    for durability in [
        Durability::Synced,
        Durability::FlushedEvery(Duration::from_secs(60)),
    ] {
        let folder = Folder::new();
        let options = Options {
            durability,
            ..options()
        };
        let mut running = Running::new(&folder.0, options);
        running.send(vec![session(1)]);
        for number in 2..200 {
            running.send(vec![entry(1, number)]);
        }
        running.send(vec![drop_entry(1, 199)]);
        assert!(!running.link.has_backlog());
        running.handle.stop().unwrap();
        assert_eq!(stored(&folder.0).sessions[0].entries.len(), 197);
    }
}

#[test]
fn flushed_commits_count_at_once_and_are_on_the_disk_a_little_later() {
    let folder = Folder::new();
    let options = Options {
        durability: Durability::FlushedEvery(Duration::from_millis(300)),
        ..options()
    };
    let mut running = Running::new(&folder.0, options);
    let begun = Instant::now();
    running.store(vec![session(1), entry(1, 2)]);
    assert!(begun.elapsed() < Duration::from_millis(250));
    std::thread::sleep(Duration::from_millis(900));
    // A copy of the files is what a power loss would leave.
    let copy = Folder::new();
    for file in fs::read_dir(&folder.0).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.0.join(file.file_name())).unwrap();
    }
    assert_eq!(stored(&copy.0).sessions[0].entries.len(), 1);
    running.handle.stop().unwrap();
}

#[test]
fn space_is_given_back_while_it_runs() {
    let folder = Folder::new();
    let mut running = Running::new(&folder.0, options());
    running.store(vec![session(1)]);
    let taken = || space::taken(&folder.0.join("store.redb")).unwrap();
    for number in (2..12_000).step_by(500) {
        let entries = number..number + 500;
        running.store(entries.map(|number| entry(1, number)).collect());
        let topics = number..number + 500;
        let retained = |number| Change::Retain {
            message: message(&format!("t/{number}"), &[1; 800]),
            version: 1,
        };
        running.store(topics.map(retained).collect());
    }
    // In a quiet second the database gets what the log has.
    let mut last = 0;
    wait_until("it is in the database", || {
        std::thread::sleep(Duration::from_millis(700));
        let before = std::mem::replace(&mut last, taken());
        last > 8 << 20 && last == before
    });
    let full = taken();
    for number in 2..12_002 {
        let forget = Change::Forget {
            topic: format!("t/{number}").into(),
        };
        running.send(vec![drop_entry(1, number), forget]);
    }
    running.wait(running.number);
    let end = Instant::now() + Duration::from_secs(20);
    while taken() > full / 4 {
        assert!(Instant::now() < end, "{} of {full}", taken());
        std::thread::sleep(Duration::from_millis(50));
    }
    running.handle.stop().unwrap();
    assert_eq!(stored(&folder.0).sessions.len(), 1);
}

#[test]
fn what_belongs_to_no_session_is_taken_off_the_disk() {
    let folder = Folder::new();
    let mut running = Running::new(&folder.0, options());
    running.store(vec![entry(7, 8), subscription(7, "a"), session(1)]);
    running.store(vec![Change::PutMessage {
        number: 9,
        message: message("nobody", b"needs it"),
    }]);
    running.handle.stop().unwrap();
    assert!(stored(&folder.0).sessions[0].entries.is_empty());
    Running::new(&folder.0, options()).handle.stop().unwrap();
    // The number stays used until it is gone from the disk, which it now is.
    assert_eq!(stored(&folder.0).next_number, 2);
}

#[test]
fn a_database_that_is_gone_or_newer_or_no_database_is_an_error() {
    let folder = Folder::new();
    let opened = |expect| open(&folder.0, expect, options()).map(|(_, stored)| stored);
    assert!(matches!(
        opened(Expect::Existing),
        Err(OpenError::Missing(_))
    ));
    opened(Expect::Any).unwrap();
    let path = folder.0.join("store.redb");
    for bad in [Vec::new(), vec![0; 5_000], b"not a database".to_vec()] {
        fs::write(&path, bad).unwrap();
        let error = opened(Expect::Any).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    }
}

#[test]
fn damage_is_an_error_and_never_an_empty_store() {
    let folder = Folder::new();
    let mut running = Running::new(&folder.0, options());
    let mut changes = vec![session(1)];
    changes.extend((2..3000).map(|number| entry(1, number)));
    running.store(changes);
    running.handle.stop().unwrap();
    let path = folder.0.join("store.redb");
    let whole = fs::read(&path).unwrap();
    let (mut errors, step) = (0, whole.len() / 60);
    for place in (0..60).map(|place| place * step) {
        let mut bytes = whole.clone();
        bytes[place..place + 64]
            .iter_mut()
            .for_each(|byte| *byte ^= 0x5a);
        fs::write(&path, &bytes).unwrap();
        match open(&folder.0, Expect::Existing, options()) {
            Ok((_, stored)) => assert_eq!(stored.sessions[0].entries.len(), 2998, "{place}"),
            Err(OpenError::Damaged { .. }) => {
                errors += 1;
                assert!(fs::read(&path).unwrap() == bytes, "{place}: it was changed");
            }
            Err(error) => panic!("{place}: {error}"),
        }
    }
    assert!(errors > 20, "{errors} of 60");
}
