//! Which node of a cluster each client is on.

/// What clients are to each other, as far as it matters where they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Roles {
    /// All clients do the same.
    Alike,
    /// Publisher `n` writes to subscriber `n`, or to any one of them. Subscribers have the first
    /// numbers.
    Pairs {
        /// How many subscribe.
        subscribers: u32,
    },
    /// Subscribers hear several publishers. Subscribers have the first numbers.
    Fan {
        /// How many publish.
        publishers: u32,
        /// How many subscribe.
        subscribers: u32,
    },
}

/// The node of each client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places {
    nodes: u32,
    /// The client that is the first publisher.
    first_publisher: u32,
    manner: Manner,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Client `n` on node `n`, in a circle.
    Circle,
    /// Publisher `n` on node `n` and subscriber `n` on the next one, in a circle.
    Beside,
    /// Publishers on so many nodes, the first ones, and subscribers on all others.
    Apart(u32),
}

impl Places {
    /// Clients on `nodes` in a circle, whatever they are to each other.
    pub const fn circle(nodes: u32, roles: Roles) -> Self {
        Self {
            nodes,
            first_publisher: match roles {
                Roles::Alike => 0,
                Roles::Pairs { subscribers } | Roles::Fan { subscribers, .. } => subscribers,
            },
            manner: Manner::Circle,
        }
    }

    /// Publishers on other nodes than those who hear them, where there are several nodes. With
    /// `is_one_way`, no node has both.
    pub fn crossing(nodes: u32, roles: Roles, is_one_way: bool) -> Self {
        let circle = Self::circle(nodes, roles);
        let manner = match roles {
            _ if nodes < 2 => Manner::Circle,
            Roles::Alike => Manner::Circle,
            Roles::Pairs { .. } if is_one_way => Manner::Apart(nodes / 2),
            Roles::Pairs { .. } => Manner::Beside,
            Roles::Fan {
                publishers,
                subscribers,
            } => Manner::Apart(publishing(nodes, publishers, subscribers)),
        };
        Self { manner, ..circle }
    }

    /// How many nodes there are.
    pub const fn nodes(&self) -> u32 {
        self.nodes
    }

    /// The node of a client, by its number in the whole run.
    pub const fn of(&self, client: u32) -> u32 {
        let publisher = client.checked_sub(self.first_publisher);
        match (self.manner, publisher) {
            (Manner::Circle, _) => client % self.nodes,
            (Manner::Beside, Some(publisher)) => publisher % self.nodes,
            (Manner::Beside, None) => (client + 1) % self.nodes,
            (Manner::Apart(publishing), Some(publisher)) => publisher % publishing,
            (Manner::Apart(publishing), None) => publishing + client % (self.nodes - publishing),
        }
    }

    /// The node of a publisher, by its number among publishers.
    pub const fn of_publisher(&self, publisher: u32) -> u32 {
        self.of(self.first_publisher + publisher)
    }

    /// Whether no subscriber with a lower number is on the node of this one.
    pub fn is_first_on_node(&self, subscriber: u32) -> bool {
        let node = self.of(subscriber);
        subscriber < self.nodes && (0..subscriber).all(|other| self.of(other) != node)
    }
}

/// How many nodes have the publishers of a fan: the side with fewer clients has at most half of
/// the nodes, and none without a client.
fn publishing(nodes: u32, publishers: u32, subscribers: u32) -> u32 {
    let half = |clients: u32| clients.clamp(1, nodes / 2);
    if publishers <= subscribers {
        half(publishers)
    } else {
        nodes - half(subscribers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_publisher_of_a_pair_is_on_another_node_than_its_subscriber() {
        for nodes in 2..6 {
            for is_one_way in [false, true] {
                let pairs = Roles::Pairs { subscribers: 7 };
                let places = Places::crossing(nodes, pairs, is_one_way);
                for pair in 0..7 {
                    assert_ne!(places.of(pair), places.of_publisher(pair));
                }
            }
        }
    }

    #[test]
    fn pairs_lie_in_a_circle() {
        let places = Places::crossing(3, Roles::Pairs { subscribers: 4 }, false);
        let publishers: Vec<u32> = (0..4).map(|pair| places.of_publisher(pair)).collect();
        let subscribers: Vec<u32> = (0..4).map(|pair| places.of(pair)).collect();
        assert_eq!(
            (publishers, subscribers),
            (vec![0, 1, 2, 0], vec![1, 2, 0, 1])
        );
    }

    #[test]
    fn a_fan_has_no_node_with_publishers_and_subscribers() {
        for nodes in 2..6 {
            for (publishers, subscribers) in [(1, 100), (10, 10), (1000, 1), (3, 2)] {
                let fan = Roles::Fan {
                    publishers,
                    subscribers,
                };
                let places = Places::crossing(nodes, fan, false);
                let of_publishers: Vec<u32> = (0..publishers)
                    .map(|one| places.of_publisher(one))
                    .collect();
                let crosses = |one: u32| !of_publishers.contains(&places.of(one));
                assert!((0..subscribers).all(crosses));
                let last = (0..subscribers).map(|one| places.of(one)).max();
                assert!(last.is_some_and(|last| last < nodes));
            }
        }
    }

    #[test]
    fn one_publisher_and_many_subscribers_use_all_nodes() {
        let fan = Roles::Fan {
            publishers: 1,
            subscribers: 100,
        };
        let places = Places::crossing(3, fan, false);
        assert_eq!(places.of_publisher(0), 0);
        let firsts: Vec<u32> = (0..100)
            .filter(|one| places.is_first_on_node(*one))
            .collect();
        assert_eq!(firsts, [0, 1]);
        assert_eq!((places.of(0), places.of(1)), (1, 2));
    }

    #[test]
    fn one_node_has_all_clients() {
        let places = Places::crossing(1, Roles::Pairs { subscribers: 3 }, false);
        assert!((0..6).all(|client| places.of(client) == 0));
    }
}
