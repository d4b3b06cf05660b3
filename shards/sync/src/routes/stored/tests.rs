use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::{routes::grace::Reader, shim::Arc};

fn destination() -> impl Strategy<Value = Destination> {
    prop_oneof![
        any::<u8>().prop_map(Destination::Shard),
        (0_u8..4).prop_map(Destination::Shard),
        (0_u32..30).prop_map(Destination::Node),
        ((1_u32 << 20) - 260..1 << 20).prop_map(Destination::Node),
        any::<u32>().prop_map(Destination::Node),
    ]
}

proptest! {
    #[test]
    fn a_stored_set_behaves_like_a_set(
        changes in prop::collection::vec((destination(), 0..3), 1..100),
    ) {
        let grace = Arc::new(Grace::new());
        let mut reader = Reader::new(grace.clone());
        let lines = SetLines::default();
        let mut writer = SetWriter::default();
        let stored = AtomicU64::new(NOWHERE);
        let mut model = BTreeSet::new();
        for (destination, kind) in changes {
            let present = kind > 0;
            let differs = match present {
                true => model.insert(destination),
                false => model.remove(&destination),
            };
            let changed = writer.change(&stored, destination, present, &lines, &grace);
            prop_assert_eq!(changed, differs);
            writer.numbers().reclaim(grace.advance());
            let pin = reader.pin();
            let mut set = DestinationSet::new();
            collect(stored.load(Ordering::Relaxed), &lines, &pin, &mut set);
            let shards = set.shards().map(Destination::Shard);
            let nodes = set.nodes().iter().copied().map(Destination::Node);
            prop_assert_eq!(&shards.chain(nodes).collect::<BTreeSet<_>>(), &model);
            prop_assert_eq!(stored.load(Ordering::Relaxed) == NOWHERE, model.is_empty());
        }
    }
}
