//! Signals to the program.

use super::error::CliError;

/// A signal that the program was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// Ctrl-c or SIGTERM.
    Stop,
    /// SIGHUP.
    Reload,
}

/// Calls `then` once, on ctrl-c or SIGTERM. Both handlers are installed when this returns.
pub(super) fn on_interrupt(then: impl FnOnce() + Send + 'static) -> Result<(), CliError> {
    let mut then = Some(then);
    start(false, move |_| {
        if let Some(then) = then.take() {
            then();
        }
        false
    })
}

/// Calls `then` on each signal until it returns false. All handlers are installed when this
/// returns.
pub(super) fn on_each(then: impl FnMut(Signal) -> bool + Send + 'static) -> Result<(), CliError> {
    start(true, then)
}

/// Without `reloads`, SIGHUP keeps its default and ends the program.
fn start(reloads: bool, mut then: impl FnMut(Signal) -> bool + Send + 'static) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut signals = {
        let _guard = runtime.enter();
        Signals::install(reloads)?
    };
    std::thread::Builder::new().spawn(move || while then(runtime.block_on(signals.next())) {})?;
    Ok(())
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hang_up: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    fn install(reloads: bool) -> Result<Self, CliError> {
        use tokio::signal::unix::{SignalKind, signal};

        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: reloads.then(|| signal(SignalKind::hangup())).transpose()?,
        })
    }

    async fn next(&mut self) -> Signal {
        let hang_up = async {
            match &mut self.hang_up {
                Some(hang_up) => hang_up.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.interrupt.recv() => Signal::Stop,
            _ = hang_up => Signal::Reload,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    #[expect(clippy::unnecessary_wraps, reason = "as on Unix")]
    fn install(_: bool) -> Result<Self, CliError> {
        Ok(Self)
    }

    async fn next(&mut self) -> Signal {
        drop(tokio::signal::ctrl_c().await);
        Signal::Stop
    }
}
