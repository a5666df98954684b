//! Bytes that arrive at the backend equal those that clients sent, whatever was merged, split and
//! halved on the way.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::requests::EXPORT;
use crate::support::{ACME, GLOBEX, KEYS, SPLIT, Service, framed, gzip};

/// A field of a message.
#[derive(Clone, Copy)]
struct Field<'a> {
    number: u64,
    /// Tag, length and value.
    whole: &'a [u8],
    value: &'a [u8],
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let (byte, rest) = bytes.split_first().expect("a varint");
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            break;
        }
    }
    value
}

fn fields(mut message: &[u8]) -> Vec<Field<'_>> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let whole = message;
        let tag = varint(&mut message);
        let value = match tag & 7 {
            0 => {
                let before = message;
                varint(&mut message);
                &before[..before.len() - message.len()]
            }
            wire => {
                let length = match wire {
                    1 => 8,
                    2 => usize::try_from(varint(&mut message)).unwrap(),
                    5 => 4,
                    _ => panic!("wire type {wire}"),
                };
                let (value, rest) = message.split_at(length);
                message = rest;
                value
            }
        };
        fields.push(Field {
            number: tag >> 3,
            whole: &whole[..whole.len() - message.len()],
            value,
        });
    }
    fields
}

/// Returns the fields of a block that are no children, and the children. Resource blocks have scope
/// blocks as field 2, and these have spans as field 2.
fn block(message: &[u8], children: u64) -> (Vec<u8>, Vec<Field<'_>>) {
    let (children, own): (Vec<_>, Vec<_>) = fields(message).into_iter().partition(|field| field.number == children);
    (own.iter().flat_map(|field| field.whole).copied().collect(), children)
}

/// A span with everything around it, as bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Located {
    span: Vec<u8>,
    scope: Vec<u8>,
    resource: Vec<u8>,
}

fn located(resource_spans: &[u8]) -> Vec<Located> {
    let (resource, scopes) = block(resource_spans, 2);
    let mut located = Vec::new();
    for scope in scopes {
        let (scope, spans) = block(scope.value, 2);
        located.extend(spans.iter().map(|span| Located {
            span: span.whole.to_vec(),
            scope: scope.clone(),
            resource: resource.clone(),
        }));
    }
    located
}

/// Requests of one tenant, as sent or as received.
#[derive(Default)]
struct Traffic {
    spans: Vec<Located>,
    /// Resource blocks by their spans.
    blocks: BTreeMap<Vec<Located>, Vec<u8>>,
    /// Resource blocks without spans, with their number.
    empty_blocks: BTreeMap<Vec<u8>, usize>,
    /// Fields of requests that belong to no block.
    own: Vec<Vec<u8>>,
}

impl Traffic {
    fn add(&mut self, request: &[u8]) {
        for field in fields(request) {
            if field.number == 1 {
                self.add_block(field);
            } else {
                self.own.push(field.whole.to_vec());
            }
        }
    }

    fn add_block(&mut self, block: Field<'_>) {
        let spans = located(block.value);
        if spans.is_empty() {
            *self.empty_blocks.entry(block.whole.to_vec()).or_default() += 1;
        } else {
            self.spans.extend(spans.iter().cloned());
            self.blocks.insert(spans, block.whole.to_vec());
        }
    }
}

/// Answers 413 to requests with more than a number of spans, and records the others by their key.
struct Receiver {
    url: String,
    accepted: Arc<Mutex<BTreeMap<String, Traffic>>>,
    refused: Arc<AtomicU64>,
}

impl Receiver {
    fn start(max_spans: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let receiver = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            accepted: Arc::default(),
            refused: Arc::default(),
        };
        let (accepted, refused) = (Arc::clone(&receiver.accepted), Arc::clone(&receiver.refused));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (accepted, refused) = (Arc::clone(&accepted), Arc::clone(&refused));
                thread::spawn(move || serve(stream.unwrap(), max_spans, &accepted, &refused));
            }
        });
        receiver
    }
}

fn serve(
    mut stream: TcpStream,
    max_spans: usize,
    accepted: &Mutex<BTreeMap<String, Traffic>>,
    refused: &AtomicU64,
) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let (mut key, mut length, mut is_gzip) = (None, 0, false);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
            is_gzip |= line == "content-encoding: gzip";
            key = KEYS.into_iter().find(|(_, key)| line.ends_with(key)).or(key);
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        if is_gzip {
            let mut inflated = Vec::new();
            flate2::read::GzDecoder::new(&body[..])
                .read_to_end(&mut inflated)
                .unwrap();
            body = inflated;
        }
        let (tenant, _) = key.expect("each request has a key");
        let blocks = fields(&body).into_iter().filter(|field| field.number == 1);
        let is_accepted = blocks.map(|block| located(block.value).len()).sum::<usize>() <= max_spans;
        if is_accepted {
            accepted
                .lock()
                .unwrap()
                .entry(tenant.to_owned())
                .or_default()
                .add(&body);
        } else {
            refused.fetch_add(1, Ordering::SeqCst);
        }
        let status = if is_accepted { "200 OK" } else { "413 Payload Too Large" };
        write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").ok()?;
    }
}

