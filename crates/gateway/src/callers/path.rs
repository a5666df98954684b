//! The tenant that a request's path names.

use percent_encoding::percent_decode_str;
use tracer_registry::selector::Slug;

/// Segment before a tenant in a path.
const MARK: &[u8] = b"t";

/// Returns the tenant that the prefix of a path names, as written: what follows the first segment
/// `t`. The prefix is what stands in front of `/v1/traces` or another known end. So
/// `/otlp/t/acme/v1/traces` has the prefix `/otlp/t/acme`, which names `acme`.
///
/// Returns `None` for a prefix without a segment `t`. The result is not checked: it may be empty,
/// contain `/`, or be percent-encoded. [`Caller::target`](super::Caller::target) accepts only a
/// slug.
pub fn tenant_in_path(prefix: &str) -> Option<&str> {
    let mut after = prefix;
    loop {
        let (segment, rest) = after.split_once('/').unwrap_or((after, ""));
        if percent_decode_str(segment).eq(MARK.iter().copied()) {
            return Some(rest);
        }
        if segment.len() == after.len() {
            return None;
        }
        after = rest;
    }
}

/// Decodes a tenant of a path once. Returns `None` unless the result is a slug.
pub(super) fn decoded(written: &str) -> Option<Slug> {
    let decoded = percent_decode_str(written).decode_utf8().ok()?;
    Slug::new(&decoded).ok()
}
