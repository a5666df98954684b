//! A connection that can be broken on request.
//!
//! An HTTP server can only close a connection cleanly. To simulate other faults, this wraps the
//! socket and breaks it at the next write.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::activity::Activity;

const UNLIMITED: usize = usize::MAX;

/// Breaks the connection of a request.
#[derive(Clone)]
pub(crate) struct Breaker(Arc<Break>);

struct Break {
    /// Bytes that may still be written.
    left: AtomicUsize,
    /// Whether the connection ends with a reset instead of an end of file.
    reset: AtomicBool,
}

impl Breaker {
    /// Resets the connection without further writes.
    pub(crate) fn reset(&self) {
        self.0.reset.store(true, Ordering::SeqCst);
        self.0.left.store(0, Ordering::SeqCst);
    }

    /// Closes the connection after this many further bytes.
    pub(crate) fn close_after(&self, bytes: usize) {
        self.0.left.store(bytes, Ordering::SeqCst);
    }
}

/// A connection.
pub(crate) struct Wire {
    stream: TcpStream,
    breaker: Breaker,
    activity: Activity,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream, activity: Activity) -> Self {
        // Without this, a pipelining client would wait 40 ms for a small response.
        let _ = stream.set_nodelay(true);
        let unbroken = Break {
            left: AtomicUsize::new(UNLIMITED),
            reset: AtomicBool::new(false),
        };
        Self {
            stream,
            breaker: Breaker(Arc::new(unbroken)),
            activity,
        }
    }

    pub(crate) fn breaker(&self) -> Breaker {
        self.breaker.clone()
    }

    /// Returns how many of `wanted` bytes may be written. An error breaks the connection.
    fn allowance(&self, wanted: usize) -> io::Result<usize> {
        match self.breaker.0.left.load(Ordering::SeqCst) {
            UNLIMITED => Ok(wanted),
            0 => {
                if self.breaker.0.reset.load(Ordering::SeqCst) {
                    // Closing a socket with zero linger sends a reset instead of an end of file.
                    let _ = self.stream.set_zero_linger();
                }
                Err(io::ErrorKind::ConnectionReset.into())
            }
            left => Ok(left.min(wanted)),
        }
    }

    fn spend(&self, written: usize) {
        let left = &self.breaker.0.left;
        if left.load(Ordering::SeqCst) != UNLIMITED {
            left.fetch_sub(written, Ordering::SeqCst);
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.activity.record();
        }
        Poll::Ready(Ok(()))
    }
}

// Vectored writes use the default, one plain write, so only `poll_write` counts the allowance.
impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let allowed = self.allowance(buf.len())?;
        let written = std::task::ready!(Pin::new(&mut self.stream).poll_write(cx, &buf[..allowed]))?;
        self.spend(written);
        self.activity.record();
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
