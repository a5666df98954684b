//! Finding the caller of a request, in this process.

use std::fs;
use std::hint::black_box;
use std::time::Instant;

use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use tracer_registry::config::Config;
use tracer_registry::secret::SecretSources;
use tracer_registry_gateway::callers::Callers;
use tracer_registry_gateway::config::Settings;

use crate::idle::{callers, token};
use crate::row::{Row, Target, median, number};
use crate::{Bench, Result};

const CALLERS: usize = 100_000;
/// Callers that are looked up.
const LOOK_UPS: usize = 20_000;
/// Look-ups that are timed together.
const BATCH: usize = 50;

pub(crate) fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let folder = tempfile::tempdir()?;
    fs::write(
        folder.path().join("default.toml"),
        "[defaults]\nbackend = \"otlp\"\nendpoint = \"http://127.0.0.1:9\"\napi_key = { env = \"UNUSED\" }\n[tenants.\"*\"]\n",
    )?;
    fs::write(folder.path().join("gateway.toml"), callers(CALLERS))?;
    let config = Config::load_for_gateway(folder.path())?;
    let callers = Callers::read(&config, &Settings::read(&config)?, &SecretSources::default(), None)?;
    let requests: Vec<HeaderMap> = (0..LOOK_UPS)
        .map(|at| headers(&token(at * 7_919 % CALLERS)))
        .collect::<Result<_>>()?;
    let mut nanos = Vec::new();
    for _ in 0..bench.rounds() {
        for batch in requests.chunks(BATCH) {
            // The headers of a request were just read.
            for (_, value) in batch.iter().flatten() {
                black_box(value.as_bytes().iter().fold(0, |sum, byte| sum ^ byte));
            }
            let begun = Instant::now();
            for request in batch {
                // With the memory of the caller, which the request reads next.
                black_box(
                    callers
                        .identify(black_box(request))
                        .map(|caller| caller.name().len())
                        .ok(),
                );
            }
            nanos.push(Some(begun.elapsed().as_secs_f64() * 1e9 / number(batch.len() as u64)));
        }
    }
    let nanos = median(nanos);
    let is_found = requests.iter().all(|request| callers.identify(request).is_ok());
    let row = Row::of(
        "look-up of a caller",
        format!("{CALLERS} callers"),
        "ns",
        Target::AtMost(500.0),
    );
    Ok(vec![row.measured(nanos.filter(|_| is_found), "", None)])
}

/// Returns the usual headers of a client.
fn headers(token: &str) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_static("127.0.0.1:4318"));
    headers.insert(USER_AGENT, HeaderValue::from_static("OTel-OTLP-Exporter-Python/1.40.0"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("2000"));
    headers.insert(AUTHORIZATION, HeaderValue::try_from(format!("Bearer {token}"))?);
    Ok(headers)
}
