//! What a run says in the end, to a person or as JSON.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::{Latency, Outcome};
use crate::procfs::{Machine, Usage};
use crate::run::{Conducted, StageRecord};

/// A thread of the load generator that is busier than this is what limits a closed loop.
const SATURATED: f64 = 0.95;

/// A report under construction: figures for people and for programs side by side.
#[derive(Debug, Default)]
pub struct Report {
    scenario: &'static str,
    /// The brokers, as they were named.
    pub(super) nodes: Vec<String>,
    lines: Vec<(String, String)>,
    figures: Map<String, Value>,
    problems: Vec<String>,
    notes: Vec<String>,
}

impl Report {
    /// An empty report of a scenario.
    pub fn new(scenario: &'static str) -> Self {
        Self {
            scenario,
            ..Self::default()
        }
    }

    /// Says how the brokers were named.
    pub fn set_nodes(&mut self, nodes: Vec<String>) {
        self.nodes = nodes;
    }

    /// Adds a figure: a line for people, a value for programs.
    pub fn add(&mut self, key: &str, label: &str, text: String, value: impl Into<Value>) {
        self.lines.push((label.to_owned(), text));
        self.figures.insert(key.to_owned(), value.into());
    }

    /// Adds a line for people only.
    pub(super) fn add_line(&mut self, label: &str, text: String) {
        self.lines.push((label.to_owned(), text));
    }

    /// Adds a value for programs only.
    pub fn add_value(&mut self, key: &str, value: impl Into<Value>) {
        self.figures.insert(key.to_owned(), value.into());
    }

    /// Adds something that makes the run fail.
    pub fn add_problem(&mut self, problem: String) {
        self.problems.push(problem);
    }

    /// Adds something to know when reading the figures.
    pub fn add_note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Whether nothing has gone wrong.
    pub fn passed(&self) -> bool {
        self.problems.is_empty()
    }

    /// Adds the machine.
    pub fn add_machine(&mut self) {
        let machine = Machine::read();
        let text = format!(
            "{}, {} CPUs, Linux {}, {:.1} GiB",
            machine.cpu,
            machine.cpus,
            machine.kernel,
            machine.memory_bytes as f64 / (1u64 << 30) as f64
        );
        self.add("machine", "machine", text, json!(machine));
    }

    /// Adds percentiles, if anything was recorded.
    pub fn add_latency(&mut self, key: &str, label: &str, latency: &Latency) {
        if latency.count() == 0 {
            return;
        }
        let figures = latency.percentiles();
        let text = format!(
            "p50 {}  p90 {}  p99 {}  p99.9 {}  max {}",
            time(figures.p50),
            time(figures.p90),
            time(figures.p99),
            time(figures.p999),
            time(figures.max)
        );
        self.add(key, label, text, json!(figures));
    }

    /// Adds rates of messages in the measured window, faults, and problems of the run.
    pub fn add_messages(&mut self, conducted: &Conducted, loss_allowed: bool) {
        let Some(window) = conducted.stage("measure") else {
            self.add_problem("the run ended before anything was measured".to_owned());
            return;
        };
        let (seconds, outcome) = (window.seconds(), &conducted.outcome);
        let per_second = |count: u64| count as f64 / seconds.max(1e-9);
        let (sent, received) = (
            per_second(outcome.window_sent),
            per_second(outcome.window_received),
        );
        let text = format!(
            "{}/s sent, {}/s received, {seconds:.2} s",
            grouped(sent),
            grouped(received)
        );
        let value = json!({
            "window_s": seconds,
            "sent_per_s": sent,
            "received_per_s": received,
            "window_sent": outcome.window_sent,
            "window_received": outcome.window_received,
            "sent": outcome.sent,
            "received": outcome.received,
            "unsent": outcome.unsent,
        });
        self.add("messages", "messages", text, value);
        if outcome.unsent > 0 {
            self.add_note(format!(
                "{} messages were due and could not be sent: the rate was not held",
                outcome.unsent
            ));
        }
        if outcome.window_received == 0 {
            self.add_problem("no message was received in the measured window".to_owned());
        }
        self.add_faults(outcome, loss_allowed);
    }

