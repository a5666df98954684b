//! Verdicts on gRPC statuses (OTLP, "OTLP/gRPC Response", "Failures", "OTLP/gRPC Throttling").
//!
//! | status | verdict |
//! |---|---|
//! | OK | delivered; spans rejected by a partial success are dropped as rejected and not retried |
//! | UNAUTHENTICATED, PERMISSION_DENIED | denied: another key may be accepted |
//! | RESOURCE_EXHAUSTED, OUT_OF_RANGE with a message that reports a too large request | refused, as too large: parts of it may be accepted |
//! | CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS | retried, after `RetryInfo` if that is later than the back-off |
//! | RESOURCE_EXHAUSTED with `RetryInfo` | retried, after it |
//! | INTERNAL, UNKNOWN with `RetryInfo` | retried, after it |
//! | INTERNAL, UNKNOWN without it | fault of the receiver, like 500; servers answer so if their code panics or throws |
//! | RESOURCE_EXHAUSTED without it, UNIMPLEMENTED | dropped: refused |
//! | any other | refused: parts of it may be accepted |
//!
//! gRPC has no status for a message that is too large: most servers answer RESOURCE_EXHAUSTED,
//! tonic answers OUT_OF_RANGE. So the message text decides.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tonic::{Code, Status};

use super::partial_success::PartialSuccess;
use super::verdict::Verdict;
use crate::export::error::ExportError;
use crate::export::net::receiver_text::sanitize;
use crate::ledger::DropReason;
use crate::secret::SentSecrets;

const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// Lower-case texts of servers for a message that is too large: C, Go and Node; Java; Rust.
const TOO_LARGE: [&str; 3] = ["larger than max", "exceeds maximum size", "too large"];

pub(crate) fn judge(url: &str, answer: Result<Bytes, Box<Status>>, sent: u64, secrets: &SentSecrets<'_>) -> Verdict {
    let status = match answer {
        Ok(message) => {
            let partial = PartialSuccess::of_protobuf(&message, false);
            return partial.unwrap_or_default().verdict(url, sent, secrets);
        }
        Err(status) => status,
    };
    let after = retry_delay(status.details());
    let error = ExportError::Grpc {
        url: url.to_owned(),
        code: status.code() as i32,
        message: sanitize(status.message(), secrets),
        retry_after: after,
    };
    let drop = |reason, error| Verdict::Drop { reason, error };
    let refuse = |reason, error| Verdict::Refuse { reason, error };
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied => Verdict::Deny { error },
        Code::ResourceExhausted | Code::OutOfRange if after.is_none() && is_too_large(status.message()) => {
            refuse(DropReason::TooLarge, error)
        }
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Verdict::Retry { after, error },
        Code::ResourceExhausted | Code::Internal | Code::Unknown if after.is_some() => Verdict::Retry { after, error },
        Code::Internal | Code::Unknown => Verdict::Fault { error },
        Code::ResourceExhausted | Code::Unimplemented => drop(DropReason::Refused, error),
        _ => refuse(DropReason::Refused, error),
    }
}

fn is_too_large(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    TOO_LARGE.iter().any(|text| message.contains(text))
}

/// Returns the `RetryInfo` delay from `grpc-status-details-bin`. A negative delay counts as zero.
fn retry_delay(details: &[u8]) -> Option<Duration> {
    let status = RpcStatus::decode(details).ok()?;
    let info = status.details.iter().find(|detail| detail.type_url == RETRY_INFO)?;
    let delay = RetryInfo::decode(&info.value[..]).ok()?.retry_delay.unwrap_or_default();
    let seconds = u64::try_from(delay.seconds).unwrap_or(0);
    let nanos = u32::try_from(delay.nanos).unwrap_or(0);
    Some(Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanos.into())))
}

/// `google.rpc.Status`, only the fields that are read.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`
#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[cfg(test)]
mod tests {
    use super::super::tests::key;
    use super::*;

    const URL: &str = "http://collector.test/opentelemetry.proto.collector.trace.v1.TraceService/Export";

    fn judged(status: Status) -> Verdict {
        judge(
            URL,
            Err(Box::new(status)),
            10,
            &SentSecrets::new(&key("user:secret-canary"), None),
        )
    }

    fn with_retry_info(code: Code, seconds: i64, nanos: i32) -> Status {
        let info = RetryInfo {
            retry_delay: Some(Delay { seconds, nanos }),
        };
        let unread = Any {
            type_url: "type.googleapis.com/google.rpc.QuotaFailure".to_owned(),
            value: vec![0xff],
        };
        let info = Any {
            type_url: RETRY_INFO.to_owned(),
            value: info.encode_to_vec(),
        };
        let details = RpcStatus {
            details: vec![unread, info],
        };
        Status::with_details(code, "later", details.encode_to_vec().into())
    }

