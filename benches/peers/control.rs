//! The receiver as the others see it: started, asked, ended.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::Result;

/// Where the receiver listens.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Ports {
    /// Takes spans, counts them, answers 200.
    pub(crate) spans: u16,
    /// Accepts connections and never answers.
    pub(crate) hole: u16,
}

/// What the receiver got since it was last asked to forget.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Received {
    pub(crate) requests: u64,
    pub(crate) spans: u64,
    /// From a span's end to its receipt.
    pub(crate) p50_millis: f64,
    pub(crate) p99_millis: f64,
    /// Requests with a key that was rotated away.
    pub(crate) refused: u64,
    /// Spans that had been received before, where that is watched.
    pub(crate) twice: u64,
}

/// The receiver's process. It ends when this is dropped, or its owner ends.
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
        // It ends by itself where this fails: its input is closed with us.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Ports {
    pub(crate) fn url(self) -> String {
        format!("http://127.0.0.1:{}/v1/traces", self.spans)
    }

    pub(crate) fn hole_url(self) -> String {
        format!("http://127.0.0.1:{}/v1/traces", self.hole)
    }

    /// What was received so far.
    pub(crate) fn received(self) -> Result<Received> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.spans))?;
        stream.write_all(b"GET /received HTTP/1.1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (_, body) = text.split_once("\r\n\r\n").ok_or("the receiver's answer is cut")?;
        Ok(serde_json::from_str(body)?)
    }

    /// Gives what was received, and counts from zero.
    pub(crate) fn forget(self) -> Result<()> {
        self.ask("/forget")
    }

    pub(crate) fn ask(self, path: &str) -> Result<()> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.spans))?;
        let head = format!("GET {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        stream.read_to_end(&mut Vec::new())?;
        Ok(())
    }
}
