//! The effective settings, as a file would write them.

use super::defaults::{REGISTRY_SETTINGS, SPOOL_SETTINGS};
use super::toml;
use crate::config::Config;

fn written(config: &Config) -> String {
    let settings = config.effective().into_iter();
    let lines: Vec<String> = settings.map(|(name, value)| format!("{name} = {value}")).collect();
    lines.join("\n")
}

#[test]
fn all_settings_are_listed_by_name() {
    let mut names: Vec<_> = toml("")
        .expect("valid")
        .effective()
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    names.sort_unstable();
    let mut expected = REGISTRY_SETTINGS.map(|(name, _)| name).to_vec();
    // The others of its table have no default.
    expected.push(SPOOL_SETTINGS[0]);
    expected.sort_unstable();
    assert_eq!(names, expected);
}

#[test]
fn a_file_with_the_effective_settings_has_the_same_effect() {
    let all: Vec<String> = REGISTRY_SETTINGS
        .iter()
        .map(|(name, value)| format!("{name} = {value}"))
        .collect();
    for text in [
        String::new(),
        all.join("\n"),
        "pool.idle_timeout = 'never'\nexport.timeout = '1500ms'\n".to_owned(),
    ] {
        let config = toml(&text).expect("valid");
        let again = toml(&written(&config)).expect("valid");
        assert_eq!(again.effective(), config.effective());
        assert!(config.needs_restart(&again).is_empty(), "{text}");
    }
}

#[test]
fn sizes_and_durations_have_units() {
    let config = toml("export.max_queue_bytes = '7kB'\nexport.retry.max_elapsed = '90m'").expect("valid");
    let written = written(&config);
    for expected in [
        "export.max_queue_bytes = \"7000B\"\n",
        "export.retry.max_elapsed = \"1h 30m\"\n",
        "export.protocol = \"http/protobuf\"\n",
        "pool.idle_timeout = \"30m\"\n",
        "metrics.max_tracers = 100\n",
    ] {
        assert!(written.contains(expected), "{expected} in {written}");
    }
    let defaults = toml("").expect("valid").effective();
    assert!(defaults.contains(&("export.max_queue_bytes", "\"64MiB\"".to_owned())));
}
