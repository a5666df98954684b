//! Tells tracers that their binding must be asked for again. Asks nobody itself: who looks a tracer up does, so that what nobody uses
//! costs the source nothing.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Weak};
use std::time::Duration;
use std::{io, thread};

use super::cache::{AFTER_A_FAILURE, Answers};
use super::source::BindingCacheOptions;
use crate::registry::pool::Pool;
use crate::selector::SelectorKind;

/// How often it is looked at the most.
const OFTEN: Duration = Duration::from_millis(5);

/// Ends its thread when it is dropped.
pub(crate) struct Ageing(#[expect(dead_code, reason = "the thread ends when this end of the channel goes")] Sender<()>);

impl Ageing {
    pub(crate) fn start(pool: Weak<Pool>, answers: &Arc<Answers>, keep: &BindingCacheOptions) -> io::Result<Self> {
        let (end, ended) = mpsc::channel();
        let answers = Arc::clone(answers);
        let between = between(keep);
        let run = move || {
            while ended.recv_timeout(between) == Err(RecvTimeoutError::Timeout) {
                let gone = answers.gone();
                if gone.is_empty() {
                    continue;
                }
                let Some(pool) = pool.upgrade() else { return };
                for tracer in pool.tracers() {
                    if tracer
                        .selector()
                        .get(SelectorKind::Tenant)
                        .is_some_and(|tenant| gone.contains(tenant))
                    {
                        tracer.mark_stale();
                    }
                }
            }
        };
        let thread = thread::Builder::new().name("tracer-registry-bindings".to_owned());
        thread.spawn(run).map(|_| Self(end))
    }
}

/// A quarter of the shortest time that something is kept for.
fn between(keep: &BindingCacheOptions) -> Duration {
    let shortest = keep.known.min(keep.unknown).min(AFTER_A_FAILURE);
    (shortest / 4).max(OFTEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_looked_often_enough_for_the_shortest_time() {
        let of = |known, unknown| {
            between(&BindingCacheOptions {
                known,
                unknown,
                most: 1,
            })
        };
        let (hour, second) = (Duration::from_secs(3600), Duration::from_secs(1));
        assert_eq!(
            of(hour, hour),
            AFTER_A_FAILURE / 4,
            "a source that failed is asked again sooner"
        );
        assert_eq!((of(second, hour), of(hour, second)), (second / 4, second / 4));
        assert_eq!(of(Duration::ZERO, hour), OFTEN);
    }
}
