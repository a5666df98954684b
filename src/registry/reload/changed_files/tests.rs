//! Changes of watched files with a simulated clock; no watcher runs.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::super::removals::SETTLED;
use crate::config::{Binding, Config, Untrusted};
use crate::registry::{LookupError, TracerRegistry};
use crate::selector::Selector;
use crate::tracer::TracerHandle;

const MOMENT: Duration = Duration::from_millis(1);
/// 1 ms less than [`SETTLED`].
const ALMOST: Duration = Duration::from_millis(1_999);

/// A registry with files, and its simulated time.
struct Watched {
    folder: TempDir,
    registry: TracerRegistry,
    now: Instant,
}

impl Watched {
    /// Writes `files` first. The configuration is `default.toml` among them.
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().expect("a folder");
        fs::create_dir(folder.path().join("t")).expect("created");
        for (name, text) in files {
            fs::write(folder.path().join(name), text).expect("written");
        }
        let config = Config::load_files(folder.path()).expect("valid");
        let key = |name: &str| Ok(name.to_owned().into());
        let registry = TracerRegistry::builder().config(config).secret_source("s", key).build();
        Self {
            folder,
            registry: registry.expect("valid"),
            now: Instant::now(),
        }
    }

    /// Writes a file and reports the change `after` the last step. Returns the delay until the next
    /// check.
    fn write(&mut self, name: &str, text: &str, after: Duration) -> Option<Duration> {
        fs::write(self.folder.path().join(name), text).expect("written");
        self.check(&[name], after)
    }

    fn remove(&mut self, name: &str, after: Duration) -> Option<Duration> {
        fs::remove_file(self.folder.path().join(name)).expect("removed");
        self.check(&[name], after)
    }

    fn check(&mut self, changed: &[&str], after: Duration) -> Option<Duration> {
        self.now += after;
        let changed: BTreeSet<_> = changed.iter().map(|name| self.folder.path().join(name)).collect();
        self.registry.0.state.files_changed(&changed, self.now)
    }

    fn waits(&self) -> bool {
        self.registry.status().configuration.waiting_since.is_some()
    }

    fn get(&self, selector: &str) -> Result<TracerHandle, LookupError> {
        self.registry.get(selector.parse::<Selector>().expect("a selector"))
    }

    fn source(&self, selector: &str) -> Option<String> {
        let selector: Selector = selector.parse().expect("a selector");
        self.registry.config().resolve(&selector).ok()?.source
    }
}

const HEAD: &str = "tenants_dir = \"t\"\n[defaults]\nbackend = \"otlp\"\nendpoint = \"http://127.0.0.1:9\"\n\
                    [untrusted]\nkeys = [\"provider:s/*\"]\n";

fn table(name: &str, more: &str) -> String {
    format!("[{name}]\napi_key = {{ provider = \"s\", name = \"k\" }}\n{more}")
}

fn whole(source: &str) -> String {
    let source = format!("source = \"{source}\"\n");
    HEAD.to_owned()
        + &table("tenants.acme", &source)
        + &table("tenants.globex", "")
        + &table("environments.eu", "")
        + &table("features.search", "")
        + &table("[routes]", "when = { tenant = \"acme\", feature = \"search\" }\n")
}

const ALL: [&str; 5] = [
    "tenant:acme",
    "tenant:globex",
    "environment:eu",
    "feature:search",
    "feature:search,tenant:acme",
];

#[test]
fn every_look_up_succeeds_while_a_file_is_written_in_place() {
    let text = whole("new");
    // Cut after each line: the remainder is valid but incomplete.
    let cuts: Vec<usize> = text.match_indices('\n').map(|(at, _)| at + 1).collect();
    let mut waited = 0;
    for cut in [0].into_iter().chain(cuts) {
        let mut watched = Watched::new(&[("default.toml", &whole("old"))]);
        let before = ALL.map(|selector| watched.get(selector).expect("configured"));
        let again = watched.write("default.toml", &text[..cut], Duration::ZERO);
        assert_eq!(again.is_some(), watched.waits(), "{}", &text[..cut]);
        waited += u32::from(watched.waits());
        for (selector, before) in ALL.iter().zip(&before) {
            let now = watched.get(selector).expect("still configured");
            assert!(
                now.same_tracer(before) || cut == text.len(),
                "{selector} after {}",
                &text[..cut]
            );
            // A tracer created now has a complete binding too.
            let fresh = watched
                .registry
                .dedicated(selector.parse::<Selector>().expect("a selector"));
            assert!(fresh.is_ok(), "{selector} after {}", &text[..cut]);
        }
        // The complete file follows a second later.
        assert_eq!(watched.write("default.toml", &text, SETTLED / 2), None);
        assert!(!watched.waits());
        assert_eq!(watched.source("tenant:acme").as_deref(), Some("new"));
    }
    assert!(waited > 10, "only {waited} cuts removed something");
}

