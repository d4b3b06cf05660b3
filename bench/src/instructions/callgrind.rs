//! Counting under callgrind.

use std::fs;
use std::process::Command;

/// Runs an operation so many times. Callgrind counts what happens in here and nothing
/// else, by this function's name.
#[inline(never)]
pub(super) fn counted_part(operation: &mut dyn FnMut(), times: u32) {
    for _ in 0..times {
        operation();
    }
}

/// The instructions of a case's counted part.
pub(super) fn count(case: &str) -> Result<f64, String> {
    let program = std::env::current_exe()
        .map_err(|error| format!("cannot find out where this program is: {error}"))?;
    let file = std::env::temp_dir().join(format!("callgrind-{}-{case}", std::process::id()));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*counted_part*"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(program)
        .args(["case", case])
        .output()
        .map_err(|error| format!("cannot run valgrind: {error}; `apt-get install valgrind`"))?;
    let text = fs::read_to_string(&file);
    let _ = fs::remove_file(&file);
    let total = text.ok().as_deref().and_then(total);
    total.ok_or_else(|| {
        let errors = String::from_utf8_lossy(&output.stderr);
        format!("callgrind counted nothing of {case}:\n{errors}")
    })
}

/// The sum in callgrind's output.
fn total(text: &str) -> Option<f64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("totals: "))?;
    line.trim().parse().ok().filter(|total| *total > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_found_and_must_not_be_nothing() {
        assert_eq!(
            total("events: Ir\nfn=(1)\n1 2\ntotals: 1234\n"),
            Some(1234.0)
        );
        assert_eq!(total("events: Ir\ntotals: 0\n"), None);
        assert_eq!(total(""), None);
    }
}
