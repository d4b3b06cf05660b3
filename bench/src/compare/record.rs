//! The results of a run, and where they are kept.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::broker::Kind;
use super::scenarios::Scenario;

/// All results so far.
pub(super) struct Record {
    mosquitto_version: String,
    entries: Vec<Entry>,
}

struct Entry {
    scenario: &'static str,
    kind: Kind,
    round: u32,
    result: Value,
}

impl Record {
    /// No results yet.
    pub(super) fn new(mosquitto_version: String) -> Self {
        Self {
            mosquitto_version,
            entries: Vec::new(),
        }
    }

    /// Adds a report of the load generator.
    pub(super) fn add(
        &mut self,
        scenario: &'static Scenario,
        kind: Kind,
        round: u32,
        result: Value,
    ) {
        self.entries.push(Entry {
            scenario: scenario.name,
            kind,
            round,
            result,
        });
    }

    /// CPU microseconds a unit of every measurement, in ascending order.
    pub(super) fn costs(&self, scenario: &Scenario, kind: Kind) -> Vec<f64> {
        let mut costs: Vec<_> = self
            .of(scenario, kind)
            .filter_map(|entry| entry.result["broker"]["cpu_us_per_unit"].as_f64())
            .collect();
        costs.sort_by(f64::total_cmp);
        costs
    }

    /// Whether the load generator found a fault in any measurement.
    pub(super) fn has_problems(&self, scenario: &Scenario, kind: Kind) -> bool {
        self.of(scenario, kind)
            .any(|entry| entry.result["verdict"] != "PASS")
    }

    /// The version of Mosquitto.
    pub(super) fn mosquitto_version(&self) -> &str {
        &self.mosquitto_version
    }

    /// The machine, as the load generator describes it.
    pub(super) fn machine(&self) -> &Value {
        self.entries
            .first()
            .map_or(&Value::Null, |entry| &entry.result["machine"])
    }

    /// Writes every result as a line of JSON, and the table, to a folder named after the
    /// day and the processor. A second run on a day replaces the first.
    pub(super) fn save(&self, table: &str) -> Result<PathBuf, String> {
        let machine = self.machine();
        let processor = machine["cpu"].as_str().unwrap_or("unknown");
        let cpus = machine["cpus"].as_u64().unwrap_or(0);
        let name = format!("{}-{}-{cpus}-cpus", today(), slug(processor));
        let folder = PathBuf::from("bench/runs").join(name);
        let lines: String = self.entries.iter().map(|entry| entry.line(self)).collect();
        fs::create_dir_all(&folder)
            .and_then(|()| fs::write(folder.join("compare.jsonl"), lines))
            .and_then(|()| fs::write(folder.join("compare.txt"), format!("{table}\n")))
            .map_err(|error| format!("cannot write to {}: {error}", folder.display()))?;
        Ok(folder)
    }

    fn of(&self, scenario: &Scenario, kind: Kind) -> impl Iterator<Item = &Entry> {
        let name = scenario.name;
        self.entries
            .iter()
            .filter(move |entry| entry.scenario == name && entry.kind == kind)
    }
}

impl Entry {
    fn line(&self, record: &Record) -> String {
        let version = match self.kind {
            Kind::ShardMq => env!("CARGO_PKG_VERSION"),
            Kind::Mosquitto => record.mosquitto_version(),
        };
        let line = json!({
            "scenario": self.scenario,
            "broker": self.kind.name(),
            "version": version,
            "round": self.round,
            "result": self.result,
        });
        format!("{line}\n")
    }
}

/// Lower-case letters and digits, the rest as single hyphens.
fn slug(text: &str) -> String {
    let letters = text.chars().map(|letter| {
        if letter.is_ascii_alphanumeric() {
            letter.to_ascii_lowercase()
        } else {
            ' '
        }
    });
    let words: String = letters.collect();
    words.split_whitespace().collect::<Vec<_>>().join("-")
}

/// The day in UTC, as `2026-11-22`.
fn today() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let days = now.map_or(0, |elapsed| elapsed.as_secs() / 86_400);
    let (year, month, day) = date(days);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Year, month and day of a number of days since 1970-01-01.
fn date(days: u64) -> (u64, u64, u64) {
    // Years begin in March here, so that the leap day is a year's last.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(59), (1970, 3, 1));
        assert_eq!(date(11_016), (2000, 2, 29));
        assert_eq!(date(20_513), (2026, 3, 1));
        assert_eq!(date(20_779), (2026, 11, 22));
    }

    #[test]
    fn a_slug_has_letters_digits_and_hyphens() {
        assert_eq!(slug("AMD EPYC 9R14 (2.6 GHz)"), "amd-epyc-9r14-2-6-ghz");
    }
}
