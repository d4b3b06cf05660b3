//! Who is given up, by whose votes.

use super::peer::Peer;
use super::{Event, Going, Members, Policy};
use crate::wire::{Health, View};

impl Members {
    /// Condemns whom a majority suspects, and gives up whom a majority has condemned.
    pub(super) fn decide(&mut self, now_ms: u64) {
        let nodes = self.peers.iter();
        let suspects = nodes.filter_map(|(name, peer)| Some((name.clone(), peer.suspected()?)));
        for (node, incarnation) in suspects.collect::<Vec<_>>() {
            if self.config.policy == Policy::ServeLocal {
                if !self.is_heard_by_another(now_ms, &node) {
                    self.give_up(&node, incarnation);
                }
                continue;
            }
            let suspects = |peer: &Peer| peer.suspects(&node, incarnation);
            let votes = self.config.votes() && self.is_settled(now_ms);
            if votes && self.cores_that(suspects) + 1 >= self.config.majority() {
                self.condemn(&node, incarnation);
            }
        }
        self.count_verdicts();
    }

    /// Gives up lives that a majority has condemned, whether or not they are suspected here.
    fn count_verdicts(&mut self) {
        let nodes = self.peers.iter().filter(|(_, peer)| peer.is_known());
        let lives: Vec<_> = nodes
            .map(|(name, peer)| (name.clone(), peer.incarnation))
            .collect();
        for (node, incarnation) in lives {
            let own = self
                .peers
                .get(&node)
                .is_some_and(|peer| !peer.answers(incarnation));
            let own = usize::from(own && self.config.votes());
            let condemned = |peer: &Peer| peer.has_condemned(&node, incarnation);
            if self.cores_that(condemned) + own >= self.config.majority() {
                self.give_up(&node, incarnation);
            }
        }
    }

    /// How many other cores there are of which something is true.
    fn cores_that(&self, is: impl Fn(&Peer) -> bool) -> usize {
        let cores = self
            .peers
            .iter()
            .filter(|(name, _)| self.config.is_core(name));
        cores.filter(|(_, peer)| is(peer)).count()
    }

    fn condemn(&mut self, node: &str, incarnation: u64) {
        if let Some(peer) = self.peers.get_mut(node)
            && peer.answers(incarnation)
        {
            peer.condemn(incarnation);
            self.events.push_back(Event::Condemned {
                node: node.into(),
                incarnation,
            });
        }
    }

    /// What this node says of itself, if it goes.
    fn own_view(&self) -> Option<View<'_>> {
        let health = match self.going {
            Going::No => return None,
            Going::Soon => Health::Going,
            Going::Over => Health::Gone,
        };
        Some(View {
            node: &self.config.name,
            incarnation: self.config.incarnation,
            health,
        })
    }

    /// What is to be told to others. Each gives up on its own with `ServeLocal`.
    pub(super) fn views(&self) -> impl Iterator<Item = View<'_>> {
        let tells = self.config.policy == Policy::Fence;
        let peers = self.peers.iter().filter(move |_| tells);
        let others = peers.flat_map(|(node, peer)| {
            let (condemned, gone) = peer.lives_over();
            let suspected = peer.suspected().filter(|life| peer.answers(*life));
            let views = [
                (suspected, Health::Suspect),
                (condemned, Health::Condemned),
                (gone, Health::Gone),
            ];
            views.into_iter().filter_map(move |(life, health)| {
                Some(View {
                    node,
                    incarnation: life?,
                    health,
                })
            })
        });
        self.own_view().into_iter().chain(others)
    }
}
