//! Requests over HTTP and gRPC.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderValue, Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::super::program::cast::planted;
use super::super::subject::PLANTED_KEY;
use super::content::{self, SentBlock, session_id};
use super::oracle::{owner, owners};
use super::program::{Action, Call, Credential, Encoding, Export, Flaw, Format, SessionCall, TRACES};
use super::wire;
use super::world::{Basic, Caller, MAX_REQUEST, Rule, State, TENANT_HEADER, TOKENS, World};

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

/// Time limit of one attempt.
const ATTEMPT: Duration = Duration::from_secs(30);

/// Where the gateway listens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    pub(super) http: SocketAddr,
    pub(super) grpc: SocketAddr,
}

impl Default for Addresses {
    /// Returns addresses at which nothing listens.
    fn default() -> Self {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        Self {
            http: nowhere,
            grpc: nowhere,
        }
    }
}

/// Shares its connections among all clients.
pub(super) struct HttpClient {
    runtime: Handle,
    http1: Client<HttpConnector, Full<Bytes>>,
    http2: Client<HttpConnector, Full<Bytes>>,
}

/// What became of an attempt.
pub(super) enum Attempt {
    Answered(Answer),
    /// No connection: nothing was sent.
    NotSent,
    /// The connection broke, so the gateway may have taken the request.
    Unknown(String),
}

/// Answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// HTTP status, or gRPC code.
    pub(super) status: u16,
    /// Rejected spans of a success.
    pub(super) rejected: u64,
    /// Body of a success that the format does not allow.
    pub(super) malformed: Option<String>,
    /// JSON of a success, besides exports.
    pub(super) json: Value,
}

/// A request that can be sent several times.
pub(super) struct Prepared {
    method: Method,
    /// For the port of gRPC, which takes HTTP too.
    to_grpc: bool,
    http2: bool,
    path: String,
    headers: Vec<(String, HeaderValue)>,
    body: Bytes,
    pub(super) format: Format,
}

impl HttpClient {
    pub(super) fn new(runtime: Handle) -> Self {
        let executor = TokioExecutor::new();
        let mut connector = HttpConnector::new();
        // Otherwise a body waits up to 40 ms for the acknowledgement of the headers.
        connector.set_nodelay(true);
        Self {
            runtime,
            http1: Client::builder(executor.clone()).build(connector.clone()),
            http2: Client::builder(executor).http2_only(true).build(connector),
        }
    }

    /// Sends a request once. Blocks the thread.
    pub(super) fn send(&self, addresses: Addresses, prepared: &Prepared) -> Attempt {
        let address = if prepared.to_grpc {
            addresses.grpc
        } else {
            addresses.http
        };
        let mut request = Request::builder()
            .method(prepared.method.clone())
            .uri(format!("http://{address}{}", prepared.path));
        for (name, value) in &prepared.headers {
            request = request.header(name, value);
        }
        let request = match request.body(Full::new(prepared.body.clone())) {
            Ok(request) => request,
            Err(error) => return Attempt::Unknown(error.to_string()),
        };
        let client = if prepared.http2 { &self.http2 } else { &self.http1 };
        let sent = async {
            let response = match client.request(request).await {
                Ok(response) => response,
                Err(error) if error.is_connect() => return Attempt::NotSent,
                Err(error) => return Attempt::Unknown(format!("{error:?}")),
            };
            let (head, body) = response.into_parts();
            let body = match body.collect().await {
                Ok(body) => body,
                Err(error) => return Attempt::Unknown(format!("{error:?}")),
            };
            let trailers = body.trailers().cloned().unwrap_or_default();
            let body = body.to_bytes();
            let status = head.status.as_u16();
            if prepared.format != Format::Grpc {
                return Attempt::Answered(Answer::of_http(status, &body, prepared.format));
            }
            let code = trailers.get("grpc-status").or_else(|| head.headers.get("grpc-status"));
            let code = code.and_then(|code| code.to_str().ok()?.parse().ok());
            // Every answer of gRPC has the HTTP status 200.
            let code = code.filter(|_| status == 200).unwrap_or(u16::MAX);
            Attempt::Answered(Answer::of_grpc(code, &body))
        };
        let sent = async { timeout(ATTEMPT, sent).await };
        let attempt = self.runtime.block_on(sent);
        attempt.unwrap_or_else(|_| Attempt::Unknown(format!("no answer within {ATTEMPT:?}")))
    }
}

