//! Names of streams, subjects and buckets, and the partition of a tenant.
//!
//! | name | of |
//! |---|---|
//! | `tr-hot-7` | the work queue of partition 7; subjects `tr.hot.7.<queue>.<kind>` |
//! | `tr-park-7` | what waits there for its receiver; subjects `tr.park.7.<queue>.<kind>` |
//! | `send` | the consumer of each hot stream, and its priority group |
//! | `tr-books` | bucket: the books of each partition, by its number |
//! | `tr-totals` | bucket: what each process has published, by `<process>.<partition>` |
//! | `tr-replicas` | bucket: live replicas and their ledgers, by process |
//! | `tr-erased` | bucket: purges, by the text of the selector |
//! | `tr-bindings` | bucket: shared bindings, by the text of the selector |
//! | `tr.erase` | subject: erase, and answer what was erased |
//! | `tr.nudge` | subject: read a key again |

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};
use tracer_registry_spool::Kind;
use uuid::Uuid;

/// The consumer of each hot stream, and its priority group.
pub(crate) const CONSUMER: &str = "send";

/// Names under one prefix.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    prefix: String,
}

impl Names {
    pub(crate) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    pub(crate) fn hot_stream(&self, partition: u16) -> String {
        format!("{}-hot-{partition}", self.prefix)
    }

    pub(crate) fn parking_stream(&self, partition: u16) -> String {
        format!("{}-park-{partition}", self.prefix)
    }

    /// All subjects of a hot stream.
    pub(crate) fn hot_subjects(&self, partition: u16) -> String {
        format!("{}.hot.{partition}.>", self.prefix)
    }

    /// All subjects of a parking stream.
    pub(crate) fn parking_subjects(&self, partition: u16) -> String {
        format!("{}.park.{partition}.>", self.prefix)
    }

    pub(crate) fn hot_subject(&self, partition: u16, queue: &str, kind: Kind) -> String {
        format!("{}.hot.{partition}.{}.{}", self.prefix, escape(queue), letter(kind))
    }

    pub(crate) fn parking_subject(&self, partition: u16, queue: &str, kind: Kind) -> String {
        format!("{}.park.{partition}.{}.{}", self.prefix, escape(queue), letter(kind))
    }

    pub(crate) fn bucket(&self, what: &str) -> String {
        format!("{}-{what}", self.prefix)
    }

    pub(crate) fn purges(&self) -> String {
        format!("{}.erase", self.prefix)
    }

    pub(crate) fn nudges(&self) -> String {
        format!("{}.nudge", self.prefix)
    }
}

/// The key of what a process reports, in the bucket `replicas`.
pub(crate) fn replica_key(process: Uuid) -> String {
    format!("replica.{}", process.simple())
}

/// Returns the queue and kind of a subject of a hot or parking stream.
pub(crate) fn queue_of(subject: &str) -> Option<(String, Kind)> {
    let (rest, kind) = subject.rsplit_once('.')?;
    let (_, queue) = rest.rsplit_once('.')?;
    let kind = match kind {
        "s" => Kind::Spans,
        "e" => Kind::SessionEvents,
        _ => return None,
    };
    Some((unescape(queue)?, kind))
}

fn letter(kind: Kind) -> char {
    match kind {
        Kind::Spans => 's',
        Kind::SessionEvents => 'e',
    }
}

/// Returns the partition of a tenant. Stable: it is the same on all replicas and in all versions.
pub(crate) fn partition_of(owner: &str, partitions: u16) -> u16 {
    let hash = Sha256::digest(owner.as_bytes());
    let number = hash
        .iter()
        .take(8)
        .fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
    u16::try_from(number % u64::from(partitions.max(1))).unwrap_or(0)
}

/// Writes a text as one token of a subject, which is also a key of a bucket: letters, digits and `-`
/// stay, every other byte is `=` and two hexadecimal digits.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "={byte:02x}");
        }
    }
    escaped
}

/// Reads what [`escape`] wrote. Anything else is `None`.
pub(crate) fn unescape(token: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(token.len());
    let mut rest = token.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'=' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    let text = String::from_utf8(bytes).ok()?;
    (escape(&text) == token).then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_a_partition() {
        let names = Names::new("tr");
        assert_eq!(names.hot_stream(7), "tr-hot-7");
        let subject = names.hot_subject(7, "tenant:a.b,feature:x", Kind::SessionEvents);
        assert_eq!(subject, "tr.hot.7.tenant=3aa=2eb=2cfeature=3ax.e");
        assert_eq!(
            queue_of(&subject),
            Some(("tenant:a.b,feature:x".to_owned(), Kind::SessionEvents))
        );
        assert_eq!(queue_of("tr.hot.7.a.x"), None);
        assert_eq!(queue_of("tr.hot.7.a=2.s"), None);
        assert_eq!(queue_of("tr.hot.7.a=2D.s"), None, "one spelling only");
    }

    #[test]
    fn partitions_stay_where_they_are() {
        let of = |owner| partition_of(owner, 32);
        assert_eq!(
            [of("tenant:acme"), of("tenant:globex")],
            [of("tenant:acme"), of("tenant:globex")]
        );
        assert_eq!(partition_of("tenant:acme", 1), 0);
    }

    proptest! {
        #[test]
        fn a_token_has_no_dots_and_reads_back(text in "\\PC{0,60}") {
            let token = escape(&text);
            let is_token = token.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'='));
            prop_assert!(is_token);
            prop_assert_eq!(unescape(&token), Some(text));
        }
    }
}
