use super::*;

/// A configuration from `--set` arguments.
fn load(set: &[&str]) -> Result<Config, Vec<String>> {
    let set = set.iter().map(|pair| pair.split_once('=').unwrap());
    let set = set
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let sources = Sources {
        file: Some("/dev/null".into()),
        set,
        ..Sources::default()
    };
    Config::load(&sources).map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

fn problem(set: &[&str]) -> String {
    load(set).unwrap_err().join("\n")
}

#[test]
fn without_a_word_the_broker_is_for_this_machine_alone() {
    let config = load(&[]).unwrap();
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.listeners[0].bind.to_string(), "127.0.0.1:1883");
    assert_eq!(config.allow_anonymous, None);
    assert_eq!(config.mqtt, Mqtt::default());
    assert_eq!(config.engine, Engine::default());
}

#[test]
fn every_layer_overrides_the_one_below() {
    let mut sources = Sources {
        file: Some("/dev/null".into()),
        ..Sources::default()
    };
    let name = |sources: &Sources| Config::load(sources).unwrap().node_name;
    assert_eq!(name(&sources), "shardmq@127.0.0.1");
    sources.environment = vec![("SHARDMQ_NODE__NAME".into(), "environment@x".into())];
    assert_eq!(name(&sources), "environment@x");
    sources.set = vec![("node.name".to_owned(), "set@x".to_owned())];
    assert_eq!(name(&sources), "set@x");
    sources.flags = vec![("--node-name", "node.name", "flag@x".to_owned())];
    assert_eq!(name(&sources), "flag@x");
}

#[test]
fn settings_of_the_data_plane_reach_it() {
    let config = load(&["mqtt.max_inflight=9", "shards.ring_batches=8"]).unwrap();
    assert_eq!(
        config.mqtt,
        Mqtt {
            max_inflight: 9,
            ..Mqtt::default()
        }
    );
    assert_eq!(
        config.engine,
        Engine {
            ring_batches: 8,
            ..Engine::default()
        }
    );
}

#[test]
fn a_listener_that_others_can_reach_must_be_wanted() {
    let open = "listeners.tcp.default.bind=0.0.0.0:1883";
    let complaint = problem(&[open]);
    assert!(
        complaint.contains(&format!("--set {open} --set allow_anonymous=true")),
        "{complaint}"
    );
    assert!(
        complaint.contains("--set listeners.tcp.default.bind=127.0.0.1:1883"),
        "{complaint}"
    );
    assert!(load(&[open, "allow_anonymous=false"]).is_err());
    assert!(load(&[open, "allow_anonymous=true"]).is_ok());
}

#[test]
fn a_port_alone_is_open_only_if_strangers_are_welcome() {
    let bind = |set: &[&str]| load(set).unwrap().listeners[0].bind.to_string();
    assert_eq!(bind(&["listeners.tcp.default.bind=1999"]), "127.0.0.1:1999");
    assert_eq!(
        bind(&["listeners.tcp.default.bind=:1999", "allow_anonymous=true"]),
        "0.0.0.0:1999"
    );
}

#[test]
fn a_further_listener_needs_only_an_address() {
    let config = load(&["listeners.tcp.inside.bind=127.0.0.1:1884"]).unwrap();
    let names: Vec<&str> = config
        .listeners
        .iter()
        .map(|listener| &*listener.name)
        .collect();
    assert_eq!(names, ["default", "inside"]);
    assert_eq!(config.listeners[1].backlog, 4096);
    assert_eq!(
        problem(&["listeners.tcp.inside.backlog=5"]),
        "--set: listener inside has no address: set listeners.tcp.inside.bind"
    );
}

#[test]
fn a_listener_has_its_own_rates_and_what_may_come_on_top() {
    let set = [
        "listeners.tcp.default.max_conn_rate=100/s",
        "listeners.tcp.default.messages_rate=10/s",
        "listeners.tcp.default.messages_burst=1000/60m",
        "listeners.tcp.inside.bind=127.0.0.1:1884",
    ];
    let listeners = load(&set).unwrap().listeners;
    let limited = |rate: &str, burst: &str| Allowance {
        rate: rate.parse().unwrap(),
        burst: burst.parse().unwrap(),
    };
    assert_eq!(listeners[0].connections, limited("100/s", "0/s"));
    assert_eq!(listeners[0].messages, limited("10/s", "1000/1h"));
    assert_eq!(listeners[0].bytes, Allowance::default());
    assert_eq!(listeners[1].connections, Allowance::default());
    assert_eq!(listeners[1].messages, Allowance::default());
}

#[test]
fn what_comes_on_top_of_a_rate_needs_one() {
    for burst in [
        "listeners.tcp.default.bytes_burst",
        "mqtt.max_conn_burst",
        "mqtt.messages_burst",
    ] {
        let rate = burst.replace("burst", "rate");
        let set = format!("{burst}=9/s");
        assert_eq!(
            problem(&[&set]),
            format!("--set: {burst} comes on top of a rate, and there is none: set {rate}")
        );
        assert!(load(&[&set, &format!("{rate}=9/s")]).is_ok());
    }
    assert!(load(&["mqtt.messages_burst=0/1s"]).is_ok());
}

