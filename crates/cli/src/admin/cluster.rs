//! Text of the ledger of all replicas.

use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

use humantime::format_rfc3339_seconds;
use serde::Deserialize;
use tracer_registry::status::Totals;

use crate::error::CliError;
use crate::table::{self, Align};

#[derive(Deserialize)]
pub(super) struct Ledger {
    published: u64,
    unconfirmed: u64,
    finished: u64,
    waiting: u64,
    buffer_lost: u64,
    expired: u64,
    purged: u64,
    duplicates: u64,
    withdrawn: u64,
    partitions: u16,
    unowned: Vec<u16>,
    replicas: Vec<Replica>,
}

#[derive(Deserialize)]
struct Replica {
    process: String,
    takes_requests: bool,
    sends: bool,
    at: u64,
    /// `null` until the replica has started.
    ledger: Option<Totals>,
}

pub(super) fn write(ledger: &Ledger, out: &mut impl Write) -> Result<(), CliError> {
    let Ledger {
        published,
        unconfirmed,
        finished,
        waiting,
        buffer_lost,
        expired,
        purged,
        duplicates,
        withdrawn,
        partitions,
        unowned,
        replicas,
    } = ledger;
    writeln!(
        out,
        "published {published} + unconfirmed {unconfirmed} = finished {finished} + waiting {waiting} + \
         buffer_lost {buffer_lost} + expired {expired} + purged {purged}"
    )?;
    let of_partitions = match &unowned[..] {
        [] => String::new(),
        unowned => {
            let unowned: Vec<String> = unowned.iter().map(u16::to_string).collect();
            format!(", no replica has sent from {}", unowned.join(", "))
        }
    };
    writeln!(
        out,
        "duplicates {duplicates}, withdrawn {withdrawn}; {partitions} partitions{of_partitions}"
    )?;
    let columns = [
        ("replica", Align::Left),
        ("role", Align::Left),
        ("reported", Align::Left),
        ("accepted", Align::Right),
        ("streamed", Align::Right),
        ("delivered", Align::Right),
        ("waiting", Align::Right),
        ("dropped", Align::Right),
    ];
    table::write(out, columns, &replicas.iter().map(row).collect::<Vec<_>>())?;
    Ok(())
}

fn row(replica: &Replica) -> [String; 8] {
    let role = match (replica.takes_requests, replica.sends) {
        (true, false) => "ingest",
        (false, true) => "send",
        _ => "both",
    };
    let at = UNIX_EPOCH.checked_add(Duration::from_millis(replica.at));
    let counts = replica.ledger.as_ref().map(|totals| {
        let both = [&totals.spans, &totals.session_events];
        let sum = |count: fn(&tracer_registry::status::LedgerSnapshot) -> u64| both.map(count).iter().sum::<u64>();
        [
            sum(|of| of.accepted),
            sum(|of| of.streamed),
            sum(|of| of.delivered),
            sum(|of| of.queued + of.in_flight + of.spooled),
            sum(|of| of.dropped.values().sum()),
        ]
    });
    let count = |index: usize| counts.map_or_else(|| "-".to_owned(), |counts| counts[index].to_string());
    [
        replica.process.clone(),
        role.to_owned(),
        at.map_or_else(|| "-".to_owned(), |at| format_rfc3339_seconds(at).to_string()),
        count(0),
        count(1),
        count(2),
        count(3),
        count(4),
    ]
}