/// Appends a field with a length, which may have a byte more than necessary.
fn put(out: &mut Vec<u8>, number: u64, is_long: bool, value: &[u8]) {
    put_varint(out, number << 3 | 2, false);
    put_varint(out, value.len() as u64, is_long);
    out.extend_from_slice(value);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64, is_long: bool) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    let last = u8::try_from(value).unwrap();
    if is_long {
        out.extend_from_slice(&[last | 0x80, 0]);
    } else {
        out.push(last);
    }
}

/// Content of a message that tells it from all others.
fn unique() -> Vec<u8> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::SeqCst).to_be_bytes().to_vec()
}

fn attribute(key: &str, value: &[u8], is_long: bool) -> Vec<u8> {
    let (mut any_value, mut attribute) = (Vec::new(), Vec::new());
    put(&mut any_value, 1, is_long, value);
    put(&mut attribute, 2, is_long, &any_value);
    put(&mut attribute, 1, false, key.as_bytes());
    attribute
}

/// How to write a message: a bit each for unusual encodings and for optional fields.
type Shape = u8;

fn span(shape: Shape) -> Vec<u8> {
    let has = |bit: u8| shape & 1 << bit != 0;
    let mut span = Vec::new();
    if has(0) {
        put(&mut span, 900, has(1), b"unknown");
    }
    put(&mut span, 9, has(2), &attribute("key", b"value", has(3)));
    put(&mut span, 2, false, &unique());
    put(&mut span, 1, has(4), &[7; 16]);
    if has(5) {
        put(&mut span, 5, false, &[b'n'; 200]);
    }
    if has(6) {
        // An unknown number, and a flag.
        put_varint(&mut span, 77 << 3, has(7));
        put_varint(&mut span, 1 << 40, false);
        put_varint(&mut span, 16 << 3 | 5, false);
        span.extend_from_slice(&[1, 0, 0, 0]);
    }
    span
}

fn scope_spans((shape, spans): &(Shape, Vec<Shape>)) -> Vec<u8> {
    let has = |bit: u8| shape & 1 << bit != 0;
    let mut block = Vec::new();
    let (before, after) = spans.split_at(if has(0) { spans.len() } else { spans.len() / 2 });
    let put_spans = |block: &mut Vec<u8>, spans: &[Shape]| {
        for shape in spans {
            put(block, 2, shape & 1 != 0 && has(1), &span(*shape));
        }
    };
    if has(2) {
        let mut scope = Vec::new();
        put(&mut scope, 1, has(3), b"scope");
        put(&mut scope, 800, false, &unique());
        put(&mut block, 1, has(4), &scope);
    }
    put_spans(&mut block, before);
    put(&mut block, 500, has(5), &unique());
    put_spans(&mut block, after);
    if has(6) {
        put(&mut block, 3, has(7), b"https://example.com/schema");
    }
    block
}

type ResourceShape = (Shape, Vec<(Shape, Vec<Shape>)>);

fn resource_spans((shape, scopes): &ResourceShape, tenant: &str) -> Vec<u8> {
    let has = |bit: u8| shape & 1 << bit != 0;
    let (mut resource, mut block) = (Vec::new(), Vec::new());
    put(&mut resource, 600, has(1), &unique());
    put(
        &mut resource,
        1,
        has(2),
        &attribute("tenant.id", tenant.as_bytes(), has(3)),
    );
    let (before, after) = scopes.split_at(if has(4) { 0 } else { scopes.len() / 2 });
    for scope in before {
        put(&mut block, 2, has(5), &scope_spans(scope));
    }
    put(&mut block, 1, has(6), &resource);
    for scope in after {
        put(&mut block, 2, has(5), &scope_spans(scope));
    }
    if has(7) {
        put(&mut block, 700, false, &unique());
    }
    block
}

#[derive(Clone, Debug)]
struct Sent {
    /// Index of the caller: of acme, of globex, or of both.
    caller: usize,
    shape: Shape,
    blocks: Vec<ResourceShape>,
}

