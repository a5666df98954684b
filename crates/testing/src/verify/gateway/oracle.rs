//! What `docs/gateway.md` requires of a request, from its text and the configuration alone.

use std::collections::BTreeSet;

use super::super::program::cast::is_in_ratio;
use super::content::trace_id;
use super::program::{Block, Call, Credential, Export, Flaw, Format, Kind, SessionCall, Span};
use super::world::{Rule, State, World};

/// Permitted outcomes of a request in one state of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expectation {
    /// HTTP statuses of the refusals that apply. With several faults, any of them may be answered.
    /// Empty if the request must succeed.
    pub(super) refusals: BTreeSet<u16>,
    /// By block: the member that its spans belong to. Complete if the request must succeed.
    pub(super) members: Vec<usize>,
}

const MALFORMED: u16 = 400;
const UNAUTHENTICATED: u16 = 401;
const FORBIDDEN: u16 = 403;

/// Returns what is permitted for an export. `token` is the number of the token that it has, if its
/// credential is a token of its caller.
pub(super) fn expect(world: &World, state: &State, export: &Export, token: Option<u32>) -> Expectation {
    // gRPC has no path of its own.
    let path = export.call.path.as_deref().filter(|_| export.format != Format::Grpc);
    expect_of(world, state, &export.call, token, path, Some(&export.blocks))
}

/// Returns what is permitted for a request to the session API, like [`expect`]. It has one member.
pub(super) fn expect_session(world: &World, state: &State, session: &SessionCall, token: Option<u32>) -> Expectation {
    expect_of(world, state, &session.call, token, session.call.path.as_deref(), None)
}

fn expect_of(
    world: &World,
    state: &State,
    call: &Call,
    token: Option<u32>,
    path: Option<&str>,
    blocks: Option<&[Block]>,
) -> Expectation {
    let mut refusals = BTreeSet::new();
    refusals.extend(credential(state, call, token));
    refusals.extend(call.flaw.map(status_of));
    let mut members = Vec::new();
    match tenants(world, state, call, path, blocks) {
        Err(statuses) => refusals.extend(statuses),
        Ok(tenants) => {
            for tenant in tenants {
                let member = world.member(tenant.as_deref(), &world.callers[call.caller].others);
                match member.filter(|member| !state.removed.contains(member)) {
                    Some(member) => members.push(member),
                    // A tenant that is not configured, like one that the caller may not address.
                    None => _ = refusals.insert(FORBIDDEN),
                }
            }
        }
    }
    Expectation { refusals, members }
}

/// Returns the member whose canaries each block has: none if the request is wrong in itself.
pub(super) fn owners(world: &World, export: &Export) -> Vec<Option<usize>> {
    let expected = expect(world, &world.initial(), export, Some(0));
    if expected.refusals.is_empty() {
        expected.members.into_iter().map(Some).collect()
    } else {
        vec![None; export.blocks.len()]
    }
}

/// Returns the member whose canaries a request to the session API has, like [`owners`].
pub(super) fn owner(world: &World, session: &SessionCall) -> Option<usize> {
    let expected = expect_session(world, &world.initial(), session, Some(0));
    expected
        .members
        .first()
        .copied()
        .filter(|_| expected.refusals.is_empty())
}

/// Returns the spans of a successful request that arrive, with their blocks, the members that they
/// belong to, and those that get them: also targets of copies.
pub(super) fn arriving<'e>(
    world: &World,
    seed: u64,
    export: &'e Export,
    members: &[usize],
) -> Vec<([usize; 2], &'e Block, &'e Span)> {
    let blocks = export.blocks.iter().zip(members.iter().copied());
    let spans = blocks.flat_map(|(block, member)| {
        let receivers = world.receivers(member);
        receivers.flat_map(move |receiver| block.spans.iter().map(move |span| ([member, receiver], block, span)))
    });
    let kept = spans.filter(|([_, receiver], _, span)| {
        is_sampled(world, seed, *receiver, span) && !is_too_large(world, *receiver, span)
    });
    kept.collect()
}

/// Returns the number of spans that the answer to a successful request reports as too large.
pub(super) fn too_large(world: &World, seed: u64, export: &Export, members: &[usize]) -> u64 {
    let blocks = export.blocks.iter().zip(members);
    let spans = blocks.flat_map(|(block, member)| block.spans.iter().map(move |span| (*member, span)));
    let large =
        spans.filter(|(member, span)| is_too_large(world, *member, span) && is_sampled(world, seed, *member, span));
    large.count() as u64
}

fn is_too_large(world: &World, member: usize, span: &Span) -> bool {
    world.rules[member].is_limited && span.is_big
}

fn is_sampled(world: &World, seed: u64, member: usize, span: &Span) -> bool {
    !world.members[member].is_sampled() || is_in_ratio(trace_id(seed, span.trace))
}

