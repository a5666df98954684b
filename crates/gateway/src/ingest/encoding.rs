//! Encodings of messages, and bounded inflation.

use std::io::{self, BufRead, Read};

use bytes::Bytes;
use flate2::bufread::GzDecoder;
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderName};
use tokio::task::yield_now;

use super::buffer::Buffer;
use super::turn::Turn;
use crate::answer::{Format, Refusal};
use crate::budget::Reserved;

const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// Bytes that are inflated without a pause, once the message has its turn: a fraction of a
/// millisecond.
const SLICE_BYTES: usize = 64 * 1024;
/// Bytes that are inflated before the message waits for its turn.
const FREE_BYTES: usize = 16 * 1024;
/// Compressed bytes that are read without a pause. If they are tables of blocks without content,
/// they take as much time as a slice.
const PAUSE_BYTES: usize = 4 * 1024;
/// A member costs as much time as thousands of bytes, so a body of empty ones would take seconds.
const MAX_MEMBERS: usize = 1000;
/// Members that are read without a pause.
const PAUSE_MEMBERS: usize = 16;
/// Bytes that are inflated by one call of a decoder.
const PIECE_BYTES: usize = 8 * 1024;
/// Bytes that a member may be larger than what it inflates to, besides a 64th of it. Blocks without
/// content cost much more time than their size, because each may have tables of its own.
const MAX_GZIP_OVERHEAD: usize = 4 * 1024;
/// The same for a frame of zstd, whose decoder reads a block of up to 128 KiB ahead.
const MAX_ZSTD_OVERHEAD: usize = 132 * 1024;
/// Memory of a decoder besides its output.
const GZIP_BYTES: usize = 128 * 1024;
const ZSTD_BYTES: usize = 512 * 1024;
/// Deflate needs at least a byte for this many.
const MAX_DEFLATE_RATIO: usize = 1032;
/// Largest window of a zstd frame, as RFC 8878, 3.1.1.1.2 recommends: 8 MiB.
const MAX_ZSTD_WINDOW_LOG: u32 = 23;

/// Encoding of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

/// A message without its encoding.
#[derive(Debug)]
pub(super) struct Inflated {
    pub(super) message: Bytes,
    /// The message as one gzip member, if it came so.
    pub(super) gzip: Option<Bytes>,
}

impl Encoding {
    /// Returns the encoding that the headers state. In gRPC it holds for compressed messages.
    ///
    /// # Errors
    /// If it is unknown, or if there are several.
    pub(super) fn of(format: Format, headers: &HeaderMap) -> Result<Self, Refusal> {
        let name = if format == Format::Grpc {
            GRPC_ENCODING
        } else {
            CONTENT_ENCODING
        };
        let mut values = headers.get_all(name).iter();
        let (first, second) = (values.next(), values.next());
        if second.is_some() {
            return Err(Refusal::unsupported(
                "the body has several encodings: use one of gzip and zstd",
            ));
        }
        match first.map(|value| value.as_bytes().trim_ascii()) {
            None | Some(b"") => Ok(Self::Identity),
            Some(name) if name.eq_ignore_ascii_case(b"identity") => Ok(Self::Identity),
            Some(name) if name.eq_ignore_ascii_case(b"gzip") || name.eq_ignore_ascii_case(b"x-gzip") => Ok(Self::Gzip),
            Some(name) if name.eq_ignore_ascii_case(b"zstd") => Ok(Self::Zstd),
            Some(_) => Err(Refusal::unsupported("unsupported encoding: use gzip, zstd or identity")),
        }
    }

    /// Returns the encoding of a gRPC message, whose frame states whether it is compressed.
    ///
    /// # Errors
    /// If it is compressed and the headers state no encoding.
    pub(super) fn of_message(self, is_compressed: bool) -> Result<Self, Refusal> {
        match (is_compressed, self) {
            (false, _) => Ok(Self::Identity),
            (true, Self::Identity) => Err(Refusal::malformed(
                "the message is compressed, but grpc-encoding is missing",
            )),
            (true, encoding) => Ok(encoding),
        }
    }

