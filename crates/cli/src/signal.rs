//! Signals that stop the program.

use super::error::CliError;

/// Calls `then` once, on ctrl-c or SIGTERM. Both handlers are installed when this returns.
pub(super) fn on_interrupt(then: impl FnOnce() + Send + 'static) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let signalled = {
        let _guard = runtime.enter();
        termination()?
    };
    std::thread::Builder::new().spawn(move || {
        runtime.block_on(signalled);
        then();
    })?;
    Ok(())
}

#[cfg(unix)]
fn termination() -> Result<impl Future<Output = ()> + Send + 'static, CliError> {
    use tokio::signal::unix::{SignalKind, signal};

    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        let either = (std::pin::pin!(terminate.recv()), std::pin::pin!(interrupt.recv()));
        futures_util::future::select(either.0, either.1).await;
    })
}

#[cfg(not(unix))]
fn termination() -> Result<impl Future<Output = ()> + Send + 'static, CliError> {
    Ok(async { drop(tokio::signal::ctrl_c().await) })
}
