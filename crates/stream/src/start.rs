//! The checks of a start. They are made again later if the servers were away.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time;
use tracer_registry_spool::{Event, Failing};

use crate::cluster;
use crate::commands::SendCommand;
use crate::connection::Connection;
use crate::error::OpenError;
use crate::layout;
use crate::servers;
use crate::shared::Shared;

/// How long the checks may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(15);

/// Time between checks while one fails.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// Time between checks while some servers are away.
const AWAY_INTERVAL: Duration = Duration::from_secs(15);

/// Whether all servers answered, or why the store cannot work yet.
pub(crate) type Checked = Result<bool, String>;

/// Waits for the servers for five seconds and checks them.
///
/// # Errors
/// [`OpenError`] if the store cannot work with these servers.
pub(crate) async fn check_first(connection: &Connection, shared: &Shared) -> Result<Checked, OpenError> {
    let checked = async {
        connection.wait().await?;
        check(connection, shared).await
    };
    match checked.await {
        // The servers are away, or have no majority.
        Err(error @ (OpenError::Away(_) | OpenError::Request { .. })) => Ok(Err(error.to_string())),
        checked => checked.map(Ok),
    }
}

/// Sets whether the store is ready, and checks again until all servers have answered and everything
/// is as it should be. Returns never.
pub(crate) async fn check_again(connection: &Connection, shared: &Shared, mut checked: Checked) {
    loop {
        shared.ready.send_if_modified(|ready| {
            let before = std::mem::replace(ready, checked.is_ok());
            before != *ready
        });
        match &checked {
            Ok(true) => std::future::pending().await,
            Ok(false) => {}
            Err(error) => {
                shared.link().error = Some(error.clone());
                (shared.options.report)(Event::Failing(Failing {
                    what: "check the stream",
                    error: error.clone(),
                }));
            }
        }
        let last = checked.clone();
        let interval = if last.is_ok() { AWAY_INTERVAL } else { RETRY_INTERVAL };
        while checked == last {
            time::sleep(interval).await;
            checked = check(connection, shared).await.map_err(|error| error.to_string());
        }
    }
}

/// Checks the streams and the servers. Returns whether all servers answered.
async fn check(connection: &Connection, shared: &Shared) -> Result<bool, OpenError> {
    let options = &shared.options;
    let all = async {
        if !connection.is_connected() {
            return Err(OpenError::Away("not connected".to_owned()));
        }
        servers::check_version(&connection.client.server_info())?;
        layout::check(connection, options, &shared.names).await?;
        let have_all_answered = servers::durability(options, &servers::ask_all(options).await)?;
        if !*shared.ready.borrow() {
            let read = cluster::read_erased(connection, shared).await;
            read.map_err(|Failing { what, error }| OpenError::Request {
                name: what.to_owned(),
                error,
            })?;
        }
        Ok(have_all_answered)
    };
    let late = |_| Err(OpenError::Away("no answer to the checks of the start".to_owned()));
    time::timeout(CHECK_TIMEOUT, all).await.unwrap_or_else(late)
}

/// Answers commands to the sender until the store is ready. Returns whether it is still open.
pub(crate) async fn wait_until_ready(shared: &Shared, commands_rx: &mut mpsc::UnboundedReceiver<SendCommand>) -> bool {
    let mut ready = shared.ready.subscribe();
    loop {
        let command = tokio::select! {
            biased;
            _ = ready.wait_for(|ready| *ready) => return true,
            command = commands_rx.recv() => command,
        };
        match command {
            Some(SendCommand::Take { done, .. }) => done(Ok(Vec::new())),
            // Nothing was taken.
            Some(SendCommand::Release(_) | SendCommand::Complete(_)) => {}
            // No partition is this replica's.
            Some(SendCommand::Erase(_, erased)) => drop(erased.send((Vec::new(), Vec::new()))),
            Some(SendCommand::Close(_, ended)) => {
                let _ = ended.send(());
                return false;
            }
            None => return false,
        }
    }
}
