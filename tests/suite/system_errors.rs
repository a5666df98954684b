//! Operating system errors: messages name them.

use std::fs;
use std::path::Path;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;
use tracer_registry::config::{BackendName, Binding, Config, Export, ExportMode};
use tracer_registry::secret::{KeyCommand, SecretSources};
use tracer_registry::{KeySource, TracerRegistry};

use crate::child_process::is_child;
use crate::support::{collector, keys, quick, wait_for};

const NAME: &str = "Too many open files";

/// Runs `work` while the process cannot open another file.
fn without_files<T>(work: impl FnOnce() -> T) -> T {
    let before = getrlimit(Resource::Nofile);
    let next = fs::File::open("/dev/null").expect("a free descriptor");
    let next = std::os::fd::AsRawFd::as_raw_fd(&next);
    // No later file is still open, so the new descriptor is the lowest free number.
    let current = Some(u64::try_from(next).expect("a number"));
    setrlimit(Resource::Nofile, Rlimit { current, ..before }).expect("below the hard limit");
    let result = work();
    setrlimit(Resource::Nofile, before).expect("the limit is restored");
    result
}

fn write(folder: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).expect("writable");
    path
}

#[test]
fn each_message_names_the_error_if_the_process_cannot_open_files() {
    if !is_child::<&str>(
        "system_errors::each_message_names_the_error_if_the_process_cannot_open_files",
        &[],
    ) {
        return;
    }
    let folder = TempDir::new().expect("a folder");
    let key = write(folder.path(), "key", "hh_canary");
    let ca = write(folder.path(), "ca.pem", "no certificate");
    let config = write(folder.path(), "default.toml", "");
    let collector = collector(&["a"], &tracer_registry::secret::Fingerprinter::new())
        .start()
        .expect("a free port");
    let inline = Export {
        mode: Some(ExportMode::Inline),
        ..Export::default()
    };
    let tls = tracer_registry::config::Tls {
        ca: Some(ca),
        ..Default::default()
    };
    let otlp = || Binding::new().backend(BackendName::Otlp).endpoint(collector.url());
    let registry = TracerRegistry::builder()
        .secret_source("test", keys())
        .export(quick())
        .tenant("a", otlp().api_key(KeySource::provider("test", "a")))
        .tenant("file", otlp().api_key(KeySource::file(&key)))
        .tenant(
            "command",
            otlp().api_key(KeySource::Exec(KeyCommand::new(["echo", "key"]))),
        )
        .tenant(
            "tls",
            otlp()
                .endpoint("https://127.0.0.1:9")
                .api_key(KeySource::provider("test", "a"))
                .tls(tls),
        )
        .build()
        .expect("valid");
    let a = registry.tenant("a").expect("configured");
    let mut messages = without_files(|| {
        let look_up = |tenant| registry.tenant(tenant).expect_err("no file can be opened").to_string();
        let build = |export| {
            TracerRegistry::builder()
                .export(export)
                .build()
                .expect_err("no file")
                .to_string()
        };
        let mut messages = vec![
            KeySource::file(&key)
                .read(&SecretSources::default())
                .expect_err("no file")
                .to_string(),
            look_up("file"),
            look_up("command"),
            look_up("tls"),
            Config::load(&config).expect_err("no file").to_string(),
            build(Export::default()),
            build(inline),
        ];
        a.start_span("span");
        let status = || registry.status().tracers[0].last_error.clone();
        let error = wait_for("an error of the connection", status, Option::is_some);
        messages.extend(error.map(|error| error.to_string()));
        messages
    });
    messages.retain(|message| !message.contains(NAME) || message.contains("canary"));
    assert_eq!(messages, [""; 0]);
    let report = registry.shutdown(crate::support::LONG);
    assert!(report.is_complete(), "{report}");
}
