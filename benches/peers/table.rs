//! Prints the rows as a table, and writes them as JSON.

use std::fs;
use std::path::Path;

use crate::Result;
use crate::row::Row;

pub(crate) fn head() {
    println!("| row | at | unit | ours | peer | | ratio | must reach | reached |");
    println!("|---|---|---|---|---|---|---|---|---|");
}

pub(crate) fn line(row: &Row) {
    println!(
        "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        row.what,
        row.at,
        row.unit,
        shown(row.ours),
        shown(row.peer),
        row.peer_name,
        row.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
        row.target,
        if row.reached { "yes" } else { "**no**" },
    );
    if !row.note.is_empty() {
        println!("<!-- {} -->", row.note);
    }
}

pub(crate) fn write_json(file: &Path, rows: &[Row]) -> Result<()> {
    let text = serde_json::to_string_pretty(&serde_json::json!({ "rows": rows }))?;
    fs::write(file, text + "\n").map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(())
}

fn shown(value: Option<f64>) -> String {
    match value {
        None => "not measured".to_owned(),
        Some(value) if value.abs() >= 1000.0 => thousands(value),
        Some(value) if value.abs() >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        Some(value) => format!("{value:.2}"),
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
