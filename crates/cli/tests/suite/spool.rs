//! `spool`: files of data on disk, without and with a process that uses them.

use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Arc, mpsc};
use std::time::{Instant, SystemTime};

use serde_json::{Value, json};
use tempfile::TempDir;
use tracer_registry_spool::{Kind, Options, Row, SqliteStore, Store as _};

use crate::serve::Served;
use crate::support::LONG;
use crate::{run, text};

/// Writes rows of junk that hold a mark for each queue, as an earlier process would: queue, rows, and
/// spans in each row.
fn leave(folder: &Path, queues: &[(&str, u64, u32)]) {
    let options = Options::new(folder, 64 << 20, |_, _| false, Arc::new(drop));
    let store = SqliteStore::open(options).expect("a folder of this process alone");
    let now = SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_millis();
    let row = |queue: &str, order, items| Row {
        queue: queue.into(),
        owner: queue.into(),
        kind: Kind::Spans,
        order,
        items,
        generation: 0,
        created: u64::try_from(now).expect("small"),
        format: 0,
        body: format!("mark-of-{queue}-").repeat(400).into(),
    };
    let rows = queues
        .iter()
        .flat_map(|(queue, rows, spans)| (0..*rows).map(move |order| row(queue, order, *spans)));
    let (sender, appended) = mpsc::channel();
    store.append(rows.collect(), Box::new(move |result| drop(sender.send(result))));
    appended.recv().expect("an answer").expect("appended");
    store.close(Instant::now() + LONG);
}

/// A configuration with a spool, which has rows of an earlier process.
struct Setup {
    folder: TempDir,
    config: String,
}

impl Setup {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // A port of its own, so that the configuration has the address.
        let port = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = port.local_addr().expect("bound").port();
        let config = format!(
            "[defaults]\nbackend = \"otlp\"\nendpoint = \"http://127.0.0.1:9\"\napi_key = {{ file = \"key\" }}\n\
             [tenants.acme]\n[spool]\nmode = \"overflow\"\npath = \"spool\"\nmax_bytes = \"64MiB\"\n\
             [gateway]\nhttp = \"127.0.0.1:0\"\ngrpc = false\n\
             admin = {{ listen = \"127.0.0.1:{port}\", token = {{ file = \"admin\" }} }}\n\
             [gateway.callers.all]\ntoken = {{ file = \"admin-of-others\" }}\ntenant = \"acme\"\n"
        );
        for (file, content) in [
            ("gateway.toml", &*config),
            ("key", "key-of-acme"),
            ("admin", "token-of-the-admin"),
            ("admin-of-others", "token-of-a-caller"),
        ] {
            fs::write(folder.path().join(file), content).expect("written");
        }
        let config = folder.path().join("gateway.toml").display().to_string();
        let setup = Self { folder, config };
        leave(
            &setup.spool(),
            &[
                ("tenant:gone", 2, 3),
                ("environment:eu,tenant:gone", 1, 4),
                ("tenant:other", 1, 5),
            ],
        );
        setup
    }

    fn spool(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    /// Runs `spool` with the configuration.
    fn run(&self, arguments: &[&str]) -> Output {
        run(&[&["spool"], arguments, &["--config", &self.config]].concat())
    }

    /// Returns the answer in JSON.
    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(text(&output.stderr), "");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    fn says(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(text(&output.stderr), "");
        text(&output.stdout)
    }

    fn has_mark(&self, queue: &str) -> bool {
        let mark = format!("mark-of-{queue}-");
        let files = fs::read_dir(self.spool()).expect("a folder").flatten();
        files
            .map(|file| fs::read(file.path()).expect("a file"))
            .any(|bytes| bytes.windows(mark.len()).any(|window| window == mark.as_bytes()))
    }
}

fn check(arguments: &[&str]) -> (Option<i32>, String) {
    let output = run(&[&["spool", "check"], arguments].concat());
    assert_eq!(text(&output.stderr), "");
    (output.status.code(), text(&output.stdout))
}

