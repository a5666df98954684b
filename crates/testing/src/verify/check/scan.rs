//! Searches every byte of every request for data of other projects.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use memchr::{memchr_iter, memmem};
use uuid::Uuid;

use super::super::program::cast::{CANARY, Member, PLANTED};
use super::finding::{FindingKind, Findings};
use tracer_registry_collector::RecordedRequest;

const UUID_LENGTH: usize = 36;
const TRACE_ID_LENGTH: usize = 16;
const TOKEN_LENGTH: usize = 10;

/// Owner of each id.
#[derive(Default)]
pub(in super::super) struct Owners {
    /// By session id, as text. `None` for an id without an owner, which no request may contain.
    pub(in super::super) sessions: HashMap<Vec<u8>, Option<usize>>,
    /// By trace id.
    pub(in super::super) traces: HashMap<[u8; TRACE_ID_LENGTH], Option<usize>>,
    /// Tokens without an owner, which no request may contain.
    pub(in super::super) strangers: Vec<String>,
}

/// Searches the requests. Returns the number of searched bytes.
pub(in super::super) fn scan<'a>(
    requests: impl Iterator<Item = &'a RecordedRequest>,
    cast: &[Member],
    owners: &Owners,
    findings: &mut Findings,
) -> u64 {
    let names: BTreeMap<String, usize> = (0..).zip(cast).map(|(index, member)| (member.name(), index)).collect();
    let tokens = cast.iter().enumerate();
    let tokens = tokens.map(|(index, member)| (member.token.as_bytes(), Some(index)));
    let strangers = owners.strangers.iter().map(|token| (token.as_bytes(), None));
    let scanner = Scanner {
        owners,
        tokens: tokens.chain(strangers).collect(),
        canary: memmem::Finder::new(CANARY),
        planted: memmem::Finder::new(PLANTED),
    };
    let mut bytes = 0;
    for request in requests {
        let project = request.project.as_deref().and_then(|name| names.get(name)).copied();
        let headers = request
            .headers
            .iter()
            .flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
        for text in headers.chain([request.path.as_bytes(), &request.body]) {
            bytes += text.len() as u64;
            scanner.each_owned(text, |owner, found| {
                if !is_permitted(cast, owner, project, &found) {
                    let tenant = owner.map_or_else(|| "no tracer".to_owned(), |owner| cast[owner].name());
                    let key = project.map_or_else(|| "an unknown key".to_owned(), |project| cast[project].name());
                    let seen = format!("{found} in {} under the key of {key}", request.path);
                    findings.add(FindingKind::Leaked, &tenant, None, "data only under its own key", seen);
                }
            });
        }
    }
    bytes
}

/// Returns whether data of a member may be under the key of a project: its own, or that of a target
/// of its copies. A target never gets its settings.
fn is_permitted(cast: &[Member], owner: Option<usize>, project: Option<usize>, found: &Found<'_>) -> bool {
    let (Some(owner), Some(project)) = (owner, project) else {
        return false;
    };
    let is_copied = || cast[owner].copies_to(&cast[project]);
    match found {
        Found::Token(_) => owner == project,
        Found::Planted(_) => !cast[project].redacts() && (owner == project || is_copied()),
        Found::Canary(_) | Found::Session(_) | Found::Trace(_) => owner == project || is_copied(),
    }
}

/// A match in a text.
enum Found<'t> {
    Token(&'t [u8]),
    Canary(&'t [u8]),
    Planted(&'t [u8]),
    Session(&'t [u8]),
    Trace([u8; TRACE_ID_LENGTH]),
}

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(text) => write!(f, "the token {}", String::from_utf8_lossy(text)),
            Self::Canary(text) => write!(f, "the canary {}", String::from_utf8_lossy(text)),
            Self::Planted(text) => write!(f, "the address {}", String::from_utf8_lossy(text)),
            Self::Session(text) => write!(f, "the session {}", String::from_utf8_lossy(text)),
            Self::Trace(id) => write!(f, "the trace {}", Uuid::from_bytes(*id).simple()),
        }
    }
}

