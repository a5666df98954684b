//! What a configuration takes grows with the number of its tables, not with the square of it.

use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;

use super::{Folder, toml, try_resolve};
use crate::config::fault::Faults;
use crate::config::rules::check;
use crate::config::settings::document::When;
use crate::config::{Binding, Config, Document, ResolveError, Route};

/// What this thread has computed, in nanoseconds, whatever else the machine does.
fn cpu_nanos() -> u64 {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let on_cpu = stat.split_whitespace().next().expect("a number");
    on_cpu.parse().expect("a number")
}

fn cost(work: impl FnOnce()) -> u64 {
    let begun = cpu_nanos();
    work();
    cpu_nanos() - begun
}

/// Two layers with a tenant and a route for each number.
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

/// A tenant for each number.
fn tenants(count: usize) -> Config {
    let tables = (0..count).map(|number| format!("[tenants.t{number}]\n"));
    toml(&tables.collect::<String>()).expect("valid")
}

/// Loads, and finds what holds for each selector.
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
fn laying_routes_over_others_and_checking_them_take_time_in_proportion_to_their_number() {
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
            let mut faults = Faults::default();
            check::document(&below, &mut faults);
            faults.into_result().expect("valid");
        })
    };
    // Twice: the first touches memory and code that the second finds.
    work(1_000);
    let (short, long) = (work(1_000), work(20_000));
    assert!(
        long < 60 * short,
        "1,000 took {short} ns, and twenty times as many {long} ns"
    );
}

#[test]
fn resolving_takes_time_in_proportion_to_the_selectors() {
    let (few, many) = (files(300), files(3_000));
    drop(load(&few));
    let (short, long) = (cost(|| drop(load(&few))), cost(|| drop(load(&many))));
    assert!(
        long < 30 * short,
        "300 took {short} ns, and ten times as many {long} ns"
    );
}

#[test]
fn an_unknown_name_is_refused_as_fast_among_many_names_as_among_few() {
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
fn a_name_that_is_like_an_unknown_one_is_suggested_also_among_many() {
    let config = tenants(3_000);
    let Err(ResolveError::Unknown { similar, .. }) = try_resolve(&config, "tenant:t1500x") else {
        panic!("it is not configured");
    };
    assert_eq!(similar[0], "t1500");
}
