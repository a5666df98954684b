//! Times of another client during attacks.
//!
//! In the field, attacker and other client are machines of their own. Here, the other client has the
//! highest real-time priority, the gateway and the backend a lower one, and the attacker none: it
//! gets the processor time that they leave. The control is the same attack on a second gateway that
//! runs like the attacker, so the machine has the same load while the first gateway is left alone.
#![expect(
    clippy::disallowed_methods,
    reason = "variables mark the child process and choose attacks"
)]
#![expect(clippy::print_stdout, reason = "figures")]

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::attacks::{Attack, FLOODS, MANY, MESSAGES, UNFINISHED};
use super::neighbour::Neighbour;
use super::process::{Process, Target, raise_descriptor_limit, without_real_time};
use crate::support::until;

const TEST: &str = "hostile::times::times_of_other_clients";
/// Name of the attack, in the process of the attacker.
const ATTACK_VARIABLE: &str = "HOSTILE_ATTACK";
/// Addresses of the gateway, in the process of the attacker.
const TARGET_VARIABLE: &str = "HOSTILE_TARGET";
/// Part of the names of the attacks to measure, if not all.
const ONLY_VARIABLE: &str = "HOSTILE_ONLY";
/// Time of a measurement.
const MEASURED: Duration = Duration::from_secs(1);
/// Measurements of each kind, in turns. The result is their median.
const REPEATED: u8 = 5;
/// Time for a gateway to end what an attack began.
const CALM: Duration = Duration::from_millis(200);

fn attacks() -> Vec<(&'static str, Attack)> {
    [MESSAGES, UNFINISHED, FLOODS, MANY].concat()
}

/// Prints the times of the other client's requests, alone and during each attack.
#[test]
#[ignore = "measures times: cargo test --release -p tracer-registry-gateway --test suite -- --ignored --nocapture times_of"]
fn times_of_other_clients() {
    if let Ok(name) = env::var(ATTACK_VARIABLE) {
        return attack_without_end(&name);
    }
    println!("| attack | p99 alone | control | during | to alone | to control | p50 | processor | rounds |");
    println!("|---|---|---|---|---|---|---|---|---|");
    let only = env::var(ONLY_VARIABLE).unwrap_or_default();
    for (name, _) in attacks()
        .into_iter()
        .filter(|(name, _)| only.split(',').any(|part| name.contains(part)))
    {
        // What is started inherits the priority.
        set_real_time_priority(1);
        let process = Process::start(256, "");
        let other = Process::start_without_real_time(256, "");
        set_real_time_priority(2);
        let mut times = [const { Vec::new() }; 3];
        let (mut rounds, mut used) = (0, Duration::ZERO);
        for _ in 0..REPEATED {
            times[0].push(times_during_second(&process));
            for (index, target) in [(1, &other), (2, &process)] {
                let before = target.descriptors();
                let attacker = Attacker::start(name, target.target());
                let began = target.processor_time();
                times[index].push(times_during_second(&process));
                if index == 2 {
                    used += target.processor_time().saturating_sub(began);
                }
                let ended = attacker.stop();
                if index == 2 {
                    rounds += ended;
                }
                until(|| target.descriptors() <= before + 4);
                thread::sleep(CALM);
            }
        }
        let [alone, control, during] = times.map(|rows| medians(&rows));
        let millis = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1000.0);
        let ratio = |time: Duration| during[1].as_secs_f64() / time.as_secs_f64();
        let seconds = MEASURED.as_secs_f64() * f64::from(REPEATED);
        println!(
            "| {name} | {} | {} | {} | {:.1} | {:.1} | {} | {:.0} % | {:.1}/s |",
            millis(alone[1]),
            millis(control[1]),
            millis(during[1]),
            ratio(alone[1]),
            ratio(control[1]),
            millis(during[0]),
            used.as_secs_f64() / seconds * 100.0,
            f64::from(rounds) / seconds,
        );
        process.assert_memory_bound();
    }
}

/// Sets the priority of this thread.
fn set_real_time_priority(priority: u8) {
    let thread = fs::read_link("/proc/thread-self").unwrap();
    let id = thread.file_name().unwrap();
    let mut command = Command::new("chrt");
    command.args(["--rr", "--pid", &priority.to_string()]).arg(id);
    assert!(command.status().unwrap().success(), "needs CAP_SYS_NICE");
}

/// Returns the median and the 99th percentile of the other client's requests.
fn times_during_second(process: &Process) -> [Duration; 2] {
    let neighbour = Neighbour::start(process);
    thread::sleep(MEASURED);
    let mut times = neighbour.stop();
    times.sort();
    [times[times.len() / 2], times[times.len() * 99 / 100]]
}

/// Returns the median of each column.
fn medians(rows: &[[Duration; 2]]) -> [Duration; 2] {
    [0, 1].map(|column| {
        let mut values: Vec<_> = rows.iter().map(|row| row[column]).collect();
        values.sort();
        values[values.len() / 2]
    })
}

/// A process that attacks as fast as it can.
struct Attacker {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Attacker {
    /// Returns after the first round.
    fn start(name: &str, target: Target) -> Self {
        let mut child = without_real_time()
            .args(["--exact", TEST, "--ignored", "--nocapture", "--test-threads=1"])
            .env(ATTACK_VARIABLE, name)
            .env(TARGET_VARIABLE, format!("{} {}", target.http, target.grpc))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.by_ref().map_while(Result::ok).any(|line| line.ends_with(ROUND)));
        Self { child, lines }
    }

    /// Ends the process, and returns its further rounds.
    fn stop(mut self) -> u32 {
        assert!(self.child.try_wait().unwrap().is_none(), "the attack ended early");
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let rounds = self.lines.map_while(Result::ok).filter(|line| line == ROUND);
        u32::try_from(rounds.count()).unwrap()
    }
}

/// Line that ends a round.
const ROUND: &str = "round";

fn attack_without_end(name: &str) {
    raise_descriptor_limit();
    let (_, attack) = attacks().into_iter().find(|(attack, _)| *attack == name).unwrap();
    let target = env::var(TARGET_VARIABLE).unwrap();
    let (http, grpc) = target.split_once(' ').unwrap();
    let target = Target {
        http: http.parse().unwrap(),
        grpc: grpc.parse().unwrap(),
    };
    // The parent ends the process.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(600) {
        attack(target);
        println!("{ROUND}");
    }
}