#[test]
fn a_listener_can_be_switched_off_but_not_the_last_one() {
    let off = "listeners.tcp.default.enabled=false";
    assert_eq!(
        problem(&[off]),
        "--set: no listener is enabled: nobody could connect"
    );
    let config = load(&[off, "listeners.tcp.inside.bind=127.0.0.1:1884"]).unwrap();
    assert_eq!(config.listeners.len(), 1);
}

#[test]
fn two_listeners_cannot_share_an_address() {
    assert_eq!(
        problem(&["listeners.tcp.inside.bind=127.0.0.1:1883"]),
        "--set: listeners default and inside both bind 127.0.0.1:1883"
    );
    let both = [
        "listeners.tcp.default.bind=127.0.0.1:0",
        "listeners.tcp.inside.bind=127.0.0.1:0",
    ];
    assert!(load(&both).is_ok());
}

#[test]
fn a_cpu_has_one_use() {
    assert_eq!(
        problem(&["shards.cpus=0-3", "shards.control_cpus=3-4"]),
        "--set: CPUs 3 are in shards.control_cpus and in shards.cpus"
    );
    assert_eq!(
        problem(&["shards.cpus=0-1", "shards.count=3"]),
        "--set: shards.count = 3, but shards.cpus = 0-1 has 2"
    );
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let found = load(&["mqtt.max_inflight=0", "nonsense=1", "mqtt=2"]).unwrap_err();
    assert_eq!(found.len(), 3, "{found:?}");
    assert_eq!(found[2], "--set: mqtt is a section, not a key");
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let sources = Sources {
        file: Some("/nowhere/x.toml".into()),
        ..Sources::default()
    };
    let problems = Config::load(&sources).unwrap_err();
    let shown = problems[0].to_string();
    assert!(
        shown.starts_with("cannot read the configuration file /nowhere/x.toml: "),
        "{shown}"
    );
}

#[test]
fn what_is_printed_is_the_same_configuration_again() {
    let config = load(&[
        "data_dir=a \"b\"",
        "listeners.tcp.x.bind=[::1]:1",
        "shards.cpus=1,3",
    ]);
    let printed = print::effective(&config.unwrap(), &[]);
    let again: toml::Table = printed.parse().unwrap();
    assert_eq!(again["data_dir"].as_str(), Some("a \"b\""));
    assert_eq!(
        again["listeners"]["tcp"]["x"]["bind"].as_str(),
        Some("[::1]:1")
    );
    assert_eq!(again["shards"]["cpus"].as_str(), Some("1,3"));
    assert_eq!(again["node"]["name"].as_str(), Some("shardmq@127.0.0.1"));
    assert!(printed.contains("# --set"), "{printed}");
    assert!(
        printed.contains("# allow_anonymous: not set\n"),
        "{printed}"
    );
}

#[test]
fn a_share_group_has_the_strategy_of_all_or_its_own() {
    use shards::settings::SharedStrategy;
    let config = load(&[
        "mqtt.shared_subscription_strategy=hash_clientid",
        "broker.shared_subscription_group.$queue.strategy=local",
        "broker.shared_subscription_group.workers.strategy=sticky",
    ])
    .unwrap();
    let strategy = config.mqtt.shared_subscription_strategy;
    assert_eq!(strategy, SharedStrategy::HashClientId);
    let groups: Vec<_> = config.mqtt.shared_subscription_groups.iter().collect();
    let (queue, workers) = ("$queue".to_owned(), "workers".to_owned());
    let expected = [
        (&queue, &SharedStrategy::Local),
        (&workers, &SharedStrategy::Sticky),
    ];
    assert_eq!(groups, expected);
    let printed = print::effective(&config, &[]);
    assert!(
        printed.contains("[broker.shared_subscription_group.\"$queue\"]"),
        "{printed}"
    );
    let complaint = problem(&["mqtt.shared_subscription_strategy=fair"]);
    assert!(
        complaint.contains("allowed: random, round_robin,"),
        "{complaint}"
    );
}

#[test]
fn topics_have_queue_priorities() {
    let one = "mqtt.mqueue_priorities=[{ topic = \"a/b\", priority = 9 }]";
    let config = load(&[one, "mqtt.mqueue_default_priority=highest"]).unwrap();
    let topics = &config.mqtt.mqueue_priorities;
    assert_eq!((topics.len(), &*topics[0].topic), (1, "a/b"));
    assert_eq!(topics[0].priority, 9);
    let zero = "mqtt.mqueue_priorities=[{ topic = \"a/b\", priority = 0 }]";
    let complaint = problem(&[zero]);
    assert!(
        complaint.contains("priority = 0 is not allowed; allowed: a whole number from 1 to 255"),
        "{complaint}"
    );
}
