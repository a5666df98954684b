//! JSON Web Tokens and API keys: texts that start with a known word.

use std::collections::BTreeSet;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use regex::bytes::{Regex, RegexBuilder};

use super::bytes::{before, byte, is_alphanumeric};
use super::pattern_set::PatternSet;
use crate::config::Pattern;

/// Longest header of a JSON Web Token that is decoded.
const MAX_JWT_HEADER: usize = 4096;

/// Starts of API keys, each with the fewest characters that follow.
const PREFIXES: [(&str, usize); 61] = [
    ("sk_live_", 10),
    ("sk_test_", 10),
    ("pk_live_", 10),
    ("pk_test_", 10),
    ("rk_live_", 10),
    ("rk_test_", 10),
    ("whsec_", 16),
    ("sk-", 16),
    ("gsk_", 20),
    ("xai-", 20),
    ("pplx-", 20),
    ("nvapi-", 20),
    ("tvly-", 16),
    ("r8_", 20),
    ("rpa_", 20),
    ("pcsk_", 20),
    ("lsv2_pt_", 20),
    ("lsv2_sk_", 20),
    ("ghp_", 20),
    ("gho_", 20),
    ("ghu_", 20),
    ("ghs_", 20),
    ("ghr_", 20),
    ("github_pat_", 20),
    ("glpat-", 16),
    ("gldt-", 16),
    ("glrt-", 16),
    ("glptt-", 16),
    ("xoxa-", 10),
    ("xoxb-", 10),
    ("xoxe-", 10),
    ("xoxe.xox", 10),
    ("xoxp-", 10),
    ("xoxr-", 10),
    ("xoxs-", 10),
    ("xapp-", 10),
    ("AIza", 30),
    ("ya29.", 16),
    ("GOCSPX-", 16),
    ("hf_", 20),
    ("npm_", 20),
    ("pypi-", 16),
    ("dckr_pat_", 16),
    ("SG.", 20),
    ("shpat_", 16),
    ("shpca_", 16),
    ("shppa_", 16),
    ("shpss_", 16),
    ("dop_v1_", 16),
    ("doo_v1_", 16),
    ("dor_v1_", 16),
    ("sq0atp-", 16),
    ("sq0csp-", 16),
    ("lin_api_", 16),
    ("figd_", 16),
    ("sntrys_", 16),
    ("sntryu_", 16),
    ("NRAK-", 16),
    ("PMAK-", 16),
    ("hvs.", 16),
    ("ATATT3", 16),
];

/// Starts of AWS access key identifiers, which have 16 capital letters and digits more.
const AWS_PREFIXES: [&str; 4] = ["AKIA", "ASIA", "ABIA", "ACCA"];
const AWS_LENGTH: usize = 16;

/// Schemes of the header `Authorization`, in the spellings that programs use.
const SCHEMES: [&str; 6] = ["Bearer", "bearer", "BEARER", "Basic", "basic", "BASIC"];

/// Start of the base64 of `{"`.
const JWT_START: &str = "eyJ";

/// Bytes of a word that are searched for. Every word is longer.
const ANCHOR: usize = 3;

/// Finds the starts of tokens in one pass.
pub(in super::super) struct Anchors {
    all: Regex,
    /// Of tokens that may have no digit.
    without_digits: Regex,
}

impl Anchors {
    pub(in super::super) fn new() -> Self {
        Self {
            all: first_bytes(words()),
            without_digits: first_bytes(words_without_digits()),
        }
    }

    pub(super) fn find(
        &self,
        text: &[u8],
        has_digits: bool,
        wanted: PatternSet,
        found: &mut impl FnMut(Pattern, Range<usize>),
    ) {
        let anchors = if has_digits { &self.all } else { &self.without_digits };
        let mut at = 0;
        while let Some(anchor) = anchors.find_at(text, at) {
            let start = anchor.start();
            let matched = token_at(text, start).filter(|(pattern, _)| wanted.contains(*pattern));
            at = start + 1;
            if let Some((pattern, range)) = matched {
                at = range.end;
                found(pattern, range);
            }
        }
    }
}

/// Returns the expression for the distinct first bytes of words: few enough for vector instructions.
fn first_bytes(words: impl Iterator<Item = &'static str>) -> Regex {
    let starts: BTreeSet<&str> = words.map(|word| &word[..ANCHOR]).collect();
    let alternatives: Vec<String> = starts.into_iter().map(regex::escape).collect();
    let regex = RegexBuilder::new(&alternatives.join("|")).unicode(false).build();
    regex.expect("a short alternation of literals")
}

fn words() -> impl Iterator<Item = &'static str> {
    let prefixes = PREFIXES.iter().map(|(prefix, _)| *prefix);
    prefixes.chain(words_without_digits())
}

fn words_without_digits() -> impl Iterator<Item = &'static str> {
    AWS_PREFIXES.into_iter().chain(SCHEMES).chain([JWT_START])
}

/// Returns the token that starts with a word.
fn token_at(text: &[u8], start: usize) -> Option<(Pattern, Range<usize>)> {
    if is_alphanumeric(before(text, start, 1)) {
        return None;
    }
    let word = words().find(|word| text[start..].starts_with(word.as_bytes()))?;
    let word_end = start + word.len();
    if word == JWT_START {
        return Some((Pattern::Jwt, start..jwt_end(text, start)?));
    }
    let end = if SCHEMES.contains(&word) {
        credentials_end(text, word_end)?
    } else if AWS_PREFIXES.contains(&word) {
        let tail = text[word_end..].iter().take_while(|byte| is_alphanumeric(**byte));
        let tail = &text[word_end..word_end + tail.count()];
        let is_upper = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
        (tail.len() == AWS_LENGTH && tail.iter().all(is_upper)).then_some(word_end + AWS_LENGTH)?
    } else {
        let (_, min) = PREFIXES.iter().find(|(prefix, _)| *prefix == word)?;
        let end = end_of(text, word_end, |byte| matches!(byte, b'-' | b'_' | b'.'));
        let has_digit = text[word_end..end].iter().any(u8::is_ascii_digit);
        (end - word_end >= *min && has_digit).then_some(end)?
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
