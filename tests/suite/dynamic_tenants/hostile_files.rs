//! Small tenant files that would need more memory or stack than a process has.

use std::fs;

use tracer_registry::check::CheckMode;
use tracer_registry::config::Config;
use tracer_registry::{LookupError, TracerRegistry};

use super::files::key;
use crate::child_process::is_child_with_memory;
use crate::support::keys;

/// A YAML alias bomb: each line expands to ten times the previous one.
fn bomb() -> String {
    let line = |(below, name): (char, char)| format!("{name}: &{name} [{}]\n", vec![format!("*{below}"); 10].join(","));
    "a: &a [x,x,x,x,x,x,x,x,x,x]\n".to_owned() + &('a'..'g').zip('b'..='g').map(line).collect::<String>()
}

/// A YAML alias chain: each line nests one level deeper.
fn chain(lines: usize) -> String {
    let line = |at: usize| format!("a{at}: &a{at} [*a{}]\n", at - 1);
    "a0: &a0 [x]\n".to_owned() + &(1..lines).map(line).collect::<String>()
}

/// Returns the peak memory of this process.
fn peak_mebibytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("reported by Linux");
    let kibibytes: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    kibibytes / 1024
}

#[test]
fn a_hostile_tenant_file_fails_only_its_look_up_within_bounded_memory_and_stack() {
    let test =
        "dynamic_tenants::hostile_files::a_hostile_tenant_file_fails_only_its_look_up_within_bounded_memory_and_stack";
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
    assert!(files[0].1.len() < 300, "the bomb is a small file: {}", files[0].1.len());
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
    let config = Config::load_files(&file).expect("tenant files are not read");
    let registry = TracerRegistry::builder().config(config).secret_source("test", keys());
    let registry = registry.build().expect("valid");
    for (name, _, rule) in &files {
        let stem = name.split('.').next().expect("a name");
        let error = registry.tenant(stem).expect_err(name);
        assert!(matches!(error, LookupError::TenantBinding(_)), "{name}: {error}");
        let message = error.to_string();
        assert!(message.contains(rule), "{name}: {message}");
        assert!(message.len() < 2_000, "{name}: {} bytes of error", message.len());
    }
    registry.tenant("good").expect("its file is valid");
    let checked = registry.check(CheckMode::Keys);
    let (faulty, good): (Vec<_>, Vec<_>) = checked.iter().partition(|binding| binding.is_faulty());
    assert_eq!((faulty.len(), good.len()), (files.len(), 1), "{checked:#?}");
    // The operator's files have the same limits.
    for (name, text, _) in &files[..8] {
        let file = folder.path().join(format!("own-{name}"));
        fs::write(&file, text).expect("written");
        drop(Config::load_files(&file).expect_err(name));
    }
    assert!(peak_mebibytes() < 300, "{} MiB at peak", peak_mebibytes());
}