#[test]
fn a_file_is_shown_and_what_can_be_read_of_a_damaged_one_is_saved() {
    let setup = Setup::new();
    let file = setup.spool().join("spool.db");
    let name = file.to_str().expect("UTF-8");
    let (code, shown) = check(&[name]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(
        shown.contains("tenant:gone ") && shown.ends_with("\nintact\n"),
        "{shown}"
    );
    assert!(
        shown.contains(": 4 rows with 15 spans and 0 session events, the oldest of 2"),
        "{shown}"
    );
    let (_, page) = check(&[setup.spool().to_str().expect("UTF-8"), "--json"]);
    let page: Value = serde_json::from_str(&page).expect("JSON");
    assert_eq!(
        (&page["rows"], &page["spans"], &page["damage"]),
        (&json!(4), &json!(15), &json!([]))
    );
    assert_eq!(page["selectors"].as_array().expect("a list").len(), 3);

    // A page in the middle of the rows.
    let size = fs::metadata(&file).expect("a file").len();
    let mut damaged = fs::OpenOptions::new().write(true).open(&file).expect("a file");
    damaged.seek(SeekFrom::Start(size / 2 / 4096 * 4096)).expect("inside");
    damaged.write_all(&[0xa5; 4096]).expect("written");
    drop(damaged);
    let saved = setup.folder.path().join("saved.db");
    let to = saved.to_str().expect("UTF-8");
    let (code, shown) = check(&[name, "--repair", to]);
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("\ndamaged: ") && shown.contains("\ncopied "), "{shown}");
    let (code, shown) = check(&[to, "--json"]);
    let page: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!((code, &page["damage"]), (Some(0), &json!([])), "{shown}");
    let rows = page["rows"].as_u64().expect("a number");
    assert!((1..=4).contains(&rows), "{shown}");
    for file in [to, "/nonexistent/spool.db", &setup.config] {
        let output = run(&["spool", "check", name, "--repair", file]);
        let again = file == to && text(&output.stderr).contains("saved.db");
        assert!(again || output.status.code() == Some(1), "{file}");
        if file != to {
            assert_eq!(run(&["spool", "check", file]).status.code(), Some(1), "{file}");
        }
    }
}

#[test]
fn a_tenant_is_erased_in_the_files_and_stays_so_until_it_is_allowed() {
    let setup = Setup::new();
    let receipt = setup.json(&["purge", "--tenant", "gone"]);
    assert_eq!(
        (&receipt["selector"], &receipt["selectors"]),
        (
            &json!("tenant:gone"),
            &json!(["environment:eu,tenant:gone", "tenant:gone"])
        )
    );
    assert_eq!(
        (&receipt["spooled"]["spans"], &receipt["rows"]),
        (&json!(10), &json!(3))
    );
    assert_eq!(
        (&receipt["memory"]["spans"], &receipt["generation"]),
        (&json!(0), &json!(1))
    );
    // In the form of the library.
    serde_json::from_value::<tracer_registry::report::PurgeReceipt>(receipt).expect("a receipt");
    assert!(!setup.has_mark("tenant:gone") && !setup.has_mark("environment:eu,tenant:gone"));
    assert!(setup.has_mark("tenant:other"));
    let (_, shown) = check(&[setup.spool().to_str().expect("UTF-8")]);
    assert!(shown.contains("\nerased: tenant:gone\n"), "{shown}");

    let none = "tenant:gone: erased 0 spans and 0 session events in memory, 0 and 0 on disk alone, 0 rows (purge 2)\n";
    assert_eq!(setup.says(&["purge", "--selector", "tenant:gone"]), none);
    assert_eq!(
        setup.says(&["allow", "--tenant", "gone"]),
        "tenant:gone: takes data again\n"
    );
    assert_eq!(
        setup.json(&["allow", "--tenant", "gone"]),
        json!({"erased": false, "changed": false})
    );
    let (_, shown) = check(&[setup.spool().to_str().expect("UTF-8")]);
    assert!(!shown.contains("erased"), "{shown}");
}

