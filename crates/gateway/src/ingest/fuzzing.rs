//! Fuzz targets: the head and the body of a request.

use std::io::Read as _;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Mutex;
use tracer_registry::config::Config;
use tracer_registry::secret::SecretSources;
use tracer_registry::selector::{SelectorKind, Slug};

use super::client;
use super::encoding::Encoding;
use super::frame;
use super::route::Route;
use super::turn::Turn;
use crate::answer::{Format, RefusalKind};
use crate::budget::Budget;
use crate::callers::{Callers, Target, tenant_in_path};
use crate::config::Settings;

const CALLERS: &str = "
[gateway.callers.fixed]
token = { file = 'fixed' }
tenant = 'acme'

[gateway.callers.header]
token = { file = 'header' }
tenant = { header = 'x-tenant', allow = ['acme', 'team-*'] }

[gateway.callers.path]
token = { file = 'path' }
basic = 'password'
tenant = { path = true, allow = ['acme', 'team-*'] }

[gateway.callers.resource]
token = { file = 'resource' }
basic = 'user'
environment = 'production'
tenant = { resource = 'tenant.id', allow = ['acme', 'team-*'] }
";

/// The token of each caller.
const TOKENS: [(&str, &str); 4] = [
    ("fixed", "user:token-of-fixed-1"),
    ("header", "token-of-header-1"),
    ("path", "token-of-path-1"),
    ("resource", "token-of-resource-1"),
];

static READ: LazyLock<Callers> = LazyLock::new(|| {
    let folder = TempDir::new().expect("a temporary folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a writable folder");
    write("gateway.toml", CALLERS);
    for (caller, token) in TOKENS {
        write(caller, token);
    }
    let config = Config::load_files_for_gateway(folder.path()).expect("a valid configuration");
    let settings = Settings::read(&config).expect("valid settings");
    Callers::read(&config, &settings, &SecretSources::default(), None).expect("readable tokens")
});

