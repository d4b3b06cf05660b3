use super::*;
use crate::wire::{QoS, RetainHandling};

struct Told(Vec<u32>, Vec<GroupId>);
impl Visitor for Told {
    fn subscribers(&mut self, subscribers: &[Subscriber]) {
        self.0.extend(subscribers.iter().map(|s| s.session));
    }
    fn group(&mut self, group: GroupId) {
        self.1.push(group);
    }
}
fn sub(session: u32) -> Subscriber {
    let options = SubscriptionOptions {
        qos: QoS::AtMostOnce,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Send,
    };
    Subscriber {
        session,
        options,
        identifier: 0,
    }
}
#[test]
fn smoke() {
    let mut tree = SubscriptionTree::new(1);
    let filters = [
        "a/b",
        "a/+",
        "a/#",
        "+/b",
        "#",
        "a/b/#",
        "a",
        "+",
        "$SYS/#",
        "a/b/c",
        "+/+",
        "a-very-long-word-in-a-filter/+",
    ];
    for (i, f) in filters.iter().enumerate() {
        tree.insert(Filter::parse(f, 64).unwrap(), sub(i as u32));
    }
    for t in [
        "a/b",
        "a",
        "a/b/c",
        "/",
        "$SYS/x",
        "$SYS",
        "a-very-long-word-in-a-filter/x",
    ] {
        let topic = TopicName::parse(t, 64).unwrap();
        let mut told = Told(vec![], vec![]);
        tree.matches(topic, &mut told);
        told.0.sort();
        let want: Vec<u32> = (0..filters.len() as u32)
            .filter(|i| {
                Filter::parse(filters[*i as usize], 64)
                    .unwrap()
                    .matches(topic)
            })
            .collect();
        assert_eq!(told.0, want, "{t}");
    }
    for (i, f) in filters.iter().enumerate() {
        let filter = Filter::parse(f, 64).unwrap();
        assert_eq!(tree.text(tree.find(filter).unwrap()), *f);
        assert!(tree.remove(filter, i as u32).unwrap().last);
    }
    assert!(tree.is_empty());
    assert_eq!(size_of::<Subscriber>(), 12);
}
