//! Attacks beside a well-behaved client of another caller: all its requests succeed, and the memory
//! of the gateway stays bounded.
#![expect(clippy::print_stdout, reason = "figures")]

use std::time::{Duration, Instant};

use super::attacks::{Attack, FLOODS, MANY, MESSAGES, UNFINISHED};
use super::neighbour::{Neighbour, wait_for_requests};
use super::process::Process;

fn withstand(attacks: &[(&str, Attack)]) {
    let process = Process::start(32, "max_request = \"4MiB\"");
    let neighbour = Neighbour::start(&process);
    for (name, attack) in attacks {
        let began = Instant::now();
        attack(&process);
        println!("{name}: {:?}", began.elapsed());
        process.assert_memory_bound();
    }
    wait_for_requests(&process, neighbour.stop().len());
}

#[test]
fn messages_that_expand() {
    withstand(MESSAGES);
}

#[test]
fn requests_and_answers_that_do_not_end() {
    withstand(UNFINISHED);
}

#[test]
fn floods_of_http_2() {
    withstand(FLOODS);
}

#[test]
fn many_requests_and_connections() {
    withstand(MANY);
}

/// Time of a measurement.
const MEASURED: Duration = Duration::from_secs(3);

/// Prints the times of the other client's requests, alone and during each attack.
#[test]
#[ignore = "measures times: cargo test --release -p tracer-registry-gateway --test suite -- --ignored --nocapture times_of"]
fn times_of_other_clients() {
    println!("| attack | p50 alone | during | p99 alone | during | ratio of p99 |");
    println!("|---|---|---|---|---|---|");
    for (name, attack) in [MESSAGES, UNFINISHED, FLOODS, MANY].concat() {
        let process = Process::start(256, "");
        let alone = times_during(&process, || std::thread::sleep(MEASURED));
        let during = times_during(&process, || {
            let began = Instant::now();
            while began.elapsed() < MEASURED {
                attack(&process);
            }
        });
        let micros = |time: Duration| format!("{} us", time.as_micros());
        let ratio = during[1].as_secs_f64() / alone[1].as_secs_f64();
        println!(
            "| {name} | {} | {} | {} | {} | {ratio:.2} |",
            micros(alone[0]),
            micros(during[0]),
            micros(alone[1]),
            micros(during[1]),
        );
        process.assert_memory_bound();
    }
}

/// Returns the median and the 99th percentile.
fn times_during(process: &Process, work: impl FnOnce()) -> [Duration; 2] {
    let neighbour = Neighbour::start(process);
    work();
    let mut times = neighbour.stop();
    times.sort();
    [times[times.len() / 2], times[times.len() * 99 / 100]]
}
