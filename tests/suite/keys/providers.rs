//! Key providers of the program, and providers that fail, panic or hang.

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

use super::is_empty;
use crate::support::binding;

#[test]
fn an_unknown_or_refusing_provider_fails_only_its_own_look_up() {
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
        .expect("providers are resolved on look-up");
    for (tenant, expected) in [
        (
            "unknown",
            "the key cannot be read: provider vualt, secret unknown: unknown provider; known providers: vault",
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
    assert!(is_empty(&registry));
    registry.tenant("good").expect("unaffected");
}

#[test]
fn a_panic_of_a_provider_reaches_the_caller_and_leaves_no_state() {
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
    let panic = catch_unwind(AssertUnwindSafe(|| registry.tenant("a"))).expect_err("a panic");
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"the source is broken"));
    assert!(is_empty(&registry));
    registry.tenant("a").expect("the next look-up retries");
    registry.tenant("b").expect("the thread can look up after a panic");
}

#[test]
fn waiters_of_a_panicked_look_up_get_an_error_or_retry() {
    const WAITING: usize = 8;
    // A waiting thread is not observable, so rounds repeat until one waiter gets the error.
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
            let panicking = threads.spawn(|| catch_unwind(AssertUnwindSafe(|| registry.tenant("a"))).is_err());
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
            assert!(panicking.join().expect("caught"));
            results
        });
        let panicked = results
            .iter()
            .filter(|result| matches!(result, Err(LookupError::Panicked(_))))
            .count();
        let succeeded = results.iter().filter(|result| result.is_ok()).count();
        assert_eq!(panicked + succeeded, WAITING, "{results:?}");
        if panicked > 0 {
            return;
        }
    }
    panic!("no look-up waited during the panic");
}

#[test]
fn a_hanging_command_delays_only_its_own_tenant() {
    let folder = TempDir::new().expect("a temporary folder");
    let gate = folder.path().join("gate");
    assert!(Command::new("mkfifo").arg(&gate).status().expect("mkfifo").success());
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
            registry.tenant(&format!("t{n}")).expect("unaffected");
        }
        // Opening the pipe blocks until the command opens it for reading.
        fs::write(&gate, "hh_key").expect("the command reads");
        slow.join().expect("no panic").expect("a key");
    });
}
