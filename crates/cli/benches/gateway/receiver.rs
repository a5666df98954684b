//! The receiver process: reads whole bodies, counts their spans, and answers 200 with an empty
//! body.

use std::io::{BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flate2::read::GzDecoder;

use crate::Result;
use crate::control::Received;
use crate::count;
use crate::delays::Delays;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";

/// Key of the tenant whose delays do not count.
pub(crate) const LOUD_KEY: &str = "key-of-the-loud-tenant";

struct Counts {
    received: Received,
    /// From the end of a span to its receipt, of all tenants but the loud one.
    delays: Delays,
}

struct Head {
    asks: Option<String>,
    body: usize,
    is_gzip: bool,
    is_loud: bool,
}

/// Serves until its input closes.
pub(crate) fn run() -> Result<()> {
    thread::spawn(|| {
        // The parent process holds the other end and has ended when it closes.
        let _ended = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{}", listener.local_addr()?.port());
    std::io::stdout().flush()?;
    let counts = Arc::new(Mutex::new(Counts {
        received: Received::default(),
        delays: Delays::new(),
    }));
    for stream in listener.incoming() {
        let (stream, counts) = (stream?, Arc::clone(&counts));
        // A connection that fails is closed, and its sender reports it.
        thread::spawn(move || drop(connection(&stream, &counts)));
    }
    Ok(())
}

fn connection(stream: &TcpStream, counts: &Mutex<Counts>) -> Result<()> {
    stream.set_nodelay(true)?;
    let (mut reader, mut writer) = (BufReader::with_capacity(256 * 1024, stream), stream);
    let (mut body, mut inflated) = (Vec::new(), Vec::new());
    while let Some(head) = read_head(&mut reader)? {
        body.resize(head.body, 0);
        reader.read_exact(&mut body)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        if let Some(path) = &head.asks {
            return answer(path, writer, counts);
        }
        let request = if head.is_gzip {
            inflated.clear();
            GzDecoder::new(&body[..]).read_to_end(&mut inflated)?;
            &inflated
        } else {
            &body
        };
        take(&head, request, now, counts);
        writer.write_all(OK)?;
    }
    Ok(())
}

fn take(head: &Head, request: &[u8], now: Duration, counts: &Mutex<Counts>) {
    let (mut spans, mut ends) = (0, Vec::new());
    count::spans(request, &mut |_, end| {
        spans += 1;
        ends.push(end);
    });
    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    let received = &mut counts.received;
    received.requests += 1;
    received.compressed += u64::from(head.is_gzip);
    received.wire_bytes += head.body as u64;
    received.spans += spans;
    if !head.is_loud {
        counts.received.others += spans;
        for end in ends {
            counts.delays.note(now.saturating_sub(Duration::from_nanos(end)));
        }
    }
}

/// Answers a control request.
fn answer(path: &str, mut writer: impl std::io::Write, counts: &Mutex<Counts>) -> Result<()> {
    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    if path == "/reset" {
        counts.received = Received::default();
        counts.delays.clear();
    }
    let mut received = counts.received.clone();
    received.p99_millis = counts.delays.quantile(990);
    let report = serde_json::to_string(&received)?;
    write!(
        writer,
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{report}",
        report.len()
    )?;
    Ok(())
}

/// Reads the head of a request. Returns `None` at the end of the connection.
fn read_head(reader: &mut impl std::io::BufRead) -> Result<Option<Head>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let asks = line.strip_prefix("GET ").and_then(|line| line.split(' ').next());
    let mut head = Head {
        asks: asks.map(str::to_owned),
        body: 0,
        is_gzip: false,
        is_loud: false,
    };
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else {
            return Ok(Some(head));
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => head.body = value.trim().parse()?,
            "content-encoding" => head.is_gzip = value.trim() == "gzip",
            "authorization" => head.is_loud = value.contains(LOUD_KEY),
            "transfer-encoding" => return Err("a body without a length".into()),
            _ => {}
        }
    }
}
