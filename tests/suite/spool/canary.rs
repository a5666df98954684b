//! Keys, headers and endpoints are in no byte on disk.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use tracer_registry::TracerRegistry;
use tracer_registry::config::SpoolMode;
use tracer_registry_collector::Fault;
use tracer_registry_spool::{Kind, Limit, Options, SqliteStore, Store as _, Taken};

use super::{Disk, end_spans, names, wait_until_delivered};
use crate::support::{LONG, binding, key_of};

const HEADER: &str = "value_of_a_header_canary";
const QUEUE: &str = "tenant:a";

#[test]
fn keys_headers_and_endpoints_are_in_no_byte_on_disk() {
    for mode in [SpoolMode::Through, SpoolMode::Overflow] {
        let disk = Disk::new(mode, &["a", "b"]);
        let folder = disk.settings().path.expect("set");
        let endpoint = disk.collector.addr().to_string();
        let secrets = [key_of("a"), key_of("b"), HEADER.to_owned(), endpoint];
        let start = || disk.start_with(|builder| builder.tenant("a", binding("a").header("x-header", HEADER)));
        let fault = disk.collector.fault(Fault::status(503).only(key_of("a")));
        let (spans, other) = (names("span", 200), names("other", 50));

        let first = start();
        start_session(&first);
        end_spans(&first, "a", &spans);
        end_spans(&first, "b", &other);
        disk.wait_for_names("b", &other);
        assert_without(&secrets, &folder);
        assert!(first.shutdown(Duration::from_secs(4)).is_complete());
        drop(first);
        assert_without(&secrets, &folder);
        assert!(
            file_with(QUEUE.as_bytes(), &folder).is_some(),
            "no file has the name of the queue"
        );

        // Bodies are compressed, so a search of the files would not find what is in them.
        let spans_on_disk = bodies(&folder, Kind::Spans);
        let events_on_disk = bodies(&folder, Kind::SessionEvents);
        assert!(contains(&spans_on_disk, "span0000") && contains(&spans_on_disk, "span0199"));
        assert!(contains(&events_on_disk, "a_session"));
        for secret in &secrets {
            assert!(!contains(&spans_on_disk, secret), "{secret} is in a row of spans");
            assert!(!contains(&events_on_disk, secret), "{secret} is in a row of a session");
        }

        disk.collector.clear_fault(fault);
        let second = start();
        wait_until_delivered(&second, "a");
        assert_without(&secrets, &folder);
        drop(second);
        assert_without(&secrets, &folder);
    }
}

fn start_session(registry: &TracerRegistry) {
    let tracer = registry.tenant("a").expect("configured");
    drop(tracer.session("a_session").start());
}

/// Asserts that no file of the store has a text, while the store runs or not.
fn assert_without(texts: &[String], folder: &Path) {
    for text in texts {
        assert_eq!(file_with(text.as_bytes(), folder), None, "{text}");
    }
}

/// Returns a file of the store with these bytes.
pub(crate) fn file_with(bytes: &[u8], folder: &Path) -> Option<PathBuf> {
    let files = fs::read_dir(folder)
        .expect("a folder")
        .map(|file| file.expect("a file").path());
    files
        .into_iter()
        .find(|path| contains(&fs::read(path).unwrap_or_default(), bytes))
}

/// Returns the inflated bodies of the rows on disk.
pub(crate) fn bodies(folder: &Path, kind: Kind) -> Vec<u8> {
    let options = Options::new(folder, 64 << 20, |_, _| false, Arc::new(|_| {}));
    let store = SqliteStore::open(options).expect("closed before");
    let (done, rows) = mpsc::channel();
    let limit = Limit {
        rows: usize::MAX,
        bytes: usize::MAX,
        before: u64::MAX,
    };
    let done = Box::new(move |rows| done.send(rows).expect("it is awaited"));
    store.take(&QUEUE.into(), kind, limit, done);
    let rows: Vec<Taken> = rows.recv_timeout(LONG).expect("an answer").expect("it works");
    store.close(Instant::now() + LONG);
    rows.iter().flat_map(inflated).collect()
}

fn inflated(row: &Taken) -> Vec<u8> {
    let mut body = Vec::new();
    match row.format & 0b111 {
        0 => body.extend(&*row.body),
        1 => body = zstd::decode_all(&*row.body).expect("a frame"),
        2 => drop(GzDecoder::new(&*row.body).read_to_end(&mut body).expect("a member")),
        format => panic!("unknown format {format}"),
    }
    body
}

fn contains(content: &[u8], bytes: impl AsRef<[u8]>) -> bool {
    let bytes = bytes.as_ref();
    content.windows(bytes.len()).any(|window| window == bytes)
}
