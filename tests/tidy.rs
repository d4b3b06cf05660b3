//! Holds the source to what a reader may rely on: short lines, functions and files, no
//! calls where they do not belong, no leftovers, dependencies in one direction.
#![allow(
    clippy::unwrap_used,
    reason = "a test ends where its surroundings fail"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// Columns of the longest line.
const COLUMNS_MAX: usize = 100;
/// Lines of the longest function, from `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;
/// Lines of the longest file. Tests of a file that would grow beyond 600 go into a file of
/// their own.
const FILE_LINES_MAX: usize = 900;

/// What must not be written in a place, and why.
struct Ban {
    /// Text.
    text: &'static str,
    /// Whether the ban holds in a file.
    here: fn(&str) -> bool,
    /// Why.
    reason: &'static str,
}

/// This file has the banned texts in it.
const SELF: &str = "tests/tidy.rs";

const PURE: &str = "protocol and cluster are pure functions: time and bytes come in as arguments";
const OUTPUT: &str = "what the operator reads goes through the logger or src/main.rs";
const LEFTOVER: &str = "left over from work in progress";

const BANS: &[Ban] = &[
    Ban {
        text: "Instant::now",
        here: is_pure,
        reason: PURE,
    },
    Ban {
        text: "SystemTime::now",
        here: is_pure,
        reason: PURE,
    },
    Ban {
        text: "std::fs",
        here: is_pure,
        reason: PURE,
    },
    Ban {
        text: "std::net",
        here: is_pure,
        reason: PURE,
    },
    Ban {
        text: "std::thread",
        here: is_pure,
        reason: PURE,
    },
    Ban {
        text: "println!",
        here: is_silent,
        reason: OUTPUT,
    },
    Ban {
        text: "dbg!",
        here: everywhere,
        reason: LEFTOVER,
    },
    Ban {
        text: "todo!",
        here: everywhere,
        reason: LEFTOVER,
    },
    Ban {
        text: "unimplemented!",
        here: everywhere,
        reason: LEFTOVER,
    },
    Ban {
        text: "FIXME",
        here: everywhere,
        reason: LEFTOVER,
    },
];

/// Which packages of ours a package may depend on.
const ARROWS: &[(&str, &[&str])] = &[
    // loadgen: for the crash test
    (
        "shardmq",
        &["protocol", "shard-cluster", "shards", "loadgen"],
    ),
    ("shards", &["protocol", "shard-store", "shard-sync"]),
    ("shard-store", &["protocol", "shard-sync"]),
    ("shard-sync", &[]),
    ("shard-cluster", &["protocol"]),
    ("protocol", &[]),
    (
        "bench",
        &[
            "protocol",
            "shards",
            "shard-cluster",
            "shard-store",
            "shard-sync",
        ],
    ),
    (
        "fuzz",
        &["protocol", "shard-cluster", "shard-store", "shards"],
    ),
    ("loadgen", &[]),
];

fn is_pure(path: &str) -> bool {
    path.starts_with("shards/protocol/src/") || path.starts_with("shards/cluster/")
}

fn is_silent(path: &str) -> bool {
    (path.starts_with("src/") && path != "src/main.rs") || path.starts_with("shards/")
}

fn everywhere(path: &str) -> bool {
    path != SELF
}

/// The workspace.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below a folder that is ours.
fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "target" && name != "node_modules" && !name.starts_with('.') {
            files_below(&path, found);
        } else if path.is_file() {
            found.push(path);
        }
    }
}

/// The path in the workspace and the text of every Rust file.
fn sources() -> Vec<(String, String)> {
    let mut files = Vec::new();
    files_below(root(), &mut files);
    let rust = files
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "rs"));
    rust.map(|path| {
        let text = fs::read_to_string(&path).unwrap();
        (
            path.strip_prefix(root())
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned(),
            text,
        )
    })
    .collect()
}

/// Fails with everything that was found.
#[track_caller]
fn assert_none(found: &[String]) {
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn lines_and_files_are_short() {
    let mut found = Vec::new();
    for (path, text) in sources() {
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            found.push(format!("{path}: {lines} lines, at most {FILE_LINES_MAX}"));
        }
        for (number, line) in text.lines().enumerate() {
            let columns = line.chars().count();
            if columns > COLUMNS_MAX {
                found.push(format!("{path}:{}: {columns} columns", number + 1));
            }
        }
    }
    assert_none(&found);
}

