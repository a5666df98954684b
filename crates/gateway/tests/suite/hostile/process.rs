//! A gateway in a process of its own, so that its memory and descriptors can be measured.
#![expect(clippy::disallowed_methods, reason = "a variable marks the child process")]
#![expect(clippy::print_stdout, reason = "figures, and the addresses of the child process")]

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use tracer_registry::config::Config;
use tracer_registry_gateway::Gateway;

use crate::limits::Raw;
use crate::support::{ACME, GLOBEX, Service, body, until};

/// Path of the configuration, in the process of the gateway.
const CONFIG_VARIABLE: &str = "HOSTILE_GATEWAY_CONFIG";
const TEST: &str = "hostile::process::a_gateway_serves_in_a_process_of_its_own";
/// Room for the other client's spans if the backend, in a busy process, is slow.
const QUEUES: &str = "[export]\nmax_queue_size = 1_000_000\nmax_queue_bytes = \"32MiB\"";
/// What the memory of a gateway may exceed `gateway.memory` by.
const BEYOND_BUDGET: usize = 64 << 20;

/// Addresses of a gateway that is attacked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) http: SocketAddr,
    pub(crate) grpc: SocketAddr,
}

/// A running gateway. Its backend is in the process of the test.
pub(crate) struct Process {
    child: Child,
    /// The gateway ends when this is closed.
    _stdin: ChildStdin,
    pub(crate) http: SocketAddr,
    pub(crate) grpc: SocketAddr,
    pub(crate) service: Service,
    memory: usize,
    idle: usize,
}

impl Process {
    /// Starts a gateway with this `gateway.memory`, and further lines for its table.
    pub(crate) fn start(memory_mib: usize, gateway: &str) -> Self {
        Self::start_by(Command::new(env::current_exe().unwrap()), memory_mib, gateway)
    }

    pub(crate) fn start_without_real_time(memory_mib: usize, gateway: &str) -> Self {
        Self::start_by(without_real_time(), memory_mib, gateway)
    }

    fn start_by(mut command: Command, memory_mib: usize, gateway: &str) -> Self {
        raise_descriptor_limit();
        let gateway = format!("memory = \"{memory_mib}MiB\"\n{gateway}");
        let service = Service::prepare(&gateway, QUEUES);
        let mut child = command
            .args(["--exact", TEST, "--nocapture", "--test-threads=1"])
            .env(CONFIG_VARIABLE, service.path("gateway.toml"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let listening = lines
            .map_while(Result::ok)
            .find_map(|line| line.split("listening ").nth(1).map(str::to_owned))
            .expect("the gateway starts");
        let (http, grpc) = listening.split_once(' ').unwrap();
        let mut process = Self {
            child,
            _stdin: stdin,
            http: http.parse().unwrap(),
            grpc: grpc.parse().unwrap(),
            service,
            memory: memory_mib << 20,
            idle: 0,
        };
        for token in [ACME, GLOBEX] {
            assert_eq!(post(&mut Raw::connect(process.http), token, &body(&["first"])), 200);
        }
        process.idle = process.status("VmRSS");
        process
    }

    pub(crate) fn target(&self) -> Target {
        Target {
            http: self.http,
            grpc: self.grpc,
        }
    }

    /// Returns a size from the system's status of the process, in bytes.
    fn status(&self, name: &str) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).expect(name);
        let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib * 1024
    }

    /// Returns the processor time that the process has used.
    pub(crate) fn processor_time(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let nanos = tasks.filter_map(|task| -> Option<u64> {
            let stat = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            stat.split_whitespace().next()?.parse().ok()
        });
        Duration::from_nanos(nanos.sum())
    }

    /// Returns the number of open descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// Stops the process for a while, as a machine that is busy does.
    pub(crate) fn while_stopped(&self, work: impl FnOnce()) {
        let signal = |signal| kill_process(Pid::from_child(&self.child), signal).unwrap();
        signal(Signal::STOP);
        work();
        signal(Signal::CONT);
    }

    /// Checks that the memory was never above its bound.
    pub(crate) fn assert_memory_bound(&self) {
        let grown = self.status("VmHWM") - self.idle;
        println!("peak above idle: {} MiB", grown >> 20);
        let bound = self.memory + BEYOND_BUDGET;
        assert!(grown <= bound, "{} MiB of {} MiB", grown >> 20, bound >> 20);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Posts protobuf, and returns the status of the answer. Its body must be empty.
pub(crate) fn post(raw: &mut Raw, token: &str, message: &[u8]) -> u16 {
    raw.write_head(token, message.len());
    raw.write(message);
    raw.read_head()[9..12].parse().unwrap()
}

/// Returns a command that runs this binary whenever no program with real-time priority does.
pub(crate) fn without_real_time() -> Command {
    let mut command = Command::new("chrt");
    command.args(["--other", "0", "nice", "--adjustment=-20"]);
    command.arg(env::current_exe().unwrap());
    command
}

/// Raises the limit of open files as far as the system allows, and returns it.
pub(crate) fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).unwrap();
    raised.current.unwrap_or(u64::MAX)
}

/// Serves until standard input is closed.
fn serve(config: &Path) {
    let config = Config::load_files_for_gateway(config).unwrap();
    let gateway = Gateway::start(config).unwrap();
    println!("listening {} {}", gateway.http().unwrap(), gateway.grpc().unwrap());
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn a_gateway_serves_in_a_process_of_its_own() {
    if let Some(config) = env::var_os(CONFIG_VARIABLE) {
        return serve(config.as_ref());
    }
    let process = Process::start(64, "");
    let collector = &process.service.collector;
    until(|| {
        ["acme", "globex"]
            .iter()
            .all(|project| collector.project(project).is_some_and(|it| it.spans().len() == 1))
    });
    process.assert_memory_bound();
}
