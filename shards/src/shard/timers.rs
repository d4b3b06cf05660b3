//! What happens when time passes.

use protocol::wire::ReasonCode;

use super::connection::Phase;
use super::{NONE, Shard};

/// What a timer is for. Checked against the serial when it fires: the connection or
/// session may be another by then.
#[derive(Clone, Copy, Debug)]
pub(super) enum Timer {
    /// The deadline for CONNECT, then the keep alive.
    Connection { key: u32, serial: u32 },
    /// The will delay, then the end of the session.
    Session { key: u32, serial: u32 },
    /// The end of the wait of a client that was too fast.
    Rate { key: u32, serial: u32 },
}

/// Timers handled in one turn.
const TIMERS_PER_TURN: usize = 1024;

impl Shard {
    /// Does what is due.
    pub(crate) fn tick(&mut self) {
        self.tick_sys();
        self.publish_delayed();
        self.forget_expired();
        self.tick_groups();
        self.forget_former();
        self.tick_filters();
        let mut due = Vec::new();
        self.wheel
            .advance_at_most(self.now_ms, TIMERS_PER_TURN, &mut |timer| due.push(timer));
        for timer in due {
            match timer {
                Timer::Connection { key, serial } => self.connection_due(key, serial),
                Timer::Session { key, serial } => self.session_due(key, serial),
                Timer::Rate { key, serial } => self.rate_due(key, serial),
            }
        }
    }

    /// Arms the keep alive of a connection. Packets do not move the timer: when it fires,
    /// it looks at when the last one came and is armed again for the rest.
    pub(super) fn watch_silence(&mut self, key: u32) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if let Some(timer) = connection.timer.take() {
            self.wheel.cancel(timer);
        }
        if connection.silence_ms_max == 0 {
            return;
        }
        let due = connection.heard_ms + u64::from(connection.silence_ms_max);
        let timer = Timer::Connection {
            key,
            serial: connection.serial,
        };
        connection.timer = Some(self.wheel.insert(due, timer));
    }

    fn connection_due(&mut self, key: u32, serial: u32) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.serial != serial {
            return;
        }
        connection.timer = None;
        match connection.phase {
            Phase::AwaitsConnect | Phase::Authenticates => self.close_silently(key),
            Phase::Claims => self.claim_due(key, serial),
            Phase::Live => {
                let due = connection.heard_ms + u64::from(connection.silence_ms_max);
                // Input that waits in a paused connection is a sign of life.
                if due > self.now_ms || connection.paused {
                    if connection.paused {
                        connection.heard_ms = self.now_ms;
                    }
                    self.watch_silence(key);
                } else {
                    self.disconnect(key, ReasonCode::KEEP_ALIVE_TIMEOUT);
                }
            }
            Phase::Closing | Phase::Gone => {}
        }
    }

    fn session_due(&mut self, key: u32, serial: u32) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        if session.serial != serial || session.connection != NONE {
            return;
        }
        session.timer = None;
        // Its will waits for the lease.
        let waits = self.fence.is_up && session.will.is_some();
        if session.ends_ms <= self.now_ms && !waits {
            self.end_session(key);
        } else {
            self.watch_absence(key);
        }
    }
}
