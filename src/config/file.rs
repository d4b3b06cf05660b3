//! The layer of the configuration file.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::entries::{self, Entries};
use super::keys;
use super::origin::Origin;
use super::value::Raw;

/// The most that is read of a configuration file. A real one has a few kilobytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads a file into the entries. Whatever is wrong with it becomes a problem there.
pub(crate) fn read(path: &Path, entries: &mut Entries) {
    let file = Source {
        path: Arc::new(path.to_owned()),
        text: String::new(),
    };
    match text_of(path) {
        Ok(text) => Source { text, ..file }.parse(entries),
        Err(error) => {
            let text = format!(
                "cannot read the configuration file {}: {error}",
                path.display()
            );
            entries.complain(Origin::Default, text);
        }
    }
}

/// The text of a file.
fn text_of(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)?;
    if read as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!(
            "it is longer than {FILE_BYTES_MAX} bytes"
        )));
    }
    Ok(text)
}

/// A document and where it came from.
struct Source {
    path: Arc<PathBuf>,
    text: String,
}

impl Source {
    /// Puts every value of the document into the entries.
    fn parse(&self, entries: &mut Entries) {
        match DeTable::parse(&self.text) {
            Ok(document) => self.walk("", document.get_ref(), entries),
            Err(error) => {
                let at = self.line(error.span().unwrap_or_default());
                entries.complain(at, format!("not TOML: {}", error.message()));
            }
        }
    }

    /// Puts the values of a table and of the tables in it into the entries.
    fn walk(&self, prefix: &str, table: &DeTable<'_>, entries: &mut Entries) {
        let mut rows: Vec<_> = table.iter().collect();
        rows.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in rows {
            let path = format!("{prefix}{}", key.get_ref());
            let at = self.line(key.span());
            match value.get_ref() {
                DeValue::Table(inner) if keys::is_section(&path) => {
                    self.section(&path, inner, at, entries);
                }
                _ if keys::is_section(&path) => {
                    entries.complain(at, format!("{path} is a section: write [{path}]"));
                }
                value => entries.put(&path, &Raw::of(value), at),
            }
        }
    }

    /// Puts the values of a section into the entries.
    fn section(&self, path: &str, table: &DeTable<'_>, at: Origin, entries: &mut Entries) {
        if let Some(name) = keys::listener_of(path) {
            if !keys::is_listener_name(name) {
                return entries.complain(at, entries::bad_listener_name(name));
            }
            if table.is_empty() && name != "default" {
                return entries.complain(at, format!("[{path}] is empty: it needs a bind"));
            }
        }
        self.walk(&format!("{path}."), table, entries);
    }

    /// The line that a span begins on.
    fn line(&self, span: Range<usize>) -> Origin {
        let before = self
            .text
            .as_bytes()
            .get(..span.start)
            .unwrap_or(self.text.as_bytes());
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        Origin::File(Arc::clone(&self.path), line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The problems of a document, as they are shown.
    fn problems(text: &str) -> Vec<String> {
        let mut entries = Entries::defaults();
        let path = Arc::new(PathBuf::from("shardmq.toml"));
        Source {
            path,
            text: text.to_owned(),
        }
        .parse(&mut entries);
        entries
            .take_problems()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_document_in_any_notation_is_read() {
        let text = "data_dir = 'x'\nlisteners.tcp.default.bind = 1883\n[mqtt]\nmax_inflight = 9\n\
                    [shards]\ncpus = [0, 1]\n[listeners.tcp.inside]\nbind = '[::1]:1884'\n";
        assert_eq!(problems(text), [""; 0]);
    }

    #[test]
    fn every_mistake_is_reported_with_its_line() {
        let text = "[mqtt]\nmax_inflight = 0\nmax_inflght = 1\n\n[mqt]\nx = 1\n";
        assert_eq!(
            problems(text),
            [
                "shardmq.toml:2: mqtt.max_inflight = 0 is not allowed; allowed: a whole number \
                 from 1 to 65535",
                "shardmq.toml:3: unknown key mqtt.max_inflght; did you mean mqtt.max_inflight?",
                "shardmq.toml:5: unknown key mqt; did you mean mqtt?",
            ]
        );
    }

    #[test]
    fn a_syntax_error_has_its_line() {
        let found = problems("data_dir = 'x'\nnode.name = \n");
        assert_eq!(found.len(), 1);
        assert!(
            found[0].starts_with("shardmq.toml:2: not TOML: "),
            "{found:?}"
        );
    }

    #[test]
    fn a_section_is_not_a_value() {
        assert_eq!(
            problems("mqtt = 3"),
            ["shardmq.toml:1: mqtt is a section: write [mqtt]"]
        );
        assert_eq!(
            problems("[listeners.tcp.inside]"),
            ["shardmq.toml:1: [listeners.tcp.inside] is empty: it needs a bind"]
        );
        assert!(problems("[listeners.tcp.INSIDE]\nbind = 1")[0].contains("cannot be called"));
        assert!(problems("[data_dir]\nx = 1")[0].contains("data_dir = a table is not allowed"));
    }
}
