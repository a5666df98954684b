//! Rows of the store, from and to payloads and session events.
//!
//! A row holds what a client or the program sent, and the name of its selector. It is sent later
//! with the key and the settings that the selector has then, so no function here gets any of them.
//!
//! | format | body |
//! |---|---|
//! | 0 | OTLP, or a session event as JSON |
//! | 1 | the same as a zstd frame with its size and a checksum |
//! | 2 | the same as a gzip member, as the client sent it |
//! | +8 | spans of the program, which have the attributes of the binding |
//! | +16 | the rules of redaction were applied: they are not applied again, whatever they are later |

use std::fmt;
use std::io::Read;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use flate2::bufread::GzDecoder;
use serde_json::{Map, Value, json};
use tracer_registry_spool::{Kind, Row, Taken};
use uuid::Uuid;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::get_frame_content_size;

use crate::export::payload::{Payload, PayloadError};
use crate::export::queue::session_event::{SessionEvent, SpooledEvent};

const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
const GZIP: u8 = 2;
/// Bits of the encoding.
const ENCODING: u8 = 0b111;
const FINISHED: u8 = 0b1000;
const REDACTED: u8 = 0b1_0000;

/// The fastest regular level: plain bodies are compressed while a request waits.
const LEVEL: i32 = 1;
/// JSON of at most this many bytes is not compressed.
const SHORT: usize = 256;
/// Largest body, inflated. A larger payload must not become a row.
pub(crate) const MAX_BYTES: usize = 64 << 20;

/// Where a row belongs.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Text of the selector.
    pub(crate) queue: Arc<str>,
    /// Tenant of the selector, or the selector if it has none.
    pub(crate) owner: Arc<str>,
    pub(crate) generation: u64,
    /// Order number of the first span.
    pub(crate) order: u64,
}

/// A row is not what a lane wrote.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Damaged {
    #[error("unknown format {0}")]
    Format(u8),
    #[error("the body cannot be inflated: {0}")]
    Encoding(String),
    #[error("the body is larger than {MAX_BYTES} bytes")]
    TooLarge,
    #[error("the body is no request: {0}")]
    Payload(PayloadError),
    #[error("the body has {found} spans instead of {expected}")]
    Count { expected: u32, found: usize },
    #[error("the body is no session event")]
    Event,
}

/// Returns the row of a payload. `finished`: its spans have the attributes of the binding.
///
/// Takes the time to compress it, unless it has the gzip body of its client.
pub(crate) fn of_payload(at: &Place, payload: &Payload, finished: bool) -> Row {
    let (encoding, body) = match payload.gzip() {
        Some(gzip) => (GZIP, gzip.clone()),
        None => compressed(payload.bytes().clone()),
    };
    let finished = if finished { FINISHED } else { 0 };
    let format = encoding | finished | mark(payload.is_redacted());
    row(at, Kind::Spans, payload.spans(), format, body)
}

/// Returns the row of one session event. `redacted`: the rules of redaction were applied.
pub(crate) fn of_event(at: &Place, id: Uuid, within: Option<Uuid>, event: &SessionEvent, redacted: bool) -> Row {
    let mut content = json!({ "session": id.to_string() });
    if let Some(within) = within {
        content["within"] = json!(within.to_string());
    }
    match event {
        SessionEvent::Start(body) => content["start"] = body.clone(),
        SessionEvent::Single(body) => content["single"] = body.clone(),
        SessionEvent::Enrich(delta) => content["enrich"] = Value::Object(delta.clone()),
    }
    let body = Bytes::from(content.to_string());
    let (encoding, body) = if body.len() > SHORT {
        compressed(body)
    } else {
        (PLAIN, body)
    };
    row(at, Kind::SessionEvents, 1, encoding | mark(redacted), body)
}

fn mark(redacted: bool) -> u8 {
    if redacted { REDACTED } else { 0 }
}

/// Returns the payload of a row, and whether its spans are finished.
pub(crate) fn payload(row: &Taken) -> Result<(Payload, bool), Damaged> {
    let encoding = row.format & !(FINISHED | REDACTED);
    let payload = Payload::check(inflated(encoding, &row.body)?).map_err(Damaged::Payload)?;
    let (found, expected) = (payload.spans(), row.items);
    if u32::try_from(found) != Ok(expected) {
        return Err(Damaged::Count { expected, found });
    }
    let payload = if encoding == GZIP {
        payload.with_gzip(row.body.clone())
    } else {
        payload
    };
    let payload = payload.with_redacted(row.format & REDACTED != 0);
    Ok((payload, row.format & FINISHED != 0))
}

