//! NATS servers for tests: one, or a cluster of three, as processes on this computer.
//!
//! The program is that of the variable `NATS_SERVER`, else `nats-server` on the path.

#![expect(
    clippy::missing_panics_doc,
    reason = "the documentation of `TestCluster` says when its methods panic"
)]

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tempfile::TempDir;

use crate::http;

/// How long servers may take to start.
const START: Duration = Duration::from_secs(30);

/// How often a cluster is started with other ports, if another process takes one of its ports.
const ATTEMPTS: usize = 5;

/// The settings of a [`TestCluster`].
#[derive(Clone, Debug)]
pub struct TestOptions {
    /// The number of servers. Default 1.
    pub nodes: usize,
    /// Whether servers sync each write (`sync_interval: always`). Default true.
    pub sync_always: bool,
    /// More lines of the configuration, for example `authorization { token: secret }`.
    pub config: String,
}

impl Default for TestOptions {
    fn default() -> Self {
        Self {
            nodes: 1,
            sync_always: true,
            config: String::new(),
        }
    }
}

/// NATS servers with JetStream in a temporary folder. They are killed when this is dropped.
///
/// All methods panic if a server cannot be started or signalled.
pub struct TestCluster {
    options: TestOptions,
    folder: TempDir,
    nodes: Vec<Node>,
}

struct Node {
    /// Of clients, of the monitoring, and of other servers.
    ports: [u16; 3],
    process: Option<Child>,
}

/// Why a node does not run.
#[derive(Debug, thiserror::Error)]
enum Failed {
    /// Another process has a port, or the configuration is wrong.
    #[error("the server ended: {0}")]
    Ended(String),
    #[error("the server does not answer: {0}")]
    TimedOut(String),
}

impl TestCluster {
    /// Starts one server, or several in a cluster, and waits until JetStream answers.
    pub async fn start(nodes: usize) -> Self {
        let options = TestOptions {
            nodes,
            ..TestOptions::default()
        };
        Self::start_with(options).await
    }

    /// Starts servers with other settings.
    pub async fn start_with(options: TestOptions) -> Self {
        let mut attempt = 1;
        loop {
            let mut cluster = Self::create(options.clone()).expect("a folder and free ports");
            match cluster.start_all().await {
                Ok(()) => return cluster,
                Err(Failed::Ended(_)) if attempt < ATTEMPTS => attempt += 1,
                Err(failed) => panic!("cannot start {options:?}: {failed}"),
            }
        }
    }