    /// Adds wrong deliveries and other problems.
    pub fn add_faults(&mut self, outcome: &Outcome, loss_allowed: bool) {
        let tally = &outcome.tally;
        let text = format!(
            "{} lost, {} duplicated, {} reordered, {} misdelivered, {} altered",
            tally.lost, tally.duplicated, tally.reordered, tally.misdelivered, tally.altered
        );
        self.add("faults", "faults", text, json!(tally));
        self.problems.extend(tally.problems(loss_allowed));
        self.add_problems(outcome);
    }

    /// Adds problems other than wrong deliveries.
    pub fn add_problems(&mut self, outcome: &Outcome) {
        self.problems.extend(outcome.problems.iter().cloned());
        let told = outcome.problems.len() as u64;
        if outcome.problem_count > told {
            self.add_problem(format!(
                "and {} more problems",
                outcome.problem_count - told
            ));
        }
    }

    /// Adds CPU time of the broker and of the load generator in a stage, for each of `count`
    /// units of work.
    pub fn add_cost(&mut self, record: &StageRecord, unit: &str, count: u64) {
        let count_or_one = count.max(1) as f64;
        if let Some((before, after)) = record.broker() {
            let cpu_ns = after.cpu_ns_since(&before);
            let per_unit = cpu_ns as f64 / 1000.0 / count_or_one;
            let threads = after.threads_since(&before);
            let busy = cpu_ns as f64 / 1e9 / record.seconds();
            let mut text = format!("{per_unit:.3} µs CPU per {unit}, {busy:.2} CPUs busy");
            if threads.len() > 1 {
                for thread in threads.iter().take(8) {
                    let share = thread.cpu_ns as f64 / 1e9 / record.seconds();
                    let _ = write!(text, ", {} {share:.2}", thread.name);
                }
            }
            let mut value = json!({
                "unit": unit,
                "cpu_us_per_unit": per_unit,
                "cpu_s": cpu_ns as f64 / 1e9,
                "resident_bytes_before": before.resident_bytes,
                "resident_bytes_after": after.resident_bytes,
            });
            value["threads"] = threads
                .iter()
                .map(|thread| json!({"name": thread.name, "cpu_s": thread.cpu_ns as f64 / 1e9}))
                .collect();
            self.add("broker", "broker", text, value);
        }
        self.add_node_costs(record, unit, count_or_one);
        self.add_own_cost(record, unit, count_or_one);
    }

    fn add_own_cost(&mut self, record: &StageRecord, unit: &str, count: f64) {
        let (before, after) = &record.own;
        let per_unit = after.cpu_ns_since(before) as f64 / 1000.0 / count;
        let busiest = after
            .threads_since(before)
            .first()
            .map_or(0, |thread| thread.cpu_ns);
        let busy = busiest as f64 / 1e9 / record.seconds();
        let text = format!(
            "{per_unit:.3} µs CPU per {unit}, busiest thread {:.0} %",
            busy * 100.0
        );
        let value = json!({"cpu_us_per_unit": per_unit, "busiest_thread": busy});
        self.add("loadgen", "loadgen", text, value);
        if busy > SATURATED {
            self.add_note(
                "a thread of the load generator was saturated: the broker could do more".to_owned(),
            );
        }
    }

    /// Adds the rate of messages in a stage that ended with the last of them, and the broker's
    /// CPU time for each.
    pub fn add_stage_rate(&mut self, conducted: &Conducted, stage: &str, key: &str, count: u64) {
        let Some(record) = conducted.stage(stage) else {
            return;
        };
        let rate = count as f64 / record.seconds().max(1e-9);
        let mut text = format!("{}/s, {:.3} s", grouped(rate), record.seconds());
        if let Some((before, after)) = record.broker() {
            let cpu_us = after.cpu_ns_since(&before) as f64 / 1000.0 / count.max(1) as f64;
            let _ = write!(text, ", broker {cpu_us:.3} µs CPU per message");
            self.add_value(&format!("{stage}_broker_us_per_message"), cpu_us);
        }
        self.add(key, stage, text, rate);
    }