#[test]
fn a_removed_table_or_setting_is_applied_after_two_seconds() {
    let old = whole("eu");
    let pieces = [
        table("tenants.globex", ""),
        table("environments.eu", ""),
        table("features.search", ""),
        table("[routes]", "when = { tenant = \"acme\", feature = \"search\" }\n"),
        "source = \"eu\"\n".to_owned(),
        "endpoint = \"http://127.0.0.1:9\"\n".to_owned(),
        "[untrusted]\nkeys = [\"provider:s/*\"]\n".to_owned(),
    ];
    for piece in &pieces {
        let less = old.replacen(piece, "", 1);
        assert_ne!(less, old, "{piece}");
        let mut watched = Watched::new(&[("default.toml", &old)]);
        let running = watched.registry.config();
        assert_eq!(
            watched.write("default.toml", &less, Duration::ZERO),
            Some(SETTLED),
            "{piece}"
        );
        assert_eq!(watched.check(&["default.toml"], ALMOST), Some(MOMENT), "{piece}");
        assert_eq!(watched.registry.config(), running, "{piece}");
        assert!(watched.waits());
        let reloads = watched.registry.status().configuration.reloads;
        assert_eq!(reloads, 0, "nothing is applied yet");
        assert_eq!(watched.check(&["default.toml"], MOMENT), None, "{piece}");
        assert_ne!(watched.registry.config(), running, "{piece}");
        assert!(!watched.waits());
        assert_eq!(watched.registry.status().configuration.reloads, 1);
    }
}

#[test]
fn a_removed_layer_waits_and_an_added_one_does_not() {
    let mut watched = Watched::new(&[("default.toml", &whole("eu"))]);
    let local = "[tenants.acme]\nsource = \"local\"\n";
    assert_eq!(watched.write("local.toml", local, Duration::ZERO), None);
    assert_eq!(watched.source("tenant:acme").as_deref(), Some("local"));
    // Emptied, then removed: the content is the same.
    assert_eq!(watched.write("local.toml", "", MOMENT), Some(SETTLED));
    assert_eq!(watched.remove("local.toml", ALMOST), Some(MOMENT));
    assert_eq!(watched.source("tenant:acme").as_deref(), Some("local"));
    assert_eq!(watched.check(&["local.toml"], MOMENT), None);
    assert_eq!(watched.source("tenant:acme").as_deref(), Some("eu"));
}

#[test]
fn a_changing_file_keeps_waiting_and_other_changes_do_not_wait() {
    let mut watched = Watched::new(&[
        ("default.toml", &whole("eu")),
        ("t/hooli.toml", "api_key = { provider = \"s\", name = \"old\" }\n"),
    ]);
    let hooli = watched.get("tenant:hooli").expect("has a file");
    assert_eq!(watched.write("default.toml", "", Duration::ZERO), Some(SETTLED));
    let half = HEAD.to_owned() + &table("tenants.acme", "");
    assert_eq!(watched.write("default.toml", &half, SETTLED), Some(SETTLED));
    // A tenant's file that removes nothing is applied at once; the pending removals keep their
    // start time.
    let newer = "api_key = { provider = \"s\", name = \"new\" }\n";
    fs::write(watched.folder.path().join("t/hooli.toml"), newer).expect("written");
    let again = watched.check(&["default.toml", "t/hooli.toml"], SETTLED / 2);
    assert_eq!(again, Some(SETTLED / 2));
    assert!(!watched.get("tenant:hooli").expect("has a file").same_tracer(&hooli));
    assert!(watched.get("tenant:globex").is_ok());
    assert_eq!(watched.check(&["default.toml"], SETTLED / 2), None);
    assert!(watched.get("tenant:globex").expect_err("gone").is_unknown());
}

#[test]
fn an_explicit_reload_never_waits() {
    let mut watched = Watched::new(&[("default.toml", &whole("eu"))]);
    assert!(watched.get("tenant:globex").is_ok());
    let half = HEAD.to_owned() + &table("tenants.acme", "");
    assert!(watched.write("default.toml", &half, Duration::ZERO).is_some());
    assert!(watched.waits());
    let report = watched.registry.reload().expect("valid");
    assert!(
        report.removed.contains(&"tenant:globex".parse().expect("a selector")),
        "{report}"
    );
    assert!(!watched.waits());
    assert!(watched.get("tenant:globex").expect_err("gone").is_unknown());
    // The scheduled check has nothing left to do.
    assert_eq!(watched.check(&["default.toml"], SETTLED), None);
    assert!(!watched.waits());
}

