//! Places where nodes may be: which of them are to be asked who is there.
//!
//! A place is asked until a node has answered, and again when that node is not connected: another
//! one may have its address by now. A place that is not found any more is not asked any more.

use std::collections::BTreeMap;

use super::found::Place;

/// Who is at a place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::cluster) enum Met {
    /// A node.
    Node(String),
    /// This node itself.
    Own,
    /// Nobody answers, or nobody of this cluster.
    Nobody(String),
}

/// The places that were found.
#[derive(Debug, Default)]
pub(in crate::cluster) struct Places(BTreeMap<Place, State>);

#[derive(Debug, Default)]
struct State {
    is_asked: bool,
    node: Option<String>,
    is_own: bool,
    said: String,
}

impl Places {
    /// Takes what is there now. Returns the places that are to be asked.
    pub(in crate::cluster) fn found(
        &mut self,
        now: &[&Place],
        is_connected: impl Fn(&str) -> bool,
    ) -> Vec<Place> {
        self.0.retain(|place, _| now.contains(&place));
        let mut due = Vec::new();
        for place in now {
            let state = self.0.entry((*place).clone()).or_default();
            let is_settled = state.is_own || state.node.as_deref().is_some_and(&is_connected);
            if !is_settled && !state.is_asked {
                state.is_asked = true;
                due.push((*place).clone());
            }
        }
        due
    }

    /// A place was asked. Returns what is to be said about it.
    pub(in crate::cluster) fn asked(&mut self, place: &Place, met: Met) -> Option<String> {
        // Not if it is not there any more.
        let state = self.0.get_mut(place)?;
        state.is_asked = false;
        match met {
            Met::Node(name) => {
                state.node = Some(name);
                state.said.clear();
            }
            Met::Own => state.is_own = true,
            Met::Nobody(why) if state.said != why => {
                let line = format!("no node at {place}: {why}");
                state.said = why;
                return Some(line);
            }
            Met::Nobody(_) => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(port: u16) -> Place {
        let host = "10.0.0.1".to_owned();
        Place { host, port }
    }

    #[test]
    fn a_place_is_asked_until_a_node_has_answered_that_is_connected() {
        let (mut places, one) = (Places::default(), place(1));
        let nobody = |_: &str| false;
        assert_eq!(places.found(&[&one], nobody), [place(1)]);
        // While it is asked, it is not asked again.
        assert!(places.found(&[&one], nobody).is_empty());
        let why = || Met::Nobody("silent".to_owned());
        let line = places.asked(&one, why());
        assert_eq!(line.unwrap(), "no node at 10.0.0.1:1: silent");
        assert_eq!(places.found(&[&one], nobody), [place(1)]);
        assert_eq!(places.asked(&one, why()), None);
        assert_eq!(places.found(&[&one], nobody), [place(1)]);
        assert_eq!(places.asked(&one, Met::Node("a@b".to_owned())), None);
        assert!(places.found(&[&one], |name| name == "a@b").is_empty());
        // Lost: somebody else may be there.
        assert_eq!(places.found(&[&one], nobody), [place(1)]);
    }

    #[test]
    fn the_own_place_is_asked_once() {
        let (mut places, one) = (Places::default(), place(1));
        assert_eq!(places.found(&[&one], |_| false), [place(1)]);
        assert_eq!(places.asked(&one, Met::Own), None);
        assert!(places.found(&[&one], |_| false).is_empty());
    }

    #[test]
    fn a_place_that_is_gone_is_forgotten() {
        let (mut places, one, two) = (Places::default(), place(1), place(2));
        assert_eq!(places.found(&[&one, &two], |_| false).len(), 2);
        assert!(places.found(&[&two], |_| false).is_empty());
        assert_eq!(places.asked(&one, Met::Nobody("late".to_owned())), None);
        assert_eq!(places.found(&[&one, &two], |_| false), [place(1)]);
    }
}
