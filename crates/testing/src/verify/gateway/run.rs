//! Runs a program: each client on its own thread.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::super::check::finding::FindingKind;
use super::super::error::VerifyError;
use super::super::program::operation::OpId;
use super::client::{Answer, Attempt, HttpClient, prepare};
use super::oracle::grpc_code;
use super::program::{Export, Format, Kind, Op, Program};
use super::service::Service;
use super::world::Period;

/// Time limit of a request with all its attempts.
const REQUEST: Duration = Duration::from_secs(60);
/// Pause before another attempt.
const PAUSE: Duration = Duration::from_millis(5);

/// What a client saw of a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Observed {
    /// `None` if there was none in time.
    pub(super) answer: Option<Answer>,
    /// Number of the caller's token.
    pub(super) token: Option<u32>,
    /// States during all attempts.
    pub(super) period: Period,
    /// First state of the last attempt.
    pub(super) last_first: usize,
    /// Attempts that may have been taken although no answer came.
    pub(super) unknown: u32,
    /// Answers that the gateway has no room now.
    pub(super) unavailable: u64,
    pub(super) last_error: String,
}

/// What the clients saw, by operation.
pub(super) type Observations = HashMap<OpId, Observed>;

/// Runs a program to its end.
pub(super) fn run(
    program: &Program,
    service: &Arc<Service>,
    client: &Arc<HttpClient>,
) -> Result<Observations, VerifyError> {
    let clients = program.clients.iter().cloned().map(|ops| {
        let (service, client, seed) = (Arc::clone(service), Arc::clone(client), program.seed);
        thread::spawn(move || run_client(&ops, &service, &client, seed))
    });
    // All run before the first one is joined.
    let clients: Vec<_> = clients.collect();
    let mut observed = Observations::new();
    for client in clients {
        match client.join() {
            Ok(result) => observed.extend(result?),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    Ok(observed)
}

fn run_client(
    ops: &[Op],
    service: &Service,
    client: &HttpClient,
    seed: u64,
) -> Result<Vec<(OpId, Observed)>, VerifyError> {
    let mut observed = Vec::new();
    for op in ops {
        match &op.kind {
            Kind::Export(export) => observed.push((op.id, send(export, op.id, service, client, seed))),
            Kind::Disturb(disturbance) => service.disturb(*disturbance, op.id)?,
        }
    }
    Ok(observed)
}

fn send(export: &Export, id: OpId, service: &Service, client: &HttpClient, seed: u64) -> Observed {
    let (first, state) = service.states.now();
    let (prepared, token) = prepare(&service.world, seed, &state, export, id);
    let unavailable = match export.format {
        Format::Grpc => grpc_code(503),
        Format::Protobuf | Format::Json(_) => 503,
    };
    let mut observed = Observed {
        token,
        period: Period { first, last: first },
        ..Observed::default()
    };
    let deadline = Instant::now() + REQUEST;
    while Instant::now() < deadline {
        observed.last_first = service.states.now().0;
        match client.send(service.addresses(), &prepared) {
            Attempt::Answered(answer) if answer.status == unavailable => observed.unavailable += 1,
            Attempt::Answered(answer) => {
                observed.answer = Some(answer);
                break;
            }
            Attempt::NotSent => {}
            Attempt::Unknown(error) => {
                observed.unknown += 1;
                observed.last_error = error;
            }
        }
        thread::sleep(PAUSE);
    }
    observed.period.last = service.states.begun();
    if observed.answer.is_none() {
        let seen = format!("none: {} times no room; {}", observed.unavailable, observed.last_error);
        service.wrong(FindingKind::Hung, id, "an answer within a minute", seen);
    }
    observed
}
