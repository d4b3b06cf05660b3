//! The effective configuration as TOML that can be read again.

use std::fmt::Write;

use super::Config;
use super::entries::Entry;
use super::origin::Origin;
use super::value::Value;

/// The column at which the origins begin.
const ORIGIN_COLUMN: usize = 48;

/// The effective configuration. A value that somebody gave has its origin behind it;
/// `unset` has, for keys without a value, what is done instead.
pub(crate) fn effective(config: &Config, unset: &[(&str, String)]) -> String {
    let mut out = String::new();
    let mut section = String::new();
    for (path, entry) in config.entries.in_order() {
        let (of, name) = split(&path);
        if of != section {
            section = of.to_owned();
            let names: Vec<String> = section.split('.').map(quoted).collect();
            _ = writeln!(out, "\n[{}]", names.join("."));
        }
        match entry {
            Some(Entry {
                value: Value::Secret(_),
                origin,
            }) => _ = writeln!(out, "# {name}: set, and not shown ({origin})"),
            Some(entry) => write_value(&mut out, name, &entry.value.to_string(), &entry.origin),
            None => {
                let instead = unset.iter().find(|(key, _)| *key == path);
                let instead = instead.map_or("not set", |(_, text)| text.as_str());
                _ = writeln!(out, "# {name}: {instead}");
            }
        }
    }
    out
}

/// One line.
fn write_value(out: &mut String, name: &str, value: &str, origin: &Origin) {
    let line = format!("{name} = {value}");
    _ = match origin {
        Origin::Default => writeln!(out, "{line}"),
        origin => writeln!(out, "{line:<ORIGIN_COLUMN$} # {origin}"),
    };
}

/// A name as TOML has it in a key: the name of a share group can be anything.
fn quoted(name: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if name.bytes().all(is_bare) {
        name.to_owned()
    } else {
        toml::Value::from(name).to_string()
    }
}

/// The table that a key is printed in, and its name there. What is not in a table must
/// come first in TOML, so `node.name` and `log.level` are printed as they are.
fn split(path: &str) -> (&str, &str) {
    match path.rsplit_once('.') {
        Some(("node" | "log", _)) | None => ("", path),
        Some((section, name)) => (section, name),
    }
}
