//! One message through a session that has 32 others on their way.

use std::hint::black_box;
use std::num::NonZeroU16;
use std::sync::Arc;

use protocol::message::{Message, MessageRef};
use protocol::session::{Delivery, Identifiers, Inflow, Outflow, StoredAs};
use protocol::wire::{PacketId, QoS};

use super::Operation;

/// Messages on their way.
const IN_FLIGHT: u16 = 32;

pub(super) fn send_qos1() -> Operation {
    let (mut outflow, message) = outflow(QoS::AtLeastOnce);
    let mut oldest = NonZeroU16::MIN;
    Box::new(move || {
        let id = outflow.send(QoS::AtLeastOnce, || delivery(&message, QoS::AtLeastOnce));
        black_box(id);
        let _ = black_box(outflow.puback(PacketId(oldest)));
        oldest = next(oldest);
    })
}

pub(super) fn send_qos2() -> Operation {
    let (mut outflow, message) = outflow(QoS::ExactlyOnce);
    let mut oldest = NonZeroU16::MIN;
    Box::new(move || {
        let id = outflow.send(QoS::ExactlyOnce, || delivery(&message, QoS::ExactlyOnce));
        black_box(id);
        let _ = black_box(outflow.pubrec(PacketId(oldest), false));
        let _ = black_box(outflow.pubcomp(PacketId(oldest)));
        oldest = next(oldest);
    })
}

pub(super) fn receive_qos2() -> Operation {
    let mut inflow = Inflow::default();
    let mut newest = NonZeroU16::MIN;
    let mut oldest = NonZeroU16::MIN;
    for _ in 0..IN_FLIGHT {
        inflow.hold(PacketId(newest));
        newest = next(newest);
    }
    Box::new(move || {
        black_box(inflow.hold(PacketId(newest)));
        black_box(inflow.release(PacketId(oldest)));
        newest = next(newest);
        oldest = next(oldest);
    })
}

/// A session that can be resumed, which keeps its messages.
fn outflow(qos: QoS) -> (Outflow, Arc<Message>) {
    let message = MessageRef {
        topic: "fleet/vehicle-123456/telemetry",
        properties: &[],
        payload: &[b'x'; 64],
        qos,
        retain: false,
        expires_ms: u64::MAX,
        publisher: u64::MAX,
    }
    .to_message();
    let mut outflow = Outflow::new(NonZeroU16::MAX, true);
    for _ in 0..IN_FLIGHT {
        outflow.send(qos, || delivery(&message, qos));
    }
    (outflow, message)
}

fn delivery(message: &Arc<Message>, qos: QoS) -> Delivery {
    Delivery {
        message: Arc::clone(message),
        identifiers: Identifiers::None,
        qos,
        retain: false,
        stored: StoredAs::default(),
        membership: None,
        dup: false,
    }
}

fn next(id: NonZeroU16) -> NonZeroU16 {
    id.checked_add(1).unwrap_or(NonZeroU16::MIN)
}
