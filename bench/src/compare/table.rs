//! The table of a comparison.

use std::fmt::Write;

use super::broker::Kind;
use super::record::Record;
use super::scenarios::Scenario;

/// The whole table as Markdown.
pub(super) fn render(scenarios: &[&Scenario], record: &Record) -> String {
    let mut text = format!(
        "CPU microseconds of the broker for each delivered message, filter or connection: \
         median (lowest–highest).\n{}\n\n\
         | scenario | ShardMQ | Mosquitto {} | ratio | target | reached |\n\
         |---|---|---|---|---|---|\n",
        machine(record),
        record.mosquitto_version()
    );
    let mut has_problems = false;
    for scenario in scenarios {
        let _ = writeln!(text, "{}", row(scenario, record));
        has_problems |= [Kind::ShardMq, Kind::Mosquitto]
            .iter()
            .any(|kind| record.has_problems(scenario, *kind));
    }
    if has_problems {
        text.push_str("\n! the load generator found a fault in one of the measurements\n");
    }
    text
}

/// A line of the table.
pub(super) fn row(scenario: &Scenario, record: &Record) -> String {
    let ratio = ratio(scenario, record);
    format!(
        "| {} | {} | {} | {} | {} | {} |",
        scenario.name,
        cell(scenario, Kind::ShardMq, record),
        cell(scenario, Kind::Mosquitto, record),
        ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}")),
        scenario.target,
        if is_reached(scenario, record) {
            "yes"
        } else {
            "**no**"
        }
    )
}

/// Whether Mosquitto needs as many times the CPU time as is asked for, and nothing was
/// wrong with this broker's messages.
pub(super) fn is_reached(scenario: &Scenario, record: &Record) -> bool {
    !record.has_problems(scenario, Kind::ShardMq)
        && ratio(scenario, record).is_some_and(|ratio| ratio >= scenario.target)
}

fn ratio(scenario: &Scenario, record: &Record) -> Option<f64> {
    let ours = median(&record.costs(scenario, Kind::ShardMq))?;
    let theirs = median(&record.costs(scenario, Kind::Mosquitto))?;
    (ours > 0.0).then_some(theirs / ours)
}

fn cell(scenario: &Scenario, kind: Kind, record: &Record) -> String {
    let costs = record.costs(scenario, kind);
    let mark = if record.has_problems(scenario, kind) {
        " !"
    } else {
        ""
    };
    match (&costs[..], median(&costs)) {
        ([lowest, .., highest], Some(median)) => format!(
            "{} ({}–{}){mark}",
            figure(median),
            figure(*lowest),
            figure(*highest)
        ),
        ([only], _) => format!("{}{mark}", figure(*only)),
        _ => "–".to_owned(),
    }
}

/// Three significant digits.
fn figure(value: f64) -> String {
    match value {
        value if value < 1.0 => format!("{value:.3}"),
        value if value < 10.0 => format!("{value:.2}"),
        value if value < 100.0 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

fn machine(record: &Record) -> String {
    let machine = record.machine();
    format!(
        "{}, {} CPUs, Linux {}; the broker on one CPU, the load generator on another.",
        machine["cpu"].as_str().unwrap_or("an unknown processor"),
        machine["cpus"],
        machine["kernel"]
            .as_str()
            .unwrap_or("of an unknown version")
    )
}

/// The middle of values in ascending order.
fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *sorted.get(middle.checked_sub(1)?)?;
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::scenarios::SCENARIOS;
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[1.0, 2.0]), Some(1.5));
        assert_eq!(median(&[1.0, 2.0, 9.0]), Some(2.0));
    }

    #[test]
    fn a_target_is_reached_without_faults_only() {
        let scenario = &SCENARIOS[3];
        let mut record = Record::new("2.0".to_owned());
        let result =
            |cost: f64, verdict| json!({"broker": {"cpu_us_per_unit": cost}, "verdict": verdict});
        record.add(scenario, Kind::ShardMq, 0, result(1.0, "PASS"));
        assert!(!is_reached(scenario, &record), "nothing to compare with");
        record.add(scenario, Kind::Mosquitto, 0, result(8.0, "PASS"));
        assert!(is_reached(scenario, &record));
        record.add(scenario, Kind::ShardMq, 1, result(1.0, "FAIL"));
        assert!(!is_reached(scenario, &record));
        assert!(row(scenario, &record).contains("1.00 (1.00–1.00) !"));
    }
}
