//! What a response says of spans that were rejected, also if the response is not all there.

use std::fmt;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

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
        match ExportTraceServiceResponse::decode(body) {
            Ok(response) => {
                let partial = response.partial_success.unwrap_or_default();
                Some(Self {
                    rejected_spans: partial.rejected_spans,
                    error_message: partial.error_message,
                })
            }
            Err(_) if is_cut => Self::of_cut_protobuf(body),
            Err(_) => None,
        }
    }

    fn of_cut_protobuf(mut body: &[u8]) -> Option<Self> {
        let mut partial = None;
        while let Ok((tag, wire_type)) = decode_key(&mut body) {
            if (tag, wire_type) == (1, WireType::LengthDelimited) {
                partial
                    .get_or_insert_with(Self::default)
                    .read_protobuf(take_delimited(&mut body)?);
            } else if skip_field(wire_type, tag, &mut body, DecodeContext::default()).is_err() {
                break;
            }
        }
        partial
    }

    fn read_protobuf(&mut self, mut fields: &[u8]) {
        while let Ok((tag, wire_type)) = decode_key(&mut fields) {
            let is_read = match (tag, wire_type) {
                (1, WireType::Varint) => decode_varint(&mut fields)
                    .map(|rejected| self.rejected_spans = rejected.cast_signed())
                    .is_ok(),
                (2, WireType::LengthDelimited) => take_delimited(&mut fields)
                    .map(|text| self.error_message = String::from_utf8_lossy(text).into_owned())
                    .is_some(),
                _ => skip_field(wire_type, tag, &mut fields, DecodeContext::default()).is_ok(),
            };
            if !is_read {
                return;
            }
        }
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

/// The bytes of a field with a length before it, as far as they are there.
fn take_delimited<'a>(body: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(decode_varint(body).ok()?).unwrap_or(usize::MAX);
    let (field, rest) = body.split_at(length.min(body.len()));
    *body = rest;
    Some(field)
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
