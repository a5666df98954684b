//! The end of the process by a signal.

use super::error::CliError;

/// Calls `then` when the process is told to end by ctrl-c or SIGTERM. Both are listened for when this returns, so that a caller may say
/// afterwards that it can be ended.
pub(super) fn interrupted(then: impl FnOnce() + Send + 'static) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let told = {
        let _inside = runtime.enter();
        told_to_end()?
    };
    std::thread::Builder::new().spawn(move || {
        runtime.block_on(told);
        then();
    })?;
    Ok(())
}

#[cfg(unix)]
fn told_to_end() -> Result<impl Future<Output = ()> + Send + 'static, CliError> {
    use tokio::signal::unix::{SignalKind, signal};

    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        let either = (std::pin::pin!(terminate.recv()), std::pin::pin!(interrupt.recv()));
        futures_util::future::select(either.0, either.1).await;
    })
}

#[cfg(not(unix))]
fn told_to_end() -> Result<impl Future<Output = ()> + Send + 'static, CliError> {
    Ok(async { drop(tokio::signal::ctrl_c().await) })
}
