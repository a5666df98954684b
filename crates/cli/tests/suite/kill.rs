//! `serve` writes all data to disk first, and is killed again and again under load: no span that it
//! acknowledged is lost.
#![expect(clippy::disallowed_methods, reason = "a variable sets the number of kills")]

use std::env;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tracer_registry_collector::{Fault, LocalCollector};

use crate::load::connection::TOKEN;
use crate::load::receipts::{Receipts, collector, tenants};
use crate::load::{End, Load};
use crate::serve::Served;
use crate::support::LONG;

const KILLS: u64 = 20;
const TENANTS: u64 = 8;
const CLIENTS: u64 = 4;
/// A span may be received again if it was received so shortly before a kill, because its row is
/// deleted with the next commit, or if its request was in flight.
const MAY_REPEAT: Duration = Duration::from_millis(250);

fn configure(folder: &Path, url: &str) -> String {
    let mut config = format!(
        "[defaults]\nbackend = \"otlp\"\nendpoint = \"{url}\"\n\
         [spool]\nmode = \"through\"\npath = \"spool\"\nmax_bytes = \"256MiB\"\n\
         [export]\nscheduled_delay = \"5ms\"\ntimeout = \"60s\"\n\
         [export.retry]\ninitial_backoff = \"5ms\"\nmax_backoff = \"50ms\"\n\
         [gateway]\nhttp = \"127.0.0.1:0\"\ngrpc = false\n"
    );
    config.push_str(&tenants(folder, TENANTS));
    let file = folder.join("gateway.toml");
    fs::write(&file, config).expect("written");
    file.to_str().expect("UTF-8").to_owned()
}

#[test]
fn no_acknowledged_span_is_lost_by_kills() {
    let kills = env::var("GATEWAY_KILLS").map_or(KILLS, |kills| kills.parse().expect("a number"));
    let receipts = Arc::new(Mutex::new(Receipts::default()));
    let collector = collector(&receipts, TENANTS);
    let folder = tempfile::tempdir().expect("a folder");
    let config = configure(folder.path(), &collector.url());
    let arguments = ["--config", config.as_str()];
    let load = Load::closed(TENANTS, CLIENTS, 1..=10);
    let mut random = StdRng::seed_from_u64(0);
    // When the process was killed, and when the next one was there.
    let mut deaths: Vec<(Instant, Instant)> = Vec::new();

    thread::scope(|scope| {
        load.start(scope);
        let _end = End(&load);
        let mut served = Served::start(&arguments);
        for _ in 0..kills {
            fail_now_and_then(&collector, &mut random);
            load.listen(vec![served.http.clone()]);
            let most = if random.random_ratio(1, 8) { 2_000 } else { 200 };
            load.wait_for(load.acknowledged() + random.random_range(1..most));
            thread::sleep(Duration::from_micros(random.random_range(0..50_000)));
            let killed = Instant::now();
            served.process.kill().expect("it runs");
            served.process.wait().expect("it ends");
            load.listen(Vec::new());
            served = Served::start(&arguments);
            deaths.push((killed, Instant::now()));
        }
        load.finish();
        collector.clear_faults();
        let all_arrived = load.wait_until_received(&receipts, |_| true, LONG);
        let lost = load.missing(&receipts);
        assert_without_secrets(&folder.path().join("spool"), &collector.addr().to_string());
        let (code, output, log) = served.stop();
        assert!(
            all_arrived,
            "{lost} of {} acknowledged spans are lost: {log}",
            load.acknowledged()
        );
        assert_eq!(code, Some(0), "{output}\n{log}");
    });
    println!(
        "{kills} kills: {}",
        report(&load, &receipts.lock().expect("no panic"), &deaths)
    );
}

/// Asserts that no file of the spool has a token, a key, or the address of the receiver.
fn assert_without_secrets(spool: &Path, address: &str) {
    let mut files = 0;
    for file in fs::read_dir(spool).expect("a folder") {
        let path = file.expect("a file").path();
        let content = fs::read(&path).unwrap_or_default();
        for secret in ["key-of-t", TOKEN, address] {
            let is_there = content.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!is_there, "{secret} is in {}", path.display());
        }
        files += 1;
    }
    assert!(files > 0);
}

/// Makes the receiver fail until the next kill: for some requests or for all, of all tenants or of
/// one.
fn fail_now_and_then(collector: &LocalCollector, random: &mut StdRng) {
    collector.clear_faults();
    for fault in [Fault::status(503), Fault::reset()] {
        let tenant = random.random_range(0..2 * TENANTS);
        let fault = if tenant < TENANTS {
            fault.only(format!("key-of-t{tenant}"))
        } else {
            fault
        };
        match random.random_range(0..24) {
            0..8 => {}
            8..20 => drop(collector.fault(fault.times(random.random_range(1..20)))),
            _ => drop(collector.fault(fault)),
        }
    }
}

/// Counts what was received, and checks what was received again.
fn report(load: &Load, receipts: &Receipts, deaths: &[(Instant, Instant)]) -> String {
    let mut earliest = Duration::ZERO;
    let mut too_early = 0;
    for receipt in receipts.spans.values().filter(|receipt| receipt.times > 1) {
        // The death in which the span was in flight, or the next one.
        let place = deaths.partition_point(|(_, next)| *next < receipt.first);
        match deaths.get(place) {
            Some((killed, _)) => earliest = earliest.max(killed.saturating_duration_since(receipt.first)),
            None => too_early += 1,
        }
    }
    assert_eq!(receipts.foreign, 0);
    assert_eq!(too_early, 0, "spans that no kill concerns were sent again");
    assert!(earliest <= MAY_REPEAT, "{earliest:?}");
    let answers = load.answers();
    format!(
        "{} spans acknowledged, 0 lost; {} received, {} of them foreign; {} received again, first at \
         most {earliest:?} before a kill; {} requests without an answer, {} refused",
        load.acknowledged(),
        receipts.spans.len(),
        receipts.foreign,
        receipts.again(),
        answers.unanswered,
        answers.refused,
    )
}