    /// Inflates a message. Pauses often, and takes the turn for a large message, so that it does not
    /// delay other requests.
    ///
    /// # Errors
    /// If the message is malformed or too large, or if there is no memory for it.
    pub(super) async fn inflate(
        self,
        message: Bytes,
        limit: usize,
        reserved: &mut Reserved,
        turn: &mut Turn<'_>,
    ) -> Result<Inflated, Refusal> {
        // Some clients do not encode an empty message.
        if self == Self::Identity || message.is_empty() {
            return Ok(Inflated { message, gzip: None });
        }
        if self == Self::Zstd {
            // Each decoder has a window, whatever the message inflates to.
            turn.take().await;
        }
        let decoder_bytes = if self == Self::Zstd { ZSTD_BYTES } else { GZIP_BYTES };
        if !reserved.grow(decoder_bytes) {
            return Err(Refusal::no_memory());
        }
        let mut buffer = Buffer::new(limit, reserved);
        if self == Self::Zstd {
            // The decoder's window repeats what it wrote.
            buffer = buffer.doubly_reserved();
        }
        let announced = if self == Self::Gzip { announced_by(&message) } else { 0 };
        // The rest follows with the turn.
        buffer.prepare(announced.min(FREE_BYTES));
        let mut slice = vec![0; FREE_BYTES];
        let (mut rest, mut members) = (&message[..], 0);
        while !rest.is_empty() {
            if members == MAX_MEMBERS {
                return Err(Refusal::malformed(format!(
                    "the body has more than {MAX_MEMBERS} compressed members"
                )));
            }
            members += 1;
            if members % PAUSE_MEMBERS == 0 {
                turn.take().await;
                yield_now().await;
            }
            rest = if self == Self::Zstd {
                let decoder = zstd_decoder(Member::new(rest, MAX_ZSTD_OVERHEAD))?;
                inflate_member(
                    decoder,
                    zstd::Decoder::get_mut,
                    &mut slice,
                    &mut buffer,
                    turn,
                    announced,
                )
                .await?
            } else {
                let decoder = GzDecoder::new(Member::new(rest, MAX_GZIP_OVERHEAD));
                inflate_member(decoder, GzDecoder::get_mut, &mut slice, &mut buffer, turn, announced).await?
            };
        }
        let inflated = buffer.into_bytes();
        let gzip = (self == Self::Gzip && members == 1).then_some(message);
        Ok(Inflated {
            message: inflated,
            gzip,
        })
    }
}

/// Returns how many bytes a gzip body may inflate to, by its last four bytes, or 0 if that is
/// impossible.
fn announced_by(body: &[u8]) -> usize {
    let announced = body.last_chunk().map_or(0, |last| u32::from_le_bytes(*last) as usize);
    if announced / MAX_DEFLATE_RATIO <= body.len() {
        announced
    } else {
        0
    }
}

/// Appends a member to the buffer, and returns what follows it.
async fn inflate_member<'m, D: Read>(
    mut decoder: D,
    member: fn(&mut D) -> &mut Member<'m>,
    slice: &mut Vec<u8>,
    buffer: &mut Buffer<'_>,
    turn: &mut Turn<'_>,
    announced: usize,
) -> Result<&'m [u8], Refusal> {
    loop {
        let (read, has_ended) =
            fill(&mut decoder, member, slice).map_err(|_| Refusal::malformed("the compressed body is malformed"))?;
        buffer.make_room(read).await?;
        buffer.append(&slice[..read])?;
        if has_ended {
            return Ok(member(&mut decoder).rest);
        }
        turn.take().await;
        buffer.prepare(announced);
        slice.resize(SLICE_BYTES, 0);
        yield_now().await;
    }
}

