//! Replicas of the gateway on one stream, as their operator sees them.

mod actions;
mod status;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Output;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tracer_registry_collector::LocalCollector;
use tracer_registry_stream::test::TestCluster;

use crate::admin::admin_of;
use crate::serve::Served;
use crate::support::LONG;
use crate::{binary, run, text};

const TOKEN: &str = "a-long-token-of-the-admin";

/// One NATS server, a receiver, and what the configurations of all replicas have.
struct Cluster {
    runtime: Runtime,
    servers: TestCluster,
    collector: LocalCollector,
    folder: TempDir,
}

/// A running replica.
struct Replica {
    served: Served,
    admin: String,
}

impl Cluster {
    fn start() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let servers = runtime.block_on(TestCluster::start(1));
        let collector = LocalCollector::builder()
            .project("acme", "key-of-acme")
            .project("globex", "key-of-globex")
            .project("new", "new-key")
            .start()
            .expect("started");
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("keys")).expect("made");
        for (file, content) in [
            ("keys/acme", "key-of-acme"),
            ("keys/globex", "key-of-globex"),
            ("admin", TOKEN),
            ("token", "a-long-token-of-the-caller"),
        ] {
            fs::write(folder.path().join(file), content).expect("written");
        }
        let cluster = Self {
            runtime,
            servers,
            collector,
            folder,
        };
        cluster.init("");
        cluster
    }

    /// Creates the streams.
    fn init(&self, more: &str) {
        let output = run(&["stream", "init", "--config", &self.config(more, "")]);
        assert!(
            output.status.success(),
            "{}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
    }

    /// Writes a configuration with more settings of the stream, and more tables. Returns its file.
    fn config(&self, of_stream: &str, tables: &str) -> String {
        let folder = self.folder.path();
        // A command's key changes only when it is asked for again: no file is watched.
        let config = format!(
            "[defaults]\nbackend = \"otlp\"\nendpoint = \"{}\"\n\
             api_key = {{ exec = [\"cat\", \"{}/keys/{{tenant}}\"] }}\n\
             [tenants.acme]\n[tenants.globex]\n\
             [export]\nscheduled_delay = \"5ms\"\n\
             [export.retry]\ninitial_backoff = \"5ms\"\nmax_backoff = \"50ms\"\n\
             [gateway]\nhttp = \"127.0.0.1:0\"\ngrpc = false\n\
             admin = {{ listen = \"127.0.0.1:0\", token = {{ file = \"admin\" }} }}\n\
             [gateway.callers.all]\ntoken = {{ file = \"token\" }}\n\
             tenant = {{ header = \"x-tenant\", allow = [\"*\"] }}\n\
             [gateway.stream]\nservers = {:?}\nmonitor = {:?}\nreplicas = 1\npartitions = 2\n\
             max_bytes = \"64MiB\"\nmax_parked_bytes = \"64MiB\"\n{of_stream}\n{tables}\n",
            self.collector.url(),
            folder.display(),
            self.servers.urls(),
            self.servers.monitor_urls(),
        );
        let number = fs::read_dir(folder).expect("a folder").count();
        let file = folder.join(format!("gateway-{number}.toml"));
        fs::write(&file, config).expect("written");
        file.to_str().expect("UTF-8").to_owned()
    }

    fn replica(&self) -> Replica {
        self.replica_with("", "")
    }

    fn replica_with(&self, of_stream: &str, tables: &str) -> Replica {
        Replica::of(Served::start(&["--config", &self.config(of_stream, tables)]))
    }

    /// Runs `stream bindings`.
    fn bindings(&self, arguments: &[&str]) -> Output {
        let config = self.config("", "");
        run(&[&["stream", "bindings"], arguments, &["--config", &config]].concat())
    }

    fn received(&self, project: &str) -> usize {
        let project = self.collector.project(project);
        project.map_or(0, |project| project.spans().len())
    }

    fn wait_for_spans(&self, project: &str, count: usize) {
        let arrived = self.collector.wait_until(LONG, |_| self.received(project) >= count);
        assert!(arrived, "{} of {count} spans of {project}", self.received(project));
        assert_eq!(self.received(project), count, "{project}");
    }
}

impl Replica {
    fn of(mut served: Served) -> Self {
        let admin = admin_of(&mut served);
        Self { served, admin }
    }

    /// Posts a span, and returns the answer.
    fn post(&self, tenant: &str) -> String {
        let body = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"hello"}]}]}]}"#;
        let headers = format!("authorization: Bearer a-long-token-of-the-caller\r\nx-tenant: {tenant}\r\n");
        self.served.send(&headers, body)
    }

    fn status(&self, tenant: &str) -> u16 {
        let answer = self.post(tenant);
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        status.unwrap_or_else(|| panic!("{answer}"))
    }

    /// Posts spans until one gets this status. Returns how many got another one.
    fn wait_for_status(&self, tenant: &str, status: u16) -> usize {
        let mut others = 0;
        wait_until(|| match self.status(tenant) {
            found if found == status => Ok(()),
            found => {
                others += 1;
                Err(found.to_string())
            }
        });
        others
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = binary();
        command
            .arg("admin")
            .args(arguments)
            .args(["--url", &self.admin])
            .env("TRACER_REGISTRY_ADMIN_TOKEN", TOKEN);
        command.output().expect("the binary was built with the tests")
    }

    fn says(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        text(&output.stderr)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.says(&[arguments, &["--json"]].concat())).expect("JSON")
    }

    /// Sends a request to the admin listener. Returns its status and answer.
    fn ask(&self, method: &str, path: &str) -> (u16, Value) {
        let address = self.admin.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(LONG)).expect("a socket");
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             authorization: Bearer {TOKEN}\r\ncontent-length: 0\r\n\r\n"
        )
        .expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
        (status, serde_json::from_str(body).expect("JSON"))
    }

    fn cluster(&self) -> Value {
        let (status, ledger) = self.ask("GET", "/api/cluster");
        assert_eq!(status, 200, "{ledger}");
        ledger
    }

    /// Waits until the ledger of all replicas is as expected, and checks that it adds up.
    fn wait_for_ledger(&self, is_there: impl Fn(&Value) -> bool) -> Value {
        let mut found = Value::Null;
        wait_until(|| {
            found = self.cluster();
            if is_there(&found) {
                Ok(())
            } else {
                Err(found.to_string())
            }
        });
        assert_adds_up(&found);
        found
    }

    fn stop(self) {
        let (code, output, log) = self.served.stop();
        assert_eq!(code, Some(0), "{output}\n{log}");
    }
}

/// Waits until a function succeeds, and panics with its last error.
fn wait_until(mut attempt: impl FnMut() -> Result<(), String>) {
    let until = Instant::now() + LONG;
    while let Err(last) = attempt() {
        assert!(Instant::now() < until, "{last}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn number(of: &Value, field: &str) -> u64 {
    of[field].as_u64().unwrap_or_else(|| panic!("{field}: {of}"))
}

fn assert_adds_up(ledger: &Value) {
    let sum = |fields: &[&str]| fields.iter().map(|field| number(ledger, field)).sum::<u64>();
    assert_eq!(
        sum(&["published", "unconfirmed"]),
        sum(&["finished", "waiting", "buffer_lost", "expired", "purged"]),
        "{ledger}"
    );
}
