//! The receiver process: a minimal HTTP/1.1 server on one thread.
//!
//! It reads whole bodies, counts their spans, and answers 200 with an empty body. A second port
//! accepts connections and never answers.

use std::collections::HashSet;
use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::Result;
use crate::control::{Ports, Received};
use crate::count;
use crate::delays::Delays;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";

const REFUSED: &[u8] = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n";

/// Prefix of rotating keys, followed by their number.
pub(crate) const ROTATING: &str = "rotating-";

struct Counts {
    requests: u64,
    spans: u64,
    delays: Delays,
    refused: u64,
    duplicates: u64,
    /// Ids of received spans, if duplicates are counted.
    ids: Option<HashSet<u64>>,
    /// Lower-numbered rotating keys are refused.
    current: u64,
}

impl Counts {
    fn new() -> Self {
        Self {
            requests: 0,
            spans: 0,
            delays: Delays::new(),
            refused: 0,
            duplicates: 0,
            ids: None,
            current: 0,
        }
    }

    /// Resets the counts and keeps the settings.
    fn reset(&mut self) {
        *self = Self {
            ids: self.ids.take().map(|_| HashSet::new()),
            current: self.current,
            ..Self::new()
        };
    }

    /// Counts a request. Returns whether its key is accepted. Delays count only for keys that do
    /// not rotate.
    fn take(&mut self, body: &[u8], key: Option<u64>) -> bool {
        if key.is_some_and(|key| key < self.current) {
            self.refused += 1;
            return false;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        self.requests += 1;
        count::spans(body, &mut |id, end| {
            self.spans += 1;
            if key.is_none() {
                self.delays.note(Duration::from_nanos(now.saturating_sub(end)));
            }
            if self.ids.as_mut().is_some_and(|ids| !ids.insert(id)) {
                self.duplicates += 1;
            }
        });
        true
    }

    fn report(&self) -> Received {
        Received {
            requests: self.requests,
            spans: self.spans,
            p50_millis: self.delays.quantile(500),
            p99_millis: self.delays.quantile(990),
            refused: self.refused,
            duplicates: self.duplicates,
        }
    }
}

/// Serves until its input closes.
pub(crate) fn run() -> Result<()> {
    std::thread::spawn(|| {
        // The parent process holds the other end and has ended when it closes.
        let _ended = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve())
}

async fn serve() -> Result<()> {
    let spans = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let black_hole = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let ports = Ports {
        spans: spans.local_addr()?.port(),
        black_hole: black_hole.local_addr()?.port(),
    };
    println!("{}", serde_json::to_string(&ports)?);
    std::io::stdout().flush()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = black_hole.accept().await {
            tokio::spawn(read_forever(stream));
        }
    });
    let counts = Arc::new(Mutex::new(Counts::new()));
    loop {
        let (stream, _) = spans.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(connection(stream, Arc::clone(&counts)));
    }
}

/// Reads until the other side closes the connection.
async fn read_forever(mut stream: TcpStream) {
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
    /// Path of a control request. `None` for spans.
    asks: Option<String>,
    body: usize,
    /// Number of its key, if the key is a rotating one.
    key: Option<u64>,
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

/// Returns `None`, which closes the connection, for compressed bodies and bodies without a length.
fn parse(head: &[u8]) -> Option<Head> {
    let text = std::str::from_utf8(head).ok()?;
    let mut lines = text.split("\r\n");
    let asks = lines
        .next()?
        .strip_prefix("GET ")
        .and_then(|line| line.split(' ').next());
    let (mut body, mut key) = (None, None);
    for line in lines {
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") {
            body = value.trim().parse().ok();
        }
        if name.eq_ignore_ascii_case("authorization") {
            key = value
                .split_once(ROTATING)
                .and_then(|(_, number)| number.trim().parse().ok());
        }
        if name.eq_ignore_ascii_case("content-encoding") {
            return None;
        }
    }
    Some(Head {
        asks: asks.map(str::to_owned),
        body: body?,
        key,
    })
}

fn answer(head: &Head, body: &[u8], counts: &Mutex<Counts>) -> Vec<u8> {
    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(path) = &head.asks else {
        let good = counts.take(body, head.key);
        return if good { OK } else { REFUSED }.to_vec();
    };
    match path.strip_prefix("/rotate/") {
        Some(key) => counts.current = key.parse().unwrap_or_default(),
        None if path == "/reset" => counts.reset(),
        None if path == "/ids" => counts.ids = Some(HashSet::new()),
        None => {}
    }
    let report = serde_json::to_string(&counts.report()).unwrap_or_default();
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{report}", report.len()).into_bytes()
}
