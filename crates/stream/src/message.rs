//! Rows to messages and back.
//!
//! | header | value |
//! |---|---|
//! | `Nats-Msg-Id` | the process, the partition and the number: the servers ignore a repeated one |
//! | `Tr-Row` | version, items, generation, created, format and order of the row |
//! | `Tr-Owner` | the owner of the row, escaped |
//! | `Tr-Published` | the process, its running number in the partition, and its sum of items with this row |
//! | `Tr-Hot` | in a parking stream: the number of the message in the hot stream |
//!
//! The subject has the queue and the kind. No key, token or header of a client is in a message.

use std::fmt::Write as _;

use async_nats::{HeaderMap, HeaderValue};
use bytes::Bytes;
use tracer_registry_spool::Row;
use uuid::Uuid;

use crate::layout::names::{escape, queue_of, unescape};

const ID: &str = "Nats-Msg-Id";
const ROW: &str = "Tr-Row";
const OWNER: &str = "Tr-Owner";
const PUBLISHED: &str = "Tr-Published";
const HOT: &str = "Tr-Hot";

const VERSION: u64 = 1;

/// What a process published up to a message in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    /// The process, from its start to its end.
    pub(crate) process: Uuid,
    /// The running number of the message, from 1.
    pub(crate) number: u64,
    /// Items of all messages up to this one, with this one.
    pub(crate) sum: u64,
}

/// A message as it arrives.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) row: Row,
    pub(crate) published: Published,
    /// In a parking stream: the number in the hot stream.
    pub(crate) hot: Option<u64>,
}

/// A message is not what a replica published.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message has no valid {0}")]
pub(crate) struct Malformed(&'static str);

/// Returns the headers of a row's message.
pub(crate) fn headers(row: &Row, partition: u16, published: &Published, hot: Option<u64>) -> HeaderMap {
    let Published { process, number, sum } = published;
    let process = process.simple();
    let mut headers = HeaderMap::new();
    // A message that was parked twice is one, and so is one that was published twice.
    headers.insert(ID, format!("{process}.{partition}.{number}"));
    let mut text = String::new();
    let fields = [
        VERSION,
        u64::from(row.items),
        row.generation,
        row.created,
        u64::from(row.format),
        row.order,
    ];
    for field in fields {
        let _ = write!(text, "{field} ");
    }
    headers.insert(ROW, text.trim_end());
    headers.insert(OWNER, escape(&row.owner));
    headers.insert(PUBLISHED, format!("{process} {number} {sum}"));
    if let Some(hot) = hot {
        headers.insert(HOT, hot.to_string());
    }
    headers
}

/// Reads a message.
pub(crate) fn read(subject: &str, headers: Option<&HeaderMap>, body: Bytes) -> Result<Message, Malformed> {
    let (queue, kind) = queue_of(subject).ok_or(Malformed("subject"))?;
    let headers = headers.ok_or(Malformed(ROW))?;
    let header = |name: &'static str| headers.get(name).map(HeaderValue::as_str).ok_or(Malformed(name));
    let fields = numbers::<6>(header(ROW)?).ok_or(Malformed(ROW))?;
    let [VERSION, items, generation, created, format, order] = fields else {
        return Err(Malformed(ROW));
    };
    let owner = unescape(header(OWNER)?).ok_or(Malformed(OWNER))?;
    let published = published(header(PUBLISHED)?).ok_or(Malformed(PUBLISHED))?;
    let hot = headers.get(HOT).map(|hot| hot.as_str().parse());
    let hot = hot.transpose().map_err(|_| Malformed(HOT))?;
    let row = Row {
        queue: queue.into(),
        owner: owner.into(),
        kind,
        order,
        items: u32::try_from(items).map_err(|_| Malformed(ROW))?,
        generation,
        created,
        format: u8::try_from(format).map_err(|_| Malformed(ROW))?,
        body,
    };
    Ok(Message { row, published, hot })
}

fn published(text: &str) -> Option<Published> {
    let (process, rest) = text.split_once(' ')?;
    let [number, sum] = numbers(rest)?;
    Some(Published {
        process: Uuid::try_parse(process).ok()?,
        number,
        sum,
    })
}

/// Reads numbers with one blank between them.
fn numbers<const N: usize>(text: &str) -> Option<[u64; N]> {
    let mut numbers = [0; N];
    let mut fields = text.split(' ');
    for number in &mut numbers {
        *number = fields.next()?.parse().ok()?;
    }
    fields.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tracer_registry_spool::Kind;

    use super::*;
    use crate::layout::names::Names;

    fn row() -> impl Strategy<Value = Row> {
        let texts = ("\\PC{1,30}", "\\PC{1,20}");
        let numbers = (any::<u32>(), any::<u64>(), any::<u64>(), any::<u8>(), any::<u64>());
        let kind = prop_oneof![Just(Kind::Spans), Just(Kind::SessionEvents)];
        (texts, numbers, kind, proptest::collection::vec(any::<u8>(), 0..50)).prop_map(
            |((queue, owner), (items, generation, created, format, order), kind, body)| Row {
                queue: queue.into(),
                owner: owner.into(),
                kind,
                order,
                items,
                generation,
                created,
                format,
                body: body.into(),
            },
        )
    }

    proptest! {
        #[test]
        fn a_row_returns_from_its_message(row in row(), number: u64, sum: u64, hot: Option<u64>) {
            let published = Published { process: Uuid::from_u128(7), number, sum };
            let subject = Names::new("tr").hot_subject(3, &row.queue, row.kind);
            let headers = headers(&row, 3, &published, hot);
            let message = read(&subject, Some(&headers), row.body.clone()).expect("a message");
            prop_assert_eq!(message.published, published);
            prop_assert_eq!(message.hot, hot);
            prop_assert_eq!(format!("{:?}", message.row), format!("{row:?}"));
        }

        #[test]
        fn any_headers_are_read_without_a_panic(text in "[0-9 ]{0,40}", process in "[0-9a-f ]{0,40}") {
            let mut headers = HeaderMap::new();
            headers.insert(ROW, text.as_str());
            headers.insert(OWNER, "a");
            headers.insert(PUBLISHED, process.as_str());
            let _ = read("tr.hot.1.a.s", Some(&headers), Bytes::new());
        }
    }

    #[test]
    fn a_message_of_another_program_is_malformed() {
        let read = |subject: &str| read(subject, Some(&HeaderMap::new()), Bytes::new()).map(|_| ());
        assert_eq!(read("tr.hot.1.a.s"), Err(Malformed(ROW)));
        assert_eq!(read("tr.hot.1.a.x"), Err(Malformed("subject")));
    }
}