impl Answer {
    fn of_http(status: u16, body: &[u8], format: Format) -> Self {
        let mut answer = Self {
            status,
            rejected: 0,
            malformed: None,
            json: Value::Null,
        };
        if status != 200 {
            return answer;
        }
        let rejected = match format {
            Format::Json(_) => {
                let rejected = |value: &Value| value["partialSuccess"]["rejectedSpans"].as_str().map(str::parse);
                match serde_json::from_slice::<Value>(body) {
                    Ok(value) if value.get("partialSuccess").is_none() => {
                        answer.json = value;
                        Some(0)
                    }
                    Ok(value) => rejected(&value).and_then(Result::ok),
                    Err(_) => None,
                }
            }
            Format::Protobuf | Format::Grpc if body.is_empty() => Some(0),
            Format::Protobuf | Format::Grpc => wire::rejected(body),
        };
        match rejected {
            Some(rejected) => answer.rejected = rejected,
            None => answer.malformed = Some(format!("{:?}", String::from_utf8_lossy(body))),
        }
        answer
    }

    fn of_grpc(code: u16, body: &[u8]) -> Self {
        if code != 0 {
            return Self {
                status: code,
                rejected: 0,
                malformed: None,
                json: Value::Null,
            };
        }
        let answer = Self::of_http(200, body.get(5..).unwrap_or_default(), Format::Grpc);
        Self {
            status: code,
            malformed: (body.len() < 5).then(|| "no frame".to_owned()).or(answer.malformed),
            ..answer
        }
    }
}

/// Returns the headers that requests of each kind have, and the number of the token of its caller
/// that a request has.
fn headers_of(world: &World, seed: u64, state: &State, call: &Call, id: u32) -> (Vec<(String, String)>, Option<u32>) {
    let (mut headers, token) = credentials(world, state, call, id);
    lies(&mut headers, world, seed, call);
    let names = call.header.iter();
    headers.extend(names.map(|name| (TENANT_HEADER.to_owned(), name.clone())));
    (headers, token)
}

/// Returns a request to the session API with this session id, and the number of its token.
pub(super) fn prepare_session(
    world: &World,
    seed: u64,
    state: &State,
    session: &SessionCall,
    (id, session_id): (u32, Option<&str>),
) -> (Prepared, Option<u32>) {
    let call = &session.call;
    let (mut headers, token) = headers_of(world, seed, state, call, id);
    let canary = content::canary(world, owner(world, session), id);
    // A field that would choose a project.
    let project = &world.stranger;
    let mut suffix = "/events".to_owned();
    let (method, content) = match session.action {
        Action::Start { bare, .. } => {
            let start = json!({
                "session_name": canary,
                "session_id": session_id.unwrap_or("not-an-id"),
                "inputs": {"i": canary},
                "metadata": {"m": canary, PLANTED_KEY: planted(&canary)},
                "user_properties": {"u": canary},
                "project": project,
            });
            suffix = if bare { "/v1/sessions" } else { "/session/start" }.into();
            (Method::POST, if bare { start } else { json!({"session": start}) })
        }
        Action::Enrich { in_path, .. } => {
            let mut delta = json!({
                "metadata": {format!("e{id}"): canary, "last": canary, PLANTED_KEY: planted(&canary)},
                "project_name": project,
            });
            if in_path {
                suffix = format!("/v1/events/{}", session_id.unwrap_or_default());
            } else {
                delta["event_id"] = json!(session_id);
            }
            (Method::PUT, delta)
        }
        Action::Event { .. } => {
            let event = json!({
                "event_name": canary,
                "event_type": "tool",
                "session_id": session_id,
                "metadata": {"m": canary, PLANTED_KEY: planted(&canary)},
                "project": project,
            });
            (Method::POST, json!({"event": event}))
        }
    };
    let mut body = content.to_string().into_bytes();
    match call.flaw {
        Some(Flaw::Truncated) => body.truncate(body.len() - 1),
        Some(Flaw::Garbage) => body = vec![0xff; 40],
        Some(Flaw::TooLarge | Flaw::Bomb) => body.resize(body.len() + MAX_REQUEST, b' '),
        _ => {}
    }
    let is_compressed = match call.flaw {
        Some(Flaw::Bomb | Flaw::TruncatedGzip) => true,
        Some(Flaw::TooLarge | Flaw::NotGzip) => false,
        _ => session.is_compressed,
    };
    if is_compressed {
        body = gzip(&body);
    }
    if call.flaw == Some(Flaw::TruncatedGzip) {
        body.truncate(body.len() / 2);
    }
    let encoding = match call.flaw {
        Some(Flaw::WrongEncoding) => Some("br"),
        flaw => (is_compressed || flaw == Some(Flaw::NotGzip)).then_some("gzip"),
    };
    headers.extend(encoding.map(|encoding| ("content-encoding".to_owned(), encoding.to_owned())));
    let is_text = call.flaw == Some(Flaw::WrongType);
    let content_type = if is_text { "text/plain" } else { "application/json" };
    headers.push(("content-type".to_owned(), content_type.to_owned()));
    if call.flaw == Some(Flaw::UnknownPath) {
        suffix.push_str("/more/ends");
    }
    let prepared = Prepared {
        method: if call.flaw == Some(Flaw::WrongMethod) {
            Method::DELETE
        } else {
            method
        },
        to_grpc: id.is_multiple_of(5),
        http2: call.http2,
        path: call.path_with(&suffix),
        headers: values(headers),
        body: body.into(),
        format: Format::Json(0),
    };
    (prepared, token)
}

