//! Files that are written while they are watched, by a clock of the test: no watcher runs.

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
/// A moment less than [`SETTLED`].
const ALMOST: Duration = Duration::from_millis(1_999);

/// A registry of files, and when it is.
struct Watched {
    folder: TempDir,
    registry: TracerRegistry,
    now: Instant,
}

impl Watched {
    /// `files` are written first; the configuration is `default.toml` among them.
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().expect("a folder");
        fs::create_dir(folder.path().join("t")).expect("made");
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

    /// Writes a file, and has it seen after a time. Gives in how long it is to be looked at again.
    fn write(&mut self, name: &str, text: &str, after: Duration) -> Option<Duration> {
        fs::write(self.folder.path().join(name), text).expect("written");
        self.look(&[name], after)
    }

    fn remove(&mut self, name: &str, after: Duration) -> Option<Duration> {
        fs::remove_file(self.folder.path().join(name)).expect("removed");
        self.look(&[name], after)
    }

    fn look(&mut self, changed: &[&str], after: Duration) -> Option<Duration> {
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
fn while_a_file_is_written_in_place_every_look_up_succeeds() {
    let text = whole("new");
    // Cut at the end of each line: what can be read is valid, and less.
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
            // Nor does a tracer that is made now go without what was cut off.
            let fresh = watched
                .registry
                .dedicated(selector.parse::<Selector>().expect("a selector"));
            assert!(fresh.is_ok(), "{selector} after {}", &text[..cut]);
        }
        // The rest comes a second later.
        assert_eq!(watched.write("default.toml", &text, SETTLED / 2), None);
        assert!(!watched.waits());
        assert_eq!(watched.source("tenant:acme").as_deref(), Some("new"));
    }
    assert!(waited > 10, "only {waited} of the cuts took something away");
}

#[test]
fn whatever_table_or_setting_is_taken_away_waits_for_two_seconds_and_is_taken_then() {
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
        assert_eq!(watched.look(&["default.toml"], ALMOST), Some(MOMENT), "{piece}");
        assert_eq!(watched.registry.config(), running, "{piece}");
        assert!(watched.waits());
        let reloads = watched.registry.status().configuration.reloads;
        assert_eq!(reloads, 0, "nothing was taken over yet");
        assert_eq!(watched.look(&["default.toml"], MOMENT), None, "{piece}");
        assert_ne!(watched.registry.config(), running, "{piece}");
        assert!(!watched.waits());
        assert_eq!(watched.registry.status().configuration.reloads, 1);
    }
}

#[test]
fn a_layer_that_goes_waits_and_one_that_comes_does_not() {
    let mut watched = Watched::new(&[("default.toml", &whole("eu"))]);
    let local = "[tenants.acme]\nsource = \"local\"\n";
    assert_eq!(watched.write("local.toml", local, Duration::ZERO), None);
    assert_eq!(watched.source("tenant:acme").as_deref(), Some("local"));
    // Emptied, then removed: what it says is the same.
    assert_eq!(watched.write("local.toml", "", MOMENT), Some(SETTLED));
    assert_eq!(watched.remove("local.toml", ALMOST), Some(MOMENT));
    assert_eq!(watched.source("tenant:acme").as_deref(), Some("local"));
    assert_eq!(watched.look(&["local.toml"], MOMENT), None);
    assert_eq!(watched.source("tenant:acme").as_deref(), Some("eu"));
}

#[test]
fn a_file_that_goes_on_changing_waits_on_and_what_else_changes_does_not() {
    let mut watched = Watched::new(&[
        ("default.toml", &whole("eu")),
        ("t/hooli.toml", "api_key = { provider = \"s\", name = \"old\" }\n"),
    ]);
    let hooli = watched.get("tenant:hooli").expect("has a file");
    assert_eq!(watched.write("default.toml", "", Duration::ZERO), Some(SETTLED));
    let half = HEAD.to_owned() + &table("tenants.acme", "");
    assert_eq!(watched.write("default.toml", &half, SETTLED), Some(SETTLED));
    // A tenant's file that takes nothing away is taken at once, and the others have waited as long as before.
    let newer = "api_key = { provider = \"s\", name = \"new\" }\n";
    fs::write(watched.folder.path().join("t/hooli.toml"), newer).expect("written");
    let again = watched.look(&["default.toml", "t/hooli.toml"], SETTLED / 2);
    assert_eq!(again, Some(SETTLED / 2));
    assert!(!watched.get("tenant:hooli").expect("has a file").same_tracer(&hooli));
    assert!(watched.get("tenant:globex").is_ok());
    assert_eq!(watched.look(&["default.toml"], SETTLED / 2), None);
    assert!(watched.get("tenant:globex").expect_err("gone").is_unknown());
}

