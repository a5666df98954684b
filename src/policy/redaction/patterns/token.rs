//! JSON Web Tokens and API keys: texts that start with a known word.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

use super::bytes::{byte, is_alphanumeric};
use crate::config::Pattern;

use self::Form::{AwsKey, Credentials, Key, WebToken};

/// Longest header of a JSON Web Token that is decoded.
const MAX_JWT_HEADER: usize = 4096;

/// What follows a word.
#[derive(Clone, Copy)]
enum Form {
    /// An API key with at least this many characters.
    Key(usize),
    /// Capital letters and digits: an access key identifier of AWS.
    AwsKey,
    /// Blanks and the credentials of the header `Authorization`.
    Credentials,
    /// A JSON Web Token, which the word is a part of.
    WebToken,
}

/// Words that tokens start with.
const WORDS: [(&str, Form); 72] = [
    ("sk_live_", Key(10)),
    ("sk_test_", Key(10)),
    ("pk_live_", Key(10)),
    ("pk_test_", Key(10)),
    ("rk_live_", Key(10)),
    ("rk_test_", Key(10)),
    ("whsec_", Key(16)),
    ("sk-", Key(16)),
    ("gsk_", Key(20)),
    ("xai-", Key(20)),
    ("pplx-", Key(20)),
    ("nvapi-", Key(20)),
    ("tvly-", Key(16)),
    ("r8_", Key(20)),
    ("rpa_", Key(20)),
    ("pcsk_", Key(20)),
    ("lsv2_pt_", Key(20)),
    ("lsv2_sk_", Key(20)),
    ("ghp_", Key(20)),
    ("gho_", Key(20)),
    ("ghu_", Key(20)),
    ("ghs_", Key(20)),
    ("ghr_", Key(20)),
    ("github_pat_", Key(20)),
    ("glpat-", Key(16)),
    ("gldt-", Key(16)),
    ("glrt-", Key(16)),
    ("glptt-", Key(16)),
    ("xoxa-", Key(10)),
    ("xoxb-", Key(10)),
    ("xoxe-", Key(10)),
    ("xoxe.xox", Key(10)),
    ("xoxp-", Key(10)),
    ("xoxr-", Key(10)),
    ("xoxs-", Key(10)),
    ("xapp-", Key(10)),
    ("AIza", Key(30)),
    ("ya29.", Key(16)),
    ("GOCSPX-", Key(16)),
    ("hf_", Key(20)),
    ("npm_", Key(20)),
    ("pypi-", Key(16)),
    ("dckr_pat_", Key(16)),
    ("SG.", Key(20)),
    ("shpat_", Key(16)),
    ("shpca_", Key(16)),
    ("shppa_", Key(16)),
    ("shpss_", Key(16)),
    ("dop_v1_", Key(16)),
    ("doo_v1_", Key(16)),
    ("dor_v1_", Key(16)),
    ("sq0atp-", Key(16)),
    ("sq0csp-", Key(16)),
    ("lin_api_", Key(16)),
    ("figd_", Key(16)),
    ("sntrys_", Key(16)),
    ("sntryu_", Key(16)),
    ("NRAK-", Key(16)),
    ("PMAK-", Key(16)),
    ("hvs.", Key(16)),
    ("ATATT3", Key(16)),
    ("AKIA", AwsKey),
    ("ASIA", AwsKey),
    ("ABIA", AwsKey),
    ("ACCA", AwsKey),
    ("Bearer", Credentials),
    ("bearer", Credentials),
    ("BEARER", Credentials),
    ("Basic", Credentials),
    ("basic", Credentials),
    ("BASIC", Credentials),
    // The base64 of `{"`.
    ("eyJ", WebToken),
];

/// Characters that follow the word of an access key identifier of AWS.
const AWS_LENGTH: usize = 16;

/// Words of one group.
const GROUP: usize = 3;

/// For each of the first three bytes of words, the groups with a word that has it there, with a bit
/// for each group. Every word is longer.
static GROUPS: [[u32; 256]; 3] = groups();

