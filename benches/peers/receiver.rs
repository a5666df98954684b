//! The receiver, in a process of its own: as little HTTP/1.1 as both sides need, on one thread.
//!
//! It reads whole bodies, counts spans from them, and answers 200 with nothing. A second port accepts and never answers.

use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::Result;
use crate::control::{Ports, Received};
use crate::count;
use crate::delays::Delays;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";

struct Counts {
    requests: u64,
    spans: u64,
    delays: Delays,
}

impl Counts {
    fn new() -> Self {
        Self {
            requests: 0,
            spans: 0,
            delays: Delays::new(),
        }
    }

    fn take(&mut self, body: &[u8]) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        self.requests += 1;
        count::spans(body, &mut |end| {
            self.spans += 1;
            self.delays.note(now.saturating_sub(end));
        });
    }

    fn told(&self) -> Received {
        Received {
            requests: self.requests,
            spans: self.spans,
            p50_millis: self.delays.quantile(500),
            p99_millis: self.delays.quantile(990),
        }
    }
}

/// Serves until its input is closed.
pub(crate) fn run() -> Result<()> {
    std::thread::spawn(|| {
        // Whoever started this process holds the other end, and is gone when it closes.
        let _ended = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve())
}

async fn serve() -> Result<()> {
    let spans = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let hole = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let ports = Ports {
        spans: spans.local_addr()?.port(),
        hole: hole.local_addr()?.port(),
    };
    println!("{}", serde_json::to_string(&ports)?);
    std::io::stdout().flush()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = hole.accept().await {
            tokio::spawn(swallow(stream));
        }
    });
    let counts = Arc::new(Mutex::new(Counts::new()));
    loop {
        let (stream, _) = spans.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(connection(stream, Arc::clone(&counts)));
    }
}

/// Reads, until the other side has had enough.
async fn swallow(mut stream: TcpStream) {
    let mut buffer = vec![0; 64 * 1024];
    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
}

async fn connection(mut stream: TcpStream, counts: Arc<Mutex<Counts>>) {
    let mut buffer = BytesMut::with_capacity(256 * 1024);
    while let Some(head) = read_head(&mut stream, &mut buffer).await {
        while buffer.len() < head.body {
            if !stream.read_buf(&mut buffer).await.is_ok_and(|read| read > 0) {
                return;
            }
        }
        let answer = answer(&head, &buffer[..head.body], &counts);
        buffer.advance(head.body);
        if stream.write_all(&answer).await.is_err() || head.asks.is_some() {
            return;
        }
    }
}

struct Head {
    /// The path of a question, where it is no spans.
    asks: Option<String>,
    body: usize,
}

async fn read_head(stream: &mut TcpStream, buffer: &mut BytesMut) -> Option<Head> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = parse(&buffer[..end]);
            buffer.advance(end + 4);
            return head;
        }
        if !stream.read_buf(buffer).await.is_ok_and(|read| read > 0) {
            return None;
        }
    }
}

/// `None` for what this receiver does not do, which closes the connection: compressed bodies, and those without their length.
fn parse(head: &[u8]) -> Option<Head> {
    let text = std::str::from_utf8(head).ok()?;
    let mut lines = text.split("\r\n");
    let asks = lines
        .next()?
        .strip_prefix("GET ")
        .and_then(|line| line.split(' ').next());
    let mut body = None;
    for line in lines {
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") {
            body = value.trim().parse().ok();
        }
        if name.eq_ignore_ascii_case("content-encoding") {
            return None;
        }
    }
    Some(Head {
        asks: asks.map(str::to_owned),
        body: body?,
    })
}

fn answer(head: &Head, body: &[u8], counts: &Mutex<Counts>) -> Vec<u8> {
    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(path) = &head.asks else {
        counts.take(body);
        return OK.to_vec();
    };
    if path == "/forget" {
        *counts = Counts::new();
    }
    let told = serde_json::to_string(&counts.told()).unwrap_or_default();
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{told}", told.len()).into_bytes()
}
