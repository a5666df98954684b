//! Overloaded receiver: accepts some requests and answers the others at once with 503.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use opentelemetry::trace::Span as _;
use tracer_registry::TracerRegistry;
use tracer_registry::config::{Compression, Export, Retry};
use tracer_registry::secret::Fingerprinter;

use crate::support::{LONG, binding, key_of, keys, quick};

/// Time between two accepted requests.
const PERIOD: Duration = Duration::from_millis(20);

/// Starts a receiver that accepts one request per period. Returns its URL and the heads of the
/// accepted requests.
fn receiver() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let accepted = Arc::new(Mutex::new(Vec::new()));
    let heads = Arc::clone(&accepted);
    let free = Arc::new(Mutex::new(Instant::now()));
    // Detached, like the threads of its connections.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, heads, free) = (stream.expect("a connection"), Arc::clone(&heads), Arc::clone(&free));
            thread::spawn(move || serve(stream, &heads, &free));
        }
    });
    (url, accepted)
}

fn serve(mut stream: TcpStream, accepted: &Mutex<Vec<String>>, free: &Mutex<Instant>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().expect("a descriptor"));
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
        let length = length.parse().expect("a number");
        std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink()).ok()?;
        let status = {
            let mut free = free.lock().expect("not poisoned");
            if Instant::now() < *free {
                "503 Service Unavailable"
            } else {
                *free = Instant::now() + PERIOD;
                accepted.lock().expect("not poisoned").push(head);
                "200 OK"
            }
        };
        let response = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(response.as_bytes()).ok()?;
    }
}

#[test]
fn an_overloaded_receiver_serves_equal_tenants_in_turn() {
    const TENANTS: [&str; 4] = ["a", "b", "c", "d"];
    const BATCHES: usize = 16;
    const SPANS: usize = 5;
    let (url, accepted) = receiver();
    let mut builder = TracerRegistry::builder()
        .fingerprinter(Fingerprinter::new())
        .secret_source("test", keys())
        .export(Export {
            max_export_batch_size: Some(SPANS),
            compression: Some(Compression::None),
            retry: Retry {
                initial_backoff: Some(Duration::from_millis(2)),
                max_backoff: Some(Duration::from_secs(10)),
                ..Retry::default()
            },
            ..quick()
        });
    for name in TENANTS {
        builder = builder.tenant(name, binding(name).endpoint(&url));
    }
    let registry = builder.build().expect("valid");
    for name in TENANTS {
        let tracer = registry.tenant(name).expect("configured");
        for _ in 0..BATCHES * SPANS {
            tracer.start_span("work").end();
        }
    }
    let report = registry.shutdown(LONG);
    for tracer in &report.tracers {
        assert_eq!(
            (tracer.delivered, tracer.lost(), tracer.pending),
            ((BATCHES * SPANS) as u64, 0, 0)
        );
    }
    let accepted = accepted.lock().expect("not poisoned");
    let tenant_index = |head: &String| TENANTS.iter().position(|name| head.contains(&key_of(name)));
    let order: Vec<_> = accepted
        .iter()
        .map(|head| tenant_index(head).expect("a known key"))
        .collect();
    for tenant in 0..TENANTS.len() {
        // Ignore requests after its last one: other tenants may have more left.
        let last = order
            .iter()
            .rposition(|tenant_index| *tenant_index == tenant)
            .expect("it was accepted");
        let gaps = order[..last]
            .split(|tenant_index| *tenant_index == tenant)
            .map(<[_]>::len);
        let longest = gaps.max().expect("there is a gap");
        assert!(
            longest <= 4 * TENANTS.len(),
            "{longest} requests of others between two of tenant {tenant}: {order:?}"
        );
    }
}
