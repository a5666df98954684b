//! Remains of a key in process memory: the test reads all writable memory, freed memory too.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use tempfile::TempDir;
use tracer_registry::config::{BackendName, Binding, Export, Protocol};
use tracer_registry::{KeySource, TracerRegistry};

use crate::child_process::{is_child, is_in_child, variable};
use crate::support::{quick, wait_for};

/// The child never has the key text except as the registry reads it from the file. It searches by
/// the complement of a part of the key.
const KEY: &str = "KEY_FILE";
const COMPLEMENT: &str = "COMPLEMENT";
const PROTOCOL: &str = "PROTOCOL";

fn complement(text: &[u8]) -> Vec<u8> {
    text.iter().map(|byte| !byte).collect()
}

/// Counts the occurrences in `bytes` of the text whose complement is given.
fn count(complement: &[u8], bytes: &[u8]) -> usize {
    let (mut hits, mut rest) = (0, bytes);
    while let Some(at) = rest.iter().position(|byte| *byte == !complement[0]) {
        rest = &rest[at..];
        let is_here = rest.len() >= complement.len() && rest.iter().zip(complement).all(|(one, other)| *one == !other);
        hits += usize::from(is_here);
        rest = &rest[1..];
    }
    hits
}

/// Lists the memory maps that contain the text whose complement is given.
fn find_in_memory(complement: &[u8]) -> Vec<String> {
    let memory = File::open("/proc/self/mem").expect("Linux");
    let maps = fs::read_to_string("/proc/self/maps").expect("Linux");
    let mut buffer = vec![0; 1 << 20];
    let mut found = Vec::new();
    for map in maps
        .lines()
        .filter(|map| map.split(' ').nth(1).is_some_and(|rights| rights.starts_with("rw")))
    {
        let (start, end) = map
            .split_once(' ')
            .and_then(|(range, _)| range.split_once('-'))
            .expect("a range");
        let number = |text| u64::from_str_radix(text, 16).expect("an address");
        let (mut at, end) = (number(start), number(end));
        while at < end {
            let len = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
            // An unmapped page cannot contain the text.
            let Ok(read @ 1..) = memory.read_at(&mut buffer[..len], at) else {
                break;
            };
            let hits = count(complement, &buffer[..read]);
            if hits > 0 {
                found.push(format!("{hits} in {map}"));
            }
            // Pieces overlap by the length of the text, so a match across two pieces is found.
            at += if read < len || at + read as u64 == end {
                read
            } else {
                read - complement.len()
            } as u64;
        }
    }
    // The buffer still contains the matches.
    buffer.fill(0);
    found
}

fn try_to_send(protocol: Protocol) -> TracerRegistry {
    let binding = Binding::new().backend(BackendName::Otlp).endpoint("http://127.0.0.1:9");
    let registry = TracerRegistry::builder()
        .tenant("a", binding.api_key(KeySource::file(variable(KEY))))
        .export(Export {
            protocol: Some(protocol),
            ..quick()
        })
        .build()
        .expect("valid");
    registry.tenant("a").expect("a key").start_span("span");
    let status = || registry.status().tracers[0].last_error.clone();
    wait_for("an attempt", status, Option::is_some);
    registry
}

const PROTOCOLS: &[Protocol] = &[
    Protocol::HttpProtobuf,
    Protocol::HttpJson,
    #[cfg(feature = "grpc")]
    Protocol::Grpc,
];

#[test]
fn no_trace_of_a_key_is_left_in_memory_if_no_connection_was_made() {
    const TEST: &str = "memory::no_trace_of_a_key_is_left_in_memory_if_no_connection_was_made";
    // Check this first: a child that generates the key would have it in its memory.
    if is_in_child() {
        if is_child::<&str>(TEST, &[(KEY, ""), (COMPLEMENT, ""), (PROTOCOL, "")]) {
            assert_key_is_wiped();
        }
        return;
    }
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("key");
    let number = |last: &u32| Some(last.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    let numbers = std::iter::successors(Some(1), number);
    // Long enough that freed memory is not soon reused as a whole.
    let key: Vec<u8> = numbers
        .take(6000)
        .map(|number| b'A' + (number >> 24) as u8 % 26)
        .collect();
    fs::write(&file, &key).expect("writable");
    let digits: Vec<String> = complement(&key[3000..3064])
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    for protocol in PROTOCOLS {
        let variables = [
            (KEY, file.to_str().expect("UTF-8").to_owned()),
            (COMPLEMENT, digits.concat()),
            (PROTOCOL, format!("{protocol:?}")),
        ];
        assert!(!is_child(TEST, &variables));
    }
}

fn assert_key_is_wiped() {
    let named = variable(PROTOCOL);
    let protocol = PROTOCOLS.iter().find(|protocol| format!("{protocol:?}") == named);
    let digits = variable(COMPLEMENT);
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("digits");
    let complement: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect();
    let registry = try_to_send(*protocol.expect("one of them"));
    assert_ne!(
        find_in_memory(&complement),
        [""; 0],
        "the key is in memory while its tracer exists"
    );
    drop(registry.shutdown(Duration::ZERO));
    drop(registry);
    // Shutdown does not wait for the threads.
    wait_for("the key in memory", || find_in_memory(&complement), Vec::is_empty);
}
