//! A disk that is full: what must be stored is refused, everything else goes on, and it is
//! over as soon as there is room. `tests/full_disk.sh` makes a small file system and runs this;
//! without one these tests say that they were skipped.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test stops at what it did not expect"
)]

#[allow(
    dead_code,
    unused_imports,
    reason = "each file of tests uses a part of it"
)]
mod common;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use common::broker::patience;
use common::packet::{PUBACK, PUBCOMP, PUBREC, PUBREL};
use common::{Broker, Client, Publish, Setup, Version, packet, scenarios};

scenarios! {
    mqtt311_and_5: [
        a_full_disk_refuses_what_must_be_stored_until_there_is_room,
        sessions_subscriptions_and_retained_messages_are_refused_and_what_frees_room_is_not,
    ],
}

/// The first byte of DISCONNECT.
const DISCONNECT: u8 = 0xe0;

/// Bytes of each message, so that the room does not last.
const PAYLOAD: usize = 16 * 1024;

fn a_full_disk_refuses_what_must_be_stored_until_there_is_room(setup: Setup) {
    let Some(disk) = SmallDisk::find(setup) else {
        return;
    };
    let folder = disk.folder.to_str().expect("a path in UTF-8");
    let settings = [("data_dir", folder), ("mqtt.max_mqueue_len", "1000000")];
    let mut broker = setup.broker_with(&settings);
    let (mut away, _) = broker.connect("away").persistent().open();
    away.subscribe("durable/#", 2);
    away.disconnect();
    let mut other = broker.client("other");
    other.subscribe("clean/#", 1);

    let mut sender = Sender::new(&broker);
    for _ in 0..20 {
        assert!(sender.send(&broker), "refused while there is room");
    }
    disk.fill();
    sender.send_until(&broker, false);
    everything_else_goes_on(&broker, &mut other);
    assert!(!sender.send(&broker), "taken although the disk is full");

    disk.empty();
    sender.send_until(&broker, true);
    for _ in 0..20 {
        assert!(sender.send(&broker), "refused although there is room again");
    }
    everything_else_goes_on(&broker, &mut other);
    broker.kill();
    broker.start_again();
    sender.expect_all_at(&broker, "away");
}

fn sessions_subscriptions_and_retained_messages_are_refused_and_what_frees_room_is_not(
    setup: Setup,
) {
    let Some(disk) = SmallDisk::find(setup) else {
        return;
    };
    let folder = disk.folder.to_str().expect("a path in UTF-8");
    let broker = setup.broker_with(&[("data_dir", folder)]);
    let (mut known, _) = broker.connect("known").persistent().open();
    known.subscribe("durable/#", 2);
    known.subscribe("other/#", 1);
    let mut publisher = broker.client("publisher");
    publisher.publish_message(Publish::new("kept/a", "kept").retain(), 1);
    for number in 0..10 {
        publisher.publish("durable/a", number.to_string(), 1 + number % 2);
    }
    disk.fill();
    let is_5 = setup.version == Version::V5;
    thread::sleep(Duration::from_millis(500));
    // New state is refused, and an old session comes back.
    let mut refused = broker.connect("new").persistent().send();
    let connack = refused.expect_connack();
    assert_eq!(connack.code, if is_5 { 0x97 } else { 3 });
    known.subscribe_with(&[], "more/#", 1, if is_5 { 0x97 } else { 0x80 });
    let id = publisher.next_id();
    publisher.send_publish(&Publish::new("kept/b", "more").retain().qos(1, id));
    if is_5 {
        assert_eq!(publisher.expect_acknowledgement(PUBACK), (id, 0x97));
    } else {
        assert!(!publisher.acknowledged_or_closed(PUBACK, id));
        publisher = broker.client("publisher");
    }
    // What frees something goes on.
    for number in 0..10 {
        known.expect_message("durable/a", &number.to_string(), 1 + number % 2);
    }
    known.unsubscribe("other/#");
    publisher.publish_message(Publish::new("kept/a", "").retain(), 1);
    known.disconnect();
    let (known, connack) = broker.connect("known").persistent().open();
    connack.expect_session();
    known.disconnect();
    broker.connect("known").open();
    disk.empty();
}