#[test]
fn a_reload_that_the_program_asks_for_never_waits() {
    let mut watched = Watched::new(&[("default.toml", &whole("eu"))]);
    assert!(watched.get("tenant:globex").is_ok());
    let half = HEAD.to_owned() + &table("tenants.acme", "");
    assert!(watched.write("default.toml", &half, Duration::ZERO).is_some());
    assert!(watched.waits());
    let told = watched.registry.reload().expect("without a fault");
    assert!(
        told.removed.contains(&"tenant:globex".parse().expect("a selector")),
        "{told}"
    );
    assert!(!watched.waits());
    assert!(watched.get("tenant:globex").expect_err("gone").is_unknown());
    // What was to be looked at again finds nothing more to do.
    assert_eq!(watched.look(&["default.toml"], SETTLED), None);
    assert!(!watched.waits());
}

#[test]
fn a_fault_ends_the_waiting_and_the_next_look_begins_anew() {
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
fn a_tenants_file_that_is_emptied_cut_or_gone_keeps_its_tracer_for_two_seconds() {
    let file = "api_key = { provider = \"s\", name = \"own\" }\nsource = \"eu\"\n";
    let any = table("tenants.\"*\"", "");
    let cut = &file[..file.find("source").expect("there")];
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
            // Also where all is read again meanwhile.
            assert_eq!(watched.look(&["t/acme.toml", "default.toml"], ALMOST), Some(MOMENT));
            assert!(watched.get("tenant:acme").expect("kept").same_tracer(&acme));
            assert_eq!(watched.look(&["t/acme.toml"], MOMENT), None);
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
fn a_tenants_file_that_is_whole_again_keeps_its_tracer_and_more_in_it_is_taken_at_once() {
    let file = "api_key = { provider = \"s\", name = \"own\" }\n";
    let mut watched = Watched::new(&[("default.toml", HEAD), ("t/acme.toml", file)]);
    let acme = watched.get("tenant:acme").expect("has a file");
    assert_eq!(watched.write("t/acme.toml", "", Duration::ZERO), Some(SETTLED));
    assert_eq!(watched.write("t/acme.toml", file, MOMENT), None);
    assert!(watched.get("tenant:acme").expect("has a file").same_tracer(&acme));
    let more = file.to_owned() + "source = \"eu\"\n";
    assert_eq!(watched.write("t/acme.toml", &more, MOMENT), None);
    assert!(!watched.get("tenant:acme").expect("has a file").same_tracer(&acme));
    // A table of the operator's takes the place of the file, which is not read any more.
    fs::remove_file(watched.folder.path().join("t/acme.toml")).expect("removed");
    let table = HEAD.to_owned() + &table("tenants.acme", "");
    assert_eq!(watched.write("default.toml", &table, MOMENT), None);
}

#[test]
fn what_a_program_gave_in_code_has_no_files_that_could_be_less() {
    let binding = Binding::new().api_key(crate::secret::KeySource::provider("s", "k"));
    let registry = TracerRegistry::builder()
        .tenant("acme", binding)
        .untrusted(Untrusted::new());
    let registry = registry.build().expect("valid");
    assert_eq!(registry.0.state.files_changed(&BTreeSet::new(), Instant::now()), None);
}

#[test]
fn the_last_handle_ends_the_registry_itself_also_while_files_are_looked_at() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = folder.path().join("default.toml");
    fs::write(&file, "[reload]\nwatch = true\n").expect("written");
    let registry = TracerRegistry::from_config(file).expect("valid");
    let state = Arc::clone(&registry.0.state);
    // What was read before it was watched is looked at once, which waits here.
    let one = state.reloads.one.lock();
    let begun = Instant::now();
    while Arc::strong_count(&state) < 3 {
        assert!(begun.elapsed() < Duration::from_secs(60), "the watcher does not look");
        thread::yield_now();
    }
    drop(registry);
    assert!(state.closed.load(Ordering::SeqCst), "what was queued is sent by now");
    drop(one);
}
