//! What this node owns and wants.

use super::view::keeper;
use super::{Claim, Directory, Event};
use crate::wire::Directory as Said;

impl Directory {
    /// A client has connected here: its identifier is claimed, unless this node has it.
    /// Answered by an event.
    pub fn claim(&mut self, client: &str) {
        let former = self.claims.get_mut(client).filter(|claim| claim.epoch > 0);
        match former {
            // That it had it before is not to be forgotten: it has its state.
            Some(claim) if !self.holders.contains_key(client) => claim.is_wanted = true,
            _ => self.claim_with(client, 0),
        }
    }

    /// A session with that former epoch is on this node, from a former life: it is claimed
    /// unless somebody else has it now. Answered by an event.
    pub fn claim_former(&mut self, client: &str, epoch: u64) {
        self.epoch = self.epoch.max(epoch);
        self.claim_with(client, epoch);
    }

    /// A client of this node wants something for itself: it is claimed unless another holder has
    /// it. `is_former`: it had it in a former life of this node. Answered by an event.
    pub fn claim_exclusive(&mut self, name: &str, holder: &str, is_former: bool) {
        self.holders.insert(name.into(), holder.into());
        self.claim_with(name, u64::from(is_former));
    }

    /// For whom of this node's clients a name is owned or claimed.
    #[must_use]
    pub fn holder(&self, name: &str) -> Option<&str> {
        self.holders.get(name).map(|holder| &**holder)
    }

    fn claim_with(&mut self, client: &str, epoch: u64) {
        if let Some(epoch) = self.owned.get(client).copied() {
            let (client, former) = (client.into(), None);
            self.events.push_back(Event::Granted {
                client,
                epoch,
                former,
            });
            return;
        }
        self.ticket += 1;
        let ticket = self.ticket;
        // A connection of before may still be there.
        let again = self.claims.get(client).is_some_and(|claim| claim.again);
        let claim = Claim {
            ticket,
            epoch,
            again,
            is_wanted: false,
            revoked: None,
        };
        if let Some(keeper) = keeper(client, &self.cores).map(str::to_owned) {
            self.say_claim(&keeper, client, &claim);
        }
        self.claims.insert(client.into(), claim);
    }

    /// The epoch of an identifier that this node has and may serve.
    #[must_use]
    pub fn owns(&self, client: &str) -> Option<u64> {
        self.owned.get(client).copied().filter(|_| self.may_act)
    }

    /// All identifiers that this node has, with their epochs, whether or not it may serve them.
    pub fn owned(&self) -> impl Iterator<Item = (&str, u64)> {
        self.owned.iter().map(|(client, epoch)| (&**client, *epoch))
    }

    /// How many claims are not answered.
    #[must_use]
    pub fn claims(&self) -> usize {
        self.claims.len()
    }

    /// Whether there are identifiers that this process had until its lease ran out, and nobody
    /// has said yet whether it still has them.
    #[must_use]
    pub fn is_unconfirmed(&self) -> bool {
        self.unconfirmed > 0
    }

    /// What was asked for by [`Event::Revoke`] is done. `keeps`: there is a state that waits for
    /// the next owner, until [`Directory::dropped`].
    pub fn revoked(&mut self, client: &str, epoch: u64, keeps: bool) {
        let claim = self.claims.get(client);
        let claim = claim.filter(|claim| claim.revoked == Some(epoch));
        let is_wanted = claim.is_some_and(|claim| claim.is_wanted);
        if claim.is_some() {
            self.answered(client);
        } else if self.owned.get(client) == Some(&epoch) {
            self.owned.remove(client);
        } else {
            return;
        }
        self.holders.remove(client);
        let is_awaited = self.awaited.remove(client).is_some();
        let said = match (keeps, is_awaited) {
            (true, _) => Said::Revoked { client, epoch },
            // The former owner keeps it still.
            (false, true) => Said::Absent { client, epoch },
            (false, false) => Said::Release { client, epoch },
        };
        if keeps {
            self.kept.insert(client.into(), epoch);
        }
        self.say_to_keeper(client, &said);
        if is_wanted {
            self.claim_with(client, 0);
        }
    }

    /// The session has ended here.
    pub fn release(&mut self, client: &str) {
        if let Some(epoch) = self.owned.remove(client) {
            self.holders.remove(client);
            self.awaited.remove(client);
            self.say_to_keeper(client, &Said::Release { client, epoch });
        }
    }

    /// What was kept for the next owner is gone: that has it, or it has ended.
    pub fn dropped(&mut self, client: &str) {
        if let Some(epoch) = self.kept.remove(client) {
            self.say_to_keeper(client, &Said::Release { client, epoch });
        }
    }

    /// The state that an owned identifier was to get from its former owner has come and is stored,
    /// or does not come.
    pub fn settled(&mut self, client: &str) {
        self.awaited.remove(client);
    }

    /// Others may have what this node keeps, from now on.
    pub(super) fn doubt_kept(&mut self) {
        self.kept.values_mut().for_each(|epoch| *epoch = 0);
    }

