//! Reason strings: what helps whoever reads the log of a client. Never needed to go on, and
//! never what somebody unknown should not know.

use protocol::wire::ReasonCode;

/// What to say beside a reason code, if the specification's name of it does not say all.
pub(super) const fn of(reason: ReasonCode) -> Option<&'static str> {
    Some(match reason {
        ReasonCode::NOT_AUTHORIZED => "the topic, of the message or the will, is the broker's own",
        ReasonCode::BAD_AUTHENTICATION_METHOD => "the broker does not know this method",
        ReasonCode::KEEP_ALIVE_TIMEOUT => "nothing came for longer than the keep alive allows",
        ReasonCode::SESSION_TAKEN_OVER => "another connection has the same client identifier",
        ReasonCode::TOPIC_FILTER_INVALID => {
            "the topic filter has too many levels or names no share group"
        }
        ReasonCode::TOPIC_NAME_INVALID => "the topic name is empty or has too many levels",
        ReasonCode::PACKET_IDENTIFIER_IN_USE => "a QoS 2 message holds the packet identifier",
        ReasonCode::RECEIVE_MAXIMUM_EXCEEDED => {
            "more messages without acknowledgement than the Receive Maximum"
        }
        ReasonCode::TOPIC_ALIAS_INVALID => "the topic alias is above the Topic Alias Maximum",
        ReasonCode::PACKET_TOO_LARGE => "a packet or its answer is larger than allowed",
        ReasonCode::QUOTA_EXCEEDED => "a limit in number or bytes is reached",
        ReasonCode::PAYLOAD_FORMAT_INVALID => "the payload is not the UTF-8 it is said to be",
        ReasonCode::RETAIN_NOT_SUPPORTED => "retained messages are switched off",
        ReasonCode::QOS_NOT_SUPPORTED => "the QoS is above the Maximum QoS",
        ReasonCode::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED => "shared subscriptions are switched off",
        ReasonCode::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED => "wildcards are switched off",
        ReasonCode::CONNECTION_RATE_EXCEEDED => "connects come too fast; wait and try again",
        _ => return None,
    })
}