fn sent() -> impl Strategy<Value = Sent> {
    // A scope block without spans may go with the spans of another block.
    let scopes = vec((any::<Shape>(), vec(any::<Shape>(), 1..6)), 0..3);
    let blocks = vec((any::<Shape>(), scopes), 0..4);
    (0..3_usize, any::<Shape>(), blocks).prop_map(|(caller, shape, blocks)| Sent { caller, shape, blocks })
}

fn check(requests: &[Sent], max_spans: usize, batch: usize, compression: &str) -> Result<u64, TestCaseError> {
    let receiver = Receiver::start(max_spans);
    let export = format!("[export]\nmax_export_batch_size = {batch}\ncompression = \"{compression}\"");
    let service = Service::prepare("", &export);
    let file = service.path("gateway.toml");
    let config = fs::read_to_string(&file).unwrap();
    fs::write(file, config.replace(&service.collector.url(), &receiver.url)).unwrap();
    let service = service.start_again().unwrap();
    let mut sent: BTreeMap<String, Traffic> = BTreeMap::new();
    for request in requests {
        let has = |bit: u8| request.shape & 1 << bit != 0;
        let (mut body, mut of_tenant) = (Vec::new(), BTreeMap::<_, Vec<u8>>::new());
        let tenants = KEYS.map(|(tenant, _)| tenant);
        for shape in &request.blocks {
            let tenant = *tenants
                .get(request.caller)
                .unwrap_or(&tenants[usize::from(shape.0 & 1)]);
            let mut block = Vec::new();
            put(&mut block, 1, has(0), &resource_spans(shape, tenant));
            body.extend_from_slice(&block);
            of_tenant.entry(tenant).or_default().extend(block);
        }
        // Fields that belong to no resource cannot be split.
        if request.caller < 2 && has(1) {
            let mut own = Vec::new();
            put(&mut own, 400, has(2), &unique());
            body.extend_from_slice(&own);
            of_tenant.entry(tenants[request.caller]).or_default().extend(own);
        }
        let token = [ACME, GLOBEX, SPLIT][request.caller];
        let (message, encoding) = if has(3) {
            (gzip(&body), "gzip")
        } else {
            (body, "identity")
        };
        if has(4) {
            let reply = service.call(EXPORT, token, &[("grpc-encoding", encoding)], framed(has(3), &message));
            prop_assert_eq!(reply.grpc_status(), 0, "{:?}", reply);
        } else {
            let reply = service.post(token, &[("content-encoding", encoding)], message);
            prop_assert_eq!(reply.status, 200, "{:?}", reply);
        }
        for (tenant, bytes) in of_tenant {
            // What has no spans goes nowhere.
            if fields(&bytes)
                .iter()
                .any(|field| field.number == 1 && !located(field.value).is_empty())
            {
                sent.entry(tenant.to_owned()).or_default().add(&bytes);
            }
        }
    }
    service.flush();
    let mut accepted = receiver.accepted.lock().unwrap();
    prop_assert!(accepted.keys().eq(sent.keys()));
    for (tenant, mut sent) in sent {
        let arrived = accepted.get_mut(&tenant).unwrap();
        sent.spans.sort();
        arrived.spans.sort();
        prop_assert_eq!(
            &arrived.spans,
            &sent.spans,
            "each span arrives once, with the bytes around it"
        );
        for (spans, block) in &arrived.blocks {
            if let Some(sent) = sent.blocks.get(spans) {
                prop_assert_eq!(block, sent, "a block that arrives whole is unchanged");
            }
        }
        prop_assert_eq!(&arrived.empty_blocks, &sent.empty_blocks);
        for own in &sent.own {
            prop_assert!(arrived.own.contains(own));
        }
    }
    Ok(receiver.refused.load(Ordering::SeqCst))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_arrive_as_they_were_sent(
        requests in vec(sent(), 1..12),
        max_spans in 1..10_usize,
        batch in 1..16_usize,
        compression in prop::sample::select(vec!["none", "gzip"]),
    ) {
        check(&requests, max_spans, batch, compression)?;
    }
}

#[test]
fn bytes_survive_halving() {
    let scope = (0, vec![0xff, 0x55, 0xaa, 0, 1, 2, 4]);
    let blocks = vec![(0xff, vec![scope.clone(), scope]), (0, vec![])];
    let requests: Vec<Sent> = (0..6)
        .map(|index| Sent {
            caller: index % 3,
            shape: 0x1f,
            blocks: blocks.clone(),
        })
        .collect();
    let refused = check(&requests, 1, 10, "none").unwrap();
    assert!(refused > 0, "the receiver refuses batches of several spans");
}
