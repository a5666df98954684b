//! Formats of requests and answers.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};

/// Format of a request, which is also the format of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Protobuf,
    Json,
    Grpc,
}

impl Format {
    /// Returns the format that the content type names. `None` if it is missing, repeated or
    /// another type.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(CONTENT_TYPE).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return None;
        };
        let essence = value.as_bytes().split(|byte| *byte == b';').next()?.trim_ascii();
        let names = |name: &str| essence.eq_ignore_ascii_case(name.as_bytes());
        if names("application/x-protobuf") || names("application/protobuf") {
            Some(Self::Protobuf)
        } else if names("application/json") {
            Some(Self::Json)
        } else if names("application/grpc") || names("application/grpc+proto") {
            Some(Self::Grpc)
        } else {
            None
        }
    }

    pub(super) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
            Self::Grpc => "application/grpc",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(values: &[&'static str]) -> Option<Format> {
        let values = values
            .iter()
            .map(|value| (CONTENT_TYPE, HeaderValue::from_static(value)));
        let mut headers = HeaderMap::new();
        for (name, value) in values {
            headers.append(name, value);
        }
        Format::of(&headers)
    }

    #[test]
    fn content_types_are_recognized_in_any_case_and_with_parameters() {
        assert_eq!(format(&["application/x-protobuf"]), Some(Format::Protobuf));
        assert_eq!(format(&["Application/JSON; charset=utf-8"]), Some(Format::Json));
        assert_eq!(format(&["application/grpc+proto"]), Some(Format::Grpc));
    }

    #[test]
    fn a_missing_repeated_or_other_content_type_has_no_format() {
        for values in [
            &[][..],
            &["text/plain"],
            &["application/grpc+json"],
            &["application/json", "application/json"],
        ] {
            assert_eq!(format(values), None, "{values:?}");
        }
    }
}