/// Messages that need no disk, on connections old and new.
fn everything_else_goes_on(broker: &Broker, other: &mut Client) {
    let mut publisher = broker.client("publisher of clean");
    for qos in [0, 1] {
        publisher.publish("clean/a", "clean", qos);
        other.expect_message("clean/a", "clean", qos);
    }
    // QoS 0 asks for nothing, and is no reason to end a connection.
    publisher.publish("durable/a", "not stored", 0);
    publisher.publish("clean/a", "after", 1);
    other.expect_message("clean/a", "after", 1);
}

/// Publishes to the session that is away, and keeps a record of what was acknowledged.
struct Sender {
    client: Client,
    version: Version,
    sent: u32,
    acknowledged: Vec<u32>,
}

impl Sender {
    fn new(broker: &Broker) -> Self {
        Self {
            client: broker.client("sender"),
            version: broker.version(),
            sent: 0,
            acknowledged: Vec::new(),
        }
    }

    /// Sends one message, of QoS 1 and 2 in turn; whether it was acknowledged. A refusal is
    /// 0x97 in 5.0; in 3.1.1 the end of the connection.
    fn send(&mut self, broker: &Broker) -> bool {
        let number = self.sent;
        self.sent += 1;
        let qos = 1 + (number % 2) as u8;
        let mut payload = format!("{number} ").into_bytes();
        payload.resize(PAYLOAD, b'x');
        let id = self.client.next_id();
        let message = Publish::new("durable/a", payload).qos(qos, id);
        self.client.send_publish(&message);
        let first = if qos == 1 { PUBACK } else { PUBREC };
        let taken = match self.version {
            Version::V5 => self.taken(first, id),
            _ => Some(self.client.acknowledged_or_closed(first, id)).filter(|taken| *taken),
        };
        if taken.is_none() {
            self.client = broker.client("sender");
        }
        let taken = taken == Some(true);
        if taken {
            self.acknowledged.push(number);
            if qos == 2 {
                self.client.send(&packet::acknowledge(PUBREL, id));
                self.client.expect_success(PUBCOMP, id);
            }
        }
        taken
    }

    /// Whether a 5.0 client's message was taken; nothing if the connection ends because it
    /// cannot be said.
    fn taken(&mut self, first: u8, id: u16) -> Option<bool> {
        let answer = self.client.expect_packet();
        if answer.first == DISCONNECT {
            assert_eq!(answer.body[0], 0x97, "the reason to disconnect");
            return None;
        }
        assert_eq!(answer.first, first);
        assert_eq!(answer.body[..2], id.to_be_bytes());
        let reason = answer.body.get(2).copied().unwrap_or(0);
        assert!(matches!(reason, 0 | 0x97), "reason {reason:#04x}");
        Some(reason == 0)
    }

    /// Sends until a message is acknowledged or refused.
    fn send_until(&mut self, broker: &Broker, taken: bool) {
        let deadline = Instant::now() + 3 * patience();
        while self.send(broker) != taken {
            assert!(Instant::now() < deadline, "taken is still {}", !taken);
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// The session that was away gets all that was acknowledged, in order and once.
    fn expect_all_at(&self, broker: &Broker, client_id: &str) {
        let (mut client, connack) = broker.connect(client_id).persistent().open();
        connack.expect_session();
        let mut got: Vec<u32> = Vec::new();
        while got.last() != self.acknowledged.last() {
            let message = client.expect_publish();
            let text = String::from_utf8_lossy(&message.payload);
            let number = text.split(' ').next().expect("a number");
            got.push(number.parse().expect("a number"));
            client.complete(&message);
        }
        got.retain(|number| self.acknowledged.contains(number));
        assert_eq!(got, self.acknowledged);
    }
}

/// A file system that may be filled.
struct SmallDisk {
    folder: PathBuf,
    filler: PathBuf,
}

impl SmallDisk {
    fn find(setup: Setup) -> Option<Self> {
        let Some(root) = std::env::var_os("SHARDMQ_TEST_SMALL_DISK") else {
            eprintln!("skipped: there is no small disk; see tests/full_disk.sh");
            return None;
        };
        let root = Path::new(&root);
        let name = format!("data-{}-{}", setup.version as u8, setup.shards);
        Some(Self {
            folder: root.join(name),
            filler: root.join("filler"),
        })
    }

    /// Leaves no byte.
    fn fill(&self) {
        let mut file = File::create(&self.filler).expect("create a file");
        for size in [1 << 20, 4096, 1] {
            let block = vec![0; size];
            while file.write_all(&block).is_ok() {}
        }
        let _ = file.sync_all();
    }

    fn empty(&self) {
        fs::remove_file(&self.filler).expect("remove a file");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.filler);
    }
}
