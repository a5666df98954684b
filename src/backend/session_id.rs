//! Session ids: UUIDs, as backends with sessions require.

use opentelemetry::trace::TraceId;
use rand::rngs::OsRng;
use rand::{Rng, TryRngCore};
use uuid::{Builder, Uuid};

/// Returns a new random id. Uses the operating system's random numbers, so a forked process does
/// not repeat its parent's ids.
pub(crate) fn new_session_id() -> Uuid {
    Builder::from_random_bytes(OsRng.unwrap_err().random()).into_uuid()
}

/// Returns the session id of a trace: the trace id in the form of a random UUID. It is computed on
/// demand and never stored.
pub(crate) fn trace_session_id(trace: TraceId) -> Uuid {
    Builder::from_random_bytes(trace.to_bytes()).into_uuid()
}

/// Parses an external session id. Accepts only a hyphenated UUID that is not nil.
pub(crate) fn parse_session_id(text: &str) -> Option<Uuid> {
    const HYPHENATED: usize = 36;
    let id = (text.len() == HYPHENATED).then(|| Uuid::try_parse(text).ok())??;
    (!id.is_nil()).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traces_session_id_is_a_stable_random_uuid() {
        let trace = TraceId::from_hex("0af7651916cd43dd8448eb211c80319c").expect("an id");
        let id = trace_session_id(trace);
        assert_eq!(id.to_string(), "0af76519-16cd-43dd-8448-eb211c80319c");
        assert_eq!(id.get_version_num(), 4);
        assert_eq!(trace_session_id(TraceId::from(u128::MAX)).get_version_num(), 4);
    }

    #[test]
    fn only_a_hyphenated_uuid_is_a_session_id() {
        let good = "67e55044-10b1-426f-9247-bb680e5fe0c8";
        assert_eq!(parse_session_id(good).map(|id| id.to_string()).as_deref(), Some(good));
        assert_eq!(
            parse_session_id(&good.to_uppercase())
                .map(|id| id.to_string())
                .as_deref(),
            Some(good)
        );
        for bad in [
            "",
            "acme",
            "67e5504410b1426f9247bb680e5fe0c8",
            "{67e55044-10b1-426f-9247-bb680e5fe0c8}",
            "67e55044-10b1-426f-9247-bb680e5fe0c8 ",
            "67e55044-10b1-426f-9247-bb680e5fe0cg",
            "00000000-0000-0000-0000-000000000000",
        ] {
            assert_eq!(parse_session_id(bad), None, "{bad:?}");
        }
    }
}