/// Returns the session event of a row.
pub(crate) fn event(row: &Taken) -> Result<SpooledEvent, Damaged> {
    let content = inflated(row.format & !REDACTED, &row.body)?;
    let mut content: Map<String, Value> = serde_json::from_slice(&content).map_err(|_| Damaged::Event)?;
    let id = |value: Value| value.as_str().and_then(|id| Uuid::try_parse(id).ok());
    let session = content.remove("session").and_then(id).ok_or(Damaged::Event)?;
    let within = match content.remove("within") {
        Some(within) => Some(id(within).ok_or(Damaged::Event)?),
        None => None,
    };
    let mut parts = content.into_iter();
    let event = match (parts.next(), parts.next()) {
        (Some((name, body)), None) => match (name.as_str(), body) {
            ("start", body) => SessionEvent::Start(body),
            ("single", body) => SessionEvent::Single(body),
            ("enrich", Value::Object(delta)) => SessionEvent::Enrich(delta),
            _ => return Err(Damaged::Event),
        },
        _ => return Err(Damaged::Event),
    };
    Ok(SpooledEvent {
        id: session,
        within,
        event,
        is_redacted: row.format & REDACTED != 0,
    })
}

fn row(at: &Place, kind: Kind, items: usize, format: u8, body: Bytes) -> Row {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Row {
        queue: Arc::clone(&at.queue),
        owner: Arc::clone(&at.owner),
        kind,
        order: at.order,
        items: u32::try_from(items).expect("a body of 64 MiB has fewer items"),
        generation: at.generation,
        created: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
        format,
        body,
    }
}

/// Returns a body as a zstd frame, or as it is if there is no memory for a compressor.
fn compressed(body: Bytes) -> (u8, Bytes) {
    let compress = || {
        let mut compressor = Compressor::new(LEVEL)?;
        compressor.include_checksum(true)?;
        compressor.compress(&body)
    };
    match compress() {
        Ok(frame) => (ZSTD, frame.into()),
        Err(_) => (PLAIN, body),
    }
}

fn inflated(encoding: u8, body: &Bytes) -> Result<Bytes, Damaged> {
    let body = match encoding & ENCODING {
        _ if encoding & !ENCODING != 0 => return Err(Damaged::Format(encoding)),
        PLAIN => body.clone(),
        ZSTD => {
            let size = get_frame_content_size(body).map_err(failed)?;
            let size = size
                .and_then(|size| usize::try_from(size).ok())
                .filter(|size| *size <= MAX_BYTES);
            let size = size.ok_or(Damaged::TooLarge)?;
            let inflated = Decompressor::new().and_then(|mut zstd| zstd.decompress(body, size));
            inflated.map_err(failed)?.into()
        }
        GZIP => {
            let (mut inflated, most) = (Vec::new(), MAX_BYTES as u64 + 1);
            let mut gzip = GzDecoder::new(&body[..]).take(most);
            gzip.read_to_end(&mut inflated).map_err(failed)?;
            inflated.into()
        }
        _ => return Err(Damaged::Format(encoding)),
    };
    if body.len() > MAX_BYTES {
        return Err(Damaged::TooLarge);
    }
    Ok(body)
}