/// Returns the gRPC code for a status, from the table of answers.
pub(super) fn grpc_code(status: u16) -> u16 {
    match status {
        200 => 0,
        400 => 3,
        401 => 16,
        403 => 7,
        404 | 405 | 415 => 12,
        408 => 4,
        413 => 8,
        503 => 14,
        _ => 2,
    }
}

/// Returns the status or gRPC code of an answer for an HTTP status.
pub(super) fn code_of(kind: &Kind, status: u16) -> u16 {
    match kind {
        Kind::Export(export) if export.format == Format::Grpc => grpc_code(status),
        _ => status,
    }
}

fn credential(state: &State, call: &Call, token: Option<u32>) -> Option<u16> {
    match call.credential {
        Credential::Missing
        | Credential::Unknown
        | Credential::Revoked
        | Credential::OtherBasicPart
        | Credential::MalformedBasic => Some(UNAUTHENTICATED),
        Credential::Twice | Credential::SecondOf(_) | Credential::AlsoOf(_) => Some(MALFORMED),
        _ => {
            let is_valid = token.is_some_and(|token| state.is_valid(call.caller, token));
            (!is_valid).then_some(UNAUTHENTICATED)
        }
    }
}

fn status_of(flaw: Flaw) -> u16 {
    match flaw {
        Flaw::Truncated
        | Flaw::Garbage
        | Flaw::ZeroTraceId
        | Flaw::ShortSpanId
        | Flaw::InvalidUtf8
        | Flaw::TwoNames
        | Flaw::TruncatedGzip
        | Flaw::NotGzip
        | Flaw::WrongFrame
        | Flaw::TwoFrames
        | Flaw::UnknownCompression => MALFORMED,
        Flaw::WrongType | Flaw::WrongEncoding => 415,
        Flaw::TooLarge | Flaw::Bomb => 413,
        Flaw::WrongMethod => 405,
        Flaw::UnknownPath | Flaw::OtherSignal => 404,
    }
}

/// Returns the tenant of each block, or the statuses of the refusals.
fn tenants(
    world: &World,
    state: &State,
    call: &Call,
    written: Option<&str>,
    blocks: Option<&[Block]>,
) -> Result<Vec<Option<String>>, BTreeSet<u16>> {
    let allow = state.allow(world, call.caller);
    let mut refusals = BTreeSet::new();
    let mut in_path = None;
    if let Some(written) = written {
        match decoded(written).filter(|name| is_slug(name) && permits(allow, name)) {
            Some(name) => in_path = Some(name),
            None => _ = refusals.insert(FORBIDDEN),
        }
    }
    let mut named = |name: Option<&str>| match name {
        None => {
            refusals.insert(MALFORMED);
            None
        }
        Some(name) => {
            let agrees = in_path.as_deref().is_none_or(|in_path| in_path == name);
            if !is_slug(name) || !permits(allow, name) || !agrees {
                refusals.insert(FORBIDDEN);
            }
            Some(name.to_owned())
        }
    };
    let count = blocks.map_or(1, <[Block]>::len);
    let tenants = match &world.callers[call.caller].rule {
        Rule::Fixed(tenant) => vec![tenant.clone(); count],
        Rule::Header(_) => {
            let name = match call.header.as_slice() {
                [only] => named(Some(only)),
                _ => named(None),
            };
            vec![name; count]
        }
        Rule::Path(_) => match (&in_path, written) {
            (None, None) => vec![named(None); count],
            _ => vec![in_path.clone(); count],
        },
        Rule::Resource(_) => {
            let name = |block: &Block| match block.named.as_slice() {
                [Some(only)] if block.has_resource => Some(only.clone()),
                _ => None,
            };
            // The session API has no resources.
            let of_blocks = blocks.map_or_else(|| vec![None], |blocks| blocks.iter().map(name).collect());
            of_blocks.iter().map(|name| named(name.as_deref())).collect()
        }
    };
    if refusals.is_empty() {
        Ok(tenants)
    } else {
        Err(refusals)
    }
}

fn permits(allow: &[String], name: &str) -> bool {
    allow.iter().any(|entry| match entry.split_once('*') {
        Some((before, after)) => name.len() >= entry.len() - 1 && name.starts_with(before) && name.ends_with(after),
        None => entry == name,
    })
}

fn is_slug(name: &str) -> bool {
    let is_edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    name.len() <= 64
        && is_edge(name.bytes().next())
        && is_edge(name.bytes().next_back())
        && name.bytes().all(is_inner)
        && !name.contains("..")
}

/// Decodes `%` and two digits once.
fn decoded(written: &str) -> Option<String> {
    let mut parts = written.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let byte = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(b'%'));
        bytes.extend_from_slice(&part.as_bytes()[if byte.is_some() { 2 } else { 0 }..]);
    }
    String::from_utf8(bytes).ok()
}
