//! JSON as lines for people.

use std::fmt::Write as _;

use serde_json::Value;

/// A value in one line.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => printable(text),
        other => other.to_string(),
    }
}

/// Text of clients, with what would move the cursor of a terminal escaped.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_control() {
            true => out.extend(character.escape_unicode()),
            false => out.push(character),
        }
    }
    out
}

/// Rows under a heading, in columns as wide as they need.
pub(super) fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widths = cells.map(|cell| cell.chars().count());
        widths.max().unwrap_or(0).max(heading[column].len())
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let mut out = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (cell, width) in cells.zip(&widths) {
            _ = write!(text, "{cell:<width$}  ");
        }
        _ = writeln!(out, "{}", text.trim_end());
    };
    line(&mut heading.iter().copied());
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
    out
}

/// Names and values, a line each.
pub(super) fn fields(value: &Value) -> String {
    let fields = value.as_object().into_iter().flatten();
    let rows: Vec<(String, String)> = fields
        .map(|(name, value)| (name.clone(), plain(value)))
        .collect();
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut out = String::new();
    for (name, value) in rows {
        _ = writeln!(out, "{name:<width$}  {value}");
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_need() {
        let rows = [
            vec!["a".to_owned(), "1".to_owned()],
            vec!["länger".to_owned(), "2".to_owned()],
        ];
        assert_eq!(
            table(&["NAME", "N"], &rows),
            "NAME    N\na       1\nlänger  2\n"
        );
        assert_eq!(table(&["NAME"], &[]), "NAME\n");
    }

    #[test]
    fn text_of_clients_cannot_move_the_cursor() {
        assert_eq!(plain(&json!("a\u{1b}[2Jb\n")), "a\\u{1b}[2Jb\\u{a}");
        assert_eq!(plain(&json!(null)), "-");
        assert_eq!(fields(&json!({"a": 1, "bcd": "x"})), "a    1\nbcd  x\n");
    }
}