struct Scanner<'a> {
    owners: &'a Owners,
    /// Owner of each token.
    tokens: HashMap<&'a [u8], Option<usize>>,
    canary: memmem::Finder<'static>,
    planted: memmem::Finder<'static>,
}

impl Scanner<'_> {
    /// Calls `on_match` for each canary, token and id in a text, with its owner.
    fn each_owned<'t>(&self, text: &'t [u8], mut on_match: impl FnMut(Option<usize>, Found<'t>)) {
        for start in self.canary.find_iter(text) {
            let rest = &text[start + CANARY.len()..];
            let token = rest.split(|byte| *byte == b'-').next().unwrap_or_default();
            let op = rest.get(token.len() + 1..).unwrap_or_default();
            let digits = op.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let length = CANARY.len() + token.len() + 1 + digits;
            let shown = text.get(start..start + length).unwrap_or(&text[start..]);
            on_match(self.tokens.get(token).copied().flatten(), Found::Canary(shown));
        }
        for start in self.planted.find_iter(text) {
            let rest = &text[start + PLANTED.len()..];
            let token = rest.split(|byte| *byte == b'-').next().unwrap_or_default();
            let end = (start + PLANTED.len() + token.len()).min(text.len());
            on_match(
                self.tokens.get(token).copied().flatten(),
                Found::Planted(&text[start..end]),
            );
        }
        // Tokens in sources, keys, headers and settings.
        each_run(text, TOKEN_LENGTH, |start, run| {
            let is_of = |prefix: &str| text[..start].ends_with(prefix.as_bytes());
            if let Some(owner) = self.tokens.get(run).filter(|_| !is_of(CANARY) && !is_of(PLANTED)) {
                on_match(*owner, Found::Token(run));
            }
        });
        for dash in memchr_iter(b'-', text) {
            // The first of the four dashes of a UUID.
            let id = dash
                .checked_sub(8)
                .and_then(|start| text.get(start..start + UUID_LENGTH));
            let Some(id) = id.filter(|id| [13, 18, 23].iter().all(|at| id[*at] == b'-')) else {
                continue;
            };
            if let Some(owner) = self.owners.sessions.get(id) {
                on_match(*owner, Found::Session(id));
            }
        }
        each_trace_id(text, |id| {
            if let Some(owner) = self.owners.traces.get(&id) {
                on_match(*owner, Found::Trace(id));
            }
        });
    }
}

/// Calls `on_id` for each possible trace id: 16 bytes after their length, as in protobuf, or 32
/// hexadecimal digits.
fn each_trace_id(text: &[u8], mut on_id: impl FnMut([u8; TRACE_ID_LENGTH])) {
    let length = u8::try_from(TRACE_ID_LENGTH).unwrap_or(u8::MAX);
    for start in memchr_iter(length, text) {
        if let Some(id) = text[start + 1..].first_chunk() {
            on_id(*id);
        }
    }
    let digits = 2 * TRACE_ID_LENGTH;
    each_run(text, digits, |_, run| {
        (0..=run.len() - digits).for_each(|from| on_id(from_hex(&run[from..from + digits])));
    });
}

/// Calls `on_run` for each run of at least `digits` hexadecimal digits, with its start.
fn each_run<'t>(text: &'t [u8], digits: usize, mut on_run: impl FnMut(usize, &'t [u8])) {
    // A run of that length covers a multiple of it, so only those positions are tested.
    let mut at = 0;
    while at < text.len() {
        if text[at].is_ascii_hexdigit() {
            let before = text[..at]
                .iter()
                .rev()
                .take_while(|byte| byte.is_ascii_hexdigit())
                .count();
            let after = text[at..].iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
            if before + after >= digits {
                on_run(at - before, &text[at - before..at + after]);
            }
            at += after;
        }
        at = (at / digits + 1) * digits;
    }
}

/// Parses a trace id in hexadecimal digits.
pub(in super::super) fn from_hex(digits: &[u8]) -> [u8; TRACE_ID_LENGTH] {
    let text = str::from_utf8(digits).unwrap_or_default();
    u128::from_str_radix(text, 16).unwrap_or_default().to_be_bytes()
}
