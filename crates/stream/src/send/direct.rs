//! Reads many messages of a stream by one request to the servers' API for direct reads.

use std::time::{Duration, SystemTime};

use async_nats::{Client, HeaderMap, StatusCode};
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde::Serialize;
use tokio::time::timeout;

const TIMEOUT: Duration = Duration::from_secs(5);

/// Which messages to read.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Request {
    #[serde(rename = "seq", skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<u64>,
    #[serde(rename = "next_by_subj", skip_serializing_if = "Option::is_none")]
    pub(crate) subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) batch: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_bytes: Option<usize>,
    /// The last message of each subject.
    #[serde(rename = "multi_last", skip_serializing_if = "Vec::is_empty")]
    pub(crate) last_of: Vec<String>,
}

/// A message of a stream.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) subject: String,
    pub(crate) sequence: u64,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// The last value of a key of a bucket.
#[derive(Debug)]
pub(crate) struct Value {
    pub(crate) key: String,
    pub(crate) body: Bytes,
    /// When it was written, by the clock of the server that did.
    pub(crate) at: SystemTime,
}

/// A read that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("the servers did not answer")]
    TimedOut,
    #[error("the connection is closed")]
    Closed,
    #[error("the servers refused the read: {0}")]
    Refused(String),
}

/// Reads messages. The copy that answers may lag behind the leader.
pub(crate) async fn read(client: &Client, stream: &str, request: &Request) -> Result<Vec<Stored>, ReadError> {
    let inbox = client.new_inbox();
    let body = serde_json::to_vec(request).map_err(|error| ReadError::Refused(error.to_string()))?;
    let answer = async {
        let mut answers = client.subscribe(inbox.clone()).await.map_err(|_| ReadError::Closed)?;
        let subject = format!("$JS.API.DIRECT.GET.{stream}");
        let published = client.publish_with_reply(subject, inbox, body.into()).await;
        published.map_err(|_| ReadError::Closed)?;
        let mut messages = Vec::new();
        while let Some(answer) = answers.next().await {
            match answer.status {
                None | Some(StatusCode::OK) => {}
                // The end, or nothing at all.
                Some(status) if matches!(status.as_u16(), 204 | 404) => return Ok(messages),
                Some(status) => {
                    let why = answer.description.unwrap_or_default();
                    return Err(ReadError::Refused(format!("{status} {why}")));
                }
            }
            messages.extend(answer.headers.and_then(|headers| stored(headers, answer.payload)));
        }
        Err(ReadError::Closed)
    };
    timeout(TIMEOUT, answer).await.unwrap_or(Err(ReadError::TimedOut))
}

fn stored(headers: HeaderMap, body: Bytes) -> Option<Stored> {
    // A publisher can write these headers too. The servers' are the last.
    let subject = headers.get_last("Nats-Subject")?.as_str().to_owned();
    let sequence = headers.get_last("Nats-Sequence")?.as_str().parse().ok()?;
    Some(Stored {
        subject,
        sequence,
        headers,
        body,
    })
}

/// Reads the last value of all keys of a bucket that match, without deleted ones.
pub(crate) async fn values(client: &Client, bucket: &str, keys: &str) -> Result<Vec<Value>, ReadError> {
    let prefix = format!("$KV.{bucket}.");
    let request = Request {
        last_of: vec![format!("{prefix}{keys}")],
        ..Request::default()
    };
    let messages = read(client, &format!("KV_{bucket}"), &request).await?;
    let values = messages.into_iter().filter_map(|message| {
        let key = message.subject.strip_prefix(&prefix)?.to_owned();
        let at = message.headers.get_last("Nats-Time-Stamp")?.as_str();
        let value = Value {
            key,
            at: humantime::parse_rfc3339(at).ok()?,
            body: message.body,
        };
        message.headers.get("KV-Operation").is_none().then_some(value)
    });
    Ok(values.collect())
}
