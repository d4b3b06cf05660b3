//! What every black-box test uses: a broker in a process of its own, a client
//! that speaks in bytes, and packets built by hand.
//!
//! Nothing here shares code with the broker: a mistake in its codec cannot hide
//! behind the same mistake in the test.
//!
//! A scenario is a function `fn(Setup)`. [`scenarios!`] at the top of a file
//! lists its scenarios and makes a test of each, for every protocol version it
//! concerns and with one shard and two. A function that is not listed is dead
//! code, which the lints refuse.

pub(crate) mod broker;
pub(crate) mod certificates;
pub(crate) mod client;
pub(crate) mod matching;
pub(crate) mod nodes;
pub(crate) mod packet;
pub(crate) mod property;
pub(crate) mod received;

pub(crate) use broker::Broker;
pub(crate) use client::Client;
pub(crate) use packet::{Connect, Publish, Version, Will};

/// What a scenario is run with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    /// Protocol version of the clients.
    pub(crate) version: Version,
    /// Shards of the broker.
    pub(crate) shards: u16,
}

impl Setup {
    /// A broker with default settings.
    pub(crate) fn broker(self) -> Broker {
        self.broker_with(&[])
    }

    /// A broker with some settings changed.
    pub(crate) fn broker_with(self, settings: &[(&str, &str)]) -> Broker {
        Broker::start(self, settings)
    }
}

/// Makes tests of scenarios: `every_version: [a, b], mqtt5: [c],` and so on.
macro_rules! scenarios {
    ($($versions:ident: [$($name:ident),* $(,)?]),* $(,)?) => {
        $($($crate::common::scenario!($versions $name);)*)*
    };
}

macro_rules! scenario {
    (every_version $name:ident) => {
        $crate::common::scenario!(tests $name:
            V31 1 mqtt31_on_one_shard, V31 2 mqtt31_on_two_shards,
            V311 1 mqtt311_on_one_shard, V311 2 mqtt311_on_two_shards,
            V5 1 mqtt5_on_one_shard, V5 2 mqtt5_on_two_shards);
    };
    (mqtt3 $name:ident) => {
        $crate::common::scenario!(tests $name:
            V31 1 mqtt31_on_one_shard, V31 2 mqtt31_on_two_shards,
            V311 1 mqtt311_on_one_shard, V311 2 mqtt311_on_two_shards);
    };
    (mqtt31 $name:ident) => {
        $crate::common::scenario!(tests $name:
            V31 1 mqtt31_on_one_shard, V31 2 mqtt31_on_two_shards);
    };
    (mqtt311 $name:ident) => {
        $crate::common::scenario!(tests $name:
            V311 1 mqtt311_on_one_shard, V311 2 mqtt311_on_two_shards);
    };
    (mqtt311_and_5 $name:ident) => {
        $crate::common::scenario!(tests $name:
            V311 1 mqtt311_on_one_shard, V311 2 mqtt311_on_two_shards,
            V5 1 mqtt5_on_one_shard, V5 2 mqtt5_on_two_shards);
    };
    (mqtt5 $name:ident) => {
        $crate::common::scenario!(tests $name:
            V5 1 mqtt5_on_one_shard, V5 2 mqtt5_on_two_shards);
    };
    (tests $name:ident: $($version:ident $shards:literal $test:ident),*) => {
        mod $name {
            $(#[test]
            fn $test() {
                super::$name($crate::common::Setup {
                    version: $crate::common::Version::$version,
                    shards: $shards,
                });
            })*
        }
    };
}

pub(crate) use {scenario, scenarios};
