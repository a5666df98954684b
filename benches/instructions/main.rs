//! Number of instructions on the hot paths, counted by valgrind's callgrind.
//!
//! `cargo run --release -p tracer-registry-instructions` prints a table next to the same work on
//! the stock SDK. Counts do not depend on the load of the machine, so growth means that the code
//! changed.
//!
//! | argument | effect |
//! |---|---|
//! | `--check` | fails if a count grew more than 5 % over a `baseline.json` of the same toolchain and processor |
//! | `--renew` | writes `baseline.json` |
//!
//! Instructions are not time: a cache miss or an atomic operation costs more. The other benches
//! measure time.
#![expect(clippy::print_stdout, reason = "a benchmark shows what it measured")]

mod baseline;
#[path = "../spans/fixture.rs"]
mod fixture;
mod scenarios;

use std::env;
use std::error::Error;
use std::process::{Command, ExitCode};

use baseline::Baseline;
use scenarios::SCENARIOS;

/// Repetitions of a scenario's work while it is counted, and before.
const TIMES: u32 = 200;
const WARM_UP: u32 = 100;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// Precedes the name of the scenario that a child process runs.
const SCENARIO: &str = "--scenario";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if let [flag, name] = &arguments[..]
        && flag == SCENARIO
    {
        let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name);
        (scenario.ok_or("no such scenario")?.run)();
        return Ok(());
    }
    let wanted = arguments.iter().find(|argument| !argument.starts_with("--"));
    let mut counts = Vec::new();
    println!(
        "{:<34} {:>12} {:>12} {:>7}",
        "instructions", "this crate", "peer", "ratio"
    );
    for scenario in SCENARIOS {
        if wanted.is_some_and(|wanted| !scenario.name.contains(wanted.as_str())) {
            continue;
        }
        let count = count(scenario.name, scenario.counted)? / u64::from(scenario.times);
        if let Some(peer) = scenario.name.strip_suffix(PEER) {
            let ours = counts
                .iter()
                .find(|(name, _)| *name == peer)
                .map_or(0, |(_, count)| *count);
            println!("{peer:<34} {ours:>12} {count:>12} {:>7.2}", ratio(ours, count));
        } else {
            if !SCENARIOS
                .iter()
                .any(|other| other.name.strip_suffix(PEER) == Some(scenario.name))
            {
                println!("{:<34} {count:>12}", scenario.name);
            }
            counts.push((scenario.name, count));
        }
    }
    let found = Baseline::new(&counts)?;
    if has("--renew") {
        found.write()?;
    } else if has("--check") {
        found.check()?;
    }
    Ok(())
}

/// Suffix of a scenario that does the same work without this crate.
const PEER: &str = ", peer";

/// Runs a scenario under callgrind. Returns the number of instructions in functions with this name.
fn count(scenario: &str, function: &str) -> Result<u64> {
    #[expect(clippy::disallowed_methods, reason = "where programs are found is no configuration")]
    let path = env::var_os("PATH");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(format!("--toggle-collect={function}"))
        .arg(env::current_exe()?)
        .args([SCENARIO, scenario])
        // The SDK looks variables up, which takes longer the more there are.
        .env_clear()
        .envs(path.map(|path| ("PATH", path)))
        .output()
        .map_err(|error| format!("cannot start valgrind: {error}"))?;
    let printed = String::from_utf8_lossy(&output.stderr);
    let collected = printed.lines().find_map(|line| line.split_once("Collected :"));
    match collected.and_then(|(_, count)| count.trim().parse().ok()) {
        Some(count) if count > 0 && output.status.success() => Ok(count),
        _ => Err(format!("{scenario}: callgrind counted nothing\n{printed}").into()),
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn ratio(ours: u64, peer: u64) -> f64 {
    ours as f64 / peer as f64
}

/// Repeats the work uncounted, then counted.
fn measure(mut work: impl FnMut()) {
    for _ in 0..WARM_UP {
        work();
    }
    counted(&mut work);
}

/// Callgrind counts the instructions in this function.
#[inline(never)]
fn counted(work: &mut dyn FnMut()) {
    for _ in 0..TIMES {
        work();
    }
}