    #[test]
    fn each_status_maps_to_a_verdict() {
        for code in (1..=16).map(Code::from_i32) {
            let verdict = judged(Status::new(code, "no"));
            let error = ExportError::Grpc {
                url: URL.to_owned(),
                code: code as i32,
                message: Some("no".to_owned()),
                retry_after: None,
            };
            let drop = |reason| Verdict::Drop {
                reason,
                error: error.clone(),
            };
            let expected = match code as i32 {
                1 | 4 | 10 | 11 | 14 | 15 => Verdict::Retry { after: None, error },
                2 | 13 => Verdict::Fault { error },
                7 | 16 => Verdict::Deny { error },
                8 | 12 => drop(DropReason::Refused),
                _ => Verdict::Refuse {
                    reason: DropReason::Refused,
                    error,
                },
            };
            assert_eq!(verdict, expected, "{code:?}");
        }
    }

    #[test]
    fn retry_info_sets_the_delay_and_makes_resource_exhausted_retryable() {
        for code in [Code::ResourceExhausted, Code::Unavailable, Code::OutOfRange] {
            for (seconds, nanos, expected) in [
                (2, 500_000_000, Duration::from_millis(2500)),
                (0, 0, Duration::ZERO),
                (-1, -1, Duration::ZERO),
                (i64::MAX, i32::MAX, Duration::new(i64::MAX as u64 + 2, 147_483_647)),
            ] {
                let verdict = judged(with_retry_info(code, seconds, nanos));
                assert!(
                    matches!(verdict, Verdict::Retry { after: Some(after), .. } if after == expected),
                    "{code:?}: {verdict:?}"
                );
            }
        }
        let broken = Status::with_details(Code::ResourceExhausted, "later", Bytes::from_static(b"\xff"));
        assert!(matches!(judged(broken), Verdict::Drop { .. }));
        assert!(matches!(
            judged(with_retry_info(Code::InvalidArgument, 1, 0)),
            Verdict::Refuse { .. }
        ));
    }

    #[test]
    fn a_too_large_message_is_recognised_by_its_text() {
        for (code, text) in [
            (
                Code::ResourceExhausted,
                "grpc: received message larger than max (5 vs. 4)",
            ),
            (
                Code::ResourceExhausted,
                "SERVER: Received message larger than max (5 vs. 4)",
            ),
            (Code::ResourceExhausted, "gRPC message exceeds maximum size 4: 5"),
            (
                Code::OutOfRange,
                "Error, decoded message length too large: found 5 bytes, the limit is: 4 bytes",
            ),
        ] {
            let verdict = judged(Status::new(code, text));
            assert!(
                matches!(
                    verdict,
                    Verdict::Refuse {
                        reason: DropReason::TooLarge,
                        ..
                    }
                ),
                "{text}"
            );
        }
        let throttled = judged(Status::new(Code::ResourceExhausted, "quota of 5 spans a second"));
        assert!(matches!(
            throttled,
            Verdict::Drop {
                reason: DropReason::Refused,
                ..
            }
        ));
        let unavailable = judged(Status::new(Code::Unavailable, "too large a load"));
        assert!(matches!(unavailable, Verdict::Retry { .. }));
    }

    #[test]
    fn a_text_that_contains_the_key_is_withheld() {
        for text in [
            "no: user:secret-canary",
            "no: secret-canary",
            "no: secret%2Dcanary",
            "dXNlcjpzZWNyZXQtY2FuYXJ5",
        ] {
            let Verdict::Deny { error } = judged(Status::new(Code::Unauthenticated, text)) else {
                panic!("expected a denial")
            };
            let withheld = format!(
                "receiver message withheld: {} bytes that may contain the key",
                text.len()
            );
            assert_eq!(
                error.to_string(),
                format!("{URL} answered UNAUTHENTICATED (16): {withheld}")
            );
        }
    }

    #[test]
    fn a_partial_success_is_read_and_an_unreadable_message_is_a_success() {
        let key = key("k-e-y");
        let secrets = SentSecrets::new(&key, None);
        let taken = |message: &'static [u8]| judge(URL, Ok(Bytes::from_static(message)), 10, &secrets);
        for message in [&b""[..], b"\xff\xff"] {
            assert!(matches!(
                taken(message),
                Verdict::Delivered {
                    rejected: 0,
                    warning: None
                }
            ));
        }
        let verdict = taken(b"\x0a\x02\x08\x03");
        assert!(matches!(
            verdict,
            Verdict::Delivered {
                rejected: 3,
                warning: Some(_)
            }
        ));
    }
}