#[test]
fn an_invalid_file_ends_the_wait_and_the_next_removal_waits_again() {
    let mut watched = Watched::new(&[("default.toml", &whole("eu"))]);
    let broken = whole("eu") + "[tenants.acme]\n";
    assert_eq!(watched.write("default.toml", "", Duration::ZERO), Some(SETTLED));
    assert_eq!(watched.write("default.toml", &broken, MOMENT), None);
    let status = watched.registry.status().configuration;
    assert!(status.error.is_some() && status.waiting_since.is_none(), "{status:?}");
    assert_eq!(watched.write("default.toml", "", SETTLED), Some(SETTLED));
    let status = watched.registry.status().configuration;
    assert!(status.error.is_none() && status.waiting_since.is_some(), "{status:?}");
    assert!(watched.get("tenant:acme").is_ok());
}

#[test]
fn an_emptied_truncated_or_removed_tenant_file_keeps_its_tracer_for_two_seconds() {
    let file = "api_key = { provider = \"s\", name = \"own\" }\nsource = \"eu\"\n";
    let any = table("tenants.\"*\"", "");
    let cut = &file[..file.find("source").expect("in the file")];
    for less in [None, Some(""), Some(cut)] {
        for default in [HEAD.to_owned(), HEAD.to_owned() + &any] {
            let mut watched = Watched::new(&[
                ("default.toml", &default),
                ("t/acme.toml", file),
                ("t/globex.toml", file),
            ]);
            let (acme, globex) = (watched.get("tenant:acme"), watched.get("tenant:globex"));
            let (acme, globex) = (acme.expect("has a file"), globex.expect("has a file"));
            let again = match less {
                None => watched.remove("t/acme.toml", Duration::ZERO),
                Some(text) => watched.write("t/acme.toml", text, Duration::ZERO),
            };
            assert_eq!(again, Some(SETTLED), "{less:?}");
            assert!(watched.waits());
            // Even if everything is read again in the meantime.
            assert_eq!(watched.check(&["t/acme.toml", "default.toml"], ALMOST), Some(MOMENT));
            assert!(watched.get("tenant:acme").expect("kept").same_tracer(&acme));
            assert_eq!(watched.check(&["t/acme.toml"], MOMENT), None);
            assert!(!watched.waits());
            match watched.get("tenant:acme") {
                Ok(newer) => assert!(!newer.same_tracer(&acme), "{less:?}"),
                Err(error) => assert!(matches!(error, LookupError::Resolve(_)), "{error}"),
            }
            assert!(watched.get("tenant:globex").expect("has a file").same_tracer(&globex));
        }
    }
}

#[test]
fn a_restored_tenant_file_keeps_its_tracer_and_an_added_setting_applies_at_once() {
    let file = "api_key = { provider = \"s\", name = \"own\" }\n";
    let mut watched = Watched::new(&[("default.toml", HEAD), ("t/acme.toml", file)]);
    let acme = watched.get("tenant:acme").expect("has a file");
    assert_eq!(watched.write("t/acme.toml", "", Duration::ZERO), Some(SETTLED));
    assert_eq!(watched.write("t/acme.toml", file, MOMENT), None);
    assert!(watched.get("tenant:acme").expect("has a file").same_tracer(&acme));
    let more = file.to_owned() + "source = \"eu\"\n";
    assert_eq!(watched.write("t/acme.toml", &more, MOMENT), None);
    assert!(!watched.get("tenant:acme").expect("has a file").same_tracer(&acme));
    // A table in the configuration replaces the file, which is no longer read.
    fs::remove_file(watched.folder.path().join("t/acme.toml")).expect("removed");
    let table = HEAD.to_owned() + &table("tenants.acme", "");
    assert_eq!(watched.write("default.toml", &table, MOMENT), None);
}

#[test]
fn a_registry_built_in_code_has_no_files_to_watch() {
    let binding = Binding::new().api_key(crate::secret::KeySource::provider("s", "k"));
    let registry = TracerRegistry::builder()
        .tenant("acme", binding)
        .untrusted(Untrusted::new());
    let registry = registry.build().expect("valid");
    assert_eq!(registry.0.state.files_changed(&BTreeSet::new(), Instant::now()), None);
}

#[test]
fn dropping_the_last_handle_shuts_down_even_while_files_are_checked() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = folder.path().join("default.toml");
    fs::write(&file, "[reload]\nwatch = true\n").expect("written");
    let registry = TracerRegistry::from_config(file).expect("valid");
    let state = Arc::clone(&registry.0.state);
    // Files that changed before they were watched are checked at once; that check waits here.
    let removals = state.reloads.removals.lock();
    let begun = Instant::now();
    while Arc::strong_count(&state) < 3 {
        assert!(begun.elapsed() < Duration::from_secs(60), "the watcher does not start");
        thread::yield_now();
    }
    drop(registry);
    assert!(state.closed.load(Ordering::SeqCst), "queued data is sent");
    drop(removals);
}
