//! The program's own sources, and sources that are slow or break.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use secrecy::SecretString;
use tempfile::TempDir;
use tracer_registry::config::Binding;
use tracer_registry::secret::{KeyCommand, SecretError};
use tracer_registry::{KeySource, LookupError, TracerRegistry};

use super::nothing_is_left;
use crate::support::binding;

#[test]
fn a_source_that_the_program_lacks_or_that_refuses_is_an_error_of_that_look_up_alone() {
    let named = |provider: &str| Binding::new().api_key(KeySource::provider(provider, "{tenant}"));
    let registry = TracerRegistry::builder()
        .tenant("unknown", named("vualt"))
        .tenant("refused", named("vault"))
        .tenant("empty", named("vault"))
        .tenant("lines", named("vault"))
        .tenant("good", named("vault"))
        .secret_source("vault", |name: &str| match name {
            "refused" => Err(SecretError::refused("permission denied")),
            "empty" => Ok(SecretString::from("")),
            "lines" => Ok(SecretString::from("hh_canary\n")),
            _ => Ok(SecretString::from("hh_key")),
        })
        .build()
        .expect("providers are looked for when they are asked");
    for (tenant, expected) in [
        (
            "unknown",
            "the key cannot be read: provider vualt, secret unknown: no such provider; the program has: vault",
        ),
        (
            "refused",
            "the key cannot be read: provider vault, secret refused: permission denied",
        ),
        ("empty", "the key cannot be read: provider vault, secret empty: empty"),
        (
            "lines",
            "the key cannot be read: provider vault, secret lines: contains a control character at byte 9; a key is one line (one newline at the end is allowed)",
        ),
    ] {
        assert_eq!(registry.tenant(tenant).expect_err("no key").to_string(), expected);
    }
    assert!(nothing_is_left(&registry));
    registry.tenant("good").expect("not concerned");
}

#[test]
fn a_source_that_panics_panics_in_its_caller_and_leaves_nothing() {
    let calls = AtomicUsize::new(0);
    let registry = TracerRegistry::builder()
        .tenant("a", binding("a"))
        .tenant("b", binding("b"))
        .secret_source("test", move |name: &str| {
            assert!(
                name == "b" || calls.fetch_add(1, Ordering::Relaxed) > 0,
                "the source is broken"
            );
            Ok(SecretString::from("hh_key"))
        })
        .build()
        .expect("valid");
    let panic = catch_unwind(AssertUnwindSafe(|| registry.tenant("a"))).expect_err("the panic is the caller's");
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"the source is broken"));
    assert!(nothing_is_left(&registry));
    registry.tenant("a").expect("the next one tries again");
    registry.tenant("b").expect("the thread may look up after a panic");
}

#[test]
fn those_who_wait_for_a_look_up_that_panics_get_an_error_or_try_again_and_never_wait_for_ever() {
    const WAITING: usize = 8;
    // A thread cannot be seen to wait, so rounds go on until one has been caught waiting.
    for round in 0..1_000 {
        let (calls, begun) = (AtomicUsize::new(0), Arc::new(Barrier::new(WAITING + 1)));
        let all_begun = Arc::clone(&begun);
        let registry = TracerRegistry::builder()
            .tenant("a", binding("a"))
            .secret_source("test", move |_: &str| {
                if calls.fetch_add(1, Ordering::Relaxed) == 0 {
                    all_begun.wait();
                    (0..round).for_each(|_| thread::yield_now());
                    panic!("the source is broken");
                }
                Ok(SecretString::from("hh_key"))
            })
            .build()
            .expect("valid");
        let results = thread::scope(|threads| {
            let broken = threads.spawn(|| catch_unwind(AssertUnwindSafe(|| registry.tenant("a"))).is_err());
            let waiting: Vec<_> = (0..WAITING)
                .map(|_| {
                    threads.spawn(|| {
                        begun.wait();
                        registry.tenant("a")
                    })
                })
                .collect();
            let results: Vec<_> = waiting
                .into_iter()
                .map(|thread| thread.join().expect("no panic"))
                .collect();
            assert!(broken.join().expect("caught"));
            results
        });
        let panicked = results
            .iter()
            .filter(|result| matches!(result, Err(LookupError::Panicked(_))))
            .count();
        let made = results.iter().filter(|result| result.is_ok()).count();
        assert_eq!(panicked + made, WAITING, "{results:?}");
        if panicked > 0 {
            return;
        }
    }
    panic!("nobody was caught waiting");
}

#[test]
fn a_command_that_hangs_delays_nobody_but_its_own_tenant() {
    let folder = TempDir::new().expect("a temporary folder");
    let gate = folder.path().join("gate");
    assert!(
        Command::new("mkfifo")
            .arg(&gate)
            .status()
            .expect("mkfifo is there")
            .success()
    );
    let command = KeyCommand::new(["cat".to_owned(), gate.display().to_string()]);
    let slow = KeySource::Exec(command.timeout(Duration::from_secs(600)));
    let registry = TracerRegistry::builder()
        .tenant("slow", Binding::new().api_key(slow))
        .tenant("*", binding("any"))
        .secret_source("test", |_: &str| Ok(SecretString::from("hh_key")))
        .build()
        .expect("valid");
    thread::scope(|threads| {
        let slow = threads.spawn(|| registry.tenant("slow"));
        for n in 0..100 {
            registry.tenant(&format!("t{n}")).expect("not concerned");
        }
        // Opening waits for the command, so it is under way now at the latest.
        fs::write(&gate, "hh_key").expect("the command reads");
        slow.join().expect("no panic").expect("a key at last");
    });
}
