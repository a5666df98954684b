//! Parses partial successes from responses, including truncated ones.

use std::fmt;

use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::verdict::Verdict;
use crate::export::error::ExportError;
use crate::export::net::receiver_text::sanitize;
use crate::secret::SentSecrets;

/// `ExportTracePartialSuccess`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PartialSuccess {
    pub(crate) rejected_spans: i64,
    pub(crate) error_message: String,
}

impl PartialSuccess {
    /// Key of the response's only field: `partial_success = 1`, length-delimited.
    pub(crate) const FIRST_BYTE: u8 = 0x0a;

    /// Parses a protobuf response; `None` if it is not one. For a truncated response, returns the
    /// fields received.
    pub(crate) fn of_protobuf(body: &[u8], is_cut: bool) -> Option<Self> {
        let (mut partial, mut is_valid) = (None, true);
        let mut response = Protobuf::new(body);
        for (tag, field) in response.by_ref() {
            match (tag, field) {
                (1, ProtobufField::Bytes(fields)) => {
                    is_valid &= partial.get_or_insert_with(Self::default).read_protobuf(fields);
                }
                (1, _) => is_valid = false,
                _ => {}
            }
        }
        if is_valid && response.is_whole {
            Some(partial.unwrap_or_default())
        } else {
            partial.filter(|_| is_cut)
        }
    }

    /// Returns the verdict on a request of `sent` spans.
    pub(super) fn verdict(self, url: &str, sent: u64, secrets: &SentSecrets<'_>) -> Verdict {
        let rejected = u64::try_from(self.rejected_spans).unwrap_or(0).min(sent);
        let warning = (rejected > 0 || !self.error_message.is_empty()).then(|| ExportError::PartialSuccess {
            url: url.to_owned(),
            rejected,
            message: sanitize(&self.error_message, secrets),
        });
        Verdict::Delivered { rejected, warning }
    }

    /// Reads the fields received. Returns whether the message is complete and valid.
    fn read_protobuf(&mut self, fields: &[u8]) -> bool {
        let mut is_valid = true;
        let mut fields = Protobuf::new(fields);
        for (tag, field) in fields.by_ref() {
            match (tag, field) {
                (1, ProtobufField::Number(rejected)) => self.rejected_spans = rejected.cast_signed(),
                (2, ProtobufField::Bytes(text)) => {
                    is_valid &= str::from_utf8(text).is_ok();
                    self.error_message = String::from_utf8_lossy(text).into_owned();
                }
                (1 | 2, _) => is_valid = false,
                _ => {}
            }
        }
        is_valid && fields.is_whole
    }

    /// Parses a JSON response; `None` if it is not one. For a truncated response, returns the
    /// fields received.
    ///
    /// Hand-written, because servers also send snake-case names, and 64-bit integers as number or
    /// string (protobuf's JSON mapping allows both).
    pub(crate) fn of_json(body: &[u8], is_cut: bool) -> Option<Self> {
        let mut partial = Self::default();
        if body.first() != Some(&b'{') {
            return serde_json::from_slice::<IgnoredAny>(body).ok().map(|_| partial);
        }
        // A truncated number at the end may lack digits, so ignore it.
        let digits = body.iter().rev().take_while(|byte| is_cut && byte.is_ascii_digit());
        let mut json = serde_json::Deserializer::from_slice(&body[..body.len() - digits.count()]);
        match json.deserialize_map(Response(&mut partial)).and_then(|()| json.end()) {
            Ok(()) => Some(partial),
            Err(error) if is_cut && error.is_eof() => Some(partial),
            Err(_) => None,
        }
    }
}

/// Iterator over the fields of a protobuf message, up to where it is truncated or invalid.
struct Protobuf<'a> {
    rest: &'a [u8],
    is_whole: bool,
}

enum ProtobufField<'a> {
    Number(u64),
    /// Possibly truncated.
    Bytes(&'a [u8]),
    Other,
}

impl<'a> Protobuf<'a> {
    fn new(message: &'a [u8]) -> Self {
        Self {
            rest: message,
            is_whole: true,
        }
    }

    fn read(&mut self) -> Result<(u32, ProtobufField<'a>), DecodeError> {
        let (tag, wire_type) = decode_key(&mut self.rest)?;
        let field = match wire_type {
            WireType::Varint => ProtobufField::Number(decode_varint(&mut self.rest)?),
            WireType::LengthDelimited => {
                let length = usize::try_from(decode_varint(&mut self.rest)?).unwrap_or(usize::MAX);
                self.is_whole &= length <= self.rest.len();
                let (field, rest) = self.rest.split_at(length.min(self.rest.len()));
                self.rest = rest;
                ProtobufField::Bytes(field)
            }
            _ => {
                skip_field(wire_type, tag, &mut self.rest, DecodeContext::default())?;
                ProtobufField::Other
            }
        };
        Ok((tag, field))
    }
}

impl<'a> Iterator for Protobuf<'a> {
    type Item = (u32, ProtobufField<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let read = self.read();
        if read.is_err() {
            (self.rest, self.is_whole) = (&[], false);
        }
        read.ok()
    }
}

/// Reads into the referenced value, so that fields read before the text ends are kept.
struct Response<'a>(&'a mut PartialSuccess);

impl<'de> Visitor<'de> for Response<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "partialSuccess" | "partial_success" => map.next_value_seed(Fields(self.0))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// The fields of a partial success.
struct Fields<'a>(&'a mut PartialSuccess);

impl<'de> DeserializeSeed<'de> for Fields<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or null")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            let value: Value = map.next_value()?;
            match (name.as_str(), value) {
                ("rejectedSpans" | "rejected_spans", Value::String(text)) => {
                    self.0.rejected_spans = text.parse().unwrap_or(0);
                }
                ("rejectedSpans" | "rejected_spans", number) => {
                    self.0.rejected_spans = number.as_i64().unwrap_or(0);
                }
                ("errorMessage" | "error_message", Value::String(text)) => self.0.error_message = text,
                _ => {}
            }
        }
        Ok(())
    }
}
