//! The exchanges that a client has begun and must take up again after its connection broke.

use std::collections::VecDeque;

use crate::codec::{self, AckKind, Qos};

/// What the caller knows an exchange by.
pub(super) type Token = u64;

/// What an exchange waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaits {
    Puback,
    Pubrec,
    Pubcomp,
    Suback,
    Unsuback,
}

#[derive(Debug, Clone)]
struct Exchange {
    packet_id: u16,
    token: Token,
    awaits: Awaits,
    /// The PUBLISH, as long as it may have to be sent again.
    packet: Vec<u8>,
}

/// Exchanges in the order in which they were begun, with the packet identifiers that stay
/// theirs over all connections.
#[derive(Debug, Clone, Default)]
pub(super) struct Outbox {
    exchanges: VecDeque<Exchange>,
    last_id: u16,
}

impl Outbox {
    /// Exchanges that are not over.
    pub(super) fn len(&self) -> usize {
        self.exchanges.len()
    }

    /// An identifier that no open exchange has.
    pub(super) fn unused_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id % u16::MAX + 1;
            if self
                .exchanges
                .iter()
                .all(|one| one.packet_id != self.last_id)
            {
                return self.last_id;
            }
        }
    }

    /// Begins an exchange with an identifier from [`unused_id`](Self::unused_id).
    pub(super) fn begin(&mut self, packet_id: u16, token: Token, awaits: Awaits, packet: Vec<u8>) {
        self.exchanges.push_back(Exchange {
            packet_id,
            token,
            awaits,
            packet,
        });
    }

    /// Begins the exchange of a PUBLISH.
    pub(super) fn begin_publish(
        &mut self,
        packet_id: u16,
        token: Token,
        qos: Qos,
        packet: Vec<u8>,
    ) {
        let awaits = match qos {
            Qos::ExactlyOnce => Awaits::Pubrec,
            _ => Awaits::Puback,
        };
        self.begin(packet_id, token, awaits, packet);
    }

    /// Takes note of the answer that an exchange waits for. `None` when there is no such
    /// exchange.
    pub(super) fn answer(
        &mut self,
        awaited: Awaits,
        packet_id: u16,
        refused: bool,
    ) -> Option<Token> {
        let at = self
            .exchanges
            .iter()
            .position(|one| one.packet_id == packet_id && one.awaits == awaited)?;
        let exchange = &mut self.exchanges[at];
        let token = exchange.token;
        if awaited == Awaits::Pubrec && !refused {
            exchange.awaits = Awaits::Pubcomp;
            exchange.packet = Vec::new();
        } else {
            self.exchanges.remove(at);
        }
        Some(token)
    }

    /// The connection is gone: what is no part of the session is forgotten.
    pub(super) fn disconnected(&mut self) {
        self.exchanges
            .retain(|one| !matches!(one.awaits, Awaits::Suback | Awaits::Unsuback));
    }

    /// The session is gone.
    pub(super) fn forget(&mut self) {
        self.exchanges.clear();
    }

    /// Appends what a client sends first when its session is resumed, in the original order
    /// [MQTT-4.4.0-1], [MQTT-4.6.0-1]; the tokens of the messages that were sent again.
    pub(super) fn resume(&self, out: &mut Vec<u8>) -> Vec<Token> {
        let mut again = Vec::new();
        for exchange in &self.exchanges {
            if exchange.awaits == Awaits::Pubcomp {
                codec::acknowledgement(out, AckKind::Pubrel, exchange.packet_id);
            } else {
                let at = out.len();
                out.extend_from_slice(&exchange.packet);
                out[at] |= 0x08; // DUP
                again.push(exchange.token);
            }
        }
        again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resumed_session_sends_its_open_exchanges_again_in_order_with_their_identifiers() {
        let mut outbox = Outbox::default();
        let (first, second, third) = (outbox.unused_id(), outbox.unused_id(), outbox.unused_id());
        outbox.begin_publish(first, 10, Qos::ExactlyOnce, vec![0x34, 1]);
        outbox.begin_publish(second, 11, Qos::AtLeastOnce, vec![0x32, 2]);
        outbox.begin(third, 12, Awaits::Suback, Vec::new());
        assert_eq!(outbox.answer(Awaits::Pubrec, first, false), Some(10));
        outbox.disconnected();
        let mut out = Vec::new();
        assert_eq!(outbox.resume(&mut out), [11]);
        assert_eq!(out, [0x62, 2, 0, 1, 0x3a, 2]);
        assert_eq!(outbox.answer(Awaits::Pubcomp, first, false), Some(10));
        assert_eq!(outbox.answer(Awaits::Puback, second, false), Some(11));
        assert_eq!(outbox.len(), 0);
    }

    #[test]
    fn a_refused_message_of_qos_2_is_over_with_its_pubrec() {
        let mut outbox = Outbox::default();
        let id = outbox.unused_id();
        outbox.begin_publish(id, 1, Qos::ExactlyOnce, vec![0x34]);
        assert_eq!(outbox.answer(Awaits::Pubrec, id, true), Some(1));
        assert_eq!(outbox.answer(Awaits::Pubcomp, id, false), None);
    }

    #[test]
    fn an_identifier_is_not_given_out_while_its_exchange_is_open() {
        let mut outbox = Outbox::default();
        let id = outbox.unused_id();
        outbox.begin_publish(id, 1, Qos::AtLeastOnce, vec![0x32]);
        outbox.last_id = u16::MAX;
        assert_eq!(outbox.unused_id(), 2);
    }
}
