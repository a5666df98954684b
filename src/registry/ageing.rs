//! Tells tracers that their binding must be asked for again. Asks nobody itself: who looks a tracer up does, so that what nobody uses
//! costs the source nothing.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Weak};
use std::time::Duration;
use std::{io, thread};

use super::Inner;
use super::answers::Answers;
use super::source::AnswersKept;
use crate::selector::Part;

/// How often it is looked, at least and at most.
const BETWEEN: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(30));

/// Ends its thread when it is dropped.
pub(super) struct Ageing(#[expect(dead_code, reason = "the thread ends when this end of the channel goes")] Sender<()>);

impl Ageing {
    pub(super) fn start(registry: Weak<Inner>, answers: &Arc<Answers>, keep: &AnswersKept) -> io::Result<Self> {
        let (end, ended) = mpsc::channel();
        let answers = Arc::clone(answers);
        let between = (keep.known.min(keep.unknown) / 4).clamp(BETWEEN.0, BETWEEN.1);
        let run = move || {
            while ended.recv_timeout(between) == Err(RecvTimeoutError::Timeout) {
                let gone = answers.gone();
                if gone.is_empty() {
                    continue;
                }
                let Some(registry) = registry.upgrade() else { return };
                for tracer in registry.pool.tracers() {
                    if tracer
                        .selector()
                        .get(Part::Tenant)
                        .is_some_and(|tenant| gone.contains(tenant))
                    {
                        tracer.set_stale(true);
                    }
                }
            }
        };
        let thread = thread::Builder::new().name("tracer-registry-bindings".to_owned());
        thread.spawn(run).map(|_| Self(end))
    }
}
