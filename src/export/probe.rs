//! Whether an endpoint takes a key: an empty export, sent once.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::{Duration, SystemTime};

use opentelemetry_sdk::Resource;

use super::ExportError;
use super::connections::Connections;
use super::encode;
use super::engine::{Engine, Shared};
use super::flush::after;
use super::transport::Call;
use super::verdict::{Verdict, judge};
use crate::backend::Destination;
use crate::secret::ApiKey;
use crate::selector::Selector;

impl Engine {
    /// Sends an empty export once; [`answer`](Self::answer) waits for what is said to it.
    pub(crate) fn probe(
        &self,
        selector: &Selector,
        destination: Arc<Destination>,
        connections: Arc<Connections>,
        key: ApiKey,
    ) -> Receiver<Result<(), ExportError>> {
        let (answer, receiver) = sync_channel(1);
        let shared = Arc::clone(&self.shared);
        let resource = destination.resource(selector);
        self.shared.driver.spawn(async move {
            drop(answer.send(probe(&shared, &resource, &destination, &connections, &key).await));
            shared.driver.note_settled();
        });
        receiver
    }

    /// Waits for the answer to a probe; `None` where the engine is stopped.
    pub(crate) fn answer<T: Send>(&self, receiver: Receiver<T>) -> Option<T> {
        let Some(inline) = self.shared.driver.inlined() else {
            return receiver.recv().ok();
        };
        let mut answer = None;
        let said = &mut answer;
        // No probe takes longer than a request may.
        inline.drive(after(Duration::MAX), move || match receiver.try_recv() {
            Ok(answer) => {
                *said = Some(answer);
                true
            }
            Err(TryRecvError::Disconnected) => true,
            Err(TryRecvError::Empty) => false,
        });
        answer
    }
}

async fn probe(
    shared: &Shared,
    resource: &Resource,
    destination: &Destination,
    connections: &Connections,
    key: &ApiKey,
) -> Result<(), ExportError> {
    let settings = &shared.settings;
    let encoded = encode::spans(&[], resource, settings.protocol, settings.compression)?;
    let call = Call::spans(settings.protocol, destination, encoded);
    // A person wants to know: it is asked whatever the breakers say.
    let attempt = shared
        .transport
        .send(&call, destination, key, &connections.line(false))
        .await;
    match judge(&call.url, attempt.result, 0, &attempt.secrets, SystemTime::now()) {
        Verdict::Delivered { .. } => Ok(()),
        Verdict::Deny { error }
        | Verdict::Repeat { error, .. }
        | Verdict::Fault { error }
        | Verdict::Refuse { error, .. }
        | Verdict::Drop { error, .. } => Err(error),
    }
}
