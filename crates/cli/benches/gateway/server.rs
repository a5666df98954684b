//! Processes of the gateway and of the peer.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Result;
use crate::control::Receiver;
use crate::process::Cpu;
use crate::receiver::LOUD_KEY;

/// Token of the caller of [`CALLER`].
const TOKEN: &str = "token-of-the-benchmark";
/// A caller for any tenant.
pub(crate) const CALLER: &str = "[gateway.callers.bench]\n\
     token = { env = \"GATEWAY_BENCH_TOKEN\" }\n\
     tenant = { header = \"x-tenant\", allow = [\"*\"] }\n";
/// Time for a process to accept connections.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A running process. Ends when this is dropped.
pub(crate) struct Server {
    process: Child,
    /// Port for OTLP/HTTP.
    pub(crate) port: u16,
    pub(crate) started_in: Duration,
    /// Its files.
    _folder: TempDir,
}

/// Configuration of a gateway.
pub(crate) struct Config {
    pub(crate) compression: &'static str,
    pub(crate) delay: &'static str,
    /// Tables `[tenants]`.
    pub(crate) tenants: String,
    /// Tables `[gateway.callers]`.
    pub(crate) callers: String,
    /// Table `[spool]`.
    pub(crate) spool: String,
    /// Table `[gateway.stream]`.
    pub(crate) stream: String,
    /// Where the gateway sends, if not to the receiver.
    pub(crate) endpoint: Option<String>,
}

impl Config {
    /// A caller and the tenants `0` to `tenants`, without compression.
    pub(crate) fn with_tenants(tenants: usize) -> Self {
        let tables: Vec<String> = (0..tenants).map(|tenant| format!("[tenants.{tenant}]\n")).collect();
        Self {
            compression: "none",
            delay: "1s",
            tenants: tables.concat(),
            callers: CALLER.to_owned(),
            spool: String::new(),
            stream: String::new(),
            endpoint: None,
        }
    }

    pub(crate) fn compression(self, compression: &'static str) -> Self {
        Self { compression, ..self }
    }

    fn write(&self, folder: &Path, receiver: &Receiver) -> Result<()> {
        let Self {
            compression,
            delay,
            tenants,
            callers,
            spool,
            stream,
            endpoint,
        } = self;
        let endpoint = endpoint.clone().unwrap_or_else(|| receiver.url());
        let default = format!(
            "[defaults]\nbackend = \"otlp\"\nendpoint = \"{endpoint}\"\napi_key = {{ env = \"GATEWAY_BENCH_KEY\" }}\n\
             [export]\ncompression = \"{compression}\"\nscheduled_delay = \"{delay}\"\n{spool}{tenants}"
        );
        fs::write(folder.join("default.toml"), default)?;
        let gateway = format!("[gateway]\nhttp = \"127.0.0.1:0\"\ngrpc = \"127.0.0.1:0\"\n{callers}{stream}");
        fs::write(folder.join("gateway.toml"), gateway)?;
        Ok(())
    }
}

impl Server {
    /// Starts a gateway.
    pub(crate) fn gateway(config: &Config, receiver: &Receiver) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        config.write(folder.path(), receiver)?;
        let command = |arguments: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_tracer-registry"));
            command.args(arguments).arg("--config").arg(folder.path());
            command
                .env("GATEWAY_BENCH_KEY", "key-of-the-benchmark")
                .env("GATEWAY_BENCH_LOUD_KEY", LOUD_KEY)
                .env("GATEWAY_BENCH_TOKEN", TOKEN)
                .stdin(Stdio::null());
            command
        };
        if !config.stream.is_empty() {
            let init = command(&["stream", "init"]).output()?;
            if !init.status.success() {
                return Err(format!("stream init: {}", String::from_utf8_lossy(&init.stderr)).into());
            }
        }
        let begun = Instant::now();
        let process = command(&["serve"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut server = Self {
            process,
            port: 0,
            started_in: Duration::ZERO,
            _folder: folder,
        };
        // Stays open with the process, so that it can print more.
        let output = server.process.stdout.as_mut().ok_or("the gateway has no output")?;
        let mut lines = BufReader::new(output).lines();
        let line = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("OTLP/HTTP")));
        let line = line.ok_or("the gateway did not start")??;
        server.started_in = begun.elapsed();
        let (_, port) = line.rsplit_once(':').ok_or("the gateway shows no port")?;
        server.port = port.trim().parse()?;
        Ok(server)
    }

    /// Starts the peer.
    pub(crate) fn rotel(program: &Path, compression: &str, receiver: &Receiver) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let [grpc, http] = [free_port()?, free_port()?];
        let begun = Instant::now();
        let process = Command::new(program)
            .args(["start", "--otlp-grpc-endpoint"])
            .arg(format!("127.0.0.1:{grpc}"))
            .arg("--otlp-http-endpoint")
            .arg(format!("127.0.0.1:{http}"))
            .arg("--pid-file")
            .arg(folder.path().join("pid"))
            .arg("--log-file")
            .arg(folder.path().join("log"))
            .args(["--batch-max-size", "512"])
            .args(["--exporter", "otlp", "--otlp-exporter-protocol", "http"])
            .args(["--otlp-exporter-endpoint", &receiver.url()])
            .args(["--otlp-exporter-compression", compression])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let server = Self {
            process,
            port: http,
            started_in: Duration::ZERO,
            _folder: folder,
        };
        while TcpStream::connect((Ipv4Addr::LOCALHOST, http)).is_err() {
            if begun.elapsed() > START_TIMEOUT {
                return Err("the peer did not start".into());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Returns the processor time so far.
    pub(crate) fn cpu(&self) -> Option<Cpu> {
        Cpu::of(self.id())
    }
}

/// Returns the header lines of requests for the tenants `0` to `tenants`.
pub(crate) fn identities(tenants: usize) -> Vec<String> {
    let line = |tenant| format!("authorization: Bearer {TOKEN}\r\nx-tenant: {tenant}\r\n");
    (0..tenants).map(line).collect()
}

pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