/// Reads until the slice is full, a pause is due, or the member ends. Returns the number of bytes
/// in the slice, and whether the member has ended.
fn fill<'m, D: Read>(
    decoder: &mut D,
    member: fn(&mut D) -> &mut Member<'m>,
    slice: &mut [u8],
) -> io::Result<(usize, bool)> {
    member(decoder).until_pause = PAUSE_BYTES;
    let mut filled = 0;
    while filled < slice.len() {
        let piece = (filled + PIECE_BYTES).min(slice.len());
        match decoder.read(&mut slice[filled..piece]) {
            Ok(0) => return Ok((filled, true)),
            Ok(read) => {
                let member = member(decoder);
                // Blocks of content that cannot be compressed have heads.
                member.allowed += read + read / 64;
                // Usual content is compressed to less than a quarter, and never pauses here.
                member.until_pause = (member.until_pause + read / 4).min(PAUSE_BYTES);
                filled += read;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok((filled, false))
}

/// A compressed member, and what follows it. Fails if it is larger than what it inflates to, beyond
/// an overhead and a 64th.
struct Member<'m> {
    rest: &'m [u8],
    /// Bytes that may be read before more are inflated.
    allowed: usize,
    /// Bytes that may be read before a pause.
    until_pause: usize,
}

impl<'m> Member<'m> {
    fn new(rest: &'m [u8], overhead: usize) -> Self {
        Self {
            rest,
            // A call inflates up to a piece before that is known.
            allowed: overhead + PIECE_BYTES,
            until_pause: PAUSE_BYTES,
        }
    }
}

impl BufRead for Member<'_> {
    /// Fails with `WouldBlock` if a pause is due.
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.rest.is_empty() {
            return Ok(self.rest);
        }
        match (self.allowed, self.until_pause) {
            (0, _) => Err(io::ErrorKind::InvalidData.into()),
            (_, 0) => Err(io::ErrorKind::WouldBlock.into()),
            (allowed, until_pause) => Ok(&self.rest[..allowed.min(until_pause).min(self.rest.len())]),
        }
    }

    fn consume(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
        self.allowed -= bytes;
        self.until_pause -= bytes;
    }
}

impl Read for Member<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buf)?;
        self.consume(read);
        Ok(read)
    }
}

