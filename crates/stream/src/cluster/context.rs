//! What the tasks of the cluster share.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::kv;
use tokio::sync::{Mutex, mpsc};
use tokio::time::sleep;
use tracer_registry_spool::Failing;

use super::answers::Unasked;
use crate::commands::SendCommand;
use crate::connection::Connection;
use crate::shared::Shared;

/// How long to wait after the servers could not be asked.
const RETRY: Duration = Duration::from_secs(1);

/// What the tasks of the cluster share.
#[derive(Clone)]
pub(super) struct Cluster {
    pub(super) connection: Connection,
    pub(super) shared: Arc<Shared>,
    pub(super) send: mpsc::UnboundedSender<SendCommand>,
    /// Locked while this replica erases.
    pub(super) unasked: Arc<Mutex<Unasked>>,
}

impl Cluster {
    pub(super) async fn bucket(&self, what: &str) -> Result<kv::Store, Failing> {
        let name = self.shared.names.bucket(what);
        let bucket = self.connection.context.get_key_value(name).await;
        bucket.map_err(|error| failing("a bucket of the stream", &error))
    }
}

/// Calls a function again and again, with a wait after each failure.
pub(super) async fn again(mut run: impl AsyncFnMut() -> Result<(), Failing>) {
    let mut was_failing = false;
    loop {
        let result = run().await;
        match &result {
            Err(error) if !was_failing => tracing::warn!("{error}"),
            Err(error) => tracing::debug!("{error}"),
            Ok(()) => {}
        }
        was_failing = result.is_err();
        sleep(RETRY).await;
    }
}

pub(super) fn failing(what: &'static str, error: &dyn std::error::Error) -> Failing {
    Failing {
        what,
        error: error.to_string(),
    }
}