/// Returns an export, and the number of the token of its caller that it has.
pub(super) fn prepare(world: &World, seed: u64, state: &State, export: &Export, id: u32) -> (Prepared, Option<u32>) {
    let call = &export.call;
    let (mut headers, token) = headers_of(world, seed, state, call, id);
    let owners = owners(world, export);
    let blocks = export.blocks.iter().zip(owners);
    let blocks: Vec<SentBlock> = blocks
        .map(|(block, owner)| content::block(world, seed, block, owner))
        .collect();
    let request = wire::Request::new(&blocks, call.flaw);
    let mut body = match export.format {
        Format::Json(spelling) => request.to_json(spelling),
        Format::Protobuf | Format::Grpc => request.to_protobuf(),
    };
    match call.flaw {
        Some(Flaw::Truncated) => body.truncate(body.len() - 1),
        Some(Flaw::Garbage) => body = vec![0xff; 40],
        Some(Flaw::TooLarge | Flaw::Bomb) if matches!(export.format, Format::Json(_)) => {
            body.resize(body.len() + MAX_REQUEST, b' ');
        }
        // An unknown field, so that the message is valid.
        Some(Flaw::TooLarge | Flaw::Bomb) => {
            for _ in 0..=MAX_REQUEST / 102 {
                body.extend_from_slice(&[0xc2, 0x3e, 100]);
                body.resize(body.len() + 100, b' ');
            }
        }
        _ => {}
    }
    let encoding = match call.flaw {
        Some(Flaw::Bomb | Flaw::TruncatedGzip) => Encoding::Gzip,
        Some(Flaw::TooLarge | Flaw::NotGzip | Flaw::UnknownCompression) => Encoding::Plain,
        _ => export.encoding,
    };
    let mut body = match encoding {
        Encoding::Plain => body,
        Encoding::Gzip => gzip(&body),
        Encoding::GzipMembers => {
            let (first, second) = body.split_at(body.len() / 2);
            [gzip(first), gzip(second)].concat()
        }
    };
    if call.flaw == Some(Flaw::TruncatedGzip) {
        body.truncate(body.len() / 2);
    }
    let is_compressed =
        encoding != Encoding::Plain || matches!(call.flaw, Some(Flaw::NotGzip | Flaw::UnknownCompression));
    let mut named = match call.flaw {
        Some(Flaw::WrongEncoding) => Some("br"),
        Some(Flaw::UnknownCompression) => None,
        _ => is_compressed.then_some("gzip"),
    };
    let is_grpc = export.format == Format::Grpc;
    if is_grpc {
        let flag = u8::from(is_compressed || call.flaw == Some(Flaw::WrongEncoding));
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX) + u32::from(call.flaw == Some(Flaw::WrongFrame));
        let frame = [&[flag], &length.to_be_bytes()[..], &body].concat();
        body = if call.flaw == Some(Flaw::TwoFrames) {
            frame.repeat(2)
        } else {
            frame
        };
        headers.push(("te".to_owned(), "trailers".to_owned()));
    }
    if let Some(named) = named.take() {
        let name = if is_grpc { "grpc-encoding" } else { "content-encoding" };
        headers.push((name.to_owned(), named.to_owned()));
    }
    let content_type = match (export.format, call.flaw) {
        (Format::Grpc, _) => "application/grpc",
        (_, Some(Flaw::WrongType)) => "text/plain",
        (Format::Protobuf, _) => "application/x-protobuf",
        (Format::Json(_), _) => "application/json",
    };
    headers.push(("content-type".to_owned(), content_type.to_owned()));
    let path = match (is_grpc, call.flaw) {
        (true, Some(Flaw::UnknownPath)) => format!("{EXPORT}s"),
        (true, Some(Flaw::OtherSignal)) => LOGS.to_owned(),
        (true, _) => EXPORT.to_owned(),
        (false, Some(Flaw::UnknownPath)) => call.path_with("/v1/spans"),
        (false, Some(Flaw::OtherSignal)) => call.path_with("/v1/metrics"),
        (false, _) => call.path_with(TRACES),
    };
    let prepared = Prepared {
        method: if call.flaw == Some(Flaw::WrongMethod) {
            Method::PUT
        } else {
            Method::POST
        },
        // Both ports take everything.
        to_grpc: is_grpc != id.is_multiple_of(5),
        http2: is_grpc || call.http2,
        path,
        headers: values(headers),
        body: body.into(),
        format: export.format,
    };
    (prepared, token)
}

