//! Metrics of the registry and of the gateway: text for scrapers, and OTLP.
//!
//! The instruments are those of OpenTelemetry's API. Each exporter has a provider of its own,
//! because one reading of the registry serves one reader: two readers of one provider would mix two
//! readings, and their sums would not add up.
//!
//! | file | owns |
//! |---|---|
//! | `sources` | what the instruments observe |
//! | `instruments` | the gateway's own instruments |
//! | `stream` | those of a stream that replicas share |
//! | `provider` | the SDK: resource, limits of series, readers |
//! | `scrape` | the text of the moment |
//! | `text` | Prometheus and OpenMetrics |
//! | `telemetry` | requests to a receiver of the operator |

mod instruments;
mod provider;
mod scrape;
mod sources;
#[cfg(feature = "jetstream")]
mod stream;
mod telemetry;
mod text;

pub(crate) use scrape::Scrape;
pub(crate) use sources::Sources;
pub(crate) use telemetry::Telemetry;
pub(crate) use text::Format;
