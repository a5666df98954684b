//! What a response says of spans that were rejected, also if the response is not all there.

use std::fmt;

use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::verdict::Verdict;
use crate::export::error::ExportError;
use crate::export::net::receiver_text::harmless;
use crate::secret::SentSecrets;

/// `ExportTracePartialSuccess`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PartialSuccess {
    pub(crate) rejected_spans: i64,
    pub(crate) error_message: String,
}

impl PartialSuccess {
    /// How the one field of a response begins: `partial_success = 1`, with its length.
    pub(crate) const FIRST_BYTE: u8 = 0x0a;

    /// Of a response in protobuf; `None` if it is none. Of one that is cut, what came of it.
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

    /// What a receiver took of so many spans, and what it says of it.
    pub(super) fn verdict(self, url: &str, sent: u64, secrets: &SentSecrets<'_>) -> Verdict {
        let rejected = u64::try_from(self.rejected_spans).unwrap_or(0).min(sent);
        let warning = (rejected > 0 || !self.error_message.is_empty()).then(|| ExportError::PartialSuccess {
            url: url.to_owned(),
            rejected,
            message: harmless(&self.error_message, secrets),
        });
        Verdict::Delivered { rejected, warning }
    }

    /// Takes what is there. Returns whether all of it is, and valid.
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

    /// Of a response in JSON; `None` if it is none. Of one that is cut, what came of it.
    ///
    /// By hand, because serde's forms of the message are narrower than what servers send: names in snake case, and a
    /// 64-bit integer as a number or a text (protobuf's JSON mapping has both).
    pub(crate) fn of_json(body: &[u8], is_cut: bool) -> Option<Self> {
        let mut partial = Self::default();
        if body.first() != Some(&b'{') {
            return serde_json::from_slice::<IgnoredAny>(body).ok().map(|_| partial);
        }
        // Of a number at the very end there may be more digits.
        let digits = body.iter().rev().take_while(|byte| is_cut && byte.is_ascii_digit());
        let mut json = serde_json::Deserializer::from_slice(&body[..body.len() - digits.count()]);
        match json.deserialize_map(Response(&mut partial)).and_then(|()| json.end()) {
            Ok(()) => Some(partial),
            Err(error) if is_cut && error.is_eof() => Some(partial),
            Err(_) => None,
        }
    }
}

/// The fields of a message in protobuf, up to where it is cut or broken.
struct Protobuf<'a> {
    rest: &'a [u8],
    is_whole: bool,
}

enum ProtobufField<'a> {
    Number(u64),
    /// As far as they are there.
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

/// Reads into what it holds, so that what was read is there also if the text ends too soon.
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
