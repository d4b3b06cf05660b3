//! The command line and the configuration, by the real program.

mod command;

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Stdio;

use command::{Folder, Without, outcome, without};

#[test]
fn the_version_is_that_of_the_package() {
    let outcome = Folder::new().run(&["--version"]);
    assert_eq!(
        outcome.out,
        format!("shardmq {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn help_names_the_commands_and_the_layers() {
    let outcome = Folder::new().run(&["--help"]);
    assert_eq!(outcome.code, Some(0));
    for text in [
        "check",
        "tune",
        "--set",
        "--config",
        "shardmq.toml",
        "SHARDMQ_",
        "127.0.0.1",
    ] {
        assert!(outcome.out.contains(text), "no {text} in {}", outcome.out);
    }
}

#[test]
fn a_wrong_command_line_has_an_exit_code_of_its_own() {
    let folder = Folder::new();
    for arguments in [
        &["--nonsense"][..],
        &["nonsense"],
        &["--set", "no-equals-sign"],
    ] {
        assert_eq!(folder.run(arguments).code, Some(2), "{arguments:?}");
    }
}

#[test]
fn each_layer_overrides_the_one_before() {
    let folder = Folder::new();
    let value = |environment: Option<&str>, arguments: &[&str]| {
        let mut command = folder.shardmq(arguments);
        command.arg("check");
        if let Some(value) = environment {
            command.env("SHARDMQ_NODE__NAME", value);
        }
        let printed: toml::Table = outcome(&mut command).out.parse().unwrap();
        printed["node"]["name"].as_str().unwrap().to_owned()
    };
    assert_eq!(value(None, &[]), "shardmq@127.0.0.1");
    folder.write("shardmq.toml", "node.name = 'file@x'");
    assert_eq!(value(None, &[]), "file@x");
    assert_eq!(value(Some("environment@x"), &[]), "environment@x");
    let set = ["--set", "node.name=set@x"];
    assert_eq!(value(Some("environment@x"), &set), "set@x");
    let flag = ["--set", "node.name=set@x", "--node-name", "flag@x"];
    assert_eq!(value(Some("environment@x"), &flag), "flag@x");
}

#[test]
fn every_flag_stands_for_a_key() {
    let flags = [
        "--data-dir",
        "d",
        "--cpus",
        "0",
        "--shards",
        "1",
        "--bind",
        "1999",
    ];
    let outcome = Folder::new().run(&[&flags[..], &["check"]].concat());
    let printed: toml::Table = outcome.out.parse().unwrap();
    assert_eq!(printed["data_dir"].as_str(), Some("d"));
    assert_eq!(printed["shards"]["cpus"].as_str(), Some("0"));
    assert_eq!(printed["shards"]["count"].as_integer(), Some(1));
    assert_eq!(
        printed["listeners"]["tcp"]["default"]["bind"].as_integer(),
        Some(1999)
    );
}

#[test]
fn a_file_can_be_named_by_flag_and_by_environment() {
    let folder = Folder::new();
    folder.write("flag.toml", "mqtt.max_inflight = 11");
    folder.write("environment.toml", "mqtt.max_inflight = 12");
    let flag = folder.run(&["check", "--config", "flag.toml"]);
    assert!(flag.out.contains("max_inflight = 11"), "{}", flag.out);
    let mut command = folder.shardmq(&["check"]);
    let environment = outcome(command.env("SHARDMQ_CONFIG", "environment.toml"));
    assert!(
        environment.out.contains("max_inflight = 12"),
        "{}",
        environment.out
    );
    folder
        .run(&["check", "--config", "none.toml"])
        .failed_with(&["none.toml", "No such file"]);
}

#[test]
fn check_says_where_a_value_comes_from() {
    let folder = Folder::new();
    folder.write("shardmq.toml", "\n[mqtt]\nmax_inflight = 11\n");
    let mut command = folder.shardmq(&["check", "--set", "log.level=debug", "--bind", "1884"]);
    let outcome = outcome(command.env("SHARDMQ_DATA_DIR", "d"));
    let origin = |value: &str| {
        let line = outcome
            .out
            .lines()
            .find(|line| line.starts_with(value))
            .unwrap();
        line.split_once("# ").map(|(_, origin)| origin.to_owned())
    };
    assert_eq!(origin("max_inflight").as_deref(), Some("shardmq.toml:3"));
    assert_eq!(origin("log.level").as_deref(), Some("--set"));
    assert_eq!(origin("bind").as_deref(), Some("--bind"));
    assert_eq!(
        origin("data_dir").as_deref(),
        Some("environment variable SHARDMQ_DATA_DIR")
    );
    assert_eq!(origin("receive_maximum"), None);
}

#[test]
fn what_check_prints_is_a_configuration_with_the_same_effect() {
    let folder = Folder::new();
    let set = [
        "--set",
        "allow_anonymous=true",
        "--set",
        "listeners.tcp.inside.bind=[::]:1999",
    ];
    let first = folder.run(&[&set[..], &["check"]].concat());
    folder.write("again.toml", &first.out);
    let second = folder.run(&["check", "--config", "again.toml"]);
    let values = |text: &str| text.parse::<toml::Table>().unwrap();
    assert_eq!(values(&first.out), values(&second.out));
}

#[test]
fn every_mistake_in_a_file_is_named_with_line_key_and_what_is_allowed() {
    let folder = Folder::new();
    let text = "[mqtt]\nmax_inflight = 70000\nmax_inflght = 1\n\n[shards]\ncpus = '0-'\n\
                receive_buffers = 100\n[log]\nlevel = 'loud'\n";
    folder.write("bad.toml", text);
    let wrong = [
        "bad.toml:2: mqtt.max_inflight = 70000 is not allowed; allowed: a whole number from 1 to \
         65535",
        "bad.toml:3: unknown key mqtt.max_inflght; did you mean mqtt.max_inflight?",
        "bad.toml:6: shards.cpus = \"0-\": \"\" is not a CPU number",
        "bad.toml:7: shards.receive_buffers = 100 is not allowed; allowed: a power of two",
        "bad.toml:9: log.level = \"loud\" is not allowed; allowed: off, error, warn",
    ];
    folder
        .run(&["check", "--config", "bad.toml"])
        .failed_with(&wrong);
    folder.run(&["--config", "bad.toml"]).failed_with(&wrong);
}

#[test]
fn a_file_that_is_not_toml_is_refused_with_the_line() {
    let folder = Folder::new();
    folder.write("shardmq.toml", "data_dir = 'x'\nallow_anonymous = maybe\n");
    folder
        .run(&["check"])
        .failed_with(&["shardmq.toml:2: not TOML"]);
    folder.write("shardmq.toml", "data_dir = 'x'\n\ndata_dir = 'y'\n");
    folder
        .run(&["check"])
        .failed_with(&["shardmq.toml:3: not TOML: duplicate key"]);
}

#[test]
fn an_unknown_environment_variable_is_an_error() {
    let folder = Folder::new();
    let mut command = folder.shardmq(&["check"]);
    outcome(command.env("SHARDMQ_MQTT__MAX_INFLIGT", "1")).failed_with(&[
        "environment variable SHARDMQ_MQTT__MAX_INFLIGT: unknown key mqtt.max_infligt; did you \
         mean mqtt.max_inflight?",
    ]);
}

#[test]
fn an_address_that_others_can_reach_needs_allow_anonymous() {
    let folder = Folder::new();
    let open = "listeners.tcp.default.bind=0.0.0.0:1883";
    for arguments in [
        &["--set", open][..],
        &["check", "--set", open],
        &["--bind", "[::]:1883"],
    ] {
        folder
            .run(arguments)
            .failed_with(&["no authentication", "--set allow_anonymous=true"]);
    }
    let advice = format!("--set {open} --set allow_anonymous=true");
    folder.run(&["--set", open]).failed_with(&[&advice]);
    let both = ["check", "--set", open, "--set", "allow_anonymous=true"];
    assert_eq!(folder.run(&both).code, Some(0));
}

#[test]
fn check_accepts_cpus_of_another_machine_and_says_so() {
    let outcome = Folder::new().run(&["check", "--cpus", "0-1023"]);
    assert_eq!(outcome.code, Some(0));
    assert!(
        outcome
            .err
            .contains("warning: --cpus: shards.cpus = 0-1023: no CPU"),
        "{outcome:?}"
    );
}

#[test]
fn every_key_is_listed_with_what_it_takes() {
    let outcome = Folder::new().run(&["keys"]);
    for text in [
        "listeners.tcp.*.bind\n",
        "mqtt.max_inflight\n",
        "a whole number from 1 to 65535",
    ] {
        assert!(outcome.out.contains(text), "no {text:?} in {}", outcome.out);
    }
}

#[test]
fn every_tuning_profile_is_valid() {
    let tuning = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning");
    let files = fs::read_dir(tuning)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let profiles: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    assert!(profiles.len() >= 3, "{profiles:?}");
    for profile in profiles {
        let outcome = Folder::new().run(&["check", "--config", profile.to_str().unwrap()]);
        assert_eq!(
            outcome.code,
            Some(0),
            "{}: {}",
            profile.display(),
            outcome.err
        );
    }
}

#[test]
fn tune_looks_at_this_machine() {
    let folder = Folder::new();
    let text = folder.run(&["tune"]);
    for name in [
        "kernel",
        "io_uring",
        "open files",
        "locked memory",
        "port range",
        "huge pages",
    ] {
        assert!(text.out.contains(name), "no {name} in {}", text.out);
    }
    let json: serde_json::Value =
        serde_json::from_str(&folder.run(&["tune", "--json"]).out).unwrap();
    let items = json["items"].as_array().unwrap();
    assert!(
        items
            .iter()
            .all(|item| item["name"].is_string() && item["status"].is_string())
    );
    assert!(
        items
            .iter()
            .all(|item| item["status"] == "ok" || item["reason"].is_string())
    );
}

#[test]
fn tune_fails_where_the_broker_would_not_start() {
    let folder = Folder::new();
    let mut command = folder.shardmq(&["tune"]);
    let refused = outcome(without(&mut command, Without::Rings(libc::EPERM)));
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.out.contains("problem  io_uring"), "{}", refused.out);
    let placed = folder.run(&["tune", "--cpus", "1023"]);
    assert_eq!(placed.code, Some(1), "{placed:?}");
    assert!(placed.out.contains("problem  shards"), "{}", placed.out);
}

#[test]
fn a_reader_that_stops_half_way_is_no_error() {
    let folder = Folder::new();
    let mut child = folder
        .shardmq(&["keys"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let child = child.as_mut().unwrap();
    drop(child.stdout.take());
    let mut complaints = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut complaints)
        .unwrap();
    assert_eq!(complaints, "");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_rule_that_cannot_be_carried_out_ends_the_start_with_its_line() {
    let folder = Folder::new();
    let file = "[mqtt]\nmax_inflight = 9\n\n[[rewrite]]\naction = 'all'\nsource_topic = 'a/#'\n\
                re = '('\ndest_topic = 'b'\n";
    folder.write("shardmq.toml", file);
    folder
        .run(&["check"])
        .failed_with(&["shardmq.toml:4: rewrite: table 1: re = \"(\": unclosed group"]);
    let file = "[[rewrite]]\naction = 'none'\nsource_topic = 'a/#'\nre = 'a'\ndest_topic = 'b'\n";
    folder.write("shardmq.toml", file);
    folder.run(&["check"]).failed_with(&[
        "shardmq.toml:1: rewrite",
        "table 1: action = \"none\" is not allowed; allowed: subscribe, publish, all",
    ]);
}