    /// Checks that the program of the servers runs.
    ///
    /// # Errors
    /// Says which program cannot be run, and why.
    pub fn check_program() -> Result<(), String> {
        let server = server();
        let ran = Command::new(&server).arg("--version").stdout(Stdio::null()).status();
        let why = match ran {
            Ok(status) if status.success() => return Ok(()),
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        Err(format!("cannot run {}: {why}; set NATS_SERVER", server.display()))
    }

    fn create(options: TestOptions) -> io::Result<Self> {
        let folder = TempDir::new()?;
        let mut nodes = Vec::new();
        for _ in 0..options.nodes {
            let ports = [free_port()?, free_port()?, free_port()?];
            nodes.push(Node { ports, process: None });
        }
        let cluster = Self { options, folder, nodes };
        for node in 0..cluster.nodes.len() {
            fs::create_dir_all(cluster.path(node, "data"))?;
            fs::write(cluster.path(node, "conf"), cluster.config(node))?;
        }
        Ok(cluster)
    }

    fn path(&self, node: usize, what: &str) -> PathBuf {
        self.folder.path().join(format!("{node}.{what}"))
    }

    fn config(&self, node: usize) -> String {
        let [client, monitor, route] = self.nodes[node].ports;
        let data = self.path(node, "data");
        let data = data.display();
        let sync = if self.options.sync_always {
            "sync_interval: always"
        } else {
            ""
        };
        let mut config = format!(
            "server_name: n{node}\n\
             listen: \"127.0.0.1:{client}\"\n\
             http: \"127.0.0.1:{monitor}\"\n\
             max_payload: 8MB\n\
             jetstream {{ store_dir: \"{data}\", max_mem: 256MB, max_file: 100GB\n{sync} }}\n"
        );
        if self.nodes.len() > 1 {
            let routes = self
                .nodes
                .iter()
                .map(|node| format!("\"nats://127.0.0.1:{}\"", node.ports[2]));
            let routes = routes.collect::<Vec<_>>().join(", ");
            let cluster = format!("cluster {{ name: test, listen: \"127.0.0.1:{route}\", routes: [{routes}] }}\n");
            config.push_str(&cluster);
        }
        config.push_str(&self.options.config);
        config.push('\n');
        config
    }

    async fn start_all(&mut self) -> Result<(), Failed> {
        for node in 0..self.nodes.len() {
            self.spawn(node);
        }
        let until = Instant::now() + START;
        for node in 0..self.nodes.len() {
            self.wait_for(node, until).await?;
        }
        self.wait_for_leader(until).await
    }

    fn spawn(&mut self, node: usize) {
        let log = File::options().create(true).append(true).open(self.path(node, "log"));
        let log = log.expect("a file for the log");
        let errors = log.try_clone().expect("a second handle of the file");
        let server = server();
        let process = Command::new(&server)
            .arg("-c")
            .arg(self.path(node, "conf"))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn();
        match process {
            Ok(process) => self.nodes[node].process = Some(process),
            Err(error) => panic!("cannot start {}: {error}; set NATS_SERVER", server.display()),
        }
    }

    /// Waits until a server takes clients and has recovered its streams.
    async fn wait_for(&mut self, node: usize, until: Instant) -> Result<(), Failed> {
        let url = self.monitor_url(node);
        loop {
            let process = self.nodes[node].process.as_mut().expect("a process that was started");
            if let Some(status) = process.try_wait().expect("a process of ours") {
                return Err(Failed::Ended(format!("{status}: {}", self.log(node))));
            }
            let Err(last) = http::get(&url, "/healthz?js-server-only=true").await else {
                return Ok(());
            };
            if Instant::now() > until {
                return Err(Failed::TimedOut(format!("node {node}: {last}: {}", self.log(node))));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until a cluster has a leader that sees all running servers.
    async fn wait_for_leader(&mut self, until: Instant) -> Result<(), Failed> {
        if self.nodes.len() == 1 {
            return Ok(());
        }
        loop {
            let mut last = Vec::new();
            for node in 0..self.nodes.len() {
                if self.nodes[node].process.is_none() {
                    continue;
                }
                let answer = http::get(&self.monitor_url(node), "/jsz").await.unwrap_or_default();
                let meta = serde_json::from_slice(&answer).unwrap_or(serde_json::Value::Null)["meta_cluster"].take();
                let others = meta["replicas"].as_array().map_or(0, |replicas| {
                    replicas.iter().filter(|replica| replica["current"] == true).count()
                });
                let running = self.nodes.iter().filter(|node| node.process.is_some()).count();
                if meta["leader"] == format!("n{node}") && others + 1 >= running {
                    return Ok(());
                }
                last.push(meta);
            }
            if Instant::now() > until {
                return Err(Failed::TimedOut(format!("no leader: {last:?}")));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Returns the number of servers, with those that do not run.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Returns the address of the first server.
    pub fn url(&self) -> String {
        self.url_of(0)
    }

    /// Returns the address of one server.
    pub fn url_of(&self, node: usize) -> String {
        format!("nats://127.0.0.1:{}", self.nodes[node].ports[0])
    }

    /// Returns the addresses of all servers.
    pub fn urls(&self) -> Vec<String> {
        (0..self.nodes.len()).map(|node| self.url_of(node)).collect()
    }

    /// Returns the addresses of the monitoring of all servers.
    pub fn monitor_urls(&self) -> Vec<String> {
        (0..self.nodes.len()).map(|node| self.monitor_url(node)).collect()
    }

    fn monitor_url(&self, node: usize) -> String {
        format!("http://127.0.0.1:{}", self.nodes[node].ports[1])
    }

    /// Returns the number of a running server's process.
    pub fn process_id(&self, node: usize) -> u32 {
        self.nodes[node].process.as_ref().expect("a server that runs").id()
    }

    /// Waits until a stream has a leader other than this one, by what a majority of the servers
    /// says. Returns its node.
    pub async fn leader_of(&self, stream: &str, other_than: Option<usize>) -> usize {
        let until = Instant::now() + START;
        loop {
            let mut votes = vec![0; self.nodes.len()];
            for node in (0..self.nodes.len()).filter(|node| Some(*node) != other_than) {
                let answer = http::get(&self.monitor_url(node), "/jsz?streams=true&accounts=true").await;
                let answer = serde_json::from_slice(&answer.unwrap_or_default()).unwrap_or(serde_json::Value::Null);
                let accounts = answer["account_details"].as_array().into_iter().flatten();
                let streams = accounts.flat_map(|account| account["stream_detail"].as_array().into_iter().flatten());
                let leader = streams.filter(|detail| detail["name"] == stream).find_map(|detail| {
                    detail["cluster"]["leader"]
                        .as_str()?
                        .strip_prefix('n')?
                        .parse::<usize>()
                        .ok()
                });
                if let Some(votes) = leader.and_then(|leader| votes.get_mut(leader)) {
                    *votes += 1;
                }
            }
            let leader = votes.iter().position(|count| count * 2 > self.nodes.len());
            if let Some(leader) = leader.filter(|leader| Some(*leader) != other_than) {
                return leader;
            }
            assert!(Instant::now() < until, "no leader of {stream}: {votes:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Returns what a server has logged.
    pub fn log(&self, node: usize) -> String {
        fs::read_to_string(self.path(node, "log")).unwrap_or_default()
    }

    /// Kills a server at once (SIGKILL). Its data stays.
    pub fn kill(&mut self, node: usize) {
        if let Some(mut process) = self.nodes[node].process.take() {
            process.kill().expect("a process of ours");
            process.wait().expect("a process of ours");
        }
    }

    /// Starts a killed server with the same ports and data. Waits until it answers and, in a
    /// cluster with a majority, until the leader sees it.
    pub async fn restart(&mut self, node: usize) {
        self.kill(node);
        let until = Instant::now() + START;
        loop {
            self.spawn(node);
            match self.wait_for(node, until).await {
                Ok(()) => break,
                // A connection of another process may have one of the ports for a short time.
                Err(Failed::Ended(_)) if Instant::now() < until => {}
                Err(failed) => panic!("cannot restart: {failed}"),
            }
        }
        let running = self.nodes.iter().filter(|node| node.process.is_some()).count();
        if running * 2 > self.nodes.len()
            && let Err(failed) = self.wait_for_leader(until).await
        {
            panic!("cannot restart: {failed}");
        }
    }

    /// Stops a server (SIGSTOP): its connections stay open and nothing answers. Waits until it has
    /// stopped.
    pub fn stop(&self, node: usize) {
        let process = self.signal(node, Signal::STOP);
        waitpid(Some(process), WaitOptions::UNTRACED).expect("a process of ours");
    }

    /// Lets a stopped server continue (SIGCONT).
    pub fn cont(&self, node: usize) {
        self.signal(node, Signal::CONT);
    }

    fn signal(&self, node: usize, signal: Signal) -> Pid {
        let process = self.nodes[node].process.as_ref().expect("a server that runs");
        let process = Pid::from_child(process);
        kill_process(process, signal).expect("a process of ours");
        process
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            if let Some(process) = &mut node.process {
                let _ = process.kill();
                let _ = process.wait();
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a variable of tests, not of the program")]
fn server() -> OsString {
    std::env::var_os("NATS_SERVER").unwrap_or_else(|| "nats-server".into())
}

/// Returns a port that is free now, below those that systems give to outgoing connections: a
/// server that restarts needs the same port again.
fn free_port() -> io::Result<u16> {
    const FIRST: u16 = 20_000;
    const PORTS: u16 = 12_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test processes that run at the same time begin at different places.
    let begin = std::process::id().wrapping_mul(2_654_435_761) >> 16;
    for _ in 0..PORTS {
        let next = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let place = (begin + next) % u32::from(PORTS);
        let port = FIRST + u16::try_from(place).unwrap_or(0);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}