fn failed(error: impl fmt::Display) -> Damaged {
    Damaged::Encoding(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;
    use crate::export::test_fixtures;

    fn at(order: u64) -> Place {
        Place {
            queue: "environment:test,tenant:acme".into(),
            owner: "acme".into(),
            generation: 7,
            order,
        }
    }

    fn spans(count: usize) -> Payload {
        let names: Vec<String> = (0..count).map(|number| format!("span {number}")).collect();
        test_fixtures::payload(&names)
    }

    /// Takes a row from a store.
    fn taken(row: Row) -> Taken {
        let disk = tracer_registry_spool::test::TestStore::by_hand();
        let store = disk.open(&(Arc::new(|_| {}) as _));
        let (queue, kind) = (Arc::clone(&row.queue), row.kind);
        let release = Arc::clone(&store);
        store.append(
            vec![row],
            Box::new(move |rows| release.release(rows.expect("appended").into_iter().map(|row| (row, None)).collect())),
        );
        disk.run();
        let (tx, rx) = std::sync::mpsc::channel();
        let all = tracer_registry_spool::Limit {
            rows: 1,
            bytes: 1,
            before: u64::MAX,
        };
        store.take(&queue, kind, all, Box::new(move |taken| drop(tx.send(taken))));
        disk.run();
        rx.recv().expect("an answer").expect("rows").remove(0)
    }

    fn gzip(body: &[u8]) -> Bytes {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(body).expect("written to memory");
        gzip.finish().expect("written to memory").into()
    }

    #[test]
    fn a_payload_returns_from_its_row_with_the_same_bytes() {
        for (finished, redacted) in [(false, false), (false, true), (true, false), (true, true)] {
            let payload = spans(300).with_redacted(redacted);
            let row = of_payload(&at(9), &payload, finished);
            assert_eq!((row.order, row.items, row.generation), (9, 300, 7));
            assert_eq!((&*row.queue, &*row.owner), ("environment:test,tenant:acme", "acme"));
            assert!(row.body.len() < payload.bytes().len() / 2, "compressed");
            let (again, is_finished) = super::payload(&taken(row)).expect("a payload");
            assert_eq!((again.bytes(), is_finished), (payload.bytes(), finished));
            assert_eq!(again.is_redacted(), redacted);
            assert_eq!((again.spans(), again.gzip()), (300, None));
        }
    }

    #[test]
    fn the_gzip_body_of_a_client_is_kept_unless_the_payload_changed() {
        let payload = spans(3);
        let original = gzip(payload.bytes());
        let payload = payload.with_gzip(original.clone());
        let row = of_payload(&at(1), &payload, false);
        assert_eq!(row.body.as_ptr(), original.as_ptr(), "not copied");
        let (again, _) = super::payload(&taken(row)).expect("a payload");
        assert_eq!((again.gzip(), again.bytes()), (Some(&original), payload.bytes()));
        let sampled = payload.retain(|trace, _| trace[15] != 1);
        let (again, _) = super::payload(&taken(of_payload(&at(1), &sampled, false))).expect("a payload");
        assert_eq!((again.gzip(), again.spans()), (None, 2));
    }

    #[test]
    fn a_damaged_row_is_no_payload() {
        let whole = || taken(of_payload(&at(1), &spans(100), false));
        let error = |row: Taken| super::payload(&row).expect_err("damaged").to_string();
        let mut damaged = 0;
        for index in 0..whole().body.len() {
            let mut body = whole().body.to_vec();
            body[index] ^= 0x10;
            let body = body.into();
            // Unused bits of the frame change nothing.
            match super::payload(&Taken { body, ..whole() }) {
                Ok((payload, _)) => assert_eq!(payload.bytes(), spans(100).bytes(), "byte {index}"),
                Err(_) => damaged += 1,
            }
        }
        assert!(damaged * 10 > whole().body.len() * 9, "{damaged}");
        let body = whole().body.slice(..whole().body.len() / 2);
        assert!(error(Taken { body, ..whole() }).starts_with("the body cannot be inflated"));
        assert_eq!(
            error(Taken { items: 99, ..whole() }),
            "the body has 100 spans instead of 99"
        );
        assert_eq!(error(Taken { format: 3, ..whole() }), "unknown format 3");
        assert_eq!(error(Taken { format: 33, ..whole() }), "unknown format 33");
        let plain = Taken {
            format: PLAIN,
            body: "text".into(),
            ..whole()
        };
        assert!(error(plain).starts_with("the body is no request"));
    }

    #[test]
    fn a_body_that_inflates_beyond_the_bound_is_damaged() {
        let zeros = vec![0; MAX_BYTES + 1];
        let whole = taken(of_payload(&at(1), &spans(1), false));
        let zstd = compressed(zeros.clone().into()).1;
        for (format, body) in [(GZIP, gzip(&zeros)), (ZSTD, zstd)] {
            let row = Taken {
                format,
                body,
                ..whole.clone()
            };
            assert!(matches!(super::payload(&row), Err(Damaged::TooLarge)));
        }
    }

    fn json_object() -> impl Strategy<Value = Map<String, Value>> {
        prop::collection::btree_map("[a-z]{0,9}", "\\PC{0,99}".prop_map(Value::String), 0..6)
            .prop_map(|entries| entries.into_iter().collect())
    }

    proptest! {
        #[test]
        fn a_session_event_returns_from_its_row(
            (id, within) in (any::<u128>(), prop::option::of(any::<u128>())),
            (kind, body, is_redacted) in (0..3_u8, json_object(), any::<bool>()),
        ) {
            let event = match kind {
                0 => SessionEvent::Start(Value::Object(body)),
                1 => SessionEvent::Single(Value::Object(body)),
                _ => SessionEvent::Enrich(body),
            };
            let spooled = SpooledEvent {
                id: Uuid::from_u128(id),
                within: within.map(Uuid::from_u128),
                event,
                is_redacted,
            };
            let row = of_event(&at(3), spooled.id, spooled.within, &spooled.event, is_redacted);
            prop_assert_eq!((row.kind, row.items, row.order), (Kind::SessionEvents, 1, 3));
            let again = super::event(&taken(row)).expect("an event");
            prop_assert_eq!(format!("{again:?}"), format!("{spooled:?}"));
        }

        #[test]
        fn any_bytes_are_an_event_and_a_payload_or_damaged(
            (format, items) in (any::<u8>(), 0..3_u32),
            body in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let row = Taken { format, items, body: body.into(), ..taken(of_payload(&at(1), &spans(1), false)) };
            drop(super::event(&row));
            if let Ok((payload, _)) = super::payload(&row) {
                prop_assert_eq!(payload.spans() as u64, u64::from(items));
            }
        }
    }

    #[test]
    fn an_event_with_two_bodies_or_without_an_id_is_damaged() {
        let row = |text: &'static str| Taken {
            format: PLAIN,
            body: text.into(),
            ..taken(of_payload(&at(1), &spans(1), false))
        };
        let id = "\"00000000-0000-0000-0000-000000000001\"";
        for text in [
            r#"{"session": ID, "start": {}, "enrich": {}}"#,
            r#"{"session": ID}"#,
            r#"{"start": {}}"#,
            r#"{"session": ID, "within": 7, "start": {}}"#,
            r#"{"session": ID, "enrich": []}"#,
            r#"{"session": ID, "other": {}}"#,
            "[]",
            "",
        ] {
            let text: &'static str = text.replace("ID", id).leak();
            assert!(matches!(event(&row(text)), Err(Damaged::Event)), "{text}");
        }
    }
}