/// Reads the head of a request: a path, then headers, one a line. A header `resource` stands for the
/// value of the resource attribute. Returns whether a caller may send to a tenant.
///
/// # Panics
/// Panics if a request without the token of a caller is taken for it, or if a caller reaches a
/// tenant that it may not address or did not name.
pub fn headers(data: &[u8]) -> bool {
    let mut lines = data.split(|byte| *byte == b'\n');
    let path = String::from_utf8_lossy(lines.next().unwrap_or_default());
    let mut headers = HeaderMap::new();
    for line in lines {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = parts.next().and_then(|name| HeaderName::from_bytes(name).ok());
        let value = parts
            .next()
            .and_then(|value| HeaderValue::from_bytes(value.trim_ascii()).ok());
        if let (Some(name), Some(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    described(&path, &headers);
    let credentials: Vec<(bool, &[u8])> = ["authorization", "x-api-key", "api-key", "x-honeycomb-team"]
        .into_iter()
        .flat_map(|name| {
            headers
                .get_all(name)
                .iter()
                .map(move |value| (name == AUTHORIZATION, value.as_bytes()))
        })
        .collect();
    let caller = match READ.identify(&headers) {
        Ok(caller) => caller,
        Err(refusal) => {
            assert!(!refusal.to_string().contains(char::is_control));
            let is_plain =
                matches!(credentials[..], [(false, token)] if TOKENS.iter().any(|(_, own)| own.as_bytes() == token));
            assert!(!is_plain, "a token was refused");
            return false;
        }
    };
    let name = caller.name().as_str();
    let (_, token) = TOKENS
        .iter()
        .find(|(known, _)| *known == name)
        .expect("a configured caller");
    let [(is_authorization, value)] = credentials[..] else {
        panic!("several credentials")
    };
    assert!(
        presents(name, token.as_bytes(), is_authorization, value.trim_ascii()),
        "{name}: {value:?}"
    );

    let route = Route::of(&path, Format::of(&headers)).ok();
    let in_path = route.and_then(|(_, prefix)| tenant_in_path(prefix));
    let resource = headers.get("resource").and_then(|value| value.to_str().ok());
    let selector = match caller.target(in_path, &headers) {
        Ok(Target::Selector(selector)) => selector,
        Ok(Target::Resources(resources)) => match resources.selector(resource) {
            Ok(selector) => selector,
            Err(_) => return false,
        },
        Err(_) => return false,
    };
    let tenant = selector
        .get(SelectorKind::Tenant)
        .expect("each caller has tenants")
        .as_str();
    let is_allowed = tenant == "acme" || name != "fixed" && tenant.starts_with("team-");
    assert!(is_allowed, "{name} reaches {tenant}");
    let named = match name {
        "fixed" => "acme".to_owned(),
        "header" => {
            let values: Vec<_> = headers.get_all("x-tenant").iter().collect();
            assert_eq!(values.len(), 1);
            String::from_utf8_lossy(values[0].as_bytes()).into_owned()
        }
        "path" => decoded(in_path.expect("the path names it")),
        _ => resource.expect("the resource names it").to_owned(),
    };
    assert_eq!(named, tenant);
    assert!(in_path.is_none_or(|in_path| decoded(in_path) == tenant));
    assert_eq!(
        selector.get(SelectorKind::Environment).map(Slug::as_str),
        (name == "resource").then_some("production")
    );
    true
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Whether the only credential of a request contains the caller's token, in a spelling that counts.
fn presents(caller: &str, token: &[u8], is_authorization: bool, value: &[u8]) -> bool {
    if value == token {
        return true;
    }
    let Some(space) = value.iter().position(|byte| *byte == b' ').filter(|_| is_authorization) else {
        return false;
    };
    let (scheme, rest) = (value[..space].to_ascii_lowercase(), value[space..].trim_ascii());
    if scheme == b"bearer" {
        return rest == token;
    }
    let text = String::from_utf8_lossy(rest).trim_end_matches('=').to_owned();
    let padded = format!("{text}{}", "=".repeat((4 - text.len() % 4) % 4));
    let Ok(pair) = STANDARD.decode(padded) else {
        return false;
    };
    let colon = pair.iter().position(|byte| *byte == b':');
    let part = match (caller, colon) {
        ("path", Some(colon)) => &pair[colon + 1..],
        ("resource", Some(colon)) => &pair[..colon],
        ("path" | "resource", None) => return false,
        _ => &pair[..],
    };
    scheme == b"basic" && part == token
}

/// What a head states beside the caller.
fn described(path: &str, headers: &HeaderMap) {
    let format = Format::of(headers);
    assert!(format.is_none() || headers.get_all("content-type").iter().count() == 1);
    if let Ok((route, prefix)) = Route::of(path, format) {
        assert!(path.starts_with(prefix));
        let is_grpc = format == Some(Format::Grpc);
        assert!(route != Route::Traces || is_grpc || path == format!("{prefix}/v1/traces"));
    }
    let format = format.unwrap_or(Format::Protobuf);
    let name = if format == Format::Grpc {
        "grpc-encoding"
    } else {
        "content-encoding"
    };
    match Encoding::of(format, headers) {
        Ok(encoding) => {
            assert!(headers.get_all(name).iter().count() < 2);
            assert!(encoding == Encoding::Identity || headers.contains_key(name));
        }
        Err(refusal) => assert!(refusal.kind == RefusalKind::UnsupportedType && headers.contains_key(name)),
    }
    let trusted = ["10.0.0.0/8".parse().expect("a network")];
    let [proxy, other] = ["10.0.0.1", "192.0.2.1"].map(|address| address.parse::<IpAddr>().expect("an address"));
    assert_eq!(client::address(other, headers, &trusted), other);
    let address = client::address(proxy, headers, &trusted);
    assert!(address == proxy || headers.contains_key("forwarded") || headers.contains_key("x-forwarded-for"));
}

/// Limit of an inflated message, and memory of all requests.
const LIMIT: usize = 256 << 10;
const MEMORY: usize = 2 << 20;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Builder::new_current_thread().build().expect("a runtime"));

/// Reads the body of a request. The first byte chooses its encoding, whether it is framed as in gRPC,
/// and whether the rest is compressed first. Returns whether the body is accepted.
///
/// # Panics
/// Panics if the message differs from what other decoders make of it, or if it takes more memory
/// than is allowed or reserved.
pub fn body(data: &[u8]) -> bool {
    let Some((choice, data)) = data.split_first() else {
        return false;
    };
    let encoding = [Encoding::Identity, Encoding::Gzip, Encoding::Zstd, Encoding::Gzip][usize::from(choice & 3)];
    let data = if choice & 8 == 0 {
        data.to_vec()
    } else {
        compressed(encoding, data)
    };
    let body = Bytes::from(data);
    let (encoding, message) = if choice & 4 == 0 {
        (encoding, body)
    } else {
        let Ok((is_compressed, message)) = frame::unframe(&body) else {
            assert!(frame::announced(&body) != Some(body.len()) || body[0] > 1);
            return false;
        };
        assert_eq!(frame::announced(&body), Some(frame::PREFIX_BYTES + message.len()));
        match encoding.of_message(is_compressed) {
            Ok(encoding) => (encoding, message),
            Err(_) => return false,
        }
    };
    let budget = Budget::new(MEMORY);
    let mut reserved = budget.reservation(&Arc::default());
    let queue = Mutex::default();
    let mut turn = Turn::new(&queue);
    let inflated = RUNTIME.block_on(encoding.inflate(message.clone(), LIMIT, &mut reserved, &mut turn));
    assert!(budget.used() <= MEMORY);
    let expected = inflated_by_others(encoding, &message);
    let is_accepted = match inflated {
        Ok(inflated) => {
            let is_encoded = encoding != Encoding::Identity;
            assert!(!is_encoded || inflated.message.len() <= LIMIT.min(budget.used()));
            assert!(expected.is_some_and(|expected| expected == inflated.message));
            assert!(
                inflated
                    .gzip
                    .is_none_or(|gzip| gzip == message && encoding == Encoding::Gzip)
            );
            true
        }
        Err(refusal) => {
            match refusal.kind {
                // Some decoders ignore what follows the last member, and allow blocks without content.
                RefusalKind::Malformed => {}
                RefusalKind::TooLarge => assert!(expected.is_none_or(|expected| expected.len() > LIMIT)),
                kind => panic!("{kind:?} with enough memory"),
            }
            false
        }
    };
    drop(reserved);
    assert_eq!(budget.used(), 0);
    is_accepted
}

fn compressed(encoding: Encoding, data: &[u8]) -> Vec<u8> {
    match encoding {
        Encoding::Identity => data.to_vec(),
        Encoding::Gzip => {
            let mut compressed = Vec::new();
            let mut encoder = flate2::read::GzEncoder::new(data, flate2::Compression::fast());
            encoder.read_to_end(&mut compressed).expect("bytes in memory");
            compressed
        }
        Encoding::Zstd => zstd::encode_all(data, 1).expect("bytes in memory"),
    }
}

/// Inflates a message, up to a byte more than is allowed. Returns `None` if it is malformed.
fn inflated_by_others(encoding: Encoding, message: &[u8]) -> Option<Vec<u8>> {
    let mut inflated = Vec::new();
    let limit = LIMIT as u64 + 1;
    match encoding {
        _ if message.is_empty() => Ok(0),
        Encoding::Identity => return Some(message.to_vec()),
        Encoding::Gzip => MultiGzDecoder::new(message).take(limit).read_to_end(&mut inflated),
        Encoding::Zstd => zstd::Decoder::new(message).ok()?.take(limit).read_to_end(&mut inflated),
    }
    .ok()?;
    Some(inflated)
}
