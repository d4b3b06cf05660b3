//! Enhanced authentication: what AUTH and the mechanism behind it lead to. The order of the
//! packets is checked by [`protocol::auth`]; a connection without an Authentication Method
//! never comes here, but with an AUTH that breaks the protocol.

use std::num::NonZeroU32;
use std::sync::Arc;

use protocol::auth::{Authentication, Step};
use protocol::wire::{self, Auth, Connect, Packet, ReasonCode, Version, encode};

use super::Shard;
use super::connection::{Authenticating, Phase};
use super::input::Flow;
use super::stats::packet;

impl Shard {
    /// Begins the authentication that a CONNECT asks for. `raw` is the packet, which waits
    /// for its end if the client has to say more.
    pub(super) fn authenticate(
        &mut self,
        key: u32,
        connect: &Connect<'_>,
        raw: (u8, &[u8]),
    ) -> Flow {
        let method = connect.authentication_method.unwrap_or_default();
        let Some(mechanism) = self.common.mechanism(method) else {
            let reason = ReasonCode::BAD_AUTHENTICATION_METHOD;
            return self.refuse_authentication(key, connect, reason);
        };
        let data = connect.authentication_data;
        let (state, step) = Authentication::begin(Arc::clone(mechanism), data);
        let asks = matches!(step, Step::Ask(_));
        let body = if asks { raw.1.to_vec() } else { Vec::new() };
        if let Some(connection) = self.connections.get_mut(key) {
            if asks {
                connection.phase = Phase::Authenticates;
            }
            connection.maximum_packet_size = connect
                .maximum_packet_size
                .map_or(u32::MAX, NonZeroU32::get);
            connection.extras.get_or_insert_default().authentication =
                Some(Box::new(Authenticating {
                    state,
                    connect: (raw.0, body),
                }));
        }
        self.go_on_with(key, connect.clone(), step, raw)
    }

    /// Handles a packet between CONNECT and CONNACK: AUTH or DISCONNECT, and nothing else
    /// [MQTT-3.1.2-30].
    pub(super) fn handle_authenticating(
        &mut self,
        key: u32,
        size: usize,
        first: u8,
        body: &[u8],
    ) -> Flow {
        let Some((connect_first, connect)) = self.take_waiting_connect(key) else {
            self.close_silently(key);
            return Flow::Stop;
        };
        let decoded = match wire::decode_connect(connect_first, &connect) {
            Ok(decoded) => decoded,
            Err(error) => return self.refuse_undecoded(key, &error),
        };
        let packet = wire::check_length(Version::V5, body, size)
            .and_then(|()| wire::decode(Version::V5, first, body));
        let flow = match packet {
            Ok(Packet::Auth(auth)) => {
                self.stats.count_packet_received(first);
                let step = self.authentication(key).map(|state| state.receive(&auth));
                let step = step.unwrap_or(Step::Refuse(ReasonCode::PROTOCOL_ERROR));
                self.go_on_with(key, decoded, step, (connect_first, &connect))
            }
            Ok(Packet::Disconnect(_)) => {
                self.stats.count_packet_received(first);
                self.close_silently(key);
                Flow::Stop
            }
            Ok(_) => self.refuse_broken(key, &decoded, ReasonCode::PROTOCOL_ERROR),
            Err(error) => self.refuse_broken(key, &decoded, error.reason_code()),
        };
        self.keep_waiting_connect(key, (connect_first, connect));
        flow
    }

    /// AUTH from a client that is connected.
    pub(super) fn handle_auth(&mut self, key: u32, auth: &Auth<'_>) -> Flow {
        let Some(state) = self.authentication(key) else {
            // [MQTT-4.12.0-7]
            return self.broke_protocol(key, ReasonCode::PROTOCOL_ERROR);
        };
        match state.receive(auth) {
            Step::Ask(data) => {
                self.send_auth_or_end(key, ReasonCode::CONTINUE_AUTHENTICATION, data.as_deref())
            }
            Step::Accept(data) | Step::Confirm(data) => {
                self.send_auth_or_end(key, ReasonCode::SUCCESS, data.as_deref())
            }
            Step::Refuse(reason) | Step::Disconnect(reason) => {
                if reason == ReasonCode::PROTOCOL_ERROR {
                    self.stats.protocol_errors.add(1);
                }
                self.disconnect_because(key, reason, None, None);
                Flow::Stop
            }
        }
    }

    /// What comes next before CONNACK.
    fn go_on_with(&mut self, key: u32, connect: Connect<'_>, step: Step, raw: (u8, &[u8])) -> Flow {
        match step {
            Step::Ask(data) => {
                let reason = ReasonCode::CONTINUE_AUTHENTICATION;
                if self.send_auth(key, reason, data.as_deref()) {
                    return Flow::Continue;
                }
                let reason = ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR;
                self.refuse_authentication(key, &connect, reason)
            }
            Step::Accept(data) | Step::Confirm(data) => {
                self.admit(key, connect, data.as_deref(), raw)
            }
            Step::Refuse(reason) | Step::Disconnect(reason) => {
                self.refuse_authentication(key, &connect, reason)
            }
        }
    }

    /// The client broke the protocol while it authenticates.
    fn refuse_broken(&mut self, key: u32, connect: &Connect<'_>, reason: ReasonCode) -> Flow {
        self.stats.protocol_errors.add(1);
        self.refuse_authentication(key, connect, reason)
    }

    /// Sends AUTH to a client that is connected, which ends if it is too large for it.
    fn send_auth_or_end(&mut self, key: u32, reason: ReasonCode, data: Option<&[u8]>) -> Flow {
        if self.send_auth(key, reason, data) {
            return Flow::Continue;
        }
        let reason = ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR;
        self.disconnect_because(key, reason, None, None);
        Flow::Stop
    }

    /// Sends AUTH if the client takes a packet of its size.
    fn send_auth(&mut self, key: u32, reason: ReasonCode, data: Option<&[u8]>) -> bool {
        let Some(connection) = self.connections.get_mut(key) else {
            return false;
        };
        let extras = connection.extras.as_ref();
        let Some(found) = extras.and_then(|extras| extras.authentication.as_ref()) else {
            return false;
        };
        let output = &mut connection.output.bytes;
        let size_max = connection.maximum_packet_size;
        let sent = encode::auth_within(output, reason, found.state.method(), data, size_max);
        if sent {
            self.outbox.mark(connection, key);
            self.stats.count_packet_sent(packet::AUTH);
        }
        sent
    }

    fn authentication(&mut self, key: u32) -> Option<&mut Authentication> {
        let extras = self.connections.get_mut(key)?.extras.as_mut()?;
        let found = extras.authentication.as_mut()?;
        Some(&mut found.state)
    }

    fn take_waiting_connect(&mut self, key: u32) -> Option<(u8, Vec<u8>)> {
        let extras = self.connections.get_mut(key)?.extras.as_mut()?;
        let found = extras.authentication.as_mut()?;
        Some(core::mem::take(&mut found.connect))
    }

    /// Keeps CONNECT for the next packet, if the client still authenticates.
    fn keep_waiting_connect(&mut self, key: u32, connect: (u8, Vec<u8>)) {
        if let Some(connection) = self.connections.get_mut(key)
            && connection.phase == Phase::Authenticates
            && let Some(extras) = &mut connection.extras
            && let Some(found) = &mut extras.authentication
        {
            found.connect = connect;
        }
    }
}
