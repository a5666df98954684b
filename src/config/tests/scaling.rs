//! The cost of a configuration grows linearly with its tables.

use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;

use super::{Folder, toml, try_resolve};
use crate::config::problem::Problems;
use crate::config::rules::check;
use crate::config::settings::document::When;
use crate::config::{Binding, Config, Document, ResolveError, Route};

/// Returns the CPU time of this thread in nanoseconds, which other load does not affect.
fn cpu_nanos() -> u64 {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let on_cpu = stat.split_whitespace().next().expect("a number");
    on_cpu.parse().expect("a number")
}

fn cost(work: impl FnOnce()) -> u64 {
    let start = cpu_nanos();
    work();
    cpu_nanos() - start
}

/// Returns two layers with `count` tenants and routes.
fn files(count: usize) -> Folder {
    let mut text = "[defaults]\napi_key = { env = \"K\" }\n[features.search]\n".to_owned();
    for number in 0..count {
        writeln!(text, "[tenants.t{number}]\nsource = \"x\"").expect("written");
        writeln!(
            text,
            "[[routes]]\nwhen = {{ tenant = \"t{number}\", feature = \"search\" }}\nweight = 7"
        )
        .expect("written");
    }
    Folder::new(&[("default.toml", &text), ("local.toml", &text)])
}

/// Returns a configuration with `count` tenants.
fn tenants(count: usize) -> Config {
    let tables = (0..count).map(|number| format!("[tenants.t{number}]\n"));
    toml(&tables.collect::<String>()).expect("valid")
}

/// Loads the files and resolves each selector.
fn load(folder: &Folder) -> Config {
    let config = folder.load(&[]).expect("valid");
    let selectors = config.selectors();
    for selector in &selectors {
        let weight = config.resolve(selector).expect("a key").weight;
        assert_eq!(weight == 7, selector.single().is_none(), "{selector}");
    }
    config
}

#[test]
#[ignore = "measures times: cargo test -p tracer-registry --lib --all-features -- --ignored linear_time"]
fn overlaying_and_checking_routes_takes_linear_time() {
    let document = |count: usize| {
        let route = |number: usize| Route {
            when: When {
                tenant: Some(format!("t{number}")),
                feature: Some("search".to_owned()),
                ..When::default()
            },
            binding: Binding::default(),
        };
        Document {
            routes: (0..count).map(route).collect(),
            ..Document::default()
        }
    };
    let work = |count: usize| {
        let (mut below, over) = (document(count), document(count));
        cost(|| {
            below.overlay(&over);
            let mut problems = Problems::default();
            check::document(&below, &mut problems);
            problems.into_result().expect("valid");
        })
    };
    // Warm-up.
    work(1_000);
    let (short, long) = (work(1_000), work(20_000));
    assert!(
        long < 60 * short,
        "1,000 took {short} ns, and twenty times as many {long} ns"
    );
}

#[test]
fn resolving_selectors_takes_linear_time() {
    let (few, many) = (files(300), files(3_000));
    drop(load(&few));
    let (short, long) = (cost(|| drop(load(&few))), cost(|| drop(load(&many))));
    assert!(
        long < 30 * short,
        "300 took {short} ns, and ten times as many {long} ns"
    );
}

#[test]
fn refusing_an_unknown_name_takes_constant_time() {
    let (few, many) = (tenants(1_000), tenants(20_000));
    let refuse = |config: &Config| {
        cost(|| {
            for _ in 0..20 {
                let error = try_resolve(config, "tenant:t4x").expect_err("unknown");
                assert!(matches!(black_box(error), ResolveError::Unknown { .. }));
            }
        })
    };
    refuse(&few);
    let (short, long) = (refuse(&few), refuse(&many));
    assert!(
        long < 8 * short,
        "among 1,000 it took {short} ns, among 20,000 {long} ns"
    );
}

#[test]
fn a_similar_name_is_suggested_among_many() {
    let config = tenants(3_000);
    let Err(ResolveError::Unknown { similar, .. }) = try_resolve(&config, "tenant:t1500x") else {
        panic!("an unknown tenant");
    };
    assert_eq!(similar[0], "t1500");
}
