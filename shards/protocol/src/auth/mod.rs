//! Enhanced authentication (MQTT 5.0, section 4.12): the order of CONNECT, AUTH and CONNACK,
//! whatever the mechanism behind the Authentication Method.
//!
//! ```text
//!            CONNECT                       AUTH 0x19
//!               ↓                             ↓
//!  AUTH 0x18 ⇄ Connecting ─ CONNACK → Done ─→ Repeating ⇄ AUTH 0x18
//!               └ refused              ↑        ├ DISCONNECT
//!                                      └────────┴ AUTH 0x00
//! ```

#[cfg(test)]
mod tests;

use core::fmt;
use std::sync::Arc;

use crate::wire::{Auth, ReasonCode};

/// How often a client may be asked for more in one exchange.
pub const ROUNDS_MAX: u8 = 16;

/// A way to authenticate, known by the name that clients put into CONNECT.
pub trait Mechanism: fmt::Debug + Send + Sync {
    /// The Authentication Method.
    fn name(&self) -> &str;

    /// Begins an exchange with one client: the first, or one that repeats it.
    fn begin(&self) -> Box<dyn Exchange>;
}

/// One exchange of a mechanism with one client.
pub trait Exchange: fmt::Debug {
    /// What the Authentication Data of the client's next packet leads to.
    fn answer(&mut self, data: Option<&[u8]>) -> Answer;
}

/// What a mechanism says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// More is needed; the data goes to the client.
    Continue(Option<Vec<u8>>),
    /// The client is who it says; the data goes along.
    Success(Option<Vec<u8>>),
    /// It is not, or it cannot be told.
    Failure(ReasonCode),
}

/// What the server does next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// Sends AUTH 0x18 [MQTT-4.12.0-2].
    Ask(Option<Vec<u8>>),
    /// Goes on with CONNECT; the data goes into CONNACK.
    Accept(Option<Vec<u8>>),
    /// Sends AUTH 0x00: the client has authenticated again.
    Confirm(Option<Vec<u8>>),
    /// Refuses CONNECT and closes [MQTT-4.12.0-4].
    Refuse(ReasonCode),
    /// Sends DISCONNECT and closes [MQTT-4.12.1-2].
    Disconnect(ReasonCode),
}

/// The enhanced authentication of one connection, from CONNECT to its end.
#[derive(Debug)]
pub struct Authentication {
    mechanism: Arc<dyn Mechanism>,
    /// `None` when none is under way.
    exchange: Option<Box<dyn Exchange>>,
    /// How often the client was asked for more in this exchange.
    rounds: u8,
    /// CONNACK has been sent.
    is_connected: bool,
}

impl Authentication {
    /// CONNECT names a mechanism and may bring data for it.
    #[must_use]
    pub fn begin(mechanism: Arc<dyn Mechanism>, data: Option<&[u8]>) -> (Self, Step) {
        let exchange = Some(mechanism.begin());
        let mut authentication = Self {
            mechanism,
            exchange,
            rounds: 0,
            is_connected: false,
        };
        let step = authentication.advance(data);
        (authentication, step)
    }

    /// The Authentication Method, which all of AUTH and CONNACK carry [MQTT-4.12.0-5].
    #[must_use]
    pub fn method(&self) -> &str {
        self.mechanism.name()
    }

    /// AUTH from the client.
    pub fn receive(&mut self, auth: &Auth<'_>) -> Step {
        // [MQTT-4.12.0-5], [MQTT-4.12.1-1]
        if auth.method != Some(self.mechanism.name()) {
            return self.fail(ReasonCode::BAD_AUTHENTICATION_METHOD);
        }
        match (auth.reason, self.exchange.is_some()) {
            // [MQTT-4.12.0-3]
            (ReasonCode::CONTINUE_AUTHENTICATION, true) => {}
            (ReasonCode::RE_AUTHENTICATE, false) => {
                self.exchange = Some(self.mechanism.begin());
                self.rounds = 0;
            }
            _ => return self.fail(ReasonCode::PROTOCOL_ERROR),
        }
        self.advance(auth.data)
    }

    fn advance(&mut self, data: Option<&[u8]>) -> Step {
        let Some(exchange) = &mut self.exchange else {
            return self.fail(ReasonCode::PROTOCOL_ERROR);
        };
        match exchange.answer(data) {
            Answer::Continue(_) if self.rounds == ROUNDS_MAX => {
                self.fail(ReasonCode::NOT_AUTHORIZED)
            }
            Answer::Continue(data) => {
                self.rounds += 1;
                Step::Ask(data)
            }
            Answer::Success(data) => {
                self.exchange = None;
                if self.is_connected {
                    Step::Confirm(data)
                } else {
                    self.is_connected = true;
                    Step::Accept(data)
                }
            }
            Answer::Failure(reason) => self.fail(reason),
        }
    }

    /// The end, with a reason that the packet which tells it may carry.
    fn fail(&mut self, reason: ReasonCode) -> Step {
        self.exchange = None;
        if self.is_connected {
            let reason = Some(reason).filter(|reason| is_for_disconnect(*reason));
            Step::Disconnect(reason.unwrap_or(ReasonCode::NOT_AUTHORIZED))
        } else {
            let reason = Some(reason).filter(|reason| is_for_connack(*reason));
            Step::Refuse(reason.unwrap_or(ReasonCode::NOT_AUTHORIZED))
        }
    }
}

/// Whether CONNACK may say it about an authentication (table 3-1).
const fn is_for_connack(reason: ReasonCode) -> bool {
    matches!(reason.0, 0x80..=0x83 | 0x86..=0x8A | 0x8C | 0x97)
}

/// Whether DISCONNECT may say it about an authentication (table 3-10; 0x8C by section 2.4).
const fn is_for_disconnect(reason: ReasonCode) -> bool {
    matches!(reason.0, 0x80..=0x83 | 0x87 | 0x89 | 0x8C | 0x97)
}
