//! A gateway in front of the local collector, and programs that send to it.

use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tracer_registry_collector::{LocalCollector, Project};

use crate::serve::Served;
use crate::support::LONG;
use crate::text;

/// Tenants of the gateway.
pub(super) const TENANTS: [&str; 2] = ["acme", "globex"];

/// Returns the token of the tenant's only caller.
pub(super) fn token(tenant: &str) -> String {
    // HoneyHive's client warns of a key without this prefix.
    format!("hh_token-of-the-programs-of-{tenant}")
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// Returns a path in the folder where `tests/clients/run` installs the clients.
fn installed(path: &str) -> PathBuf {
    let path = repository("target/clients").join(path);
    assert!(path.exists(), "{} is missing: run tests/clients/run", path.display());
    path
}

/// Returns a command that runs Python with the clients.
pub(super) fn python() -> Command {
    Command::new(installed("python/bin/python"))
}

/// Returns a command that runs Node with the clients.
pub(super) fn node() -> Command {
    let mut command = Command::new("node");
    // Node looks for packages there, or next to the program.
    command.current_dir(installed("node"));
    command
}

/// Returns the command that runs a program of `tests/clients`.
fn program(name: &str) -> Command {
    let (mut command, path) = if Path::new(name).extension().is_some_and(|extension| extension == "py") {
        (python(), repository("tests/clients/python").join(name))
    } else {
        (node(), installed("node").join(name))
    };
    command.arg(path);
    command
}

/// A gateway with the local collector behind it.
pub(super) struct World {
    pub(super) collector: LocalCollector,
    served: Option<Served>,
    /// Addresses of the listeners.
    pub(super) http: String,
    pub(super) grpc: String,
    folder: TempDir,
    /// Gets the connections of programs to any other host.
    proxy: TcpListener,
}

impl World {
    /// Starts a gateway with the backend of its tenants, and further lines for the table of each
    /// caller.
    pub(super) fn start(backend: &str, caller: &str) -> Self {
        let world = Self::without_keys(backend, caller);
        world.write_keys();
        world
    }

    /// Starts a gateway that answers 503 until [`write_keys`](Self::write_keys).
    pub(super) fn without_keys(backend: &str, caller: &str) -> Self {
        let collector = TENANTS.into_iter().fold(LocalCollector::builder(), |builder, tenant| {
            builder.project(tenant, backend_key(tenant))
        });
        let collector = collector.start().expect("started");
        let folder = tempfile::tempdir().expect("a folder");
        let tenants = TENANTS.map(|tenant| {
            fs::write(folder.path().join(tenant), token(tenant)).expect("written");
            format!(
                "[tenants.{tenant}]\n[gateway.callers.{tenant}]\ntenant = \"{tenant}\"\n\
                 token = {{ file = \"{tenant}\" }}\n{caller}\n"
            )
        });
        let config = format!(
            "[defaults]\nbackend = \"{backend}\"\nendpoint = \"{}\"\napi_key = {{ file = \"{{tenant}}.key\" }}\n{}",
            collector.url(),
            tenants.concat()
        );
        fs::write(folder.path().join("default.toml"), config).expect("written");
        let proxy = TcpListener::bind("127.0.0.1:0").expect("a free port");
        proxy.set_nonblocking(true).expect("a socket");
        let mut world = Self {
            collector,
            served: None,
            http: "127.0.0.1:0".to_owned(),
            grpc: "127.0.0.1:0".to_owned(),
            folder,
            proxy,
        };
        world.serve();
        world
    }

    pub(super) fn write_keys(&self) {
        for tenant in TENANTS {
            let file = self.folder.path().join(format!("{tenant}.key"));
            fs::write(file, backend_key(tenant)).expect("written");
        }
    }

    /// Starts the gateway, again at the same addresses.
    pub(super) fn serve(&mut self) {
        let table = format!("[gateway]\nhttp = \"{}\"\ngrpc = \"{}\"\n", self.http, self.grpc);
        fs::write(self.folder.path().join("gateway.toml"), table).expect("written");
        let folder = self.folder.path().to_str().expect("UTF-8");
        let mut served = Served::start(&["--config", folder]);
        let grpc = served.line("OTLP/gRPC");
        grpc.rsplit('/').next().expect("an address").clone_into(&mut self.grpc);
        served.http.clone_into(&mut self.http);
        self.served = Some(served);
    }

    pub(super) fn wait_for_log(&self, wanted: &str) {
        self.served.as_ref().expect("started").wait_for_log(wanted);
    }

    /// Stops the gateway, asserts that it lost nothing and that programs connected to nothing
    /// else, and returns the warnings of its log.
    pub(super) fn stop(&mut self) -> String {
        let served = self.served.take().expect("started");
        let (code, output, log) = served.stop();
        assert_eq!(code, Some(0), "{output}\n{log}");
        let other_hosts = self.proxy.accept().map(drop).map_err(|error| error.kind());
        assert_eq!(other_hosts, Err(ErrorKind::WouldBlock));
        log.lines().filter(|line| !line.contains(" INFO ")).collect()
    }

    /// Starts a program for a tenant.
    pub(super) fn run(&self, arguments: &[&str], tenant: &str, variables: &[(&str, &str)]) -> Running {
        let proxy = format!("http://{}", self.proxy.local_addr().expect("bound"));
        let mut command = program(arguments[0]);
        command
            .args(&arguments[1..])
            .env("HOME", self.folder.path())
            .envs(["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"].map(|name| (name, &proxy)))
            .envs(["NO_PROXY", "no_proxy"].map(|name| (name, "127.0.0.1")))
            .env("OTEL_SERVICE_NAME", tenant)
            // A trace takes several requests.
            .envs([
                ("OTEL_BSP_SCHEDULE_DELAY", "50"),
                ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "20"),
            ])
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Running(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// Waits until the project of a tenant has this number of spans.
    pub(super) fn wait_for(&self, tenant: &str, spans: usize) -> Project {
        let in_time = self.collector.wait_until(LONG, |collector| {
            collector
                .project(tenant)
                .is_some_and(|project| project.spans().len() >= spans)
        });
        let project = self.collector.project(tenant).expect("created with the collector");
        assert!(
            in_time,
            "{} of {spans} spans:\n{}",
            project.spans().len(),
            project.tree()
        );
        project
    }
}

fn backend_key(tenant: &str) -> String {
    format!("backend-key-of-{tenant}")
}

/// A program that waits between its two traces until its input ends.
pub(super) struct Running(Child);

/// The output of a program that ended.
pub(super) struct Ended {
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Running {
    /// Lets the program make its second trace.
    pub(super) fn go_on(&mut self) {
        drop(self.0.stdin.take());
    }

    /// Lets the program make its second trace, and returns its output.
    pub(super) fn end(mut self) -> Ended {
        self.go_on();
        let output = self.0.wait_with_output().expect("it ends");
        Ended {
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// As [`end`](Self::end), and asserts that the program reports no problem.
    pub(super) fn succeed(self) -> String {
        let Ended { code, stdout, stderr } = self.end();
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
        stdout
    }
}
