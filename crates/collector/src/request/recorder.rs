//! Records whole requests, for tests that search every byte.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::lock::lock;
use crate::model::Fingerprint;

/// Size of a record without its texts and its body.
const RECORD_OVERHEAD_BYTES: usize = 256;

/// A request as received, without its key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordedRequest {
    /// Method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Headers in lower case, in the order received. Those with a key have the value `redacted`.
    pub headers: Vec<(String, String)>,
    /// Decompressed body, or the original one if decompression failed.
    pub body: Bytes,
    /// Fingerprint of the key. `None` if the request has no key.
    pub key: Option<Fingerprint>,
    /// Name of the project at the time of the request, if any.
    pub project: Option<String>,
}

impl RecordedRequest {
    /// Returns the first value of a header. `name` must be in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(header, _)| header == name)
            .map(|(_, value)| value.as_str())
    }

    fn cost_bytes(&self) -> usize {
        let headers: usize = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.len() + 48)
            .sum();
        RECORD_OVERHEAD_BYTES + self.path.len() + headers + self.body.len()
    }
}

/// Keeps the newest requests, up to a limit in bytes.
pub(crate) struct Recorder {
    max_bytes: usize,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    requests: VecDeque<Arc<RecordedRequest>>,
    bytes: usize,
    dropped: u64,
}

impl Recorder {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            log: Mutex::default(),
        }
    }

    pub(crate) fn record(&self, request: RecordedRequest) {
        let mut log = lock(&self.log);
        log.bytes += request.cost_bytes();
        log.requests.push_back(Arc::new(request));
        while log.bytes > self.max_bytes {
            let Some(oldest) = log.requests.pop_front() else { break };
            log.bytes -= oldest.cost_bytes();
            log.dropped += 1;
        }
    }

    pub(crate) fn requests(&self) -> Vec<Arc<RecordedRequest>> {
        lock(&self.log).requests.iter().cloned().collect()
    }

    pub(crate) fn dropped(&self) -> u64 {
        lock(&self.log).dropped
    }

    pub(crate) fn clear(&self) {
        *lock(&self.log) = Log::default();
    }
}
