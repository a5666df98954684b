//! Controls the receiver's process.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::Result;

/// Ports of the receiver.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Ports {
    /// Accepts and counts spans, answers 200.
    pub(crate) spans: u16,
    /// Accepts connections and never answers.
    pub(crate) black_hole: u16,
}

/// Data received since the last reset.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Received {
    pub(crate) requests: u64,
    pub(crate) spans: u64,
    /// Delay from a span's end to its receipt.
    pub(crate) p50_millis: f64,
    pub(crate) p99_millis: f64,
    /// Requests with a key that is no longer current.
    pub(crate) refused: u64,
    /// Spans received more than once, if that is checked.
    pub(crate) duplicates: u64,
}

/// The receiver's process. Ends when this is dropped or its parent ends.
pub(crate) struct Receiver {
    process: Child,
    pub(crate) ports: Ports,
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
            ports: serde_json::from_str(&line)?,
        })
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // If this fails the receiver ends by itself, because its input closes with this process.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Ports {
    pub(crate) fn url(self) -> String {
        format!("http://127.0.0.1:{}/v1/traces", self.spans)
    }

    pub(crate) fn black_hole_url(self) -> String {
        format!("http://127.0.0.1:{}/v1/traces", self.black_hole)
    }

    /// Returns the data received so far.
    pub(crate) fn received(self) -> Result<Received> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.spans))?;
        stream.write_all(b"GET /received HTTP/1.1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (_, body) = text.split_once("\r\n\r\n").ok_or("the receiver's answer is cut")?;
        Ok(serde_json::from_str(body)?)
    }

    /// Resets the counts.
    pub(crate) fn reset(self) -> Result<()> {
        self.ask("/reset")
    }

    pub(crate) fn ask(self, path: &str) -> Result<()> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.spans))?;
        let head = format!("GET {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        stream.read_to_end(&mut Vec::new())?;
        Ok(())
    }
}
