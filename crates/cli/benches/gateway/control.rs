//! Controls the receiver's process.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Result;

/// Time for spans to arrive after the last request.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Data received since the last reset.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Received {
    pub(crate) requests: u64,
    /// Requests with gzip bodies.
    pub(crate) compressed: u64,
    pub(crate) wire_bytes: u64,
    pub(crate) spans: u64,
    /// Spans of all tenants but the loud one.
    pub(crate) others: u64,
    /// Delay from a span's end to its receipt.
    pub(crate) p99_millis: f64,
}

/// The receiver's process. Ends when this is dropped or its parent ends.
pub(crate) struct Receiver {
    process: Child,
    pub(crate) port: u16,
}

impl Receiver {
    pub(crate) fn start() -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("--receiver")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = process.stdout.take().ok_or("the receiver has no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        Ok(Self {
            process,
            port: line.trim().parse()?,
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Returns the data received so far.
    pub(crate) fn received(&self) -> Result<Received> {
        self.ask("/received")
    }

    /// Resets the counts.
    pub(crate) fn reset(&self) -> Result<()> {
        self.ask("/reset").map(drop)
    }

    /// Waits for a number of spans, and returns what arrived in time.
    pub(crate) fn wait_for(&self, spans: u64) -> Result<Received> {
        self.wait_until(|received| received.spans >= spans)
    }

    /// Waits for a number of spans of all tenants but the loud one.
    pub(crate) fn wait_for_others(&self, spans: u64) -> Result<Received> {
        self.wait_until(|received| received.others >= spans)
    }

    fn wait_until(&self, arrived: impl Fn(&Received) -> bool) -> Result<Received> {
        let until = Instant::now() + ARRIVAL_TIMEOUT;
        loop {
            let received = self.received()?;
            if arrived(&received) || Instant::now() > until {
                return Ok(received);
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn ask(&self, path: &str) -> Result<Received> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        write!(stream, "GET {path} HTTP/1.1\r\ncontent-length: 0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (_, body) = text.split_once("\r\n\r\n").ok_or("the receiver's answer is cut")?;
        Ok(serde_json::from_str(body)?)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // If this fails the receiver ends by itself, because its input closes with this process.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
