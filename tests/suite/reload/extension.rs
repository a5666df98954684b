//! A program's own part of the configuration, which changes together with the registry's or not at all.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use tracer_registry::config::ConfigError;
use tracer_registry::gateway::{GatewayProblems, PreparedReload};
use tracer_registry::{BuildError, RegistryBuilder, TracerRegistry};

use super::*;
use crate::support::wait_for;

const WATCH: &str = "[reload]\nwatch = true\n";

/// The content of a file, as a registry's extension reads it. `bad` is refused.
#[derive(Clone, Default)]
struct Content {
    committed: Arc<Mutex<Vec<String>>>,
    prepared: Arc<AtomicUsize>,
}

impl Content {
    fn read(&self, config: &Config, file: &Path) -> PreparedReload {
        self.prepared.fetch_add(1, Ordering::SeqCst);
        let content = fs::read_to_string(file).expect("readable");
        let result: Result<(), ConfigError> = {
            let mut problems = GatewayProblems::new(config);
            if content == "bad" {
                problems.add("gateway.file", "bad");
            }
            problems.into_result()
        };
        let committed = Arc::clone(&self.committed);
        let commit = move || committed.lock().expect("not poisoned").push(content);
        PreparedReload {
            watch: BTreeSet::from([file.to_owned()]),
            commit: result.map(|()| Box::new(commit) as Box<dyn FnOnce() + Send>),
        }
    }

    fn committed(&self) -> Vec<String> {
        self.committed.lock().expect("not poisoned").clone()
    }

    fn last(&self) -> String {
        self.committed().pop().expect("committed at the start")
    }
}

/// A registry with an extension that reads the file `extra` of a folder of its own.
struct Extended {
    files: Files,
    content: Content,
    folder: TempDir,
}

impl Extended {
    fn new(text: &str) -> Self {
        let (folder, content) = (TempDir::new().expect("a folder"), Content::default());
        let (extra, read) = (folder.path().join("extra"), content.clone());
        fs::write(&extra, "first").expect("written");
        let adapt = |builder: RegistryBuilder| builder.reload_extension(move |config| read.read(config, &extra));
        let files = Files::with(&["acme", "globex"], text, adapt);
        Self { files, content, folder }
    }

    fn write_extra(&self, content: &str) {
        fs::write(self.folder.path().join("extra"), content).expect("written");
    }

    fn reload(&self) -> Result<(), ReloadError> {
        self.files.world.registry.reload().map(drop)
    }

    fn error(&self) -> Option<ReloadError> {
        self.files.world.registry.status().configuration.error
    }

    fn has_globex(&self) -> bool {
        self.files.world.registry.tenant("globex").is_ok()
    }
}

fn wait_until(what: &str, holds: impl FnMut() -> bool) {
    wait_for(what, holds, |holds| *holds);
}

#[test]
fn an_extension_is_applied_at_the_start_and_after_each_reload() {
    let extended = Extended::new(&table("acme", "acme"));
    assert_eq!(extended.content.committed(), ["first"]);
    extended.write_extra("second");
    extended.reload().expect("valid");
    assert_eq!(extended.content.committed(), ["first", "second"]);
}

#[test]
fn a_refused_extension_changes_nothing_by_call() {
    let extended = Extended::new(&table("acme", "acme"));
    let before = extended.files.tenant("acme");
    extended
        .files
        .rewrite(&(table("acme", "globex") + &table("globex", "globex")));
    extended.write_extra("bad");
    let error = extended.reload().expect_err("refused");
    assert!(matches!(error, ReloadError::Config(_)), "{error}");
    assert!(error.to_string().ends_with("gateway.file: bad"), "{error}");
    assert_eq!(extended.error(), Some(error));
    assert_eq!(extended.content.committed(), ["first"]);
    assert_eq!(extended.files.tenant("acme"), before, "the tracer is kept");
    assert!(!extended.has_globex());
    // Invalid files of the registry itself do not reach the extension.
    extended.write_extra("second");
    extended.files.rewrite("unknown = 1\n");
    extended.reload().expect_err("invalid");
    assert_eq!(
        (
            extended.content.committed(),
            extended.content.prepared.load(Ordering::SeqCst)
        ),
        (vec!["first".to_owned()], 2)
    );
    extended.files.rewrite(&table("globex", "globex"));
    extended.reload().expect("valid");
    assert_eq!(extended.content.last(), "second");
    extended.files.tenant("globex");
}

#[test]
fn a_refused_extension_changes_nothing_by_watch_and_its_files_are_watched() {
    let extended = Extended::new(&format!("{WATCH}{}", table("acme", "acme")));
    let before = extended.files.tenant("acme");
    extended.write_extra("second");
    wait_until("the extension is applied", || extended.content.last() == "second");
    extended.write_extra("bad");
    wait_until("the reload is refused", || extended.error().is_some());
    extended.files.rewrite(&format!(
        "{WATCH}{}{}",
        table("acme", "acme"),
        table("globex", "globex")
    ));
    let prepared = extended.content.prepared.load(Ordering::SeqCst);
    wait_until("the files are read again", || {
        extended.content.prepared.load(Ordering::SeqCst) > prepared
    });
    assert!(!extended.has_globex());
    assert_eq!(
        (extended.content.last(), extended.files.tenant("acme") == before),
        ("second".to_owned(), true)
    );
    extended.write_extra("third");
    wait_until("everything is applied", || extended.content.last() == "third");
    wait_until("the tenant is there", || extended.has_globex());
    assert_eq!(extended.error(), None);
}

#[test]
fn a_refused_extension_fails_the_start() {
    let folder = TempDir::new().expect("a folder");
    let (default, extra) = (folder.path().join("default.toml"), folder.path().join("extra"));
    fs::write(&default, "[gateway]\nanything = 1").expect("written");
    fs::write(&extra, "bad").expect("written");
    let content = Content::default();
    let read = content.clone();
    let builder = TracerRegistry::builder().config(Config::load_for_gateway(folder.path()).expect("valid"));
    let builder = builder.reload_extension(move |config| read.read(config, &extra));
    assert!(matches!(builder.build(), Err(BuildError::Config(_))));
    assert!(content.committed().is_empty());
}
