//! Instructions of the pure part for each operation.
//!
//! Counted by callgrind, which repeats exactly: where a time changes from run to run, a
//! changed count is a changed program. The counts of the commit before are in
//! `bench/instructions.txt`.

mod baseline;
mod callgrind;
mod cases;

use clap::Args;

use baseline::Baseline;
use cases::CASES;

/// Options of `bench instructions`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Only cases whose names contain this; may be repeated
    #[arg(long, value_name = "TEXT")]
    case: Vec<String>,
    /// Fail if an operation takes more instructions than before by so many percent
    #[arg(long, value_name = "PERCENT")]
    limit: Option<f64>,
    /// Write what is measured to bench/instructions.txt
    #[arg(long, conflicts_with = "case")]
    update: bool,
}

/// Counts, prints the table, and says whether nothing has grown beyond the limit.
pub(crate) fn run(options: &Options) -> Result<bool, String> {
    let before = Baseline::read()?;
    let mut counts = Vec::new();
    let mut is_within = true;
    println!(
        "{:<40} {:>12} {:>12} {:>9}",
        "instructions an operation", "before", "now", "change"
    );
    for case in CASES {
        if !options.case.is_empty() && !options.case.iter().any(|text| case.name.contains(text)) {
            continue;
        }
        let count = callgrind::count(case.name)? / f64::from(cases::TIMES);
        let change = before
            .of(case.name)
            .map(|before| (count / before - 1.0) * 100.0);
        println!("{}", line(case.name, before.of(case.name), count, change));
        is_within &= options
            .limit
            .is_none_or(|limit| change.is_none_or(|change| change <= limit));
        counts.push((case.name, count));
    }
    if options.update {
        Baseline::write(&counts)?;
    }
    Ok(is_within)
}

/// Prepares a case and runs the part that is counted.
pub(crate) fn run_case(name: &str) -> Result<(), String> {
    let case = CASES.iter().find(|case| case.name == name);
    let case = case.ok_or_else(|| format!("there is no case {name}"))?;
    let mut operation = (case.prepare)();
    // Whatever grows once has grown before it counts.
    for _ in 0..cases::TIMES {
        operation();
    }
    callgrind::counted_part(&mut *operation, cases::TIMES);
    Ok(())
}

fn line(name: &str, before: Option<f64>, count: f64, change: Option<f64>) -> String {
    let before = before.map_or_else(|| "–".to_owned(), |before| format!("{before:.1}"));
    let change = change.map_or_else(|| "–".to_owned(), |change| format!("{change:+.1} %"));
    format!("{name:<40} {before:>12} {count:>12.1} {change:>9}")
}
