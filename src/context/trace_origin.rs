//! Trace ids that identify, under a key of the registry, the selector that began the trace.

use std::fmt;
use std::hash::{BuildHasher, DefaultHasher, Hasher, RandomState};

use opentelemetry::trace::TraceId;
use rand::rngs::OsRng;
use rand::{Rng, TryRngCore};

/// The key of a registry's trace ids. The lower half of an id is random; the upper half depends on
/// it and on the key:
///
/// | bits | content |
/// |---|---|
/// | upper 32 | the selector's tag, masked |
/// | next 32 | check: whether a registry with this key created the id |
/// | lower 64 | random, as required by samplers and W3C Trace Context level 2 |
///
/// Mask and check are the two halves of a keyed hash of the lower 64 bits. Without the key an id
/// looks random.
pub(super) struct TraceKey(DefaultHasher);

/// A 32-bit tag of a selector under a registry's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag(u32);

impl TraceKey {
    pub(super) fn new() -> Self {
        // SipHash-1-3 under std's random keys, which a forked child shares, and random bits of the
        // operating system, which it does not.
        let mut hasher = RandomState::new().build_hasher();
        hasher.write(&OsRng.unwrap_err().random::<[u8; 16]>());
        Self(hasher)
    }

    pub(super) fn tag(&self, selector: &str) -> Tag {
        let mut hasher = self.0.clone();
        hasher.write(selector.as_bytes());
        hasher.write_u8(0xFF);
        Tag(halves(hasher.finish()).0)
    }

    /// Returns the id of a trace that a tracer with this tag begins.
    pub(super) fn id(&self, tag: Tag, random: u64) -> TraceId {
        let (mask, check) = self.mask_and_check(random);
        let left = u64::from(tag.0 ^ mask) << 32 | u64::from(check);
        TraceId::from(u128::from(left) << 64 | u128::from(random))
    }

    /// Returns the tag of the selector that began a trace, if the id was created under this key.
    pub(super) fn tag_of(&self, trace: TraceId) -> Option<Tag> {
        let (left, random) = halves_of_id(trace);
        let (tag, found) = halves(left);
        let (mask, check) = self.mask_and_check(random);
        (found == check).then_some(Tag(tag ^ mask))
    }

    fn mask_and_check(&self, random: u64) -> (u32, u32) {
        let mut hasher = self.0.clone();
        hasher.write_u64(random);
        halves(hasher.finish())
    }
}

#[expect(clippy::cast_possible_truncation, reason = "splits into halves")]
pub(super) fn halves(whole: u64) -> (u32, u32) {
    ((whole >> 32) as u32, whole as u32)
}

#[expect(clippy::cast_possible_truncation, reason = "splits into halves")]
fn halves_of_id(id: TraceId) -> (u64, u64) {
    let whole = u128::from_be_bytes(id.to_bytes());
    ((whole >> 64) as u64, whole as u64)
}

/// Returns the random half of a trace id.
pub(super) fn random_half(id: TraceId) -> u64 {
    halves_of_id(id).1
}

impl Default for TraceKey {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for TraceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TraceKey")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::rngs::StdRng;
    use rand::{RngCore, SeedableRng};

    use super::*;

    #[test]
    fn only_the_registry_that_made_an_id_recognizes_its_selector() {
        let (key, other) = (TraceKey::new(), TraceKey::new());
        let tags = [key.tag("tenant:a"), key.tag("tenant:b")];
        assert_ne!(tags[0], tags[1]);
        assert_eq!(tags[0], key.tag("tenant:a"));
        let mut random = StdRng::seed_from_u64(1);
        for _ in 0..10_000 {
            let bits = random.next_u64();
            for tag in tags {
                let id = key.id(tag, bits);
                assert_eq!(key.tag_of(id), Some(tag));
                assert_eq!(other.tag_of(id), None);
                assert_eq!(id.to_bytes()[8..], bits.to_be_bytes());
            }
            let elsewhere = TraceId::from(u128::from(random.next_u64()) << 64 | u128::from(bits));
            assert_eq!(key.tag_of(elsewhere), None);
        }
    }

    #[test]
    fn an_id_with_a_changed_bit_matches_no_selector() {
        let key = TraceKey::new();
        let (a, b) = (key.tag("tenant:a"), key.tag("tenant:b"));
        for bit in 0..128 {
            let id = u128::from_be_bytes(key.id(a, 0x0123_4567_89AB_CDEF).to_bytes());
            let found = key.tag_of(TraceId::from(id ^ (1 << bit)));
            assert!(found != Some(a) && found != Some(b), "bit {bit}");
        }
    }

    /// Each bit is set in about half of one selector's ids, no two ids have the same upper half,
    /// and no two bits of the upper half correlate.
    #[test]
    fn ids_look_random() {
        const IDS: u32 = 20_000;
        let key = TraceKey::new();
        let tag = key.tag("tenant:a");
        let mut random = StdRng::seed_from_u64(2);
        let ids: Vec<u128> = (0..IDS)
            .map(|_| u128::from_be_bytes(key.id(tag, random.next_u64()).to_bytes()))
            .collect();
        // Ten standard deviations of a fair coin.
        let is_fair = |ones: usize| ones.abs_diff(IDS as usize / 2) < 10 * 71;
        for bit in 0..128 {
            assert!(
                is_fair(ids.iter().filter(|id| **id >> bit & 1 == 1).count()),
                "bit {bit}"
            );
        }
        for (one, other) in (64..128).flat_map(|one| (64..one).map(move |other| (one, other))) {
            let same = ids.iter().filter(|id| **id >> one & 1 == **id >> other & 1).count();
            assert!(is_fair(same), "bits {one} and {other}");
        }
        let lefts: HashSet<u128> = ids.iter().map(|id| id >> 64).collect();
        assert_eq!(lefts.len(), ids.len());
    }
}