fn zstd_decoder(member: Member<'_>) -> Result<zstd::Decoder<'static, Member<'_>>, Refusal> {
    let decoder = zstd::Decoder::with_buffer(member).and_then(|mut decoder| {
        decoder.window_log_max(MAX_ZSTD_WINDOW_LOG)?;
        Ok(decoder.single_frame())
    });
    decoder.map_err(|_| Refusal::unavailable("the gateway has no memory for this request now"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::Arc;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tokio::sync::Mutex;

    use super::*;
    use crate::answer::RefusalKind;
    use crate::budget::Budget;

    const LIMIT: usize = 1 << 20;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    async fn inflate(encoding: Encoding, message: &[u8]) -> Result<Inflated, Refusal> {
        let mut reserved = Budget::new(4 * LIMIT).reservation(&Arc::default());
        let message = Bytes::copy_from_slice(message);
        encoding
            .inflate(message, LIMIT, &mut reserved, &mut Turn::new(&Mutex::default()))
            .await
    }

    #[tokio::test]
    async fn each_encoding_returns_the_bytes_that_were_encoded() {
        let text = b"some spans".repeat(20_000);
        let encoded = [
            (Encoding::Identity, text.clone()),
            (Encoding::Gzip, gzip(&text)),
            (Encoding::Zstd, zstd::encode_all(&text[..], 3).unwrap()),
        ];
        for (encoding, message) in encoded {
            let inflated = inflate(encoding, &message).await.unwrap();
            assert!(inflated.message == text, "{encoding:?}");
            assert_eq!(inflated.gzip.is_some(), encoding == Encoding::Gzip);
        }
    }

    #[tokio::test]
    async fn several_members_are_joined_and_not_kept_as_gzip() {
        let members = [gzip(b"one"), gzip(b""), gzip(b"two")].concat();
        let inflated = inflate(Encoding::Gzip, &members).await.unwrap();
        assert_eq!(inflated.message, "onetwo");
        assert!(inflated.gzip.is_none());
        let frames = [
            zstd::encode_all(&b"one"[..], 1).unwrap(),
            zstd::encode_all(&b"two"[..], 1).unwrap(),
        ]
        .concat();
        assert_eq!(inflate(Encoding::Zstd, &frames).await.unwrap().message, "onetwo");
    }

    #[tokio::test]
    async fn cut_changed_and_trailing_bytes_are_malformed() {
        let whole = gzip(b"some spans");
        let mut checksum = whole.clone();
        *checksum.iter_mut().nth_back(5).unwrap() ^= 1;
        let zstd = zstd::encode_all(&b"some spans"[..], 1).unwrap();
        let cases = [
            (Encoding::Gzip, whole[..whole.len() - 1].to_vec()),
            (Encoding::Gzip, checksum),
            (Encoding::Gzip, [&whole[..], b"x"].concat()),
            (Encoding::Gzip, [&whole[..], b"\0\0\0"].concat()),
            (Encoding::Gzip, b"plain".to_vec()),
            (Encoding::Zstd, zstd[..zstd.len() - 1].to_vec()),
            (Encoding::Zstd, [&zstd[..], b"x"].concat()),
            (Encoding::Zstd, b"plain".to_vec()),
        ];
        for (encoding, message) in cases {
            let refusal = inflate(encoding, &message).await.unwrap_err();
            assert_eq!(refusal.kind, RefusalKind::Malformed, "{encoding:?} {message:?}");
        }
    }

    #[tokio::test]
    async fn a_bomb_stops_at_the_limit() {
        let zeros = vec![0; 64 * LIMIT];
        for (encoding, bomb) in [
            (Encoding::Gzip, gzip(&zeros)),
            (Encoding::Zstd, zstd::encode_all(&zeros[..], 3).unwrap()),
        ] {
            assert!(bomb.len() < LIMIT / 4);
            assert_eq!(
                inflate(encoding, &bomb).await.unwrap_err().kind,
                RefusalKind::TooLarge,
                "{encoding:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_body_of_empty_members_is_refused() {
        for (encoding, empty) in [
            (Encoding::Gzip, gzip(b"")),
            (Encoding::Zstd, zstd::encode_all(&b""[..], 1).unwrap()),
        ] {
            inflate(encoding, &empty.repeat(MAX_MEMBERS)).await.unwrap();
            let refusal = inflate(encoding, &empty.repeat(MAX_MEMBERS + 1)).await.unwrap_err();
            assert_eq!(refusal.kind, RefusalKind::Malformed);
        }
    }

    /// Returns a gzip member of empty blocks, each of ten bits.
    fn empty_blocks(bytes: usize) -> Vec<u8> {
        let block = |at: u32| 2_u64 << (10 * at);
        let four = (0..4).map(block).sum::<u64>().to_le_bytes();
        let mut member = gzip(b"");
        let trailer = member.split_off(10);
        member.extend(four[..5].repeat(bytes / 5));
        member.extend(trailer);
        member
    }

    #[tokio::test]
    async fn a_member_of_empty_blocks_is_malformed() {
        inflate(Encoding::Gzip, &empty_blocks(2000)).await.unwrap();
        let refusal = inflate(Encoding::Gzip, &empty_blocks(100_000)).await.unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::Malformed);
        // A frame header with a window of 2 MiB, and blocks of 0 bytes.
        let frame = [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58][..], &vec![0; 300_000], &[1, 0, 0]].concat();
        let refusal = inflate(Encoding::Zstd, &frame).await.unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::Malformed);
    }

    #[tokio::test]
    async fn content_that_cannot_be_compressed_is_inflated() {
        let mut state = 1_u32;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(LIMIT)
        .collect();
        let zstd = zstd::encode_all(&noise[..], 19).unwrap();
        for (encoding, message) in [(Encoding::Gzip, gzip(&noise)), (Encoding::Zstd, zstd)] {
            assert!(message.len() > LIMIT);
            assert!(inflate(encoding, &message).await.unwrap().message == noise);
        }
    }

    #[tokio::test]
    async fn inflated_bytes_are_reserved() {
        let budget = Budget::new(GZIP_BYTES + 10_000);
        let mut reserved = budget.reservation(&Arc::default());
        let message = Bytes::from(gzip(&vec![0; 20_000]));
        let queue = Mutex::default();
        let mut turn = Turn::new(&queue);
        let inflated = Encoding::Gzip.inflate(message, LIMIT, &mut reserved, &mut turn);
        assert_eq!(inflated.await.unwrap_err(), Refusal::no_memory());
    }

    #[tokio::test]
    async fn work_pauses_after_few_bytes_in_or_out_and_after_few_members() {
        let cases = [
            ("bytes out", Encoding::Gzip, gzip(&vec![0; FREE_BYTES]), true),
            ("fewer bytes out", Encoding::Gzip, gzip(&vec![0; FREE_BYTES - 1]), false),
            ("bytes in", Encoding::Gzip, empty_blocks(PAUSE_BYTES), true),
            ("fewer bytes in", Encoding::Gzip, empty_blocks(PAUSE_BYTES / 2), false),
            ("members", Encoding::Gzip, gzip(b"").repeat(PAUSE_MEMBERS), true),
            (
                "fewer members",
                Encoding::Gzip,
                gzip(b"").repeat(PAUSE_MEMBERS - 1),
                false,
            ),
        ];
        for (name, encoding, message, pauses) in cases {
            let mut inflated = Box::pin(inflate(encoding, &message));
            assert_eq!(futures_util::poll!(inflated.as_mut()).is_pending(), pauses, "{name}");
            if pauses {
                inflated.await.unwrap();
            }
        }
    }

    #[tokio::test]
    async fn a_large_message_waits_for_another_of_its_caller_and_a_small_one_does_not() {
        let queue = Mutex::default();
        let mut other = Turn::new(&queue);
        other.take().await;
        let budget = Budget::new(4 * LIMIT);
        let (mut reserved, mut turn) = (budget.reservation(&Arc::default()), Turn::new(&queue));
        let small = Encoding::Gzip.inflate(gzip(&[0; 1000]).into(), LIMIT, &mut reserved, &mut turn);
        assert_eq!(small.await.unwrap().message.len(), 1000);
        let large = Encoding::Gzip.inflate(gzip(&vec![0; LIMIT / 2]).into(), LIMIT, &mut reserved, &mut turn);
        let mut large = Box::pin(large);
        assert!(futures_util::poll!(large.as_mut()).is_pending());
        // At most a slice has been inflated, and its buffer is twice as large.
        assert!(budget.used() <= 2 * GZIP_BYTES + 4 * SLICE_BYTES, "{}", budget.used());
        drop(other);
        assert_eq!(large.await.unwrap().message.len(), LIMIT / 2);
    }

    #[test]
    fn several_and_unknown_encodings_are_unsupported() {
        let headers = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, value.parse().unwrap());
            }
            headers
        };
        let of = |values: &[&str]| Encoding::of(Format::Protobuf, &headers(values));
        assert_eq!(of(&[]), Ok(Encoding::Identity));
        assert_eq!(of(&["GZip"]), Ok(Encoding::Gzip));
        assert_eq!(of(&["zstd"]), Ok(Encoding::Zstd));
        for unsupported in [
            &["gzip, gzip"][..],
            &["gzip", "gzip"],
            &["deflate"],
            &["br"],
            &["snappy"],
        ] {
            assert_eq!(
                of(unsupported).unwrap_err().kind,
                RefusalKind::UnsupportedType,
                "{unsupported:?}"
            );
        }
    }
}
