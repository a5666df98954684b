//! Heads of requests: rules that the HTTP parser leaves to the server, and their memory.

use http::Version;
use http::header::{HOST, TRANSFER_ENCODING};
use http::request::Parts;

use crate::answer::Refusal;

/// Memory of a request besides its head and its body: its task, and buffers of its connection.
const REQUEST_BYTES: usize = 16 * 1024;
/// Memory of a header besides its name and value.
const HEADER_BYTES: usize = 128;

/// Checks what decides how other programs read the same bytes.
///
/// # Errors
/// If a request of HTTP/1.1 has not exactly one `Host` (RFC 9112, 3.2), or if the body has a
/// transfer encoding other than `chunked`, which the parser would ignore.
pub(crate) fn check(head: &Parts) -> Result<(), Refusal> {
    if head.version == Version::HTTP_11 && head.headers.get_all(HOST).iter().count() != 1 {
        return Err(Refusal::malformed("the request needs exactly one host header"));
    }
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    let is_chunked = codings
        .next()
        .is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    if !is_chunked || codings.next().is_some() {
        return Err(Refusal::malformed("unsupported transfer encoding: use only chunked"));
    }
    Ok(())
}

/// Returns the memory of a running request without its body.
pub(super) fn byte_size(head: &Parts) -> usize {
    let headers = head.headers.iter();
    let headers: usize = headers
        .map(|(name, value)| name.as_str().len() + value.len() + HEADER_BYTES)
        .sum();
    REQUEST_BYTES + head.uri.path().len() + headers
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn checked(version: Version, headers: &[(&str, &str)]) -> bool {
        let request = Request::post("/v1/traces").version(version);
        let request = headers
            .iter()
            .fold(request, |request, (name, value)| request.header(*name, *value));
        check(&request.body(()).unwrap().into_parts().0).is_ok()
    }

    #[test]
    fn http_1_1_needs_one_host() {
        assert!(checked(Version::HTTP_11, &[("host", "a")]));
        assert!(checked(Version::HTTP_11, &[("host", "")]));
        assert!(!checked(Version::HTTP_11, &[]));
        assert!(!checked(Version::HTTP_11, &[("host", "a"), ("host", "a")]));
        assert!(checked(Version::HTTP_10, &[]) && checked(Version::HTTP_2, &[]));
    }

    #[test]
    fn only_chunked_is_a_transfer_encoding() {
        let with = |codings: &[&str]| {
            let codings = codings.iter().map(|coding| ("transfer-encoding", *coding));
            checked(
                Version::HTTP_11,
                &[("host", "a")].into_iter().chain(codings).collect::<Vec<_>>(),
            )
        };
        assert!(with(&[]) && with(&["chunked"]) && with(&["Chunked"]));
        for codings in [
            &["gzip, chunked"][..],
            &["chunked, chunked"],
            &["chunked", "chunked"],
            &["gzip", "chunked"],
            &[""],
        ] {
            assert!(!with(codings), "{codings:?}");
        }
    }
}
