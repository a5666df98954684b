//! What all replicas agree on: purges, shared bindings, nudges, and the ledger of all.
//!
//! | file | owns |
//! |---|---|
//! | `purges` | purges of this replica and of others |
//! | `bindings` | bindings that all replicas share |
//! | `ledger` | the ledger of all replicas |
//! | `replicas` | which replicas live, what they report, and nudges |

mod bindings;
mod ledger;
mod purges;
mod replicas;

pub use bindings::{BindingsError, SharedBindings, list_bindings, put_binding, remove_binding};
pub use ledger::{ClusterLedger, ReplicaLedger};
pub(crate) use purges::{ErasedQueue, read_erased};

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::kv;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tracer_registry_spool::{Done, Failing, Purged};

use crate::connection::Connection;
use crate::send::SendCommand;
use crate::store::Shared;

/// How long to wait after the servers could not be asked.
const RETRY: Duration = Duration::from_secs(1);

/// What the store asks of the cluster.
pub(crate) enum ClusterCommand {
    Purge(String, Done<Result<Purged, Failing>>),
    Allow(String, Done<Result<bool, Failing>>),
    Ledger(Done<Result<ClusterLedger, Failing>>),
    Nudge(String, Done<Result<(), Failing>>),
    Close(oneshot::Sender<()>),
}

/// What the tasks of the cluster share.
#[derive(Clone)]
struct Cluster {
    connection: Connection,
    shared: Arc<Shared>,
    send: mpsc::UnboundedSender<SendCommand>,
}

/// Runs until the store is closed.
pub(crate) async fn run(
    connection: Connection,
    shared: Arc<Shared>,
    send: mpsc::UnboundedSender<SendCommand>,
    mut commands_rx: mpsc::UnboundedReceiver<ClusterCommand>,
) {
    let cluster = Cluster {
        connection,
        shared,
        send,
    };
    let commands = async {
        while let Some(command) = commands_rx.recv().await {
            match command {
                ClusterCommand::Purge(what, done) => done(cluster.purge(&what).await),
                ClusterCommand::Allow(what, done) => done(cluster.allow(&what).await),
                ClusterCommand::Ledger(done) => done(cluster.ledger().await),
                ClusterCommand::Nudge(selector, done) => done(cluster.nudge(&selector).await),
                ClusterCommand::Close(ended) => {
                    let _ = ended.send(());
                    return;
                }
            }
        }
    };
    tokio::select! {
        () = commands => {}
        () = cluster.watch_purges() => {}
        () = cluster.answer_purges() => {}
        () = cluster.watch_bindings() => {}
        () = cluster.watch_nudges() => {}
        () = cluster.report() => {}
    }
}

impl Cluster {
    async fn bucket(&self, what: &str) -> Result<kv::Store, Failing> {
        let name = self.shared.names.bucket(what);
        let bucket = self.connection.context.get_key_value(name).await;
        bucket.map_err(|error| failing("a bucket of the stream", &error))
    }
}

/// Calls a function again and again, with a wait after each failure.
async fn again(mut run: impl AsyncFnMut() -> Result<(), Failing>) {
    loop {
        if let Err(error) = run().await {
            tracing::debug!("{error}");
        }
        sleep(RETRY).await;
    }
}

fn failing(what: &'static str, error: &dyn std::error::Error) -> Failing {
    Failing {
        what,
        error: error.to_string(),
    }
}
