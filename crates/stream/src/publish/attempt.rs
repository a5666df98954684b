//! One attempt to publish messages, and what the servers answered.

use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use async_nats::{Client, HeaderMap, Request};
use bytes::Bytes;
use serde::Deserialize;
use tokio::time::timeout;
use uuid::Uuid;

/// Messages that the servers accept in one atomic batch.
pub(crate) const MAX_BATCH: usize = 1000;

/// A bound of a stream is reached. Its description says which.
const STORE_FAILED: u64 = 10077;
/// Bounds of the servers and of the account.
const NO_RESOURCES: [u64; 4] = [10002, 10023, 10028, 10047];

/// A message to be published.
pub(crate) struct Outgoing {
    pub(crate) subject: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Why messages were not published.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The bound of a subject is reached.
    SubjectFull,
    /// The bound of the stream, or of the servers, is reached.
    StreamFull,
    /// The servers refused for another reason, or did not answer. The messages may be stored.
    Failed(String),
}

/// How an attempt ended. The first `stored` messages are acknowledged.
pub(crate) struct Attempted {
    pub(crate) stored: usize,
    /// The place of the last message in the stream.
    pub(crate) last: u64,
    pub(crate) result: Result<(), Refusal>,
}

/// The answer to a message, or to the last one of a batch.
#[derive(Deserialize)]
struct Acknowledged {
    #[serde(flatten)]
    ack: PublishAck,
    /// Messages of the batch.
    count: Option<usize>,
}

/// Publishes messages to one stream, in order. Up to [`MAX_BATCH`] of them are stored as a whole or
/// not at all. More are several batches: then the first ones can be stored without the last.
pub(crate) async fn publish(client: Client, messages: Vec<Outgoing>, wait: Duration) -> Attempted {
    let mut attempted = Attempted {
        stored: 0,
        last: 0,
        result: Ok(()),
    };
    let mut messages = messages.into_iter().peekable();
    while messages.peek().is_some() {
        let batch: Vec<Outgoing> = messages.by_ref().take(MAX_BATCH).collect();
        let count = batch.len();
        let result = timeout(wait, publish_batch(&client, batch, wait)).await;
        match result.unwrap_or_else(|_| Err(unanswered(wait))) {
            Ok(last) => {
                attempted.stored += count;
                attempted.last = last;
            }
            Err(refusal) => {
                attempted.result = Err(refusal);
                break;
            }
        }
    }
    attempted
}

async fn publish_batch(client: &Client, messages: Vec<Outgoing>, wait: Duration) -> Result<u64, Refusal> {
    let count = messages.len();
    let id = Uuid::new_v4().simple().to_string();
    for (index, mut message) in messages.into_iter().enumerate() {
        if count > 1 {
            message.headers.insert("Nats-Batch-Id", id.as_str());
            message.headers.insert("Nats-Batch-Sequence", (index + 1).to_string());
        }
        if index + 1 < count {
            client
                .publish_with_headers(message.subject, message.headers, message.body)
                .await
                .map_err(|error| Refusal::Failed(error.to_string()))?;
            continue;
        }
        if count > 1 {
            message.headers.insert("Nats-Batch-Commit", "1");
        }
        let request = Request::new()
            .headers(message.headers)
            .payload(message.body)
            .timeout(Some(wait));
        let answer = client
            .send_request(message.subject, request)
            .await
            .map_err(|error| match error.kind() {
                RequestErrorKind::TimedOut => unanswered(wait),
                RequestErrorKind::NoResponders => Refusal::Failed("no stream takes the message".to_owned()),
                _ => Refusal::Failed(error.to_string()),
            })?;
        return read(&answer.payload, count);
    }
    Err(Refusal::Failed("there is no message".to_owned()))
}

fn unanswered(wait: Duration) -> Refusal {
    Refusal::Failed(format!("no acknowledgement within {wait:?}"))
}

/// Reads the answer to the last of this many messages.
fn read(answer: &[u8], count: usize) -> Result<u64, Refusal> {
    match serde_json::from_slice(answer) {
        Ok(Response::Ok(Acknowledged { ack, count: stored })) => {
            if ack.sequence == 0 || (count > 1 && stored != Some(count)) {
                return Err(Refusal::Failed(
                    "the servers do not store batches as a whole".to_owned(),
                ));
            }
            Ok(ack.sequence)
        }
        Ok(Response::Err { error }) => {
            let code = error.error_code().0;
            let text = error.to_string();
            Err(match code {
                STORE_FAILED if text.contains("per subject") => Refusal::SubjectFull,
                STORE_FAILED if text.contains("maximum") => Refusal::StreamFull,
                _ if NO_RESOURCES.contains(&code) => Refusal::StreamFull,
                _ => Refusal::Failed(text),
            })
        }
        Err(_) => Err(Refusal::Failed("the answer is no acknowledgement".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_the_servers() {
        let error = |code: u64, text: &str| {
            format!(r#"{{"error":{{"code":503,"err_code":{code},"description":"{text}"}},"stream":"A","seq":0}}"#)
        };
        let failed = |answer: &str, count| match read(answer.as_bytes(), count) {
            Err(Refusal::Failed(text)) => text,
            other => panic!("{other:?}"),
        };
        let of = |code, text| read(error(code, text).as_bytes(), 1);
        assert_eq!(read(br#"{"stream":"A","seq":4}"#, 1), Ok(4));
        assert_eq!(read(br#"{"stream":"A","seq":3,"batch":"b","count":3}"#, 3), Ok(3));
        assert_eq!(
            of(10077, "maximum messages per subject exceeded"),
            Err(Refusal::SubjectFull)
        );
        assert_eq!(of(10077, "maximum bytes exceeded"), Err(Refusal::StreamFull));
        assert_eq!(
            of(10047, "insufficient storage resources available"),
            Err(Refusal::StreamFull)
        );
        assert!(failed(&error(10008, "JetStream system temporarily unavailable"), 1).contains("unavailable"));
        assert!(failed(r#"{"stream":"A","seq":3}"#, 3).contains("as a whole"));
        assert!(failed("+OK", 1).contains("no acknowledgement"));
    }
}