fn values(headers: Vec<(String, String)>) -> Vec<(String, HeaderValue)> {
    let valid = headers.into_iter().map(|(name, value)| {
        let value = HeaderValue::from_str(&value).expect("headers of programs are printable ASCII");
        (name, value)
    });
    valid.collect()
}

/// Returns the headers with the credential.
fn credentials(world: &World, state: &State, call: &Call, id: u32) -> (Vec<(String, String)>, Option<u32>) {
    let caller = &world.callers[call.caller];
    let first = state.tokens[call.caller];
    let number = first + id % TOKENS;
    let token = caller.token(number);
    let of_other = |other: usize| world.callers[other].token(state.tokens[other]);
    let authorization = |value: String| ("authorization".to_owned(), value);
    let bearer = |token: &str| authorization(format!("Bearer {token}"));
    let headers = match call.credential {
        Credential::Bearer => vec![bearer(&token)],
        Credential::LowerBearer => vec![authorization(format!("bearer {token}"))],
        Credential::Raw => vec![authorization(token)],
        Credential::ApiKey => vec![("api-key".to_owned(), token)],
        Credential::XApiKey => vec![("x-api-key".to_owned(), token)],
        Credential::XHoneycombTeam => vec![("x-honeycomb-team".to_owned(), token)],
        Credential::Basic => vec![authorization(basic(caller, &token))],
        Credential::Missing => Vec::new(),
        Credential::Unknown => vec![bearer(&format!("{token}0"))],
        Credential::Revoked => {
            let revoked = first
                .checked_sub(1)
                .map_or_else(|| format!("{token}1"), |number| caller.token(number));
            vec![bearer(&revoked)]
        }
        Credential::OtherBasicPart => {
            let pair = match caller.basic {
                Basic::User | Basic::Pair => format!("other:{token}"),
                Basic::Password => format!("{token}:other"),
            };
            vec![authorization(format!("Basic {}", STANDARD.encode(pair)))]
        }
        Credential::MalformedBasic => vec![authorization(format!("Basic {token}!"))],
        Credential::Twice => vec![bearer(&token), ("x-api-key".to_owned(), token)],
        Credential::SecondOf(other) => vec![bearer(&token), bearer(&of_other(other))],
        Credential::AlsoOf(other) => vec![("api-key".to_owned(), of_other(other)), bearer(&token)],
    };
    (headers, call.credential.is_valid().then_some(number))
}

fn basic(caller: &Caller, token: &str) -> String {
    let pair = match caller.basic {
        Basic::Pair => token.to_owned(),
        Basic::User => format!("{token}:x"),
        Basic::Password => format!("x:{token}"),
    };
    format!("Basic {}", STANDARD.encode(pair))
}

/// Adds headers that must have no effect and must not be sent on.
fn lies(headers: &mut Vec<(String, String)>, world: &World, seed: u64, call: &Call) {
    let stranger = &world.stranger;
    let lies = [
        ("x-bt-parent", format!("project_name:{stranger}")),
        ("langsmith-project", stranger.clone()),
        ("x-project", format!("project-of-{stranger}")),
        ("x-source", format!("source-of-{stranger}")),
        (
            "baggage",
            format!("session.id={},tenant={stranger}", session_id(seed, 0)),
        ),
        ("x-forwarded-for", "203.0.113.7".to_owned()),
        ("cookie", format!("token={stranger}")),
        (TENANT_HEADER, "t0".to_owned()),
    ];
    for (bit, (name, value)) in lies.into_iter().enumerate() {
        let is_rule = name == TENANT_HEADER && matches!(world.callers[call.caller].rule, Rule::Header(_));
        if call.lies >> bit & 1 == 1 && !is_rule {
            headers.push((name.to_owned(), value));
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .expect("a vector takes all bytes")
}
