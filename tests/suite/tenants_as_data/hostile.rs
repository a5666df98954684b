//! Files of tenants that are small and would come to more than a process has.

use std::fs;

use tracer_registry::check::CheckMode;
use tracer_registry::config::Config;
use tracer_registry::{LookupError, TracerRegistry};

use super::files::key;
use crate::child_process::is_child_with_memory;
use crate::support::keys;

/// Each line stands for ten times the one before.
fn bomb() -> String {
    let line = |(below, name): (char, char)| format!("{name}: &{name} [{}]\n", vec![format!("*{below}"); 10].join(","));
    "a: &a [x,x,x,x,x,x,x,x,x,x]\n".to_owned() + &('a'..'g').zip('b'..='g').map(line).collect::<String>()
}

/// Each line is one level deeper than the one before.
fn chain(lines: usize) -> String {
    let line = |at: usize| format!("a{at}: &a{at} [*a{}]\n", at - 1);
    "a0: &a0 [x]\n".to_owned() + &(1..lines).map(line).collect::<String>()
}

/// What this process had in memory at the most.
fn peak_mebibytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("told");
    let kibibytes: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    kibibytes / 1024
}

#[test]
fn a_tenants_file_costs_its_own_look_up_and_neither_memory_nor_the_stack_of_the_process() {
    let test = "tenants_as_data::hostile::a_tenants_file_costs_its_own_look_up_and_neither_memory_nor_the_stack_of_the_process";
    if !is_child_with_memory(test, 2_048) {
        return;
    }
    let (large, deep) = ("larger than 256 KiB", "nested deeper than 64 levels");
    let files = [
        ("bomb.yaml", bomb(), large),
        ("chain.yaml", chain(500), deep),
        ("longer.yml", chain(5_000), deep),
        ("flow.yaml", format!("a: {}", "[".repeat(100_000)), deep),
        ("block.yaml", "- ".repeat(100_000), deep),
        ("json-lists.json", format!("{{\"a\": {}", "[".repeat(100_000)), deep),
        ("toml-lists.toml", format!("a = {}", "[".repeat(100_000)), deep),
        ("dotted.toml", format!("{} = 1", vec!["a"; 100_000].join(".")), deep),
        ("long-toml.toml", format!("source = \"{}\"", "x".repeat(300_000)), large),
        ("long-yaml.yaml", format!("source: {}", "x".repeat(300_000)), large),
        (
            "long-json.json",
            format!("{{\"source\": \"{}\"}}", "x".repeat(300_000)),
            large,
        ),
    ];
    assert!(files[0].1.len() < 300, "a small file: {}", files[0].1.len());
    let folder = tempfile::tempdir().expect("a folder");
    let tenants = folder.path().join("tenants.d");
    fs::create_dir(&tenants).expect("made");
    for (name, text, _) in &files {
        fs::write(tenants.join(name), text).expect("written");
    }
    fs::write(tenants.join("good.toml"), key("good")).expect("written");
    let file = folder.path().join("default.toml");
    let configuration = "tenants_dir = \"tenants.d\"\n[defaults]\nbackend = \"otlp\"\nendpoint = \"http://127.0.0.1:9\"\n\
                [untrusted]\nkeys = [\"provider:test/*\"]\n";
    fs::write(&file, configuration).expect("written");
    let config = Config::load_files(&file).expect("no file of a tenant is read");
    let registry = TracerRegistry::builder().config(config).secret_source("test", keys());
    let registry = registry.build().expect("valid");
    for (name, _, rule) in &files {
        let stem = name.split('.').next().expect("a name");
        let error = registry.tenant(stem).expect_err(name);
        assert!(matches!(error, LookupError::TenantBinding(_)), "{name}: {error}");
        let said = error.to_string();
        assert!(said.contains(rule), "{name}: {said}");
        assert!(said.len() < 2_000, "{name}: {} bytes of error", said.len());
    }
    registry.tenant("good").expect("its own file is good");
    let checked = registry.check(CheckMode::Keys);
    let (faulty, good): (Vec<_>, Vec<_>) = checked.iter().partition(|binding| binding.is_faulty());
    assert_eq!((faulty.len(), good.len()), (files.len(), 1), "{checked:#?}");
    // The operator's own file has bounds as well.
    for (name, text, _) in &files[..8] {
        let file = folder.path().join(format!("own-{name}"));
        fs::write(&file, text).expect("written");
        drop(Config::load_files(&file).expect_err(name));
    }
    assert!(peak_mebibytes() < 300, "{} MiB at the most", peak_mebibytes());
}
