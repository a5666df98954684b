//! A request's body: read up to a limit, decompressed up to the same limit.

use std::io::{self, Read};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use futures_util::StreamExt as _;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};

use super::answer::Refusal;
use super::grpc;
use super::received::Format;

/// How much of a body over the limit is read and thrown away, as a multiple of the limit. A client that is still writing
/// when the answer comes sees a broken connection instead of the answer.
const DISCARD_FACTOR: usize = 4;

#[cfg(feature = "zstd")]
const SUPPORTED: &str = "gzip, deflate, zstd and identity";
#[cfg(not(feature = "zstd"))]
const SUPPORTED: &str = "gzip, deflate and identity";

/// Reads the body as it comes over the wire.
pub(super) async fn collect(body: Body, limit_bytes: usize) -> Result<Bytes, Refusal> {
    let mut stream = body.into_data_stream();
    let mut whole = BytesMut::new();
    let mut discarded = 0;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| Refusal::bad_request(format!("the body broke off: {error}")))?;
        if discarded == 0 && whole.len() + chunk.len() <= limit_bytes {
            whole.extend_from_slice(&chunk);
            continue;
        }
        whole = BytesMut::new();
        discarded += chunk.len();
        if discarded > limit_bytes.saturating_mul(DISCARD_FACTOR) {
            break;
        }
    }
    if discarded == 0 {
        Ok(whole.freeze())
    } else {
        Err(Refusal::too_large(limit_bytes))
    }
}

/// Undoes the content encoding, and takes the message out of what gRPC has around it.
pub(super) fn unpack(headers: &HeaderMap, body: &Bytes, limit_bytes: usize) -> Result<Bytes, Refusal> {
    if grpc::is_spoken(headers) {
        let (encoding, message) = grpc::unframe(headers, body)?;
        decompress(encoding, &message, limit_bytes)
    } else {
        decompress(headers.get(CONTENT_ENCODING), body, limit_bytes)
    }
}

fn decompress(encoding: Option<&HeaderValue>, body: &Bytes, limit_bytes: usize) -> Result<Bytes, Refusal> {
    let encoding = encoding.map_or(&b""[..], HeaderValue::as_bytes).trim_ascii();
    match encoding.to_ascii_lowercase().as_slice() {
        b"" | b"identity" => Ok(body.clone()),
        // An empty message is empty; not every client compresses it to twenty bytes.
        b"gzip" | b"x-gzip" | b"deflate" if body.is_empty() => Ok(Bytes::new()),
        b"gzip" | b"x-gzip" => inflate("gzip", MultiGzDecoder::new(&body[..]), limit_bytes),
        b"deflate" => inflate("deflate", ZlibDecoder::new(&body[..]), limit_bytes),
        #[cfg(feature = "zstd")]
        b"zstd" if body.is_empty() => Ok(Bytes::new()),
        #[cfg(feature = "zstd")]
        b"zstd" => inflate("zstd", zstd_decoder(body, limit_bytes)?, limit_bytes),
        _ => Err(Refusal::unsupported(format!(
            "content encoding {:?} is not supported; {SUPPORTED} are",
            String::from_utf8_lossy(encoding)
        ))),
    }
}

/// A frame says how much memory its decoder needs: no more is given than the limit may take, and no less than every decoder should give
/// (RFC 8878, 3.1.1.1.2).
#[cfg(feature = "zstd")]
fn zstd_decoder(body: &[u8], limit_bytes: usize) -> Result<impl Read, Refusal> {
    const LEAST_WINDOW_LOG: u32 = 23;
    const LARGEST_WINDOW_LOG: u32 = 27;
    let window = limit_bytes.checked_next_power_of_two().map_or(u32::MAX, usize::ilog2);
    let made = zstd::Decoder::with_buffer(body).and_then(|mut decoder| {
        decoder.window_log_max(window.clamp(LEAST_WINDOW_LOG, LARGEST_WINDOW_LOG))?;
        Ok(decoder)
    });
    made.map_err(|error| Refusal::bad_request(format!("the body cannot be read as zstd: {error}")))
}

