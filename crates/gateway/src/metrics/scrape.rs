//! The metrics of the moment as text.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{SdkMeterProvider, Temporality};

use super::provider;
use super::sources::Sources;
use super::text::{self, Format};

/// Interval in which the SDK's thread collects without a scrape. It must have one.
const INTERVAL: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Collects metrics when it is asked for them. Has one thread.
pub(crate) struct Scrape {
    provider: SdkMeterProvider,
    slot: Arc<Mutex<Slot>>,
    /// Held during a scrape: a reading of the registry serves one reader.
    running: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Slot {
    /// The format of the running scrape.
    format: Option<Format>,
    text: Option<Bytes>,
}

struct TextExporter(Arc<Mutex<Slot>>);

impl Scrape {
    pub(crate) fn start(sources: &Sources) -> Self {
        let slot = Arc::<Mutex<Slot>>::default();
        Self {
            provider: provider::start(sources, TextExporter(Arc::clone(&slot)), INTERVAL),
            slot,
            running: tokio::sync::Mutex::default(),
        }
    }

    /// Returns the metrics of this moment, or `None` if they cannot be collected. Scrapes run one
    /// after the other, on a blocking thread of the runtime.
    pub(crate) async fn text(&self, format: Format) -> Option<Bytes> {
        let _running = self.running.lock().await;
        *lock(&self.slot) = Slot {
            format: Some(format),
            text: None,
        };
        let provider = self.provider.clone();
        let flushed = tokio::task::spawn_blocking(move || provider.force_flush()).await;
        let text = std::mem::take(&mut *lock(&self.slot)).text;
        flushed.ok()?.ok()?;
        text
    }
}

impl PushMetricExporter for TextExporter {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let format = lock(&self.0).format;
        if let Some(format) = format {
            let text = text::render(metrics, format);
            lock(&self.0).text = Some(text.into());
        }
        Ok(())
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

fn lock(slot: &Mutex<Slot>) -> std::sync::MutexGuard<'_, Slot> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}