#[test]
fn functions_are_short() {
    let mut found = Vec::new();
    for (path, text) in sources() {
        for (line, length) in functions(&text) {
            if length > FUNCTION_LINES_MAX {
                found.push(format!("{path}:{line}: a function of {length} lines"));
            }
        }
    }
    assert_none(&found);
}

/// The first line and the length of every function with a body of several lines. Relies
/// on the layout of rustfmt: the closing brace stands under the beginning of the function.
fn functions(text: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let starts = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| is_function(line));
    starts
        .filter_map(|(start, line)| {
            let indent = &line[..line.len() - line.trim_start().len()];
            let head = lines[start..]
                .iter()
                .position(|line| line.ends_with(['{', ';', '}']))?;
            if !lines[start + head].ends_with('{') {
                return None;
            }
            let brace = format!("{indent}}}");
            let body = lines[start + head..]
                .iter()
                .position(|line| *line == brace)?;
            Some((start + 1, head + body + 1))
        })
        .collect()
}

/// Whether a line begins a function.
fn is_function(line: &str) -> bool {
    let qualifier = |word: &&str| {
        word.starts_with("pub")
            || word.starts_with('"')
            || ["const", "async", "unsafe", "extern"].contains(word)
    };
    line.split_whitespace().find(|word| !qualifier(word)) == Some("fn")
}

#[test]
fn the_length_of_a_function_is_counted_from_its_name_to_its_last_brace() {
    let text = "\
impl X {
    pub(crate) async fn long(
        a: u8,
    ) -> u8 {
        a
    }

    fn short() {}

    fn declared(&self);
}
";
    assert_eq!(functions(text), [(2, 5)]);
}

#[test]
fn nothing_is_written_where_it_does_not_belong() {
    let mut found = Vec::new();
    for (path, text) in sources() {
        for Ban {
            text: banned,
            reason,
            ..
        } in BANS.iter().filter(|ban| (ban.here)(&path))
        {
            let lines = text
                .lines()
                .enumerate()
                .filter(|(_, line)| line.contains(banned));
            found.extend(lines.map(|(n, _)| format!("{path}:{}: {banned}: {reason}", n + 1)));
        }
    }
    assert_none(&found);
}

#[test]
fn packages_depend_on_each_other_in_one_direction() {
    let mut files = Vec::new();
    files_below(root(), &mut files);
    let mut found = Vec::new();
    let mut seen = Vec::new();
    for path in files.iter().filter(|path| path.ends_with("Cargo.toml")) {
        let manifest: toml::Table = fs::read_to_string(path).unwrap().parse().unwrap();
        let package = manifest["package"]["name"].as_str().unwrap();
        let package = package.strip_suffix("-fuzz").unwrap_or(package);
        let Some((name, allowed)) = ARROWS.iter().find(|(name, _)| *name == package) else {
            found.push(format!("{}: add the package to ARROWS", path.display()));
            continue;
        };
        seen.push(*name);
        let ours = dependencies(&manifest).into_iter();
        let ours = ours.filter(|other| ARROWS.iter().any(|(name, _)| name == other));
        let wrong = ours.filter(|other| !allowed.contains(&other.as_str()));
        found.extend(wrong.map(|other| format!("{name} must not depend on {other}")));
    }
    assert_none(&found);
    assert!(
        ["shardmq", "shards", "protocol", "bench", "loadgen"]
            .iter()
            .all(|p| seen.contains(p))
    );
}

/// The names of all dependencies of a package, of every kind and for every platform.
fn dependencies(manifest: &toml::Table) -> Vec<String> {
    let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
    let platforms = manifest.get("target").and_then(toml::Value::as_table);
    let platforms = platforms.into_iter().flat_map(toml::Table::values);
    let tables = platforms
        .filter_map(toml::Value::as_table)
        .chain([manifest]);
    let tables = tables.flat_map(|table| kinds.iter().filter_map(|kind| table.get(*kind)));
    tables
        .filter_map(toml::Value::as_table)
        .flat_map(toml::Table::keys)
        .cloned()
        .collect()
}
