//! Signals to the program.

use futures_util::future::Either;
use tokio::runtime::{Builder, Runtime};

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
    let mut waiter = Waiter::install(false)?;
    std::thread::Builder::new().spawn(move || {
        waiter.wait(std::future::pending::<()>());
        then();
    })?;
    Ok(())
}

/// Waits for signals on the thread that calls it.
pub(super) struct Waiter {
    runtime: Runtime,
    signals: Signals,
}

impl Waiter {
    /// Installs all handlers. Without `reloads`, SIGHUP keeps its default and ends the program.
    pub(super) fn install(reloads: bool) -> Result<Self, CliError> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let signals = {
            let _guard = runtime.enter();
            Signals::install(reloads)?
        };
        Ok(Self { runtime, signals })
    }

    /// Waits for a signal or for something else. Must not be called from async code.
    pub(super) fn wait<T>(&mut self, other: impl Future<Output = T>) -> Either<Signal, T> {
        let Self { runtime, signals } = self;
        runtime.block_on(async {
            tokio::select! {
                biased;
                signal = signals.next() => Either::Left(signal),
                other = other => Either::Right(other),
            }
        })
    }
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