/// Stops one byte over the limit, so that a small body that unpacks to gigabytes costs no more than the limit.
fn inflate(name: &str, decoder: impl Read, limit_bytes: usize) -> Result<Bytes, Refusal> {
    let mut whole = Vec::new();
    let stop = u64::try_from(limit_bytes).unwrap_or(u64::MAX).saturating_add(1);
    let fault = |error: io::Error| Refusal::bad_request(format!("the body is not valid {name}: {error}"));
    decoder.take(stop).read_to_end(&mut whole).map_err(fault)?;
    if whole.len() > limit_bytes {
        Err(Refusal::too_large(limit_bytes))
    } else {
        Ok(whole.into())
    }
}

/// What the content type says the body is.
pub(super) enum ContentType {
    Known(Format),
    Missing,
    Other(String),
}

impl ContentType {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let Some(value) = headers.get(CONTENT_TYPE) else {
            return Self::Missing;
        };
        let text = String::from_utf8_lossy(value.as_bytes());
        let essence = text.split(';').next().unwrap_or_default().trim();
        match essence.to_ascii_lowercase().as_str() {
            "" => Self::Missing,
            "application/x-protobuf" | "application/protobuf" => Self::Known(Format::Protobuf),
            "application/json" => Self::Known(Format::Json),
            "application/grpc" | "application/grpc+proto" => Self::Known(Format::Grpc),
            _ => Self::Other(essence.to_owned()),
        }
    }

    pub(super) fn format(&self) -> Option<Format> {
        if let Self::Known(format) = self {
            Some(*format)
        } else {
            None
        }
    }

    /// The refusal of a type that is not one of `wanted`.
    pub(super) fn unsupported(&self, wanted: &str) -> Refusal {
        Refusal::unsupported(match self {
            Self::Known(format) => format!("content type {format} is not supported here; {wanted}"),
            Self::Missing => format!("the content type is missing; {wanted}"),
            Self::Other(essence) => format!("content type {essence:?} is not supported; {wanted}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn encoded(encoding: &str) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_ENCODING, encoding.parse().unwrap())])
    }

    fn gzip(bytes: &[u8]) -> Bytes {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap().into()
    }

    #[test]
    fn a_compressed_body_at_the_limit_is_taken_and_one_byte_more_is_not() {
        let body = gzip(&[7; 1000]);
        assert_eq!(unpack(&encoded("GZip"), &body, 1000).unwrap(), vec![7; 1000]);
        assert_eq!(unpack(&encoded("gzip"), &body, 999).unwrap_err().status(), 413);
    }

    #[cfg(feature = "zstd")]
    #[test]
    fn a_zstd_body_is_bounded_and_checked_as_a_gzip_body_is() {
        let body: Bytes = zstd::bulk::compress(&[7; 1000], 1).unwrap().into();
        assert_eq!(unpack(&encoded("zstd"), &body, 1000).unwrap(), vec![7; 1000]);
        assert_eq!(unpack(&encoded("zstd"), &body, 999).unwrap_err().status(), 413);
        let cut = body.slice(..body.len() - 1);
        for broken in [Bytes::from_static(b"plain"), cut] {
            assert_eq!(unpack(&encoded("zstd"), &broken, 1000).unwrap_err().status(), 400);
        }
        // A frame whose header asks for two gigabytes of memory.
        let greedy = Bytes::from_static(&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00]);
        assert_eq!(unpack(&encoded("zstd"), &greedy, 1000).unwrap_err().status(), 400);
    }

    #[test]
    fn a_body_that_is_not_what_its_encoding_says_is_a_bad_request() {
        for encoding in ["gzip", "x-gzip", "deflate"] {
            let refusal = unpack(&encoded(encoding), &Bytes::from_static(b"plain"), 100).unwrap_err();
            assert_eq!(refusal.status(), 400, "{encoding}");
        }
        assert_eq!(unpack(&encoded("br"), &Bytes::new(), 100).unwrap_err().status(), 415);
        assert_eq!(
            unpack(&encoded("gzip, gzip"), &Bytes::new(), 100).unwrap_err().status(),
            415
        );
    }
}
