//! The content of a request, as sent: every text of a tenant has its canary.

use std::fmt::Write as _;

use serde_json::{Value, json};
use uuid::Uuid;

use super::super::program::cast::{Backend, CANARY, Member, PLANTED, planted};
use super::super::program::operation::OpId;
use super::super::subject::PLANTED_KEY;
use super::program::{Block, Span};
use super::world::{TENANT_ATTRIBUTE, World};

/// Attributes by which receivers choose a project: those that the gateway must remove for the
/// backend `otlp`. The last two have this meaning on resources alone.
pub(super) const PROJECT_ATTRIBUTES: [&str; 12] = [
    "honeyhive.project",
    "honeyhive.project_name",
    "traceloop.association.properties.project",
    "braintrust.parent",
    "openinference.project.name",
    "langsmith.trace.session_name",
    "mlflow.experimentId",
    "arize.project.name",
    "wandb.project",
    "galileo.project.name",
    "model_id",
    "gcp.project_id",
];
/// How many of them the backend HoneyHive removes: the first ones.
const OF_HONEYHIVE: usize = 3;
/// Index of the first one that counts on resources alone.
const ON_RESOURCE: usize = 10;

/// Above the limit of a span.
const BIG: usize = 5000;
const START: u64 = 1_700_000_000_000_000_000;

pub(super) type Attributes = Vec<(String, Value)>;

/// Spans with one resource and one scope.
#[derive(Debug)]
pub(super) struct SentBlock {
    /// `None` for a block without a resource.
    pub(super) resource: Option<Attributes>,
    pub(super) schema_url: String,
    pub(super) scope: SentScope,
    pub(super) spans: Vec<SentSpan>,
}

#[derive(Debug)]
pub(super) struct SentScope {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) attributes: Attributes,
}

#[derive(Debug)]
pub(super) struct SentSpan {
    pub(super) trace_id: [u8; 16],
    pub(super) span_id: [u8; 8],
    pub(super) parent: Option<[u8; 8]>,
    pub(super) trace_state: String,
    pub(super) name: String,
    pub(super) kind: u8,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) attributes: Attributes,
    pub(super) event: Option<(u64, String, Attributes)>,
    pub(super) link: Option<([u8; 16], [u8; 8], Attributes)>,
    /// Message and code.
    pub(super) status: Option<(String, u8)>,
    /// Content of a field that no version of OTLP has.
    pub(super) unknown: Option<String>,
}

/// Place of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Resource,
    Scope,
    Span,
}

/// Returns a text that only this member's project may contain, or no project.
pub(super) fn canary(world: &World, owner: Option<usize>, op: OpId) -> String {
    let token = owner.map_or(&world.stranger, |owner| &world.members[owner].token);
    format!("{CANARY}{token}-{op}")
}

/// Returns the content of a block.
pub(super) fn block(world: &World, seed: u64, block: &Block, owner: Option<usize>) -> SentBlock {
    let canary = canary(world, owner, block.id);
    let lies = || lies(block.lies, &canary);
    let mut resource = vec![
        ("service.name".to_owned(), json!(canary)),
        (PLANTED_KEY.to_owned(), json!(planted(&canary))),
    ];
    resource.extend(block.named.iter().map(|named| {
        let value = named.as_ref().map_or(json!(7), |name| json!(name));
        (TENANT_ATTRIBUTE.to_owned(), value)
    }));
    resource.extend(lies());
    SentBlock {
        resource: block.has_resource.then_some(resource),
        schema_url: canary.clone(),
        scope: SentScope {
            name: canary.clone(),
            version: canary.clone(),
            attributes: if block.id % 2 == 1 {
                lies().collect()
            } else {
                Vec::new()
            },
        },
        spans: block.spans.iter().map(|of| span(world, seed, of, owner)).collect(),
    }
}

