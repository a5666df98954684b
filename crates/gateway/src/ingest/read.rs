//! Reads the body of a request: bounded in bytes, and not slower than the settings allow.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body::{Body, Frame};
use tokio::time::{Instant, timeout_at};

use super::buffer::Buffer;
use super::frame;
use crate::answer::Refusal;
use crate::budget::Reserved;
use crate::config::Settings;

/// Slowest arrival of a body.
#[derive(Clone, Copy, Debug)]
pub(super) struct MinRate {
    /// Time before the rate applies.
    grace: Duration,
    bytes_per_second: usize,
}

/// Time limit of the part of a refused body that is discarded.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

impl MinRate {
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
            grace: settings.body_grace,
            bytes_per_second: settings.body_min_rate,
        }
    }

    /// Returns when the first bytes of a body must be there.
    fn first_deadline(self) -> Instant {
        Instant::now() + self.grace
    }

    /// Returns when more must be there, after bytes that arrived now. They extend the deadline by
    /// their time at the minimum rate. No pause is longer than the grace, however fast the body was
    /// before: it would hold its memory.
    fn next_deadline(self, deadline: Instant, arrived: usize) -> Instant {
        let millis = arrived.saturating_mul(1000) / self.bytes_per_second.max(1);
        (deadline + Duration::from_millis(millis as u64)).min(Instant::now() + self.grace)
    }
}

/// Shape of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// The body is the message.
    Plain,
    /// The message is in a gRPC frame, which states its length.
    Framed,
}

/// Reads a body whole. Reserves its announced length, or each part, before it reads.
///
/// # Errors
/// If the body is too large or too slow, if there is no memory for it, or if the client breaks it
/// off.
pub(super) async fn read<B>(
    body: &mut B,
    shape: Shape,
    limit: usize,
    rate: MinRate,
    reserved: &mut Reserved,
) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut buffer = Buffer::new(limit, reserved);
    let announced = body.size_hint().lower();
    buffer.expect(usize::try_from(announced).unwrap_or(usize::MAX))?;
    let mut deadline = rate.first_deadline();
    while let Some(part) = next(body, deadline).await? {
        deadline = rate.next_deadline(deadline, part.len());
        let had_length = buffer.as_slice().len() >= frame::PREFIX_BYTES;
        buffer.append(&part)?;
        if shape == Shape::Framed
            && !had_length
            && let Some(total) = frame::announced(buffer.as_slice())
        {
            buffer.expect(total)?;
        }
    }
    Ok(buffer.into_bytes())
}

/// Returns the next data of a body, `None` at its end.
async fn next<B: Body<Data = Bytes> + Unpin>(body: &mut B, deadline: Instant) -> Result<Option<Bytes>, Refusal> {
    loop {
        let frame = timeout_at(deadline, poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)));
        match frame.await.map_err(|_| Refusal::too_slow())? {
            None => return Ok(None),
            Some(Err(_)) => return Err(Refusal::broken_off()),
            Some(Ok(frame)) => {
                if let Ok(data) = Frame::into_data(frame) {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// Reads a body and forgets it, up to `limit` bytes.
pub(super) async fn skip<B>(body: &mut B, limit: usize, rate: MinRate) -> Result<(), Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    let (mut deadline, mut received) = (rate.first_deadline(), 0_usize);
    while let Some(part) = next(body, deadline).await? {
        deadline = rate.next_deadline(deadline, part.len());
        received = received.saturating_add(part.remaining());
        if received > limit {
            return Err(Refusal::too_large(limit));
        }
    }
    Ok(())
}

/// Reads the rest of a refused body for a while, so that the client can read the answer: if the
/// connection closed with unread data, the system would discard the answer too.
pub(super) async fn discard<B: Body<Data = Bytes> + Unpin>(mut body: B, limit: usize) {
    let deadline = Instant::now() + DISCARD_TIMEOUT;
    let mut left = limit;
    while let Ok(Some(part)) = next(&mut body, deadline).await {
        match left.checked_sub(part.remaining()) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;

    use futures_util::{StreamExt as _, stream};
    use http_body_util::{Full, StreamBody};
    use tokio::time::sleep;

    use super::*;
    use crate::answer::RefusalKind;
    use crate::budget::Budget;

    const RATE: MinRate = MinRate {
        grace: Duration::from_secs(5),
        bytes_per_second: 1024,
    };

    /// Returns a body of parts that arrive a second apart.
    fn dripping(part: usize, count: usize) -> impl Body<Data = Bytes, Error = Infallible> + Unpin {
        let parts = stream::iter(0..count).then(move |_| async move {
            sleep(Duration::from_secs(1)).await;
            Ok(Frame::data(Bytes::from(vec![7; part])))
        });
        StreamBody::new(parts.boxed())
    }

    async fn read_whole(mut body: impl Body<Data = Bytes> + Unpin, shape: Shape) -> Result<Bytes, Refusal> {
        let mut reserved = Budget::new(1 << 20).reservation(&Arc::default());
        read(&mut body, shape, 1 << 20, RATE, &mut reserved).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_at_the_slowest_rate_may_take_long() {
        let started = Instant::now();
        let body = read_whole(dripping(1024, 100), Shape::Plain).await.unwrap();
        assert_eq!((body.len(), started.elapsed()), (102_400, Duration::from_secs(100)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slower_body_is_refused_once_it_is_behind() {
        let started = Instant::now();
        let refusal = read_whole(dripping(512, 100), Shape::Plain).await.unwrap_err();
        // Nine parts have 9.5 s.
        assert_eq!((refusal.kind, started.elapsed().as_secs()), (RefusalKind::TooSlow, 9));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stalls_is_refused_after_the_grace_however_fast_it_was() {
        let started = Instant::now();
        let fast = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from(vec![7; 1 << 19])))]);
        let body = StreamBody::new(fast.chain(stream::pending()));
        let refusal = read_whole(body, Shape::Plain).await.unwrap_err();
        assert_eq!((refusal.kind, started.elapsed()), (RefusalKind::TooSlow, RATE.grace));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_body_is_refused_after_the_grace() {
        let started = Instant::now();
        let body = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
        let refusal = read_whole(body, Shape::Plain).await.unwrap_err();
        assert_eq!((refusal.kind, started.elapsed()), (RefusalKind::TooSlow, RATE.grace));
    }

    #[tokio::test]
    async fn an_announced_length_is_reserved_whole() {
        let budget = Budget::new(1000);
        let mut reserved = budget.reservation(&Arc::default());
        let mut body = Full::new(Bytes::from(vec![7; 1000]));
        assert_eq!(
            read(&mut body, Shape::Plain, 5000, RATE, &mut reserved)
                .await
                .unwrap()
                .len(),
            1000
        );
        assert_eq!(budget.used(), 1000);
        let mut body = Full::new(Bytes::from_static(b"more"));
        let mut other = budget.reservation(&Arc::default());
        let refusal = read(&mut body, Shape::Plain, 5000, RATE, &mut other).await.unwrap_err();
        assert_eq!(refusal, Refusal::no_memory());
    }

    #[tokio::test]
    async fn the_length_in_a_frame_is_refused_before_the_message_arrives() {
        let prefix = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from_static(
            b"\0\x7f\xff\xff\xff",
        )))]);
        let body = StreamBody::new(prefix.chain(stream::pending()));
        assert_eq!(
            read_whole(body, Shape::Framed).await.unwrap_err().kind,
            RefusalKind::TooLarge
        );
    }
}
