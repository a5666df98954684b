//! Reads and writes the W3C `baggage` header (<https://www.w3.org/TR/baggage/>).
//!
//! Replaces OpenTelemetry's propagator, which decodes an entry's metadata and writes it decoded: a
//! sender could inject entries and line breaks into the next request. That propagator also neither
//! encodes `%` nor limits the header.
//!
//! Invariant: [`Outgoing`] always holds a valid `baggage` header.

use opentelemetry::Key;
use opentelemetry::StringValue;
use opentelemetry::baggage::{Baggage, BaggageMetadata};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// Limits of a header (W3C Baggage, "Limits").
const MAX_BYTES: usize = 8192;
const MAX_ENTRIES: usize = 64;

/// Characters to encode in a value: all but `baggage-octet`s, `%` itself, and `=`, which ends the
/// value for some readers.
const ENCODED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b',')
    .add(b';')
    .add(b'\\')
    .add(b'%')
    .add(b'=');

/// Optional white space (RFC 9110, section 5.6.3).
const OWS: [char; 2] = [' ', '\t'];

/// Parses the entries of a header, without metadata. Skips invalid entries; returns nothing if the
/// header is too long.
pub(super) fn read(header: &str) -> Baggage {
    if header.len() > MAX_BYTES {
        return Baggage::new();
    }
    header.split(',').take(MAX_ENTRIES).filter_map(read_entry).collect()
}

fn read_entry(entry: &str) -> Option<(Key, (StringValue, BaggageMetadata))> {
    let entry = entry.split_once(';').map_or(entry, |(entry, _metadata)| entry);
    let (key, value) = entry.split_once('=')?;
    let key = key.trim_matches(OWS);
    if !is_key(key) {
        return None;
    }
    let value = percent_decode_str(value.trim_matches(OWS)).decode_utf8().ok()?;
    Some((
        key.to_owned().into(),
        (value.into_owned().into(), BaggageMetadata::default()),
    ))
}

/// Whether a key is a token (RFC 9110, section 5.6.2) without `%`. Some readers decode keys and
/// others do not, so they would disagree on a key with `%`.
fn is_key(text: &str) -> bool {
    let is_key_octet = |octet: u8| octet.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&octet);
    !text.is_empty() && text.bytes().all(is_key_octet)
}

/// The header of an outgoing request. Contains an entry whole or not at all.
#[derive(Default)]
pub(super) struct Outgoing {
    header: String,
    entries: usize,
    dropped: u64,
}

impl Outgoing {
    /// Adds an entry. Counts it as dropped if it is invalid or does not fit.
    pub(super) fn add(&mut self, key: &str, value: &str, metadata: &str) {
        match write_entry(key, value, metadata) {
            Some(entry) if self.has_room_for(&entry) => {
                if self.entries > 0 {
                    self.header.push(',');
                }
                self.header.push_str(&entry);
                self.entries += 1;
            }
            _ => self.dropped += 1,
        }
    }

    fn has_room_for(&self, entry: &str) -> bool {
        let comma = usize::from(self.entries > 0);
        self.entries < MAX_ENTRIES && self.header.len() + comma + entry.len() <= MAX_BYTES
    }

    /// Returns the number of dropped entries.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Returns the header, or `None` if it has no entry.
    pub(super) fn into_header(self) -> Option<String> {
        (self.entries > 0).then_some(self.header)
    }
}

fn write_entry(key: &str, value: &str, metadata: &str) -> Option<String> {
    if !is_key(key) {
        return None;
    }
    let mut entry = format!("{key}={}", encoded(value));
    let properties = metadata.split(';').map(|property| property.trim_matches(OWS));
    for property in properties.filter(|property| !property.is_empty()) {
        let (key, value) = match property.split_once('=') {
            Some((key, value)) => (key.trim_matches(OWS), Some(value.trim_matches(OWS))),
            None => (property, None),
        };
        if !is_key(key) {
            return None;
        }
        entry.push(';');
        entry.push_str(key);
        if let Some(value) = value {
            entry.push('=');
            entry.extend(encoded(value));
        }
    }
    Some(entry)
}

fn encoded(value: &str) -> percent_encoding::PercentEncode<'_> {
    utf8_percent_encode(value, ENCODED)
}