    /// Adds what the broker's memory grew by between two moments, for each of `count` things.
    pub fn add_growth(&mut self, key: &str, before: &Usage, after: &Usage, unit: &str, count: u64) {
        let grown = after.resident_bytes as i64 - before.resident_bytes as i64;
        let per_unit = grown as f64 / count.max(1) as f64;
        let text = format!(
            "{per_unit:.0} bytes per {unit} ({:.1} MiB before, {:.1} MiB after)",
            before.resident_bytes as f64 / f64::from(1 << 20),
            after.resident_bytes as f64 / f64::from(1 << 20)
        );
        let value = json!({
            "unit": unit,
            "bytes_per_unit": per_unit,
            "resident_bytes_before": before.resident_bytes,
            "resident_bytes_after": after.resident_bytes,
        });
        self.add(key, "broker memory", text, value);
    }

    /// Adds what befell the run as a whole.
    pub fn add_circumstances(&mut self, conducted: &Conducted) {
        if conducted.was_interrupted {
            self.add_note("interrupted: this is the run so far".to_owned());
        }
        if conducted.stood_still_s > 0.0 {
            self.add_note(format!(
                "the machine stood still for {:.1} s (paused, or busy with other things): the \
                 figures are not the broker's alone",
                conducted.stood_still_s
            ));
        }
    }

    /// The report for programs: one JSON object.
    pub fn to_json(&self) -> Value {
        let mut object = Map::new();
        object.insert("scenario".to_owned(), self.scenario.into());
        object.insert("verdict".to_owned(), self.verdict().into());
        object.insert("problems".to_owned(), json!(self.problems));
        object.insert("notes".to_owned(), json!(self.notes));
        object.extend(self.figures.clone());
        Value::Object(object)
    }

    /// The report for people.
    pub fn to_text(&self) -> String {
        let mut text = format!("{}: {}\n", self.scenario, self.verdict());
        for (label, line) in &self.lines {
            let _ = writeln!(text, "  {label:<14} {line}");
        }
        for problem in &self.problems {
            let _ = writeln!(text, "  problem        {problem}");
        }
        for note in &self.notes {
            let _ = writeln!(text, "  note           {note}");
        }
        text
    }

    const fn verdict(&self) -> &'static str {
        if self.problems.is_empty() {
            "PASS"
        } else {
            "FAIL"
        }
    }
}

/// Microseconds in the unit that reads best.
fn time(microseconds: f64) -> String {
    match microseconds {
        us if us < 1000.0 => format!("{us:.1} µs"),
        us if us < 1_000_000.0 => format!("{:.2} ms", us / 1000.0),
        us => format!("{:.2} s", us / 1_000_000.0),
    }
}

/// A whole number with commas between thousands.
pub fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_fails_with_its_first_problem() {
        let mut report = Report::new("pairs");
        assert!(report.passed() && report.to_text().starts_with("pairs: PASS\n"));
        report.add_problem("3 messages lost".to_owned());
        assert!(!report.passed());
        assert_eq!(report.to_json()["verdict"], "FAIL");
        assert!(report.to_text().contains("3 messages lost"));
    }

    #[test]
    fn lost_messages_are_a_problem_unless_they_are_allowed() {
        let mut outcome = Outcome::default();
        outcome.tally.lost = 2;
        let mut strict = Report::new("pairs");
        strict.add_faults(&outcome, false);
        let mut lenient = Report::new("pairs");
        lenient.add_faults(&outcome, true);
        assert_eq!((strict.passed(), lenient.passed()), (false, true));
    }

    #[test]
    fn times_and_numbers_read_well() {
        assert_eq!(time(12.34), "12.3 µs");
        assert_eq!(time(12_340.0), "12.34 ms");
        assert_eq!(grouped(1_234_567.0), "1,234,567");
        assert_eq!(grouped(999.0), "999");
    }
}
