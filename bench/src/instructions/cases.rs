//! The operations that are counted.

mod matching;
mod messages;
mod session;
mod wire;

/// An operation.
pub(super) struct Case {
    /// Its name in the table.
    pub(super) name: &'static str,
    /// Makes everything it needs, and the operation itself.
    pub(super) prepare: fn() -> Operation,
}

/// What is done once.
pub(super) type Operation = Box<dyn FnMut()>;

/// How often each operation is counted.
pub(super) const TIMES: u32 = 1000;

const fn case(name: &'static str, prepare: fn() -> Operation) -> Case {
    Case { name, prepare }
}

/// All operations, in the order of the table.
pub(super) const CASES: &[Case] = &[
    case("nothing", || Box::new(|| {})),
    case("decode_publish_qos0", wire::decode_publish_qos0),
    case("decode_publish_qos1_mqtt5", wire::decode_publish_qos1_mqtt5),
    case(
        "decode_publish_with_properties",
        wire::decode_publish_with_properties,
    ),
    case("decode_puback", wire::decode_puback),
    case("decode_subscribe", wire::decode_subscribe),
    case("decode_connect_mqtt5", wire::decode_connect_mqtt5),
    case("encode_publish_qos0", wire::encode_publish_qos0),
    case(
        "encode_publish_with_properties",
        wire::encode_publish_with_properties,
    ),
    case("encode_puback", wire::encode_puback),
    case("match_exact", matching::exact),
    case("match_single_level", matching::single_level),
    case("match_multi_level", matching::multi_level),
    case("match_nothing", matching::nothing),
    case("route_exact", matching::route_exact),
    case("route_single_level", matching::route_single_level),
    case("route_nothing", matching::route_nothing),
    case(
        "subscribe_and_unsubscribe",
        matching::subscribe_and_unsubscribe,
    ),
    case("session_send_qos1", session::send_qos1),
    case("session_send_qos2", session::send_qos2),
    case("session_receive_qos2", session::receive_qos2),
    case("message_qos0", || messages::message(0)),
    case("message_qos1", || messages::message(1)),
    case("message_qos2", || messages::message(2)),
];
