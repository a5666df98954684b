//! Streams and bodies that record the activity of their connection.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::{io, mem};

use bytes::{Buf as _, Bytes};
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::task::yield_now;

use super::activity::{Activity, Running};
use super::shared::Server;
use super::streams::Started;
use crate::budget::Reserved;

/// Bytes of an incomplete head for which nothing is reserved.
const FREE_HEAD: usize = 4 * 1024;
/// Bytes that a connection reads before others have their turn. In HTTP/2, they may be two thousand
/// frames. Frames without a request have a turn for each read.
const TURN_BYTES: usize = 64 * 1024;
const HTTP2_TURN_BYTES: usize = 16 * 1024;
/// Bytes reserved for a larger incomplete head: the largest read buffer of a connection.
const HEAD_MEMORY: usize = 64 * 1024;

/// What an HTTP/2 client sends first.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads the first bytes of a connection. Returns whether it is HTTP/2, and the bytes.
pub(super) async fn first_bytes(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(bool, Bytes)> {
    let mut first = [0; HTTP2_PREFACE.len()];
    let mut len = 0;
    while len < first.len() && HTTP2_PREFACE.starts_with(&first[..len]) {
        match stream.read(&mut first[len..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => len += read,
        }
    }
    Ok((first == HTTP2_PREFACE, Bytes::copy_from_slice(&first[..len])))
}

/// A stream whose first bytes were already read.
pub(super) struct TrackedStream<S> {
    stream: S,
    first: Bytes,
    activity: Activity,
    head: HeadMemory,
    requests: Started,
    is_http2: bool,
    /// Bytes read since other connections had their turn.
    in_turn: usize,
}

/// Memory of a head that is not yet complete.
pub(super) struct HeadMemory {
    server: Arc<Server>,
    reserved: Option<Reserved>,
    /// Whether the connection was polled again since the last bytes arrived.
    is_settled: bool,
}

impl HeadMemory {
    pub(super) fn new(server: Arc<Server>) -> Self {
        Self {
            server,
            reserved: None,
            is_settled: false,
        }
    }

    /// Reserves memory if `unserved` bytes are an incomplete head. Called before each read.
    ///
    /// # Errors
    /// If there is none. The connection ends then.
    fn reserve(&mut self, unserved: usize) -> io::Result<()> {
        let is_settled = mem::take(&mut self.is_settled);
        if unserved <= FREE_HEAD {
            self.reserved = None;
        } else if is_settled && self.reserved.is_none() {
            let budget = self.server.current.budget();
            let mut reserved = budget.reservation(&self.server.of_heads);
            if !reserved.grow(HEAD_MEMORY) {
                self.server.counters.no_memory.add(1);
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            self.reserved = Some(reserved);
        }
        Ok(())
    }

    /// Polls the connection again if `unserved` bytes may be an incomplete head. HTTP/2 reads all
    /// that has arrived before it begins a request.
    fn settle(&mut self, unserved: usize, cx: &Context<'_>) {
        if unserved > FREE_HEAD && self.reserved.is_none() {
            self.is_settled = true;
            cx.waker().wake_by_ref();
        }
    }
}

impl<S> TrackedStream<S> {
    pub(super) fn new(
        stream: S,
        is_http2: bool,
        first: Bytes,
        activity: Activity,
        head: HeadMemory,
        requests: Started,
    ) -> Self {
        Self {
            stream,
            first,
            activity,
            head,
            requests,
            is_http2,
            in_turn: 0,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TrackedStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let len = self.first.len().min(buf.remaining());
            buf.put_slice(&self.first[..len]);
            self.first.advance(len);
            return Poll::Ready(Ok(()));
        }
        if self.requests.wait() {
            return Poll::Pending;
        }
        let unserved = self.activity.unserved_bytes();
        self.head.reserve(unserved)?;
        let is_over = self.in_turn >= if self.is_http2 { HTTP2_TURN_BYTES } else { TURN_BYTES };
        if is_over || self.is_http2 && self.in_turn > 0 && unserved > FREE_HEAD {
            self.in_turn = 0;
            if is_over {
                self.head.settle(unserved, cx);
            }
            // Unlike a wake-up, this also lets connections go first that become ready now.
            return pin!(yield_now()).poll(cx).map(Ok);
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if polled.is_pending() {
            self.in_turn = 0;
            self.head.settle(unserved, cx);
        } else {
            let read = buf.filled().len() - before;
            self.in_turn += read;
            self.activity.note_read(read);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TrackedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
}

/// Body of a request, which runs at least until this is dropped.
#[derive(Debug)]
pub(super) struct TrackedBody<B> {
    body: B,
    _running: Arc<Running>,
}

impl<B> TrackedBody<B> {
    pub(super) fn new(body: B, running: Arc<Running>) -> Self {
        Self {
            body,
            _running: running,
        }
    }
}

impl<B: Body + Unpin> Body for TrackedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn http2_is_known_by_its_whole_preface() {
        let cases: [(&[u8], bool, usize); 3] = [
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nmore", true, 24),
            (b"POST /v1/traces HTTP/1.1\r\n", false, 24),
            (b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", false, 24),
        ];
        for (mut sent, is_http2, len) in cases {
            let whole = sent;
            let (found, first) = first_bytes(&mut sent).await.unwrap();
            assert_eq!((found, &first[..]), (is_http2, &whole[..len]));
        }
        assert!(first_bytes(&mut &b"PRI * HT"[..]).await.is_err());
        // Bytes that cannot become the preface are enough.
        let mut slow = open_stream(&[b"GET"]);
        assert_eq!(
            first_bytes(&mut slow).await.unwrap(),
            (false, Bytes::from_static(b"GET"))
        );
    }

    /// A stream that never ends after its parts.
    fn open_stream(parts: &[&'static [u8]]) -> impl AsyncRead + Unpin {
        let (mut sender, receiver) = tokio::io::duplex(1024);
        let parts = parts.concat();
        tokio::spawn(async move {
            tokio::io::AsyncWriteExt::write_all(&mut sender, &parts).await.unwrap();
            std::future::pending::<()>().await;
        });
        receiver
    }
}
