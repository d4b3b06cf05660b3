//! Every normative statement of MQTT 5.0 and 3.1.1 that binds a server has the test that
//! shows it, or the reason why none does: `tests/conformance/*.toml` says which, and this
//! holds it to be complete and true. `docs/conformance.md` says how to read it.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test stops at what it did not expect"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde::Deserialize;

/// Statements of each chapter of MQTT 5.0.
const MQTT5: [(u32, usize); 5] = [(1, 5), (2, 7), (3, 175), (4, 60), (6, 4)];
/// Statements of each chapter of MQTT 3.1.1.
const MQTT311: [(u32, usize); 6] = [(1, 3), (2, 9), (3, 95), (4, 26), (6, 4), (7, 4)];

/// A file of statements.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    statement: Vec<Statement>,
}

/// A normative statement.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    /// The specification's name for it, as `MQTT-3.1.2-4`.
    id: String,
    binds: Binds,
    /// What it asks, in our words.
    says: String,
    /// Tests that show it, as `tests/file.rs::name`.
    #[serde(default)]
    tests: Vec<String>,
    /// Why no test shows it.
    except: Option<String>,
}

/// Who has to keep a statement.
#[derive(Clone, Copy, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Binds {
    Server,
    Client,
    Both,
    /// A transport that is beside the point or not there.
    Transport,
}

#[test]
fn the_statements_of_mqtt5_are_all_there() {
    expect_complete("mqtt5.toml", &MQTT5);
}

#[test]
fn the_statements_of_mqtt311_are_all_there() {
    expect_complete("mqtt311.toml", &MQTT311);
}

#[test]
fn every_statement_that_binds_a_server_has_a_test_or_a_reason() {
    let mut wrong = Vec::new();
    for (file, statement) in all() {
        let binding = matches!(statement.binds, Binds::Server | Binds::Both);
        let id = format!("{file}: {}", statement.id);
        if statement.says.trim().is_empty() {
            wrong.push(format!("{id} does not say what it asks"));
        }
        match &statement.except {
            Some(reason) if reason.trim().is_empty() => wrong.push(format!("{id}: empty reason")),
            Some(_) if !statement.tests.is_empty() => {
                wrong.push(format!("{id} has tests and a reason to have none"));
            }
            None if binding && statement.tests.is_empty() => {
                wrong.push(format!("{id} has neither a test nor a reason"));
            }
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_test_that_is_named_is_a_test() {
    let mut sources = BTreeMap::new();
    let mut wrong = BTreeSet::new();
    for (file, statement) in all() {
        for test in &statement.tests {
            let (path, name) = test.split_once("::").expect("file::name");
            let source = sources
                .entry(path.to_owned())
                .or_insert_with(|| fs::read_to_string(root().join(path)).unwrap_or_default());
            if !is_test(source, name) {
                wrong.insert(format!("{file}: {}: {test} is no test", statement.id));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_counts_as_a_test_is_told_apart() {
    let source = "scenarios! {\n mqtt5: [listed,\n also],\n}\nfn listed(s: Setup) {}\n\
                  #[test]\n#[ignore]\n/// Why.\nfn marked() {}\n\
                  fn helper() {}\n// fn commented() {}\n";
    for test in ["listed", "marked"] {
        assert!(is_test(source, test), "{test}");
    }
    for no_test in ["also", "helper", "commented", "mark", "isted", "fn", ""] {
        assert!(!is_test(source, no_test), "{no_test}");
    }
}

/// The statements of a file are as many as the specification has in each chapter, each once
/// and in the specification's order.
fn expect_complete(file: &str, chapters: &[(u32, usize)]) {
    let table = read(file);
    let keys: Vec<_> = table.statement.iter().map(|s| key(&s.id)).collect();
    for pair in keys.windows(2) {
        let [before, after] = pair else { continue };
        assert!(before < after, "{file}: {after:?} comes after {before:?}");
    }
    let mut found: BTreeMap<u32, usize> = BTreeMap::new();
    for key in &keys {
        *found.entry(key[0]).or_default() += 1;
    }
    let found: Vec<_> = found.into_iter().collect();
    assert_eq!(found, chapters, "{file}: statements of each chapter");
}

/// The numbers of `MQTT-3.1.2-4`.
fn key(id: &str) -> Vec<u32> {
    let numbers = id.strip_prefix("MQTT-").unwrap_or_default();
    let numbers: Option<Vec<_>> = numbers
        .split(['.', '-'])
        .map(|number| number.parse().ok())
        .collect();
    numbers.unwrap_or_else(|| panic!("{id} is no statement's name"))
}

/// Whether a source has a test of this name: marked so, or listed in `scenarios!`.
fn is_test(source: &str, name: &str) -> bool {
    let lines: Vec<&str> = source.lines().map(str::trim_start).collect();
    let Some(place) = lines.iter().position(|line| starts_function(line, name)) else {
        return false;
    };
    let marked = lines[..place]
        .iter()
        .rev()
        .take_while(|line| line.starts_with("#[") || line.starts_with("///"))
        .any(|line| line.starts_with("#[test]"));
    marked || is_listed(source, name)
}

fn starts_function(line: &str, name: &str) -> bool {
    let rest = line
        .strip_prefix("fn ")
        .and_then(|rest| rest.strip_prefix(name));
    !name.is_empty() && rest.is_some_and(|rest| rest.starts_with('('))
}

/// Whether the block of `scenarios!` names it.
fn is_listed(source: &str, name: &str) -> bool {
    let block = source
        .split_once("scenarios! {")
        .and_then(|(_, rest)| rest.split_once("\n}"));
    block.is_some_and(|(block, _)| {
        block
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .any(|word| word == name)
    })
}

/// All statements with the file that they are in.
fn all() -> Vec<(&'static str, Statement)> {
    ["mqtt5.toml", "mqtt311.toml"]
        .into_iter()
        .flat_map(|file| read(file).statement.into_iter().map(move |s| (file, s)))
        .collect()
}

fn read(file: &str) -> Table {
    let path = root().join("tests/conformance").join(file);
    let text = fs::read_to_string(&path).expect("read a file of statements");
    toml::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