#[test]
fn a_folder_in_use_is_purged_by_its_gateway() {
    let setup = Setup::new();
    let mut served = Served::start(&["--config", &setup.config]);
    let line = served.line("  spool ");
    assert!(
        line.contains("overflow, 0 MiB of ") && line.ends_with(", 15 spans and session events recovered"),
        "{line}"
    );
    let output = run(&[
        "spool",
        "check",
        setup.spool().join("spool.db").to_str().expect("UTF-8"),
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("in use"), "{}", text(&output.stderr));
    // A check of the configuration does not need the folder for itself.
    let checked = run(&["check", "--config", &setup.config]);
    assert!(checked.status.success(), "{}", text(&checked.stdout));

    let receipt = setup.json(&["purge", "--tenant", "gone"]);
    assert_eq!(
        (&receipt["spooled"]["spans"], &receipt["rows"]),
        (&json!(10), &json!(3)),
        "{receipt}"
    );
    let admin = |command: &str| run(&["admin", command, "gone", "--config", &setup.config, "--json"]);
    let tenant: Value = serde_json::from_slice(&admin("tenant").stdout).expect("JSON");
    assert_eq!(
        (&tenant["erased"], &tenant["spans"]["dropped"]),
        (&json!(true), &json!({"purged": 6}))
    );
    assert!(!setup.has_mark("tenant:gone"), "while the gateway runs");
    let page = run(&["admin", "spool", "--config", &setup.config, "--json"]);
    let page: Value = serde_json::from_slice(&page.stdout).expect("JSON");
    assert_eq!((&page["spans"], &page["recovered"]), (&json!(5), &json!(15)));
    assert_eq!(
        setup.says(&["allow", "--tenant", "gone"]),
        "tenant:gone: takes data again\n"
    );
    assert_eq!(
        setup.says(&["allow", "--tenant", "gone"]),
        "tenant:gone: takes data again, as before\n"
    );
    let unknown = setup.run(&["purge", "--tenant", "gonne"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(
        text(&unknown.stderr).contains("is not configured"),
        "{}",
        text(&unknown.stderr)
    );
}

#[test]
fn a_check_warns_of_a_folder_that_is_refused_and_of_a_small_disk() {
    let setup = Setup::new();
    fs::set_permissions(setup.spool(), fs::Permissions::from_mode(0o755)).expect("set");
    let config = fs::read_to_string(&setup.config).expect("written");
    fs::write(&setup.config, config.replace("64MiB", "1000000GiB")).expect("written");
    let warnings = |json: bool| {
        let arguments = ["check", "--config", &setup.config, "--json"];
        let output = run(&arguments[..if json { 4 } else { 3 }]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let shown = warnings(false);
    assert!(
        shown.contains("spool has mode 755, and is refused unless only its owner may use it"),
        "{shown}"
    );
    assert!(
        shown.contains("warning: spool.max_bytes: 1024000000 MiB, but the disk of "),
        "{shown}"
    );
    let page: Value = serde_json::from_str(&warnings(true)).expect("JSON");
    assert_eq!(page["spool"]["warnings"].as_array().expect("a list").len(), 2);
    let refused = run(&["serve", "--config", &setup.config]);
    assert_eq!(refused.status.code(), Some(1));
    let message = format!(
        "cannot open the spool: {} must not be accessible to other users",
        setup.spool().canonicalize().expect("a folder").display()
    );
    assert!(text(&refused.stderr).contains(&message), "{}", text(&refused.stderr));
    fs::set_permissions(setup.spool(), fs::Permissions::from_mode(0o500)).expect("set");
    let shown = warnings(false);
    assert!(shown.contains("spool has mode 500, and is refused"), "{shown}");
    assert!(!shown.contains("set-aside"), "{shown}");
    fs::write(setup.spool().join("spool.db.damaged-1767225600000"), "").expect("written");
    let shown = warnings(false);
    assert!(shown.contains("spool: 1, with 0 MiB; look at them"), "{shown}");
}

#[test]
fn a_folder_in_use_by_a_process_without_an_admin_listener_is_refused_with_the_process() {
    let setup = Setup::new();
    let config = fs::read_to_string(&setup.config).expect("written");
    let without = config.lines().filter(|line| !line.starts_with("admin"));
    fs::write(&setup.config, without.collect::<Vec<_>>().join("\n")).expect("written");
    let options = Options::new(setup.spool(), 64 << 20, |_, _| false, Arc::new(drop));
    let store = SqliteStore::open(options).expect("a folder of this process alone");
    for command in ["purge", "allow"] {
        let refused = setup.run(&[command, "--tenant", "gone"]);
        assert_eq!(refused.status.code(), Some(1));
        let message = text(&refused.stderr);
        let process = format!(" is in use by process {}, and ", std::process::id());
        assert!(
            message.contains(&process) && message.contains("[gateway.admin]"),
            "{message}"
        );
    }
    store.close(Instant::now() + LONG);
}

#[test]
fn one_tenant_or_one_selector_is_erased() {
    let setup = Setup::new();
    for arguments in [
        &["purge"][..],
        &["allow"],
        &["purge", "--tenant", "a", "--selector", "tenant:a"],
        &["check"],
    ] {
        assert_eq!(setup.run(arguments).status.code(), Some(2), "{arguments:?}");
    }
    for arguments in [["--tenant", "GONE"], ["--selector", "gone"], ["--selector", ""]] {
        let output = setup.run(&[&["purge"], &arguments[..]].concat());
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let message = text(&output.stderr);
        assert!(message.starts_with("error: invalid selector\n"), "{message}");
        assert_eq!(message.lines().count(), 2, "one cause: {message}");
    }
    fs::write(&setup.config, "[defaults]\n").expect("written");
    let output = setup.run(&["purge", "--tenant", "gone"]);
    assert!(
        text(&output.stderr).contains("has no spool.path"),
        "{}",
        text(&output.stderr)
    );
}
