//! Clients of gateways under load, and what was acknowledged to them.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::support::LONG;
use connection::Connection;
use receipts::Receipts;

pub(crate) mod connection;
pub(crate) mod receipts;

/// How often a condition is looked at that nothing signals.
const POLL: Duration = Duration::from_millis(100);

/// The clients, and what was acknowledged to them. Each client has tenants of its own, so that the
/// spans of a tenant have an order.
pub(crate) struct Load {
    tenants: u64,
    clients: u64,
    spans: RangeInclusive<u64>,
    /// Spans a second, or as many as are answered.
    rate: Option<u32>,
    state: Mutex<State>,
    changed: Condvar,
    /// The number of the next span.
    next: AtomicU64,
}

#[derive(Default)]
struct State {
    /// Where gateways listen.
    addresses: Vec<String>,
    is_over: bool,
    /// Clients that have not ended.
    running: u64,
    /// Spans, and when they were acknowledged.
    acknowledged: HashMap<u64, Instant>,
    answers: BTreeMap<String, Answers>,
}

/// Requests to one address.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Answers {
    pub(crate) acknowledged: u64,
    /// Answered with 503.
    pub(crate) refused: u64,
    pub(crate) unanswered: u64,
}

impl Load {
    /// As fast as there are answers, with this many spans in a request.
    pub(crate) fn closed(tenants: u64, clients: u64, spans: RangeInclusive<u64>) -> Self {
        Self {
            tenants,
            clients,
            spans,
            rate: None,
            state: Mutex::default(),
            changed: Condvar::new(),
            next: AtomicU64::new(0),
        }
    }

    /// At this rate, whenever there are answers: a client that is late catches up.
    pub(crate) fn paced(tenants: u64, clients: u64, spans: u64, rate: u32) -> Self {
        Self {
            rate: Some(rate),
            ..Self::closed(tenants, clients, spans..=spans)
        }
    }

