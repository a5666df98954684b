//! An idle gateway with many tenants and callers.

use std::thread;
use std::time::Duration;

use ring::digest::{SHA256, digest};

use crate::body::hex;
use crate::row::{Row, Target, number};
use crate::server::{CALLER, Config, Server};
use crate::{Bench, Result, process};

/// Tenants and callers.
const MANY: usize = 100_000;
/// Time for what a start leaves behind to end.
const SETTLE: Duration = Duration::from_secs(1);

/// What an idle process uses.
struct Idle {
    resident_bytes: Option<u64>,
    threads: Option<u64>,
    started_in: Duration,
}

pub(crate) fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let measure = |tenants, callers: String| -> Result<Idle> {
        let config = Config {
            callers,
            ..Config::with_tenants(tenants)
        };
        let server = Server::gateway(&config, &bench.receiver)?;
        thread::sleep(SETTLE);
        Ok(Idle {
            resident_bytes: process::resident_bytes(server.id()),
            threads: process::threads(server.id()),
            started_in: server.started_in,
        })
    };
    let few = measure(1, CALLER.to_owned())?;
    let tenants = measure(MANY, CALLER.to_owned())?;
    let all = measure(MANY, callers(MANY))?;
    let bytes = |idle: &Idle| idle.resident_bytes.map_or(f64::NAN, number);
    let note = format!(
        "started in {:.1} s; {:.1} MiB with one of each; {:.0} bytes a tenant, {:.0} bytes a caller",
        all.started_in.as_secs_f64(),
        bytes(&few) / f64::from(1 << 20),
        (bytes(&tenants) - bytes(&few)) / number(MANY as u64),
        (bytes(&all) - bytes(&tenants)) / number(MANY as u64),
    );
    let at = format!("{MANY} tenants, {MANY} callers");
    let memory = all.resident_bytes.map(|bytes| number(bytes) / f64::from(1 << 20));
    Ok(vec![
        Row::of("resident memory, idle", at.clone(), "MiB", Target::AtMost(150.0))
            .note(note)
            .measured(memory, "", None),
        Row::of("threads, idle", at, "threads", Target::AtMost(6.0)).measured(all.threads.map(number), "", None),
    ])
}

/// Returns tables of callers, each for one tenant.
pub(crate) fn callers(count: usize) -> String {
    let table = |caller| {
        let hash = hex(digest(&SHA256, token(caller).as_bytes()).as_ref());
        format!("[gateway.callers.caller-{caller}]\ntoken_sha256 = \"{hash}\"\ntenant = \"{caller}\"\n")
    };
    (0..count).map(table).collect::<Vec<_>>().concat()
}

pub(crate) fn token(caller: usize) -> String {
    format!("token-of-the-caller-{caller:06}")
}
