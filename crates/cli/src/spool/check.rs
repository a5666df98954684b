//! `spool check`: what a file holds, and a copy of what can be read of a damaged one.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use clap::Args;
use serde_json::{Value, json};
use tracer_registry::Selector;
use tracer_registry::text::printable;
use tracer_registry_spool::QueueDepth;
use tracer_registry_spool::Usage;
use tracer_registry_spool::check::{self, Checked};

use crate::error::{CliError, Outcome};
use crate::json;
use crate::table::{self, Align};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// File of a spool, such as spool.db, or one that was set aside; or the folder with spool.db
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Copy what can be read to this new file, which may take the place of spool.db
    #[arg(long, value_name = "TO")]
    repair: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<Outcome, CliError> {
    let mut file = arguments.file.clone();
    if file.is_dir() {
        file.push("spool.db");
    }
    let checked = check::check(&file).map_err(CliError::Spool)?;
    let repaired = match &arguments.repair {
        Some(to) => Some((to, check::repair(&file, to, covers).map_err(CliError::Spool)?)),
        None => None,
    };
    if arguments.json {
        let mut document = described(&checked);
        if let Some((to, repaired)) = &repaired {
            let (spans, events, rows) = sums(&repaired.queues);
            document["repaired"] = json!({
                "file": to, "rows": rows, "spans": spans, "session_events": events, "lost_rows": repaired.lost_rows,
                "erased_rows": repaired.erased_rows,
            });
        }
        json::write_pretty(out, &document)?;
    } else {
        write(&checked, out)?;
        if let Some((to, repaired)) = &repaired {
            let (spans, events, rows) = sums(&repaired.queues);
            let line = format!(
                "copied {rows} rows with {spans} spans and {events} session events to {}; {} rows are lost, \
                 {} were erased since",
                to.display(),
                repaired.lost_rows,
                repaired.erased_rows
            );
            writeln!(out, "{}", printable(&line))?;
        }
    }
    Ok(Outcome::success_if(checked.damage.is_empty()))
}

/// Returns whether what is erased covers a queue. Both are texts of selectors.
pub(super) fn covers(erased: &str, queue: &str) -> bool {
    let of = |text: &str| text.parse::<Selector>();
    matches!((of(erased), of(queue)), (Ok(erased), Ok(queue)) if queue.contains(&erased))
}

/// Returns the spans, the session events and the rows of all queues.
fn sums(queues: &[QueueDepth]) -> (u64, u64, u64) {
    let sum = |count: fn(&QueueDepth) -> u64| queues.iter().map(count).sum();
    (sum(|of| of.spans), sum(|of| of.events), sum(rows_of))
}

fn rows_of(queue: &QueueDepth) -> u64 {
    queue.span_rows + queue.event_rows
}

fn described(checked: &Checked) -> Value {
    let (spans, events, rows) = sums(&checked.queues);
    let queues = checked.queues.iter().map(|queue| {
        json!({
            "selector": *queue.queue, "rows": rows_of(queue), "spans": queue.spans, "session_events": queue.events,
            "bytes": queue.bytes,
        })
    });
    json!({
        "version": checked.version,
        "bytes": checked.bytes,
        "rows": rows,
        "spans": spans,
        "session_events": events,
        "oldest": checked.oldest.map(time),
        "selectors": queues.collect::<Vec<_>>(),
        "erased": checked.erased,
        "usage": checked.usage.iter().map(described_usage).collect::<Vec<_>>(),
        "damaged_rows": checked.damaged_rows,
        "damage": checked.damage,
    })
}

fn described_usage(usage: &Usage) -> Value {
    let [spans_of_day, bytes_of_day, spans_of_month, bytes_of_month] = usage.counts;
    json!({
        "owner": *usage.owner,
        "day": day(usage.day),
        "month": month(usage.month),
        "spans_of_day": spans_of_day,
        "bytes_of_day": bytes_of_day,
        "spans_of_month": spans_of_month,
        "bytes_of_month": bytes_of_month,
    })
}

/// Returns the date of a day since 1970.
fn day(number: i64) -> String {
    let millis = u64::try_from(number).unwrap_or(0).saturating_mul(24 * 60 * 60 * 1000);
    let mut date = time(millis);
    date.truncate("1970-01-01".len());
    date
}

/// Returns the year and the month of a month since January 1970.
fn month(number: i64) -> String {
    let number = number.max(0);
    format!("{}-{:02}", 1970 + number / 12, number % 12 + 1)
}

fn time(millis: u64) -> String {
    let time = UNIX_EPOCH.checked_add(Duration::from_millis(millis));
    // RFC 3339 ends with the year 9999.
    let time = time.filter(|_| millis < 253_402_300_800_000).unwrap_or(UNIX_EPOCH);
    humantime::format_rfc3339_millis(time).to_string()
}

fn write(checked: &Checked, out: &mut impl Write) -> Result<(), CliError> {
    let rows = checked.queues.iter().map(|queue| {
        [
            queue.queue.to_string(),
            rows_of(queue).to_string(),
            queue.spans.to_string(),
            queue.events.to_string(),
            queue.bytes.to_string(),
        ]
    });
    let columns = [
        ("selector", Align::Left),
        ("rows", Align::Right),
        ("spans", Align::Right),
        ("session events", Align::Right),
        ("bytes", Align::Right),
    ];
    table::write(out, columns, &rows.collect::<Vec<_>>())?;
    let (spans, events, rows) = sums(&checked.queues);
    let since = checked.oldest.map(|oldest| format!(", the oldest of {}", time(oldest)));
    writeln!(
        out,
        "version {}, {} bytes: {rows} rows with {spans} spans and {events} session events{}",
        checked.version,
        checked.bytes,
        since.unwrap_or_default()
    )?;
    for erased in &checked.erased {
        writeln!(out, "erased: {}", printable(erased))?;
    }
    for usage in &checked.usage {
        let [spans_of_day, bytes_of_day, spans_of_month, bytes_of_month] = usage.counts;
        writeln!(
            out,
            "quota of {}: {spans_of_day} spans and {bytes_of_day} bytes on {}, \
             {spans_of_month} spans and {bytes_of_month} bytes in {}",
            printable(&usage.owner),
            day(usage.day),
            month(usage.month)
        )?;
    }
    for damage in &checked.damage {
        writeln!(out, "damaged: {}", printable(damage))?;
    }
    if checked.damage.is_empty() {
        writeln!(out, "intact")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_damaged_row_is_printable() {
        assert_eq!(time(1_000), "1970-01-01T00:00:01.000Z");
        assert_eq!(time(u64::MAX), "1970-01-01T00:00:00.000Z");
    }
}
