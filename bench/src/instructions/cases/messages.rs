//! Sixteen messages from one client of a shard to another, with all their acknowledgements:
//! everything but the kernel, a turn for each step of the exchange.

use shards::Alone;

use super::Operation;

/// Messages that arrive together.
const TOGETHER: u8 = 16;

const TOPIC: &[u8] = b"fleet/vehicle-123456/telemetry";

pub(super) fn message(qos: u8) -> Operation {
    let mut shard = Alone::new();
    let publisher = connect(&mut shard, b"pub");
    let subscriber = connect(&mut shard, b"sub");
    shard.received(subscriber, &subscribe(qos));
    shard.turn();
    shard.sent(subscriber, &mut Vec::new());
    let publishes: Vec<u8> = (1..=TOGETHER).flat_map(|id| publish(qos, id)).collect();
    let (mut answered, mut delivered) = (Vec::new(), Vec::new());
    Box::new(move || {
        shard.received(publisher, &publishes);
        loop {
            shard.turn();
            answered.clear();
            delivered.clear();
            shard.sent(publisher, &mut answered);
            shard.sent(subscriber, &mut delivered);
            let (release, acknowledge) = (answers(&answered), answers(&delivered));
            if release.is_empty() && acknowledge.is_empty() {
                break;
            }
            shard.received(publisher, &release);
            shard.received(subscriber, &acknowledge);
        }
    })
}

fn connect(shard: &mut Alone, name: &[u8; 3]) -> u32 {
    let key = shard.open();
    let mut packet = b"\x10\x0f\0\x04MQTT\x04\x02\0\0\0\x03".to_vec();
    packet.extend(name);
    shard.received(key, &packet);
    shard.turn();
    shard.sent(key, &mut Vec::new());
    key
}

fn subscribe(qos: u8) -> Vec<u8> {
    let len = TOPIC.len() as u8;
    let mut packet = vec![0x82, len + 5, 0, 1, 0, len];
    packet.extend(TOPIC);
    packet.push(qos);
    packet
}

fn publish(qos: u8, id: u8) -> Vec<u8> {
    let payload = [b'x'; 64];
    let with_id = if qos > 0 { 2 } else { 0 };
    let len = (2 + TOPIC.len() + with_id + payload.len()) as u8;
    let mut packet = vec![0x30 | qos << 1, len, 0, TOPIC.len() as u8];
    packet.extend(TOPIC);
    packet.extend_from_slice(&[0, id][..with_id]);
    packet.extend(payload);
    packet
}

/// What a client answers to what it got: all packets are shorter than 128 bytes.
fn answers(mut packets: &[u8]) -> Vec<u8> {
    let mut answers = Vec::new();
    while let [first, len, rest @ ..] = packets {
        let (body, next) = rest.split_at(usize::from(*len));
        packets = next;
        let id = match first >> 4 {
            3 => &body[2 + TOPIC.len()..][..usize::from(first & 6 != 0) * 2],
            _ => body,
        };
        let answer = match (first >> 4, first & 6) {
            (3, 2) => 0x40,
            (3, 4) => 0x50,
            (5, _) => 0x62,
            (6, _) => 0x70,
            _ => continue,
        };
        answers.extend([answer, 2]);
        answers.extend(id);
    }
    answers
}
