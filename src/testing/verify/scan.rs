//! Every byte of every request, looked through once for what is somebody else's.

use std::collections::{BTreeMap, HashMap};

use memchr::{memchr_iter, memmem};

use super::cast::{CANARY, Member};
use super::finding::{FindingKind, Findings};
use crate::collector::RecordedRequest;

const UUID_LENGTH: usize = 36;
const TRACE_ID_LENGTH: usize = 16;

/// What belongs to whom.
#[derive(Default)]
pub(super) struct Owners {
    /// By session id, as text; `None` for what belongs to nobody and should be nowhere.
    pub(super) sessions: HashMap<Vec<u8>, Option<usize>>,
    /// By trace id.
    pub(super) traces: HashMap<[u8; TRACE_ID_LENGTH], Option<usize>>,
}

/// Looks through requests; gives how many bytes that were.
pub(super) fn scan<'a>(
    requests: impl Iterator<Item = &'a RecordedRequest>,
    cast: &[Member],
    owners: &Owners,
    findings: &mut Findings,
) -> u64 {
    let names: BTreeMap<String, usize> = (0..).zip(cast).map(|(index, member)| (member.name(), index)).collect();
    let tokens: HashMap<&[u8], usize> = (0..)
        .zip(cast)
        .map(|(index, member)| (member.token.as_bytes(), index))
        .collect();
    let canary = memmem::Finder::new(CANARY);
    let mut bytes = 0;
    for request in requests {
        let owner = request.project.as_deref().and_then(|name| names.get(name)).copied();
        let headers = request
            .headers
            .iter()
            .flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
        for text in headers.chain([request.path.as_bytes(), &request.body]) {
            bytes += text.len() as u64;
            let mut met = |whose: Option<usize>, what: &str, found: &[u8]| {
                if whose == owner && whose.is_some() {
                    return;
                }
                let tenant = whose.map_or_else(|| "nobody".to_owned(), |whose| cast[whose].name());
                let place = owner.map_or_else(|| "an unknown key".to_owned(), |owner| cast[owner].name());
                let found = String::from_utf8_lossy(found);
                let seen = format!("{what} {found} in {} under the key of {place}", request.path);
                findings.add(FindingKind::Leaked, &tenant, None, "only under its own key", seen);
            };
            for place in canary.find_iter(text) {
                let rest = &text[place + CANARY.len()..];
                let token = rest.split(|byte| *byte == b'-').next().unwrap_or_default();
                let op = rest.get(token.len()..).unwrap_or_default();
                let digits = op.iter().skip(1).take_while(|byte| byte.is_ascii_digit()).count();
                let shown = &text[place..place + CANARY.len() + token.len() + (1 + digits).min(op.len())];
                met(tokens.get(token).copied(), "the canary", shown);
            }
            for (place, _) in memchr_iter(b'-', text).filter_map(|dash| Some((dash.checked_sub(8)?, dash))) {
                if let Some(id) = text.get(place..place + UUID_LENGTH)
                    && [13, 18, 23].iter().all(|at| id[*at] == b'-')
                    && let Some(owner) = owners.sessions.get(id)
                {
                    met(*owner, "the session", id);
                }
            }
            each_trace_id(text, |id| {
                if let Some(owner) = owners.traces.get(&id) {
                    let shown: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
                    met(*owner, "the trace", shown.as_bytes());
                }
            });
        }
    }
    bytes
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
            let run = &text[place - before..place + after];
            (0..(run.len() + 1).saturating_sub(digits)).for_each(|from| see(from_hex(&run[from..from + digits])));
            place += after;
        }
        place = (place / digits + 1) * digits;
    }
}

/// The bytes that hexadecimal digits stand for.
pub(super) fn from_hex(digits: &[u8]) -> [u8; TRACE_ID_LENGTH] {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        _ => 0,
    };
    let mut id = [0; TRACE_ID_LENGTH];
    for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0]) << 4 | digit(pair[1]);
    }
    id
}
