//! The metrics over OTLP, to a receiver of the operator.
//!
//! Values are cumulative, so a failed request needs no retry: the next one has the same values.
//! Reads no environment variable.

use std::io::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{SdkMeterProvider, Temporality};
use prost::Message as _;
use tokio::runtime::Handle;

use super::provider;
use super::sources::Sources;
use crate::client::{ClientError, HttpClient};
use crate::config::TelemetrySettings;

/// Longest time for a request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Largest body of an answer that is read.
const MAX_ANSWER: usize = 1 << 20;
/// Shortest time between two lines about failures.
const PAUSE: Duration = Duration::from_secs(10);

/// Sends the metrics at each interval. Has one thread.
pub(crate) struct Telemetry(SdkMeterProvider);

struct OtlpExporter {
    http: HttpClient,
    endpoint: Uri,
    headers: HeaderMap,
    /// Where requests run: the reader's thread has no runtime.
    runtime: Handle,
    log: Mutex<FailureLog>,
}

/// Limits lines about failures.
#[derive(Default)]
struct FailureLog {
    is_failing: bool,
    written: Option<Instant>,
}

/// A line to write.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Failure,
    Recovery,
}

impl Telemetry {
    /// Starts to send. `token` is the value of `Authorization`.
    ///
    /// # Errors
    /// [`ClientError::Certificates`] if the endpoint needs TLS and the platform has no authorities.
    pub(crate) fn start(
        sources: &Sources,
        settings: &TelemetrySettings,
        token: Option<HeaderValue>,
        runtime: Handle,
    ) -> Result<Self, ClientError> {
        let mut headers = settings.headers.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        headers.extend(token.map(|token| (AUTHORIZATION, token)));
        let may_use_tls = settings.endpoint.scheme_str() == Some("https");
        let exporter = OtlpExporter {
            http: HttpClient::new(may_use_tls, None, None)?,
            endpoint: settings.endpoint.clone(),
            headers,
            runtime,
            log: Mutex::default(),
        };
        Ok(Self(provider::start(sources, exporter, settings.interval)))
    }

    /// Sends the metrics a last time, within the timeout. Blocks the thread; the runtime must still
    /// run.
    pub(crate) fn stop(self, timeout: Duration) {
        // On a thread of its own, because the SDK may wait longer. A failure is in the log.
        let (ended, is_ended) = std::sync::mpsc::channel();
        let provider = self.0;
        let stopped = std::thread::Builder::new().name("telemetry".to_owned()).spawn(move || {
            drop(provider.shutdown());
            let _ = ended.send(());
        });
        if stopped.is_ok() {
            let _ = is_ended.recv_timeout(timeout);
        }
    }
}

impl PushMetricExporter for OtlpExporter {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let sent = self.send(metrics).await;
        let line = self.lock().note(sent.is_err(), Instant::now());
        match (line, &sent) {
            (Some(Line::Failure), Err(error)) => tracing::warn!("telemetry cannot be sent: {error}"),
            (Some(Line::Recovery), _) => tracing::info!("telemetry is sent again"),
            _ => {}
        }
        sent.map_err(OTelSdkError::InternalFailure)
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self) -> Temporality {
        Temporality::Cumulative
    }
}

impl OtlpExporter {
    /// Sends a request. An error is a line of text without a token.
    async fn send(&self, metrics: &ResourceMetrics) -> Result<(), String> {
        let body = ExportMetricsServiceRequest::from(metrics).encode_to_vec();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        let body = gzip.write_all(&body).and_then(|()| gzip.finish());
        let body = body.map_err(|error| error.to_string())?;
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.endpoint.clone();
        *request.headers_mut() = self.headers.clone();
        let http = self.http.clone();
        let sent = self
            .runtime
            .spawn(async move { http.send(request, TIMEOUT, MAX_ANSWER).await })
            .await;
        let answer = sent
            .map_err(|_| "the gateway ends".to_owned())?
            .map_err(|error| error.to_string())?;
        if answer.status().is_success() {
            Ok(())
        } else {
            Err(format!("{} answers {}", self.endpoint, answer.status().as_u16()))
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, FailureLog> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FailureLog {
    /// Records the end of a request. Returns the line to write: about the first failure, and about
    /// the first success after a line.
    fn note(&mut self, is_failure: bool, now: Instant) -> Option<Line> {
        if !is_failure {
            return std::mem::take(&mut self.is_failing).then_some(Line::Recovery);
        }
        let is_recent = |at: Instant| now.saturating_duration_since(at) < PAUSE;
        if self.is_failing || self.written.is_some_and(is_recent) {
            return None;
        }
        (self.is_failing, self.written) = (true, Some(now));
        Some(Line::Failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_of_failures_has_one_line_and_its_end_another() {
        let (mut log, start) = (FailureLog::default(), Instant::now());
        let mut note = |is_failure, seconds| log.note(is_failure, start + Duration::from_secs(seconds));
        assert_eq!(note(false, 0), None);
        assert_eq!(note(true, 1), Some(Line::Failure));
        assert_eq!((note(true, 60), note(true, 120)), (None, None));
        assert_eq!(note(false, 121), Some(Line::Recovery));
        assert_eq!(
            note(true, 122),
            Some(Line::Failure),
            "the last line about a failure is old"
        );
        assert_eq!(note(false, 123), Some(Line::Recovery));
        assert_eq!((note(true, 124), note(false, 125)), (None, None), "too soon");
        assert_eq!(note(true, 133), Some(Line::Failure));
    }
}
