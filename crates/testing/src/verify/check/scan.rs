//! Every byte of every request, searched once for data of other projects.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use memchr::{memchr_iter, memmem};
use uuid::Uuid;

use super::super::program::cast::{CANARY, Member};
use super::finding::{FindingKind, Findings};
use tracer_registry_collector::RecordedRequest;

const UUID_LENGTH: usize = 36;
const TRACE_ID_LENGTH: usize = 16;
const TOKEN_LENGTH: usize = 10;

/// The owner of each id.
#[derive(Default)]
pub(in super::super) struct Owners {
    /// By session id, as text; `None` for an id without an owner, which should be nowhere.
    pub(in super::super) sessions: HashMap<Vec<u8>, Option<usize>>,
    /// By trace id.
    pub(in super::super) traces: HashMap<[u8; TRACE_ID_LENGTH], Option<usize>>,
}

/// Looks through requests; gives how many bytes that were.
pub(in super::super) fn scan<'a>(
    requests: impl Iterator<Item = &'a RecordedRequest>,
    cast: &[Member],
    owners: &Owners,
    findings: &mut Findings,
) -> u64 {
    let names: BTreeMap<String, usize> = (0..).zip(cast).map(|(index, member)| (member.name(), index)).collect();
    let tokens = (0..).zip(cast);
    let scanner = Scanner {
        owners,
        tokens: tokens.map(|(index, member)| (member.token.as_bytes(), index)).collect(),
        canary: memmem::Finder::new(CANARY),
    };
    let mut bytes = 0;
    for request in requests {
        let place = request.project.as_deref().and_then(|name| names.get(name)).copied();
        let headers = request
            .headers
            .iter()
            .flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
        for text in headers.chain([request.path.as_bytes(), &request.body]) {
            bytes += text.len() as u64;
            scanner.each_owned(text, |owner, found| {
                if owner.is_none() || owner != place {
                    let tenant = owner.map_or_else(|| "nobody".to_owned(), |owner| cast[owner].name());
                    let key = place.map_or_else(|| "an unknown key".to_owned(), |place| cast[place].name());
                    let seen = format!("{found} in {} under the key of {key}", request.path);
                    findings.add(FindingKind::Leaked, &tenant, None, "only under its own key", seen);
                }
            });
        }
    }
    bytes
}

/// What is found in a text.
enum Found<'t> {
    Token(&'t [u8]),
    Canary(&'t [u8]),
    Session(&'t [u8]),
    Trace([u8; TRACE_ID_LENGTH]),
}

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(text) => write!(f, "something of {}", String::from_utf8_lossy(text)),
            Self::Canary(text) => write!(f, "the canary {}", String::from_utf8_lossy(text)),
            Self::Session(text) => write!(f, "the session {}", String::from_utf8_lossy(text)),
            Self::Trace(id) => write!(f, "the trace {}", Uuid::from_bytes(*id).simple()),
        }
    }
}

struct Scanner<'a> {
    owners: &'a Owners,
    tokens: HashMap<&'a [u8], usize>,
    canary: memmem::Finder<'static>,
}

impl Scanner<'_> {
    /// Everything in a text that has an owner: the owner, and what it is.
    fn each_owned<'t>(&self, text: &'t [u8], mut met: impl FnMut(Option<usize>, Found<'t>)) {
        for place in self.canary.find_iter(text) {
            let rest = &text[place + CANARY.len()..];
            let token = rest.split(|byte| *byte == b'-').next().unwrap_or_default();
            let op = rest.get(token.len() + 1..).unwrap_or_default();
            let digits = op.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let length = CANARY.len() + token.len() + 1 + digits;
            let shown = text.get(place..place + length).unwrap_or(&text[place..]);
            met(self.tokens.get(token).copied(), Found::Canary(shown));
        }
        // In a source, a key, a header, a setting: wherever it is, it is its owner's.
        each_run(text, TOKEN_LENGTH, |place, run| {
            let in_canary = text[..place].ends_with(CANARY.as_bytes());
            if let Some(owner) = self.tokens.get(run).filter(|_| !in_canary) {
                met(Some(*owner), Found::Token(run));
            }
        });
        for dash in memchr_iter(b'-', text) {
            // The first of the four dashes of a UUID.
            let id = dash
                .checked_sub(8)
                .and_then(|place| text.get(place..place + UUID_LENGTH));
            let Some(id) = id.filter(|id| [13, 18, 23].iter().all(|at| id[*at] == b'-')) else {
                continue;
            };
            if let Some(owner) = self.owners.sessions.get(id) {
                met(*owner, Found::Session(id));
            }
        }
        each_trace_id(text, |id| {
            if let Some(owner) = self.owners.traces.get(&id) {
                met(*owner, Found::Trace(id));
            }
        });
    }
}

/// Everything that may be a trace id: 16 bytes behind their length, as protobuf has it, and 32 hexadecimal digits.
fn each_trace_id(text: &[u8], mut see: impl FnMut([u8; TRACE_ID_LENGTH])) {
    let length = u8::try_from(TRACE_ID_LENGTH).unwrap_or(u8::MAX);
    for place in memchr_iter(length, text) {
        if let Some(id) = text[place + 1..].first_chunk() {
            see(*id);
        }
    }
    let digits = 2 * TRACE_ID_LENGTH;
    each_run(text, digits, |_, run| {
        (0..=run.len() - digits).for_each(|from| see(from_hex(&run[from..from + digits])));
    });
}

/// Every run of hexadecimal digits that is at least so long, and where it begins.
fn each_run<'t>(text: &'t [u8], digits: usize, mut see: impl FnMut(usize, &'t [u8])) {
    // Of so many digits in a row one stands on each multiple of their number.
    let mut place = 0;
    while place < text.len() {
        if text[place].is_ascii_hexdigit() {
            let before = text[..place]
                .iter()
                .rev()
                .take_while(|byte| byte.is_ascii_hexdigit())
                .count();
            let after = text[place..].iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
            if before + after >= digits {
                see(place - before, &text[place - before..place + after]);
            }
            place += after;
        }
        place = (place / digits + 1) * digits;
    }
}

/// The bytes of a trace id in hexadecimal digits.
pub(in super::super) fn from_hex(digits: &[u8]) -> [u8; TRACE_ID_LENGTH] {
    let text = str::from_utf8(digits).unwrap_or_default();
    u128::from_str_radix(text, 16).unwrap_or_default().to_be_bytes()
}
