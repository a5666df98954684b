//! Clients that are slow, silent or many.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::frames::{
    END_HEADERS, END_STREAM, HEADERS, Http2, PING, PREFACE, SETTINGS, export_headers, frame, header_block,
};
use super::neighbour::{Neighbour, wait_for_requests};
use super::process::{Process, raise_descriptor_limit};
use crate::limits::Raw;
use crate::requests::EXPORT;
use crate::support::{ACME, Service, body, framed, until};

const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";

#[test]
fn ten_thousand_idle_connections_leave_room_for_others_and_end() {
    const CONNECTIONS: usize = 10_000;
    let descriptors = raise_descriptor_limit();
    if descriptors < 11_000 {
        return println!("skipped: the system allows only {descriptors} descriptors");
    }
    let settings = "max_connections = 10_100\nheader_timeout = \"1m\"\nidle_timeout = \"4s\"";
    let process = Process::start(256, settings);
    let before = process.descriptors();
    let neighbour = Neighbour::start(&process);
    let mut connections: Vec<Raw> = (0..CONNECTIONS)
        .map(|index| Raw::connect(if index % 2 == 0 { process.http } else { process.grpc }))
        .collect();
    until(|| process.descriptors() > CONNECTIONS);
    // A request each, over HTTP/1 or HTTP/2, with which the time of idleness begins.
    let block = header_block(&[(":method", b"GET"), (":scheme", b"http"), (":path", b"/healthz")]);
    let http2 = [
        PREFACE,
        &frame(SETTINGS, 0, 0, &[]),
        &frame(HEADERS, END_HEADERS | END_STREAM, 1, &block),
    ]
    .concat();
    for (index, raw) in connections.iter_mut().enumerate() {
        raw.write(if index % 2 == 0 { HEALTH } else { &http2 });
    }
    until(|| process.descriptors() <= before + 8);
    wait_for_requests(&process, neighbour.stop().len());
    process.assert_memory_bound();
    drop(connections);
}

#[test]
fn a_burst_of_connections_waits_until_they_are_accepted() {
    let process = Process::start(64, "");
    let mut connections = Vec::new();
    process.while_stopped(|| {
        for _ in 0..500 {
            // If the queue of the system were full, this would wait for a second and longer.
            let stream = TcpStream::connect_timeout(&process.http, Duration::from_millis(900));
            connections.push(stream.unwrap());
        }
    });
    for stream in &mut connections {
        stream.write_all(HEALTH).unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        assert_eq!(&status, b"HTTP/1.1 200");
    }
}

#[test]
fn slow_and_half_open_clients_end_while_others_are_served() {
    let settings = "header_timeout = \"1s\"\nbody_grace = \"1s\"\nbody_min_rate = \"10KiB\"\n\
                    idle_timeout = \"2s\"\nmax_request = \"4MiB\"";
    let process = Process::start(32, settings);
    let before = process.descriptors();
    let neighbour = Neighbour::start(&process);
    let block = header_block(&export_headers("Bearer x", &[]));
    let mut connections = Vec::new();
    for index in 0..300 {
        let mut raw = Raw::connect(if index % 2 == 0 { process.http } else { process.grpc });
        match index % 6 {
            // Nothing.
            0 => {}
            // The start of a head, of a block of headers, or of a body.
            1 => raw.write("POST /v1/traces HTTP/1.1\r\nho"),
            2 => {
                raw = Http2::connect(process.grpc, &[]).0;
                raw.write(frame(HEADERS, 0, 1, &block[..block.len() / 2]));
            }
            3 => {
                raw.write_head(ACME, 100_000);
                raw.write([0; 10]);
            }
            // A client that is gone in one direction, and one of HTTP/2 that only pings.
            4 => {
                raw.write("GET /healthz HTTP/1.1\r\n");
                raw.0.shutdown(std::net::Shutdown::Write).unwrap();
            }
            _ => raw = Http2::connect(process.grpc, &[]).0,
        }
        connections.push(raw);
    }
    // Each sends a little now and then, as long as the gateway takes it.
    let mut open: Vec<(usize, Raw)> = connections.into_iter().enumerate().collect();
    for _ in 0..30 {
        open.retain_mut(|(index, raw)| {
            let little = match *index % 6 {
                1 => b"x".to_vec(),
                3 => vec![0; 10],
                5 => frame(PING, 0, 0, &[7; 8]),
                _ => vec![],
            };
            raw.0.write_all(&little).is_ok()
        });
        std::thread::sleep(Duration::from_millis(100));
    }
    until(|| process.descriptors() <= before + 8);
    wait_for_requests(&process, neighbour.stop().len());
    process.assert_memory_bound();
}

#[test]
fn incomplete_heads_share_the_memory_and_leave_some_for_others() {
    let service = Service::start("max_request = \"64KiB\"\nmemory = \"512KiB\"");
    let start = format!("GET /healthz HTTP/1.1\r\nhost: a\r\nx: {}", "y".repeat(20_000));
    let mut heads: Vec<Raw> = (0..10)
        .map(|_| {
            let mut raw = Raw::connect(service.http());
            drop(raw.0.write_all(start.as_bytes()));
            raw
        })
        .collect();
    // Half of the memory has room for four of them; the gateway closes the others.
    until(|| service.status().connections.no_memory == 6);
    until(|| service.status().connections.open == 4);
    assert_eq!(service.status().memory.used, 256 * 1024);
    // Requests that arrive as a whole are no incomplete heads.
    let message = body(&["n".repeat(60_000).as_str()]);
    assert_eq!(service.post(ACME, &[], message.clone()).status, 200);
    assert_eq!(
        service.call(EXPORT, ACME, &[], framed(false, &message)).grpc_status(),
        0
    );
    let served = heads.iter_mut().filter_map(|raw| {
        raw.0.write_all(b"\r\n\r\n").ok()?;
        let mut status = [0; 12];
        raw.0.read_exact(&mut status).ok()?;
        (&status == b"HTTP/1.1 200").then_some(())
    });
    assert_eq!(served.count(), 4);
    until(|| service.status().memory.used == 0);
}