    /// Others have a later state than what is kept here.
    pub(super) fn is_out_of_date(&mut self, from: &str, client: &str, epoch: u64) {
        let kept = self.kept.get(client).is_some_and(|kept| *kept <= epoch);
        if kept && keeper(client, &self.cores) == Some(from) {
            self.kept.remove(client);
            let client = client.into();
            self.events.push_back(Event::Drop { client });
        }
    }

    fn say_to_keeper(&mut self, client: &str, said: &Said<'_>) {
        if let Some(keeper) = keeper(client, &self.cores).map(str::to_owned) {
            self.say(&keeper, said);
        }
    }

    pub(super) fn granted(&mut self, client: &str, ticket: u64, epoch: u64, former: &str) {
        self.epoch = self.epoch.max(epoch);
        let is_asked = |claim: &Claim| claim.ticket == ticket;
        // One that was asked before the keeper changed is not counted by the present one.
        if !self.claims.get(client).is_some_and(is_asked) {
            return;
        }
        let had_it = self.claims.get(client).is_some_and(|claim| claim.epoch > 0);
        self.answered(client);
        self.owned.insert(client.into(), epoch);
        self.kept.remove(client);
        // One that has had it awaits what it has awaited, and may have to ask for it again.
        let former: Option<Box<str>> = match had_it {
            true => self.awaited.remove(client),
            false => (!former.is_empty()).then(|| former.into()),
        };
        match &former {
            Some(former) => self.awaited.insert(client.into(), former.clone()),
            None => self.awaited.remove(client),
        };
        self.events.push_back(Event::Granted {
            client: client.into(),
            epoch,
            former,
        });
    }

    pub(super) fn denied(&mut self, client: &str, ticket: u64) {
        let is_asked = |claim: &Claim| claim.ticket == ticket;
        let claim = self.claims.get(client).filter(|claim| is_asked(claim));
        if let Some(is_wanted) = claim.map(|claim| claim.is_wanted) {
            self.answered(client);
            if is_wanted {
                let dropped = client.into();
                self.events.push_back(Event::Drop { client: dropped });
                return self.claim_with(client, 0);
            }
            self.holders.remove(client);
            self.awaited.remove(client);
            let client = client.into();
            self.events.push_back(Event::Denied { client });
        }
    }

    fn answered(&mut self, client: &str) {
        let claim = self.claims.remove(client);
        self.unconfirmed -= usize::from(claim.is_some_and(|claim| claim.again));
    }

    pub(super) fn revoke(&mut self, from: &str, client: &str, epoch: u64) {
        if keeper(client, &self.cores) != Some(from) {
            return;
        }
        let owned = self.owned.get_mut(client).filter(|owned| **owned <= epoch);
        if let Some(owned) = owned {
            // The keeper knows best what it has granted to this node.
            *owned = epoch;
            let client = client.into();
            self.events.push_back(Event::Revoke { client, epoch });
            return;
        }
        if let Some(kept) = self.kept.get_mut(client) {
            *kept = epoch;
            self.say(from, &Said::Revoked { client, epoch });
        } else if let Some(claim) = self.claims.get_mut(client).filter(|claim| claim.epoch > 0) {
            // It has what it had until its lease ran out, or in a former life.
            claim.revoked = Some(epoch);
            let client = client.into();
            return self.events.push_back(Event::Revoke { client, epoch });
        } else {
            self.say(from, &Said::Absent { client, epoch });
        }
        // What was granted with that epoch may still come: it does not count any more.
        if let Some(mut claim) = self.claims.remove(client) {
            self.ticket += 1;
            claim.ticket = self.ticket;
            self.say_claim(from, client, &claim);
            self.claims.insert(client.into(), claim);
        }
    }

    /// Asks the present keepers, with new numbers, so that late answers of former ones do not
    /// count.
    pub(super) fn claim_again(&mut self) {
        let mut claims = core::mem::take(&mut self.claims);
        for (client, claim) in &mut claims {
            self.ticket += 1;
            claim.ticket = self.ticket;
            if let Some(keeper) = keeper(client, &self.cores).map(str::to_owned) {
                self.say_claim(&keeper, client, claim);
            }
        }
        self.claims = claims;
    }

    pub(super) fn say_claim(&mut self, to: &str, client: &str, claim: &Claim) {
        let said = Said::Claim {
            client,
            ticket: claim.ticket,
            epoch: claim.epoch,
            holder: self.holders.get(client).map_or("", |holder| &**holder),
        };
        let mut frame = Vec::new();
        said.put(&mut frame);
        self.send(to, frame);
    }

    pub(super) fn say_registered(&mut self, to: &str, client: &str, epoch: u64) {
        let said = Said::Register {
            client,
            epoch,
            holder: self.holders.get(client).map_or("", |holder| &**holder),
            former: self.awaited.get(client).map_or("", |former| &**former),
        };
        let mut frame = Vec::new();
        said.put(&mut frame);
        self.send(to, frame);
    }
}
