//! The counts to compare with: `bench/instructions.txt`.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.txt");

/// Counts by the name of the case.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Baseline(BTreeMap<String, f64>);

impl Baseline {
    /// Reads the file; without one there is nothing to compare with.
    pub(super) fn read() -> Result<Self, String> {
        match fs::read_to_string(FILE) {
            Ok(text) => Self::parse(&text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(format!("cannot read {FILE}: {error}")),
        }
    }

    /// What a case took.
    pub(super) fn of(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }

    /// Replaces the file.
    pub(super) fn write(counts: &[(&str, f64)]) -> Result<(), String> {
        let lines: String = counts
            .iter()
            .map(|(name, count)| format!("{name:<40} {count:.1}\n"))
            .collect();
        let text = format!(
            "# Instructions for each operation, counted by callgrind. Written by\n\
             # `cargo run --release -p bench -- instructions --update`\n\
             # with {}.\n{lines}",
            compiler()
        );
        fs::write(FILE, text).map_err(|error| format!("cannot write {FILE}: {error}"))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let lines = text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty());
        let entry = |line: &str| {
            let (name, count) = line.split_once(' ')?;
            Some((name.to_owned(), count.trim().parse().ok()?))
        };
        let entries = lines.map(|line| {
            entry(line).ok_or_else(|| format!("{FILE}: {line:?} is not a name and a count"))
        });
        Ok(Self(entries.collect::<Result<_, _>>()?))
    }
}

/// The compiler's name and version.
fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output();
    output.ok().map_or_else(
        || "an unknown compiler".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_counts_are_read_and_comments_are_not() {
        let baseline = Baseline::parse("# comment\ndecode_x   12.5\n\nencode_y 7\n");
        let baseline = baseline.expect("a baseline");
        assert_eq!(baseline.of("decode_x"), Some(12.5));
        assert_eq!(baseline.of("encode_y"), Some(7.0));
        assert_eq!(baseline.of("match_z"), None);
        assert!(Baseline::parse("decode_x twelve").is_err());
    }
}