const fn groups() -> [[u32; 256]; 3] {
    assert!(WORDS.len().div_ceil(GROUP) <= u32::BITS as usize);
    let mut groups = [[0; 256]; 3];
    let mut word = 0;
    while word < WORDS.len() {
        let bytes = WORDS[word].0.as_bytes();
        let mut at = 0;
        while at < groups.len() {
            groups[at][bytes[at] as usize] |= 1 << (word / GROUP);
            at += 1;
        }
        word += 1;
    }
    groups
}

/// Returns the token that starts at a letter after no letter or digit.
#[inline]
pub(super) fn at(text: &[u8], start: usize) -> Option<(Pattern, Range<usize>)> {
    let [first, second, third] = *text[start..].first_chunk()?;
    let [of_first, of_second, of_third] = &GROUPS;
    let groups = of_first[usize::from(first)] & of_second[usize::from(second)] & of_third[usize::from(third)];
    if groups == 0 {
        None
    } else {
        token_of(text, start, groups)
    }
}

/// Returns the token that starts with a word of these groups.
#[cold]
fn token_of(text: &[u8], start: usize, groups: u32) -> Option<(Pattern, Range<usize>)> {
    let groups = WORDS
        .chunks(GROUP)
        .enumerate()
        .filter(|(group, _)| groups & 1 << group != 0);
    let mut words = groups.flat_map(|(_, words)| words);
    let (word, form) = words.find(|(word, _)| text[start..].starts_with(word.as_bytes()))?;
    let word_end = start + word.len();
    let end = match form {
        WebToken => return Some((Pattern::Jwt, start..jwt_end(text, start)?)),
        Credentials => credentials_end(text, word_end)?,
        AwsKey => {
            let end = end_of(text, word_end, |_| false);
            let tail = &text[word_end..end];
            let is_upper = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
            (tail.len() == AWS_LENGTH && tail.iter().all(is_upper)).then_some(end)?
        }
        Key(min) => {
            let end = end_of(text, word_end, |byte| matches!(byte, b'-' | b'_' | b'.'));
            let has_digit = text[word_end..end].iter().any(u8::is_ascii_digit);
            (end - word_end >= *min && has_digit).then_some(end)?
        }
    };
    Some((Pattern::ApiKey, start..end))
}

/// Returns the end of a run of letters, digits and certain signs, without dots and hyphens at its
/// end, which belong to the sentence.
fn end_of(text: &[u8], start: usize, is_sign: fn(u8) -> bool) -> usize {
    let run = text[start..]
        .iter()
        .take_while(|byte| is_alphanumeric(**byte) || is_sign(**byte));
    let mut end = start + run.count();
    while end > start && matches!(text[end - 1], b'.' | b'-') {
        end -= 1;
    }
    end
}

/// Returns the end of the credentials after the name of their scheme. The words of a sentence are
/// no credentials: those have a digit, a capital letter inside, or many characters.
fn credentials_end(text: &[u8], scheme_end: usize) -> Option<usize> {
    let blanks = text[scheme_end..]
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t'))
        .count();
    let start = scheme_end + blanks;
    let end = end_of(text, start, |byte| {
        matches!(byte, b'-' | b'_' | b'.' | b'~' | b'+' | b'/' | b'=')
    });
    let token = &text[start..end];
    let is_token = token.len() >= 24
        || token.iter().any(u8::is_ascii_digit)
        || token.iter().skip(1).any(u8::is_ascii_uppercase) && token.iter().any(u8::is_ascii_lowercase);
    (blanks > 0 && token.len() >= 8 && is_token).then_some(end)
}

/// Returns the end of a token of three parts, or five if it is encrypted, of which the first is a
/// JSON object.
fn jwt_end(text: &[u8], start: usize) -> Option<usize> {
    let part_end = |start: usize| {
        let part = text[start..]
            .iter()
            .take_while(|byte| is_alphanumeric(**byte) || matches!(byte, b'-' | b'_'));
        start + part.count()
    };
    let header = start..part_end(start);
    let mut end = header.end;
    let mut parts = 1;
    while parts < 5 && byte(text, end) == b'.' {
        end = part_end(end + 1);
        parts += 1;
    }
    let header = text.get(header).filter(|header| header.len() <= MAX_JWT_HEADER)?;
    let header = BASE64.decode(header).ok()?;
    let is_object = header.starts_with(b"{\"") && header.trim_ascii_end().ends_with(b"}");
    (parts >= 3 && is_object).then_some(end)
}
