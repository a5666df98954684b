//! Attacks beside a well-behaved client of another caller: all its requests succeed, and the memory
//! of the gateway stays bounded.
#![expect(clippy::print_stdout, reason = "figures")]

use std::time::Instant;

use super::attacks::{Attack, FLOODS, MANY, MESSAGES, UNFINISHED};
use super::neighbour::{Neighbour, wait_for_requests};
use super::process::Process;

fn withstand(attacks: &[(&str, Attack)]) {
    let process = Process::start(32, "max_request = \"4MiB\"");
    let neighbour = Neighbour::start(&process);
    for (name, attack) in attacks {
        let began = Instant::now();
        attack(process.target());
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
