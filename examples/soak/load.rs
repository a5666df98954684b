//! Threads that create spans, sessions and dedicated tracers at a given rate.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tracer_registry::{Enrichment, Selector, TracerHandle};

use crate::Result;
use crate::created::Created;
use crate::options::{BAD, Options, name_of};
use crate::registry::Current;

/// How often a thread wakes up.
const TICK: Duration = Duration::from_millis(2);
/// Maximum backlog that a delayed thread catches up at once.
const CAUGHT_UP: Duration = Duration::from_millis(200);

/// The load threads and their counts.
pub(crate) struct Load {
    pub(crate) created: Arc<[Created]>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// State of one load thread.
struct LoadThread {
    options: Options,
    current: Arc<RwLock<Current>>,
    created: Arc<[Created]>,
    rng: StdRng,
}

impl Load {
    pub(crate) fn start(options: &Options, current: &Arc<RwLock<Current>>) -> Self {
        let created: Arc<[Created]> = (0..options.tenants).map(|_| Created::default()).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..options.threads).map(|thread| {
            let mut thread = LoadThread {
                options: options.clone(),
                current: Arc::clone(current),
                created: Arc::clone(&created),
                rng: StdRng::seed_from_u64(options.seed.wrapping_mul(1000) + u64::from(thread)),
            };
            let stop = Arc::clone(&stop);
            thread::spawn(move || thread.run(&stop))
        });
        Self {
            threads: threads.collect(),
            created,
            stop,
        }
    }

    pub(crate) fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let ended: Vec<_> = self.threads.into_iter().map(JoinHandle::join).collect();
        if ended.iter().all(std::result::Result::is_ok) {
            Ok(())
        } else {
            Err("a thread that makes spans panicked".into())
        }
    }
}

impl LoadThread {
    fn run(&mut self, stop: &AtomicBool) {
        let rate = f64::from(self.options.rate) / f64::from(self.options.threads);
        let (mut owed, mut last) = (0.0, Instant::now());
        while !stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            owed += (now - last).min(CAUGHT_UP).as_secs_f64() * rate;
            last = now;
            while owed >= 1.0 {
                owed -= f64::from(self.serve());
            }
            thread::sleep(TICK);
        }
    }

    /// Simulates one request of a tenant. Returns the number of spans. Waits during a restart.
    fn serve(&mut self) -> u32 {
        let current = Arc::clone(&self.current);
        let current = current.read().unwrap_or_else(PoisonError::into_inner);
        let tenant = self.options.any_tenant(&mut self.rng);
        let created = Arc::clone(&self.created);
        let created = &created[tenant as usize];
        let depth = self.rng.random_range(1..=4);
        let in_session = self.rng.random_bool(0.03);
        let tracer = if self.rng.random_bool(0.01) {
            let selector = Selector::tenant(&name_of(tenant));
            current.registry.dedicated(selector).expect("its pooled tracer exists")
        } else {
            current.tracers[tenant as usize].clone()
        };
        if !in_session {
            created
                .spans
                .create(depth.into(), || self.spans(&tracer, tenant, depth));
            return depth;
        }
        let session = created.events.create(1, || {
            tracer
                .session("chat")
                .input("question", "why?")
                .metadata("tenant", name_of(tenant))
                .start()
        });
        {
            let _in_session = session.enter();
            created
                .spans
                .create(depth.into(), || self.spans(&tracer, tenant, depth));
        }
        for turn in 0..self.rng.random_range(0..4_u32) {
            let enrichment = Enrichment::new()
                .metric(format!("turn_{turn}"), turn)
                .outputs("because");
            created.events.create(1, || session.enrich(enrichment));
        }
        depth
    }

    /// Creates nested spans.
    fn spans(&mut self, tracer: &TracerHandle, tenant: u32, depth: u32) {
        let text = match self.rng.random_range(0..1000_u32) {
            0 => BAD.to_owned(),
            1..10 => "a long answer ".repeat(400),
            size => "x".repeat(size as usize / 10),
        };
        tracer.in_span(name_of(tenant), |span| {
            span.set_attribute("gen_ai.operation.name", "chat");
            span.set_attribute("depth", i64::from(depth));
            span.set_attribute("answer", text);
            if depth > 1 {
                self.spans(tracer, tenant, depth - 1);
            }
        });
    }
}