fn span(world: &World, seed: u64, span: &Span, owner: Option<usize>) -> SentSpan {
    let canary = canary(world, owner, span.id);
    let has = |bit: u32| span.shape >> bit & 1 == 1;
    let start = START + u64::from(span.id) * 1_000_000;
    let mut attributes = vec![
        ("work".to_owned(), json!(canary)),
        (PLANTED_KEY.to_owned(), json!(planted(&canary))),
        ("number".to_owned(), json!(i64::from(span.id) - 1000)),
    ];
    if let Some(session) = span.session {
        attributes.push(("honeyhive.session_id".to_owned(), json!(session_id(seed, session))));
        if has(10) {
            attributes.push(("session.id".to_owned(), json!(session_id(seed, session))));
        }
    }
    if has(6) {
        let nested = json!({"list": [canary, true, 0.5, planted(&canary)], "empty": ""});
        attributes.push(("nested".to_owned(), nested));
    }
    if has(8) {
        attributes.push(("honeyhive_event_type".to_owned(), json!("model")));
    }
    if has(9) {
        attributes.push(("honeyhive_metadata.plan".to_owned(), json!(canary)));
    }
    attributes.extend(lies(span.lies, &canary));
    if span.is_big {
        attributes.push(("big".to_owned(), json!(format!("{canary} {}", "x".repeat(BIG)))));
    }
    if has(11) {
        // As language models get it.
        let messages = json!([{"role": "user", "content": planted(&canary)}]).to_string();
        attributes.push(("messages".to_owned(), json!(messages)));
    }
    let own = || {
        vec![
            ("own".to_owned(), json!(canary)),
            (PLANTED_KEY.to_owned(), json!(planted(&canary))),
        ]
    };
    SentSpan {
        trace_id: trace_id(seed, span.trace),
        span_id: span_id(seed, span.trace, span.number),
        parent: span.parent.map(|parent| span_id(seed, span.trace, parent)),
        trace_state: if has(5) { format!("k={canary}") } else { String::new() },
        name: canary.clone(),
        kind: u8::try_from(span.shape % 6).unwrap_or_default(),
        start,
        end: start + 500_000,
        attributes,
        event: has(3).then(|| (start + 1, canary.clone(), own())),
        link: span
            .link
            .map(|(trace, number)| (trace_id(seed, trace), span_id(seed, trace, number), own())),
        status: has(4).then(|| (canary.clone(), 2)),
        unknown: has(7).then(|| canary.clone()),
    }
}

impl SentBlock {
    /// Returns what a member gets of it, of which the binding removes the planted addresses.
    pub(super) fn received_by(mut self, member: &Member) -> Self {
        if !member.redacts() {
            return self;
        }
        let spans = self.spans.iter_mut().flat_map(|span| {
            let event = span.event.iter_mut().map(|(_, _, attributes)| attributes);
            let link = span.link.iter_mut().map(|(_, _, attributes)| attributes);
            std::iter::once(&mut span.attributes).chain(event).chain(link)
        });
        let all = spans.chain(&mut self.resource).chain([&mut self.scope.attributes]);
        all.flatten().for_each(|(_, value)| redact(value));
        self
    }
}

fn redact(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some((before, address)) = text.split_once(PLANTED) {
                let (_, after) = address.split_once(".com").expect("an address");
                *text = format!("{before}[redacted]{after}");
            }
        }
        Value::Array(values) => values.iter_mut().for_each(redact),
        Value::Object(fields) => fields.values_mut().for_each(redact),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn lies(bits: u16, value: &str) -> impl Iterator<Item = (String, Value)> {
    let chosen = PROJECT_ATTRIBUTES
        .iter()
        .enumerate()
        .filter(move |(bit, _)| bits >> bit & 1 == 1);
    chosen.map(move |(_, name)| ((*name).to_owned(), json!(value)))
}

/// Returns whether a tenant with this backend never gets an attribute of its clients.
pub(super) fn is_removed(backend: Backend, name: &str, place: Place) -> bool {
    let Some(index) = PROJECT_ATTRIBUTES.iter().position(|known| *known == name) else {
        return false;
    };
    match backend {
        Backend::Honeyhive => index < OF_HONEYHIVE,
        Backend::Otlp => index < ON_RESOURCE || place == Place::Resource,
    }
}

pub(super) fn trace_id(seed: u64, trace: u32) -> [u8; 16] {
    let half = |which| u128::from(hash(seed, trace, which));
    (half(0) << 64 | half(1)).to_be_bytes()
}

pub(super) fn span_id(seed: u64, trace: u32, number: u32) -> [u8; 8] {
    hash(seed, trace, 2 + u64::from(number)).to_be_bytes()
}

pub(super) fn session_id(seed: u64, session: u32) -> String {
    let bytes = trace_id(!seed, session);
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

/// Returns the id of the session of a trace: its id as a UUID of version 4.
pub(super) fn session_of_trace(trace_id: [u8; 16]) -> String {
    let mut id = trace_id;
    id[6] = id[6] & 0x0f | 0x40;
    id[8] = id[8] & 0x3f | 0x80;
    Uuid::from_bytes(id).to_string()
}

/// Returns bytes as lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut digits, byte| {
        write!(digits, "{byte:02x}").expect("a string takes all text");
        digits
    })
}

/// Returns a number that is never zero: SplitMix64 of the arguments.
fn hash(seed: u64, number: u32, which: u64) -> u64 {
    let mixed = |value: u64| {
        let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let value = (value ^ value >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let value = (value ^ value >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        value ^ value >> 31
    };
    mixed(mixed(mixed(seed) ^ u64::from(number)) ^ which).max(1)
}