    /// Starts the clients. They end with the load.
    pub(crate) fn start<'scope>(&'scope self, scope: &'scope thread::Scope<'scope, '_>) {
        self.state.lock().expect("no panic").running = self.clients;
        for client in 0..self.clients {
            scope.spawn(move || {
                self.run(client);
                self.state.lock().expect("no panic").running -= 1;
                self.changed.notify_all();
            });
        }
    }

    /// Sets where gateways listen.
    pub(crate) fn listen(&self, addresses: Vec<String>) {
        self.state.lock().expect("no panic").addresses = addresses;
        self.changed.notify_all();
    }

    fn end(&self) {
        self.state.lock().expect("no panic").is_over = true;
        self.changed.notify_all();
    }

    /// Ends the clients, and waits for the answers to their last requests.
    pub(crate) fn finish(&self) {
        self.end();
        let state = self.state.lock().expect("no panic");
        let wait = self.changed.wait_timeout_while(state, LONG, |state| state.running > 0);
        let (state, result) = wait.expect("no panic");
        assert!(!result.timed_out(), "{} clients wait for answers", state.running);
    }

    /// Waits for an address other than one that does not answer. Returns `None` at the end.
    fn address(&self, client: u64, other_than: Option<&str>) -> Option<String> {
        let find = |state: &State| {
            let addresses = state.addresses.iter().filter(|address| Some(&***address) != other_than);
            let addresses: Vec<&String> = addresses.collect();
            let place = usize::try_from(client).expect("few") % addresses.len().max(1);
            addresses.get(place).map(|address| (*address).clone())
        };
        let state = self.state.lock().expect("no panic");
        let is_waiting = |state: &mut State| !state.is_over && find(state).is_none();
        let state = self.changed.wait_while(state, is_waiting).expect("no panic");
        find(&state).filter(|_| !state.is_over)
    }

    /// Waits until so many spans are acknowledged.
    pub(crate) fn wait_for(&self, spans: usize) {
        let state = self.state.lock().expect("no panic");
        let is_less = |state: &mut State| state.acknowledged.len() < spans;
        let (state, result) = self.changed.wait_timeout_while(state, LONG, is_less).expect("no panic");
        assert!(
            !result.timed_out(),
            "{} spans acknowledged, {:?}",
            state.acknowledged.len(),
            state.answers
        );
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.state.lock().expect("no panic").acknowledged.len()
    }

    /// Returns the requests to one address.
    pub(crate) fn answers_of(&self, address: &str) -> Answers {
        let state = self.state.lock().expect("no panic");
        state.answers.get(address).copied().unwrap_or_default()
    }

    /// Returns all requests.
    pub(crate) fn answers(&self) -> Answers {
        let state = self.state.lock().expect("no panic");
        state.answers.values().fold(Answers::default(), |sum, of| Answers {
            acknowledged: sum.acknowledged + of.acknowledged,
            refused: sum.refused + of.refused,
            unanswered: sum.unanswered + of.unanswered,
        })
    }

    /// Returns the number of acknowledged spans that were not received.
    pub(crate) fn missing(&self, receipts: &Mutex<Receipts>) -> usize {
        self.missing_of(receipts, |_| true)
    }

    /// The same for some tenants.
    pub(crate) fn missing_of(&self, receipts: &Mutex<Receipts>, is_meant: impl Fn(u64) -> bool) -> usize {
        let (state, receipts) = (self.state.lock().expect("no panic"), receipts.lock().expect("no panic"));
        let spans = state.acknowledged.keys().filter(|span| is_meant(tenant_of(**span)));
        spans.filter(|span| !receipts.spans.contains_key(span)).count()
    }

    /// Waits until all acknowledged spans of some tenants are received.
    pub(crate) fn wait_until_received(
        &self,
        receipts: &Mutex<Receipts>,
        is_meant: impl Fn(u64) -> bool,
        limit: Duration,
    ) -> bool {
        let until = Instant::now() + limit;
        while self.missing_of(receipts, &is_meant) > 0 {
            if Instant::now() > until {
                return false;
            }
            thread::sleep(POLL);
        }
        true
    }

    /// Returns the acknowledged spans, and when that was.
    pub(crate) fn acknowledgements(&self) -> Vec<(u64, Instant)> {
        let state = self.state.lock().expect("no panic");
        state.acknowledged.iter().map(|(span, at)| (*span, *at)).collect()
    }

    /// Sends spans of the client's tenants until the end. Repeats nothing, so that the gateway
    /// alone sends a span twice.
    fn run(&self, client: u64) {
        let mut random = StdRng::seed_from_u64(client);
        let (mut connection, mut dead) = (Connection::default(), None);
        let most = *self.spans.end();
        let interval = self.rate.map(|rate| Duration::from_secs(most * self.clients) / rate);
        // The clients begin one after the other.
        let mut due = Instant::now() + interval.unwrap_or_default().mul_f64(random.random());
        let own: Vec<u64> = (0..self.tenants)
            .filter(|tenant| tenant % self.clients == client)
            .collect();
        for tenant in own.iter().copied().cycle() {
            let Some(address) = self.address(client, dead.as_deref()) else {
                return;
            };
            if let Some(interval) = interval {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                due += interval;
            }
            let count = random.random_range(self.spans.clone());
            if !self.send(&mut connection, &address, tenant, count) {
                dead = Some(address);
            }
        }
    }

    /// Sends new spans. Returns false if there is no answer.
    pub(crate) fn send(&self, connection: &mut Connection, address: &str, tenant: u64, count: u64) -> bool {
        let first = self.next.fetch_add(count, Ordering::Relaxed);
        let spans: Vec<u64> = (first..first + count).map(|number| tenant << TENANT | number).collect();
        let answer = connection.post(address, tenant, &spans);
        let now = Instant::now();
        let mut state = self.state.lock().expect("no panic");
        let answers = match state.answers.get_mut(address) {
            Some(answers) => answers,
            None => state.answers.entry(address.to_owned()).or_default(),
        };
        match answer {
            Ok(200) => {
                answers.acknowledged += 1;
                state.acknowledged.extend(spans.into_iter().map(|span| (span, now)));
            }
            Ok(503) => answers.refused += 1,
            Ok(status) => panic!("{status}"),
            Err(_) => answers.unanswered += 1,
        }
        drop(state);
        self.changed.notify_all();
        answer.is_ok()
    }
}

/// The bits of a span's id below those of its tenant.
const TENANT: u32 = 40;

pub(crate) fn tenant_of(span: u64) -> u64 {
    span >> TENANT
}

/// Ends the clients. Without it, a panic would leave them running.
pub(crate) struct End<'a>(pub(crate) &'a Load);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}
