//! Keyed hashes of tokens.

use std::collections::HashSet;

use ring::digest::{SHA256, digest};

use super::reading::hex;
use super::*;
use crate::callers::credential::{TokenHash, TokenHasher};

const TOKEN: &[u8] = b"token-of-acme-0001";

fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes)
        .as_ref()
        .try_into()
        .expect("SHA-256 has 32 bytes")
}

/// Returns the text with each of its bits inverted, one at a time.
fn with_one_bit_inverted<const N: usize>(bytes: [u8; N]) -> impl Iterator<Item = [u8; N]> {
    (0..8 * N).map(move |bit| {
        let mut other = bytes;
        other[bit / 8] ^= 1 << (bit % 8);
        other
    })
}

fn two_callers() -> World {
    let caller = |name: &str| format!("[gateway.callers.{name}]\ntoken = {{ file = '{name}' }}\ntenant = 'a'\n");
    let acme = str::from_utf8(TOKEN).expect("ASCII");
    World::new(
        &(caller("acme") + &caller("globex")),
        &[("acme", acme), ("globex", "token-of-acme-0002")],
    )
}

#[test]
fn a_hash_is_the_start_of_sha256_over_the_key_and_the_sha256_of_the_token() {
    let key: [u8; 64] = std::array::from_fn(|at| u8::try_from(at).expect("below 64"));
    let hasher = TokenHasher::with_key(&key);
    for len in [0, 1, 8, 55, 56, 63, 64, 65, 1_000] {
        let token = vec![b't'; len];
        let expected = sha256(&[&key[..], &sha256(&token)].concat());
        assert_eq!(hasher.hash_token(&token).0, expected[..16], "{len}");
        assert!(
            hasher.hash_token(&token) == hasher.hash_digest(&sha256(&token)),
            "{len}"
        );
    }
}

#[test]
fn without_the_key_a_hash_cannot_be_compared_with_a_token() {
    let [one, other] = [TokenHasher::new(), TokenHasher::new()].map(|hasher| hasher.hash_token(TOKEN));
    assert!(one != other);
    assert!(![one, other].contains(&TokenHash(sha256(TOKEN)[..16].try_into().expect("16 bytes"))));
}

#[test]
fn hashes_differ_if_one_bit_of_the_key_or_the_token_does() {
    let key = [7; 64];
    let hasher = TokenHasher::with_key(&key);
    let token: [u8; 18] = TOKEN.try_into().expect("18 bytes");
    let others = with_one_bit_inverted(token).map(|token| hasher.hash_token(&token));
    let other_keys = with_one_bit_inverted(key).map(|key| TokenHasher::with_key(&key).hash_token(TOKEN));
    let digests = with_one_bit_inverted(sha256(TOKEN)).map(|digest| hasher.hash_digest(&digest));
    let mut all: Vec<_> = others.chain(other_keys).chain(digests).collect();
    all.push(hasher.hash_token(TOKEN));
    let distinct: HashSet<_> = all.iter().map(|hash| hash.0).collect();
    assert_eq!(distinct.len(), all.len());
}

#[test]
fn a_wrong_token_has_no_caller_even_if_one_bit_of_its_hash_differs() {
    let world = two_callers();
    let acme = world.callers.hasher.hash_token(TOKEN);
    let name = |hash| world.callers.caller_of(&hash).map(|caller| caller.name().to_string());
    assert_eq!(name(acme).as_deref(), Some("acme"));
    for other in with_one_bit_inverted(acme.0) {
        assert_eq!(name(TokenHash(other)), None);
    }
    for len in 0..TOKEN.len() {
        assert_eq!(name(world.callers.hasher.hash_token(&TOKEN[..len])), None, "{len}");
    }
    assert_eq!(name(world.callers.hasher.hash_token(&sha256(TOKEN))), None);
}

#[test]
fn hashes_that_share_all_but_their_last_byte_are_of_their_own_callers() {
    let mut world = two_callers();
    let acme = world.callers.hasher.hash_token(TOKEN);
    let globex = world.callers.place_of("globex").expect("configured");
    let near: Vec<TokenHash> = (1..=u8::MAX)
        .map(|change| {
            let mut near = acme;
            near.0[15] ^= change;
            near
        })
        .collect();
    for hash in &near[1..] {
        let place = u32::try_from(globex).expect("small");
        world.callers.by_hash.insert(*hash, place);
    }
    let name = |hash| world.callers.caller_of(hash).map(|caller| caller.name().to_string());
    assert_eq!(name(&acme).as_deref(), Some("acme"));
    assert_eq!(name(&near[0]), None);
    for hash in &near[1..] {
        assert_eq!(name(hash).as_deref(), Some("globex"));
    }
    assert_eq!(
        world.identified(&[("api-key", "token-of-acme-0001")]),
        Ok("acme".to_owned())
    );
}

#[test]
fn each_of_many_callers_has_its_own_token_and_two_with_one_token_are_refused() {
    const CALLERS: usize = 2_000;
    let token = |at: usize| format!("token-of-the-caller-{at:06}");
    let table = |at: usize, token: &str| {
        let digest = hex(token);
        format!("[gateway.callers.caller-{at}]\ntoken_sha256 = '{digest}'\ntenant = 'a'\n")
    };
    let mut text: String = (0..CALLERS).map(|at| table(at, &token(at))).collect();
    let world = World::new(&text, &[]);
    for at in 0..CALLERS {
        let identified = world.identified(&[("api-key", &token(at))]);
        assert_eq!(identified, Ok(format!("caller-{at}")));
        assert!(world.identified(&[("api-key", &token(at + CALLERS))]).is_err());
    }
    text += &table(CALLERS, &token(1_234));
    let folder = Folder::new(&[("gateway.toml", &text)]);
    let error = read(&folder, None).expect_err("one token twice").to_string();
    let is_named = ["caller-1234", "caller-2000", "is also the token of"].map(|part| error.contains(part));
    assert_eq!(is_named, [true; 3], "{error}");
}
