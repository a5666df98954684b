//! A receiver that is short of capacity: it takes some requests, and answers 503 to the others without a wait.

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

/// Between two requests that the receiver takes.
const PERIOD: Duration = Duration::from_millis(20);

/// A receiver that takes one request each period. Returns its address, and the heads of the requests that it took.
fn receiver() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let taken = Arc::new(Mutex::new(Vec::new()));
    let heads = Arc::clone(&taken);
    let free = Arc::new(Mutex::new(Instant::now()));
    // Ends with the process, as the threads of its connections.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, heads, free) = (stream.expect("a connection"), Arc::clone(&heads), Arc::clone(&free));
            thread::spawn(move || serve(stream, &heads, &free));
        }
    });
    (url, taken)
}

fn serve(mut stream: TcpStream, taken: &Mutex<Vec<String>>, free: &Mutex<Instant>) -> Option<()> {
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
            let mut free = free.lock().expect("whole");
            if Instant::now() < *free {
                "503 Service Unavailable"
            } else {
                *free = Instant::now() + PERIOD;
                taken.lock().expect("whole").push(head);
                "200 OK"
            }
        };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).ok()?;
    }
}

#[test]
fn equal_tenants_are_served_in_turn_by_a_receiver_that_is_short_of_capacity() {
    const TENANTS: [&str; 4] = ["a", "b", "c", "d"];
    const BATCHES: usize = 16;
    const SPANS: usize = 5;
    let (url, taken) = receiver();
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
    let taken = taken.lock().expect("whole");
    let number = |head: &String| TENANTS.iter().position(|name| head.contains(&key_of(name)));
    let order: Vec<_> = taken.iter().map(|head| number(head).expect("a known key")).collect();
    for tenant in 0..TENANTS.len() {
        // Not after its last one: others may have more requests left.
        let last = order
            .iter()
            .rposition(|number| *number == tenant)
            .expect("it was taken");
        let gaps = order[..last].split(|number| *number == tenant).map(<[_]>::len);
        let longest = gaps.max().expect("there is a gap");
        assert!(
            longest <= 4 * TENANTS.len(),
            "{longest} requests of others between two of tenant {tenant}: {order:?}"
        );
    }
}
