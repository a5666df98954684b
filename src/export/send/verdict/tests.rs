use std::time::{Duration, UNIX_EPOCH};

use http::header::RETRY_AFTER;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use proptest::prelude::*;
use prost::Message;
use secrecy::SecretString;

use super::judge::judge;
use super::verdict::Verdict;
use crate::export::error::ExportError;
use crate::export::net::exchange::{Answer, Reply, Truncation};
use crate::export::net::receiver_text::MAX_SHOWN_CHARS;
use crate::ledger::DropReason;
use crate::secret::{ApiKey, KeySource, SecretError, SecretSources, SentSecrets};

const URL: &str = "http://collector.test/v1/traces";
/// `Sun, 06 Nov 1994 08:49:37 GMT`
const NOW: u64 = 784_111_777;

pub(crate) fn key(text: &'static str) -> ApiKey {
    let mut sources = SecretSources::default();
    sources.insert("test", move |_: &str| Ok::<_, SecretError>(SecretString::from(text)));
    let source = KeySource::Provider {
        provider: "test".into(),
        name: "key".into(),
    };
    source.read(&sources).expect("given")
}

fn answer(status: u16, headers: &[(http::HeaderName, &'static str)], body: impl Into<bytes::Bytes>) -> Answer {
    Answer {
        status: StatusCode::from_u16(status).expect("a status"),
        headers: headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
            .collect(),
        body: body.into(),
        truncation: None,
    }
}

fn judged(answer: Answer) -> Verdict {
    let now = UNIX_EPOCH + Duration::from_secs(NOW);
    let key = key("user:secret-canary");
    judge(URL, Ok(Reply::Http(answer)), 10, &SentSecrets::new(&key, None), now)
}

fn reason(status: u16) -> Option<DropReason> {
    match judged(answer(status, &[], "")) {
        Verdict::Drop { reason, .. } => Some(reason),
        Verdict::Deny { .. }
        | Verdict::Refuse { .. }
        | Verdict::Retry { .. }
        | Verdict::Fault { .. }
        | Verdict::Delivered { .. } => None,
    }
}

#[test]
fn each_status_maps_to_a_verdict() {
    for status in 200..=599 {
        let verdict = judged(answer(status, &[], ""));
        match status {
            200..=299 => assert!(
                matches!(
                    verdict,
                    Verdict::Delivered {
                        rejected: 0,
                        warning: None
                    }
                ),
                "{status}"
            ),
            408 | 429 | 502..=504 => assert!(matches!(verdict, Verdict::Retry { after: None, .. }), "{status}"),
            500..=599 => assert!(matches!(verdict, Verdict::Fault { .. }), "{status}"),
            401 | 403 => assert!(matches!(verdict, Verdict::Deny { .. }), "{status}"),
            400..=499 => {
                let expected = if status == 413 {
                    DropReason::TooLarge
                } else {
                    DropReason::Refused
                };
                assert!(
                    matches!(verdict, Verdict::Refuse { reason, .. } if reason == expected),
                    "{status}"
                );
            }
            _ => assert_eq!(reason(status), Some(DropReason::Refused), "{status}"),
        }
    }
}

#[test]
fn an_attempt_without_an_answer_is_retried() {
    let error = ExportError::Timeout {
        url: URL.into(),
        timeout: Duration::from_secs(1),
    };
    let verdict = judge(
        URL,
        Err(error.clone()),
        1,
        &SentSecrets::new(&key("k-e-y"), None),
        UNIX_EPOCH,
    );
    assert_eq!(verdict, Verdict::Retry { after: None, error });
}

#[test]
fn retry_after_is_read_as_seconds_or_date_and_ignored_if_invalid() {
    for (text, expected) in [
        ("7", Some(7)),
        (" 7 ", Some(7)),
        ("0", Some(0)),
        ("18446744073709551615", Some(u64::MAX)),
        ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
        ("Sunday, 06-Nov-94 08:49:47 GMT", Some(10)),
        ("Sun Nov  6 08:49:38 1994", Some(1)),
        ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
    ] {
        let Verdict::Retry { after, .. } = judged(answer(503, &[(RETRY_AFTER, text)], "")) else {
            panic!("{text:?}")
        };
        assert_eq!(after, expected.map(Duration::from_secs), "{text:?}");
    }
}

#[test]
fn a_partial_success_is_read_in_either_encoding_with_any_content_type() {
    let partial = |rejected_spans: i64, error_message: &str| ExportTraceServiceResponse {
        partial_success: Some(ExportTracePartialSuccess {
            rejected_spans,
            error_message: error_message.to_owned(),
        }),
    };
    let protobuf = |rejected, message| bytes::Bytes::from(partial(rejected, message).encode_to_vec());
    let cases: [(&str, bytes::Bytes, u64, Option<&str>); 18] = [
        ("application/x-protobuf", protobuf(3, "no"), 3, Some("no")),
        ("", protobuf(3, ""), 3, None),
        ("application/x-protobuf", protobuf(0, "careful"), 0, Some("careful")),
        ("application/x-protobuf", protobuf(-1, ""), 0, None),
        ("application/x-protobuf", protobuf(11, ""), 10, None),
        (
            "application/x-protobuf",
            bytes::Bytes::from_static(b"\x0a\x00"),
            0,
            None,
        ),
        ("application/x-protobuf", bytes::Bytes::new(), 0, None),
        ("application/json", bytes::Bytes::new(), 0, None),
        (
            "application/json; charset=utf-8",
            r#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"no"}}"#.into(),
            3,
            Some("no"),
        ),
        (
            "application/json",
            r#"{"partialSuccess":{"rejectedSpans":3}}"#.into(),
            3,
            None,
        ),
        (
            "application/x-protobuf",
            r#"{"partialSuccess":{"errorMessage":"careful"}}"#.into(),
            0,
            Some("careful"),
        ),
        ("application/json", r#"{"partialSuccess":null}"#.into(), 0, None),
        ("application/json", r#"{"partialSuccess":{}}"#.into(), 0, None),
        (
            "application/json",
            r#"{"partialSuccess":{"rejectedSpans":"many","errorMessage":7}}"#.into(),
            0,
            None,
        ),
        ("application/json", "[]".into(), 0, None),
        ("text/html", protobuf(3, "no"), 3, Some("no")),
        (
            "text/plain",
            r#" {"partialSuccess":{"rejectedSpans":3}} "#.into(),
            3,
            None,
        ),
        (
            "application/json",
            r#"{"partial_success":{"rejected_spans":3,"error_message":"no"}}"#.into(),
            3,
            Some("no"),
        ),
    ];
    for (content_type, body, expected, message) in cases {
        let Verdict::Delivered { rejected, warning } =
            judged(answer(200, &[(CONTENT_TYPE, content_type)], body.clone()))
        else {
            panic!("{body:?}")
        };
        assert_eq!(rejected, expected, "{body:?}");
        let text = match warning {
            Some(ExportError::PartialSuccess { message, rejected, .. }) => {
                assert_eq!(rejected, expected);
                message
            }
            other => {
                assert_eq!(other, None);
                assert_eq!((expected, message), (0, None), "{body:?}");
                None
            }
        };
        assert_eq!(text.as_deref(), message, "{body:?}");
    }
}

#[test]
fn a_receiver_message_is_shortened_to_one_line_and_withheld_if_it_contains_the_key() {
    let message = |body: &str| match judged(answer(400, &[], body.to_owned())) {
        Verdict::Refuse {
            error: ExportError::Status { message, .. },
            ..
        } => message,
        other => panic!("{other:?}"),
    };
    assert_eq!(message(" no\nway\u{7}, \u{202e}sir ").as_deref(), Some("no way ,  sir"));
    assert_eq!(message("").as_deref(), None);
    assert_eq!(message(&"x".repeat(1000)).map(|text| text.len()), Some(MAX_SHOWN_CHARS));
    for echo in [
        "user:secret-canary",
        "secret-canary",
        "SECRET%2DCANARY",
        "secret-ca",
        "dXNlcjpzZWNyZXQtY2FuYXJ5",
        "Basic dXNlcjpzZWNyZXQtY2FuYXJ5==",
    ] {
        for text in [format!("bad key {echo}"), format!("{}{echo}", "x".repeat(195))] {
            let expected = format!(
                "receiver message withheld: {} bytes that may contain the key",
                text.len()
            );
            assert_eq!(message(&text), Some(expected), "{text}");
        }
    }
}

#[test]
fn success_answers_of_real_receivers_are_delivered_without_a_warning() {
    for (status, content_type, body) in [
        (200, None, &b""[..]),
        (200, None, b"{}"),
        (200, None, b"\x0a\x00"),
        (200, None, b"OK"),
        (200, Some("application/x-protobuf"), b""),
        (200, Some("application/x-protobuf"), b"\x0a\x00"),
        (200, Some("application/x-protobuf"), b"{}"),
        (200, Some("application/protobuf"), b"\x0a\x02\x08\x00"),
        (200, Some("application/vnd.google.protobuf"), b""),
        (200, Some("application/json"), b""),
        (200, Some("application/json"), b"{}"),
        (200, Some("application/json"), b"\x0a\x00"),
        (
            200,
            Some("application/json; charset=utf-8"),
            b"{\"partialSuccess\":{}}\n",
        ),
        (200, Some("Application/JSON"), b"{\"partialSuccess\":null}"),
        (200, Some("application/json"), b"null"),
        (200, Some("application/json"), b"\"ok\""),
        (200, Some("application/problem+json"), b"{\"detail\":\"\"}"),
        (200, Some("text/plain"), b""),
        (200, Some("text/plain; charset=utf-8"), b"OK\n"),
        (200, Some("text/plain"), b"ok"),
        (200, Some("text/html"), b""),
        (200, Some("application/octet-stream"), b"\x0a\x00"),
        (200, Some("text/plain"), b"{}"),
        (201, Some("text/plain"), b"Created"),
        (202, Some("text/plain"), b"Accepted."),
        (
            202,
            Some("application/json"),
            b"{\"successes\":[{\"id\":\"1\"}],\"errors\":[]}",
        ),
        (204, None, b""),
        (204, Some("text/plain"), b""),
        (
            207,
            Some("application/json"),
            b"{\"successes\":[],\"errors\":[{\"id\":\"1\",\"status\":400}]}",
        ),
    ] {
        let headers: Vec<_> = content_type.map(|value| (CONTENT_TYPE, value)).into_iter().collect();
        let verdict = judged(answer(status, &headers, body));
        let expected = Verdict::Delivered {
            rejected: 0,
            warning: None,
        };
        let body = String::from_utf8_lossy(body);
        assert_eq!(verdict, expected, "{status} {content_type:?} {body:?}");
    }
}

#[test]
fn a_success_that_is_not_an_otlp_response_is_dropped_with_its_text() {
    let page = "<!doctype html><html><head><style>p { color: red }</style><title>Sign in</title>\
                <script>if (a < b) { go() }</script></head><body class='x'><p>Please log&nbsp;in</p><!-- v1 --></body></html>";
    for (content_type, body, message) in [
        ("text/html", "<!doctype html><title>Sign in</title>", Some("Sign in")),
        ("text/html; charset=utf-8", page, Some("Sign in Please log&nbsp;in")),
        ("TEXT/HTML", "<html>please_log_in</html>", Some("please_log_in")),
        ("application/xhtml+xml", "<p>Sign in</p>", Some("Sign in")),
        ("text/html", "<script>location = '/login'</script>", None),
        (
            "text/html",
            "<p>for user:secret-canary</p>",
            Some("receiver message withheld: 22 bytes that may contain the key"),
        ),
        ("text/plain", "please log in", Some("please log in")),
        ("text/plain", "Hi", Some("Hi")),
        ("text/plain", "403", Some("403")),
        ("text/plain", "OK, but not here", Some("OK, but not here")),
        (
            "application/xml",
            "<Error>AccessDenied</Error>",
            Some("<Error>AccessDenied</Error>"),
        ),
        ("application/octet-stream", "\u{1}\u{2}", None),
    ] {
        let verdict = judged(answer(200, &[(CONTENT_TYPE, content_type)], body));
        let expected = Verdict::Drop {
            reason: DropReason::Refused,
            error: ExportError::NotOtlpResponse {
                url: URL.to_owned(),
                status: 200,
                content_type: Some(content_type.to_owned()),
                message: message.map(str::to_owned),
            },
        };
        assert_eq!(verdict, expected, "{content_type} {body}");
    }
    let compressed = answer(200, &[(CONTENT_TYPE, "text/html"), (CONTENT_ENCODING, "gzip")], "{}");
    assert!(matches!(judged(compressed), Verdict::Drop { .. }));
}

#[test]
fn a_success_with_an_unreadable_body_is_delivered_with_a_warning() {
    let broken = || Some(Truncation::Broken("reset".to_owned()));
    let late = Some(Truncation::TimedOut(Duration::from_secs(1)));
    for (content_type, body, truncation, rejected, warning) in [
        (
            "application/x-protobuf",
            "",
            broken(),
            0,
            "connection broke after 0 bytes: reset",
        ),
        (
            "application/x-protobuf",
            "\x0a\x0c\x08\x02\x12\x08to",
            broken(),
            2,
            "rejected 2 spans: to",
        ),
        (
            "application/x-protobuf",
            "\x0a\x0c\x08",
            broken(),
            0,
            "connection broke after 3 bytes: reset",
        ),
        (
            "application/x-protobuf",
            "\x0a",
            broken(),
            0,
            "connection broke after 1 bytes: reset",
        ),
        (
            "application/json",
            r#"{"partialSuccess":{"rejectedSpans":"2","#,
            late.clone(),
            2,
            "rejected 2 spans",
        ),
        (
            "application/json",
            r#"{"partial_success":{"rejected_spans":2"#,
            late.clone(),
            0,
            "incomplete after 1s, 38 bytes received",
        ),
        (
            "application/json",
            r#"{"x":[1,"#,
            Some(Truncation::TooLarge),
            0,
            "truncated after 8 bytes",
        ),
        (
            "application/json",
            "{nonsense",
            Some(Truncation::TooLarge),
            0,
            "truncated after 9 bytes",
        ),
        ("", "<html>", None, 0, "neither protobuf nor JSON"),
        ("application/json", "<html>", None, 0, "neither protobuf nor JSON"),
        (
            "application/x-protobuf",
            "\u{7f}\u{7f}",
            None,
            0,
            "neither protobuf nor JSON",
        ),
        (
            "application/json",
            r#"{"partialSuccess":7}"#,
            None,
            0,
            "neither protobuf nor JSON",
        ),
        ("text/html", "", broken(), 0, "connection broke after 0 bytes: reset"),
        (
            "",
            "",
            Some(Truncation::Broken("\"secret%2Dcanary\"".to_owned())),
            0,
            "receiver message withheld: ",
        ),
    ] {
        let mut answer = answer(200, &[(CONTENT_TYPE, content_type)], body);
        answer.truncation = truncation;
        let Verdict::Delivered {
            rejected: seen,
            warning: Some(error),
        } = judged(answer)
        else {
            panic!("{content_type} {body:?}")
        };
        assert_eq!(seen, rejected, "{content_type} {body:?}");
        assert!(error.to_string().contains(warning), "{content_type} {body:?}: {error}");
    }
}

#[test]
fn a_truncated_page_is_dropped_and_a_compressed_body_is_not_read() {
    let mut page = answer(200, &[(CONTENT_TYPE, "text/html")], "<p>Sign");
    page.truncation = Some(Truncation::Broken("reset".to_owned()));
    assert!(matches!(judged(page), Verdict::Drop { .. }));
    let compressed = answer(200, &[(CONTENT_ENCODING, "gzip")], "\u{1f}");
    assert!(matches!(
        judged(compressed),
        Verdict::Delivered {
            warning: Some(ExportError::UnreadableAnswer { .. }),
            ..
        }
    ));
}

#[test]
fn truncated_error_answers_are_judged_by_their_head() {
    for (status, headers) in [(401, &[][..]), (404, &[]), (503, &[(RETRY_AFTER, "7")])] {
        let mut answer = answer(status, headers, "so");
        let whole = judged(answer.clone());
        answer.truncation = Some(Truncation::Broken("reset".to_owned()));
        assert_eq!(judged(answer), whole, "{status}");
    }
}

proptest! {
    #[test]
    fn any_answer_is_judged_without_panic_or_excess_rejections(
        status in 100_u16..=999,
        retry_after in prop::option::of("[ -~]{0,40}"),
        body in prop::collection::vec(any::<u8>(), 0..200),
        sent in 0_u64..1000,
    ) {
        let mut answer = answer(200, &[], body);
        answer.status = StatusCode::from_u16(status).expect("three digits");
        if let Some(text) = retry_after {
            answer.headers.insert(RETRY_AFTER, HeaderValue::from_str(&text).expect("printable"));
        }
        let key = key("k-e-y");
        let secrets = SentSecrets::new(&key, None);
        if let Verdict::Delivered { rejected, .. } = judge(URL, Ok(Reply::Http(answer)), sent, &secrets, UNIX_EPOCH) {
            prop_assert!(rejected <= sent);
        }
    }
}
