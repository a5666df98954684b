//! Runs a program: each client on its own thread.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::super::check::finding::FindingKind;
use super::super::error::VerifyError;
use super::super::program::operation::OpId;
use super::client::{Answer, Attempt, HttpClient, Prepared, prepare, prepare_session};
use super::content::session_id;
use super::oracle::grpc_code;
use super::program::{Action, Format, Kind, Op, Program, SessionRef};
use super::service::Service;
use super::world::Period;

/// Time limit of a request with all its attempts. After that, the program ends.
const REQUEST: Duration = Duration::from_secs(30);
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
    /// Attempts that the gateway refused because a server of the stream did not acknowledge the
    /// data, which it may have stored nevertheless.
    pub(super) unconfirmed: u32,
    /// Answers that the gateway has no room now.
    pub(super) unavailable: u64,
    pub(super) last_error: String,
    /// Session of a request to the session API: the one in its answer, or else in the request.
    pub(super) session: Option<String>,
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
    let mut all: Vec<(OpId, Observed)> = Vec::new();
    for op in ops {
        if service.is_hung() {
            break;
        }
        let (world, (first, state)) = (&service.world, service.states.now());
        let (prepared, token, session) = match &op.kind {
            Kind::Export(export) => {
                let (prepared, token) = prepare(world, seed, &state, export, op.id);
                (prepared, token, None)
            }
            Kind::Session(session) => {
                let started = |by: OpId| {
                    let found = all.iter().find(|(op, _)| *op == by);
                    found.and_then(|(_, observed)| observed.session.clone())
                };
                let id = match session.action {
                    Action::Start { session, .. } => session.map(|number| session_id(seed, number)),
                    Action::Enrich { session, .. } | Action::Event { session } => Some(match session {
                        SessionRef::Given(number) => session_id(seed, number),
                        SessionRef::StartedBy(op) => started(op).unwrap_or_else(|| session_id(!seed, op)),
                    }),
                };
                let (prepared, token) = prepare_session(world, seed, &state, session, (op.id, id.as_deref()));
                (prepared, token, id)
            }
            Kind::Disturb(disturbance) => {
                service.disturb(*disturbance, op.id)?;
                continue;
            }
        };
        let mut observed = send(&prepared, op, service, client, first);
        observed.token = token;
        let answered = observed
            .answer
            .as_ref()
            .and_then(|answer| answer.json["session_id"].as_str());
        observed.session = answered.map(str::to_owned).or(session);
        all.push((op.id, observed));
    }
    Ok(all)
}

fn send(prepared: &Prepared, op: &Op, service: &Service, client: &HttpClient, first: usize) -> Observed {
    let unavailable = if prepared.format == Format::Grpc {
        grpc_code(503)
    } else {
        503
    };
    let mut observed = Observed {
        period: Period { first, last: first },
        ..Observed::default()
    };
    let deadline = Instant::now() + REQUEST;
    // After a refusal, the client uses the next replica.
    for replica in op.replica.. {
        let began = Instant::now();
        if began >= deadline || service.is_hung() {
            break;
        }
        observed.last_first = service.states.now().0;
        match client.send(service.addresses(replica), prepared) {
            Attempt::Answered(answer) if answer.status == unavailable => {
                observed.unavailable += 1;
                observed.unconfirmed += u32::from(service.may_be_unconfirmed(began));
            }
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
    if observed.answer.is_none() && !service.is_hung() {
        let seen = format!("none: {} times no room; {}", observed.unavailable, observed.last_error);
        service.wrong(FindingKind::Hung, op.id, "an answer within 30 s", seen);
    }
    observed
}
