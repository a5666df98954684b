//! Captures the log lines of this crate.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex};

use tracing::Level;
use tracing::field::{Field, Visit};

/// A subscriber that keeps this crate's events as lines of text: the level, then the fields.
#[derive(Clone)]
pub(crate) struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    level: Level,
}

impl Default for Log {
    /// Captures warnings and errors.
    fn default() -> Self {
        Self {
            lines: Arc::default(),
            level: Level::WARN,
        }
    }
}

impl Log {
    /// Captures recoveries too, which are logged at info level.
    pub(crate) fn with_recoveries() -> Self {
        Self {
            level: Level::INFO,
            ..Self::default()
        }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("not poisoned").clone()
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= self.level && metadata.target().starts_with("tracer_registry")
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = FieldWriter(format!("{} ", event.metadata().level()));
        event.record(&mut line);
        self.lines.lock().expect("not poisoned").push(line.0);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

struct FieldWriter(String);

impl Visit for FieldWriter {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{field}={value:?} ").expect("writing to a string cannot fail");
    }
}
