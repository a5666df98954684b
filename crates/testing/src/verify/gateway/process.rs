//! A `serve` process.

use std::io::{self, BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::super::error::VerifyError;
use super::client::Addresses;
use crate::lock::lock;

/// Time limit for a start, a reload and a stop; far more than a busy machine needs.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

/// End of the line about what a gateway found on disk.
const RECOVERED: &str = " spans and session events recovered";

/// A running gateway. Killed when dropped. If this process is killed, the gateway stops because its
/// standard input ends.
pub(super) struct Process {
    child: Child,
    _stdin: Option<ChildStdin>,
    output: Arc<Lines>,
    log: Arc<Lines>,
    readers: Vec<JoinHandle<()>>,
    pub(super) addresses: Addresses,
}

/// Lines that a process has written.
#[derive(Default)]
pub(super) struct Lines {
    lines: Mutex<(Vec<String>, bool)>,
    changed: Condvar,
}

/// What a stopped process left.
pub(super) struct Stopped {
    /// `None` if a signal ended it, or if it was killed because it did not stop.
    pub(super) code: Option<i32>,
    pub(super) output: Vec<String>,
    pub(super) log: Vec<String>,
}

impl Process {
    /// Starts `program serve` and waits until it listens.
    pub(super) fn start(program: &Path, configuration: &Path) -> Result<Self, VerifyError> {
        let mut command = Command::new(program);
        command
            .args(["serve", "--until-end-of-input", "--config"])
            .arg(configuration);
        for (name, _) in std::env::vars_os() {
            // A variable would change the configuration.
            if name.to_string_lossy().starts_with("TRACER_REGISTRY__") {
                command.env_remove(name);
            }
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let (output, log) = (Arc::<Lines>::default(), Arc::<Lines>::default());
        let readers = [
            child.stdout.take().map(|stdout| output.read_from(stdout)),
            child.stderr.take().map(|stderr| log.read_from(stderr)),
        ];
        let mut process = Self {
            _stdin: child.stdin.take(),
            child,
            output,
            log,
            readers: readers.into_iter().flatten().collect(),
            addresses: Addresses::default(),
        };
        let address = |kind: &str| {
            let found = process
                .output
                .wait(0, LIMIT, |line| line.trim_start().starts_with(kind));
            found.and_then(|(_, line)| line.rsplit("http://").next()?.parse().ok())
        };
        match (address("OTLP/HTTP"), address("OTLP/gRPC")) {
            (Some(http), Some(grpc)) => process.addresses = Addresses { http, grpc },
            _ => return Err(VerifyError::Gateway(process.log.all().join("\n"))),
        }
        Ok(process)
    }

    /// Sends a signal by name.
    pub(super) fn signal(&self, name: &str) -> io::Result<()> {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status()?;
        if status.success() {
            Ok(())
        } else {
            Err(io::Error::other(format!("cannot send SIG{name} to the gateway")))
        }
    }

    /// Returns how many spans and session events it found on disk at its start.
    pub(super) fn recovered(&self) -> Option<u64> {
        let (_, line) = self.output.wait(0, LIMIT, |line| line.ends_with(RECOVERED))?;
        let count = line.strip_suffix(RECOVERED)?.rsplit(' ').next();
        count?.parse().ok()
    }

    /// Returns the host and port of the admin listener, if it has one.
    pub(super) fn admin(&self) -> Option<String> {
        let is_admin = |line: &str| line.trim_start().starts_with("admin ");
        let (_, line) = self.output.wait(0, LIMIT, is_admin)?;
        Some(line.rsplit_once("http://")?.1.to_owned())
    }

    pub(super) fn log(&self) -> &Lines {
        &self.log
    }

    /// Sends SIGTERM and waits until the process has ended.
    pub(super) fn stop(mut self) -> Stopped {
        let deadline = Instant::now() + LIMIT + LIMIT;
        let mut code = None;
        if self.signal("TERM").is_ok() {
            while Instant::now() < deadline {
                match self.child.try_wait() {
                    Ok(Some(status)) => {
                        code = status.code();
                        break;
                    }
                    Ok(None) => thread::sleep(Duration::from_millis(2)),
                    Err(_) => break,
                }
            }
        }
        self.kill();
        for reader in self.readers.drain(..) {
            drop(reader.join());
        }
        Stopped {
            code,
            output: self.output.all(),
            log: self.log.all(),
        }
    }

    /// Sends SIGKILL and waits until the process has ended.
    pub(super) fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Lines {
    fn read_from(self: &Arc<Self>, source: impl Read + Send + 'static) -> JoinHandle<()> {
        let lines = Arc::clone(self);
        thread::spawn(move || {
            for line in BufReader::new(source).lines().map_while(Result::ok) {
                lock(&lines.lines).0.push(line);
                lines.changed.notify_all();
            }
            lock(&lines.lines).1 = true;
            lines.changed.notify_all();
        })
    }

    pub(super) fn len(&self) -> usize {
        lock(&self.lines).0.len()
    }

    pub(super) fn all(&self) -> Vec<String> {
        lock(&self.lines).0.clone()
    }

    /// Waits for a line from this index on, and returns it with its index. `None` if the process
    /// ends before, or after the timeout.
    pub(super) fn wait(
        &self,
        from: usize,
        timeout: Duration,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Option<(usize, String)> {
        let deadline = Instant::now() + timeout;
        let mut lines = lock(&self.lines);
        loop {
            let found = lines.0.iter().enumerate().skip(from).find(|(_, line)| is_wanted(line));
            if let Some((index, line)) = found {
                return Some((index, line.clone()));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if lines.1 || left.is_zero() {
                return None;
            }
            lines = self
                .changed
                .wait_timeout(lines, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}
