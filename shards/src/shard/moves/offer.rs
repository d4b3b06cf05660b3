//! Sessions of clients that are away, when their node goes: other nodes claim them as if the
//! clients had connected there, and each waits for its client where it is then.
//!
//! An offer promises nothing and is not answered. Whoever takes it claims the client identifier
//! and fetches the session; who has it already, or goes itself, does not listen. So a session
//! that does not move within a while is offered again.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use super::said::What;
use crate::bits::bits;
use crate::nodes::OwnerRequest;
use crate::operator::{Answer, Part, Place, Step};
use crate::shard::operator::{ENTRIES_MAX, SLOTS_MAX};
use crate::shard::{NONE, Shard};

/// After this time a session that is still here is offered again.
const AGAIN_MS: u64 = 3000;

/// What was offered lately.
#[derive(Debug, Default)]
pub(super) struct Offers {
    /// When, by client identifier.
    at_ms: HashMap<Box<str>, u64>,
    /// The node that got the last one.
    last: u16,
}

impl Offers {
    fn forget_old(&mut self, now_ms: u64) {
        self.at_ms.retain(|_, at_ms| *at_ms + AGAIN_MS > now_ms);
    }

    /// The next of some nodes.
    fn next(&mut self, nodes: u64) -> Option<u16> {
        let later = bits(nodes).find(|node| *node > self.last);
        let next = later.or_else(|| bits(nodes).next())?;
        self.last = next;
        Some(next)
    }
}

impl Shard {
    /// Offers sessions whose clients are away to the nodes that stay, in turn.
    pub(in crate::shard) fn hand_some_over(&mut self, part: &Part) -> Answer {
        let now_ms = self.now_ms;
        if let Some(moves) = self.moves()
            && part.from == Place::default()
        {
            moves.offers.forget_old(now_ms);
        }
        let end = self.sessions.end();
        let last = part.from.slot.saturating_add(SLOTS_MAX).min(end);
        let (mut done, mut left) = (0, 0);
        for slot in part.from.slot..last {
            if done >= part.most.min(ENTRIES_MAX) {
                let next = Some(Place { slot, offset: 0 });
                left += 1;
                return Answer::HandOver(Step { done, left, next });
            }
            let session = self.sessions.get(slot);
            let Some(session) = session.filter(|session| session.connection == NONE) else {
                continue;
            };
            left += 1;
            let client = session.client_id.clone();
            done += u32::from(self.offer(client));
        }
        let slot = last;
        let next = (last < end).then_some(Place { slot, offset: 0 });
        Answer::HandOver(Step { done, left, next })
    }

    /// Offers one session, unless it moves already.
    fn offer(&mut self, client: Box<str>) -> bool {
        let open = self.common.nodes_open.load(Ordering::Relaxed) & self.nodes_up();
        let takers = bits(open).filter(|node| self.can_take(*node));
        let takers = takers.fold(0, |all, node| all | 1 << node);
        let now_ms = self.now_ms;
        let Some(owners) = &mut self.owners else {
            return false;
        };
        let is_wanted = owners.begins_anew(&client).is_some();
        let moves = &mut owners.moves;
        let is_moving = moves.is_leaving(&client) || moves.is_arriving(&client);
        if is_wanted || is_moving || moves.offers.at_ms.contains_key(&client) {
            return false;
        }
        let Some(node) = moves.offers.next(takers) else {
            return false;
        };
        moves.offers.at_ms.insert(client.clone(), now_ms);
        self.say(node, &client, 0, What::Offer);
        true
    }

    /// A node that goes has a session, which is claimed as if its client had connected here.
    pub(in crate::shard) fn offered(&mut self, client: &str) {
        let is_here = self.find_session(client).is_some();
        let goes = self.common.goes.load(Ordering::Relaxed);
        let Some(owners) = self.owners.as_mut().filter(|_| !is_here && !goes) else {
            return;
        };
        // Who waits has claimed it.
        if owners.begins_anew(client).is_none() && !owners.moves.is_arriving(client) {
            let client = client.into();
            owners.request(OwnerRequest::Claim { client });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_get_offers_in_turn() {
        let mut offers = Offers::default();
        let nodes = 0b1_0110;
        let given: Vec<_> = (0..5).filter_map(|_| offers.next(nodes)).collect();
        assert_eq!(given, [1, 2, 4, 1, 2]);
        assert_eq!([offers.next(1 << 63), offers.next(0)], [Some(63), None]);
        assert_eq!(offers.next(0b1001), Some(0));
    }
}
