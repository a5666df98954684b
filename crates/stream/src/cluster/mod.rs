//! What all replicas agree on: purges, shared bindings, nudges, and the ledger of all.
//!
//! | file | owns |
//! |---|---|
//! | `context` | what its tasks share |
//! | `answers` | what replicas erased, as they answer |
//! | `purges` | purges of this replica and of others |
//! | `bindings` | bindings that all replicas share |
//! | `ledger` | the ledger of all replicas |
//! | `replicas` | which replicas live, what they report, and nudges |

mod answers;
mod bindings;
mod context;
mod ledger;
mod purges;
mod replicas;

pub use bindings::{list_bindings, put_binding, remove_binding};
pub(crate) use purges::read_erased;

use std::sync::Arc;

use tokio::sync::mpsc;

use self::context::Cluster;
use crate::commands::{ClusterCommand, SendCommand};
use crate::connection::Connection;
use crate::shared::Shared;

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
        unasked: Arc::default(),
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
