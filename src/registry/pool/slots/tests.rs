//! Runs look-ups, builders, evictions and removals on the real slots in every possible order.

use std::cell::Cell;
use std::mem;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::selector::SelectorError;

type Tracer = Arc<Token>;

/// Stands in for a tracer.
#[derive(Debug, Default)]
struct Token {
    is_evicted: AtomicBool,
}

/// A thread that acts on the slots step by step.
enum Actor {
    /// Looks a key up. If it becomes the builder, it builds a tracer or fails.
    Look { key: u8, fails: bool, at: Look },
    /// Lists the ready tracers, then evicts the idle ones, `left` times.
    Evict { left: usize, found: Option<Vec<(u8, u64)>> },
    /// Removes the tracer of a key.
    Remove { key: u8, done: bool },
}

enum Look {
    Begin,
    Making(Arc<Build<Tracer>>),
    Waiting(Arc<Build<Tracer>>),
    Holding(Tracer),
    Done,
}

struct Model {
    slots: Slots<u8, Tracer>,
    max: usize,
    reserved: Cell<usize>,
    clock: u64,
    /// All tracers ever built.
    built: Vec<Tracer>,
    refused: usize,
}

fn look(key: u8) -> Actor {
    Actor::Look {
        key,
        fails: false,
        at: Look::Begin,
    }
}

fn failing(key: u8) -> Actor {
    Actor::Look {
        key,
        fails: true,
        at: Look::Begin,
    }
}

fn evict(left: usize) -> Actor {
    Actor::Evict { left, found: None }
}

fn remove(key: u8) -> Actor {
    Actor::Remove { key, done: false }
}

impl Actor {
    fn can_step(&self) -> bool {
        match self {
            Self::Look { at, .. } => match at {
                Look::Done => false,
                Look::Waiting(build) => build.0.get().is_some(),
                _ => true,
            },
            Self::Evict { left, .. } => *left > 0,
            Self::Remove { done, .. } => !done,
        }
    }

    fn is_done(&self) -> bool {
        match self {
            Self::Look { at, .. } => matches!(at, Look::Done),
            _ => !self.can_step(),
        }
    }

    fn step(&mut self, model: &mut Model) {
        model.clock += 1;
        let now = model.clock;
        match self {
            Self::Look { key, fails, at } => *at = model.look(*key, *fails, mem::replace(at, Look::Done), now),
            Self::Evict { left, found } => match found.take() {
                None => {
                    let mut seen = Vec::new();
                    model.slots.for_each(|key, _, used| seen.push((*key, used.get())));
                    *found = Some(seen);
                }
                Some(seen) => {
                    *left -= 1;
                    for (key, used) in seen {
                        model.evict(key, used, now);
                    }
                }
            },
            Self::Remove { key, done } => {
                *done = true;
                if model.slots.remove(key) {
                    model.reserved.set(model.reserved.get() - 1);
                }
            }
        }
    }
}

impl Model {
    fn look(&mut self, key: u8, fails: bool, at: Look, now: u64) -> Look {
        match at {
            Look::Begin => {
                let admit = || {
                    let free = self.reserved.get() < self.max;
                    self.reserved.set(self.reserved.get() + usize::from(free));
                    free
                };
                match self.slots.claim(&key, now, admit) {
                    Claim::Found(tracer) => Look::Holding(tracer),
                    Claim::Wait(build) => Look::Waiting(build),
                    Claim::Make(build) => Look::Making(build),
                    Claim::Full => {
                        self.refused += 1;
                        Look::Done
                    }
                }
            }
            Look::Making(build) => {
                let result = if fails {
                    Err(LookupError::Selector(SelectorError::Empty))
                } else {
                    Ok(Tracer::default())
                };
                self.built.extend(result.clone());
                if self.slots.finish(&key, &build, result.clone(), now) {
                    self.reserved.set(self.reserved.get() - 1);
                }
                result.map_or(Look::Done, Look::Holding)
            }
            Look::Waiting(build) => build.wait().map_or(Look::Done, Look::Holding),
            Look::Holding(_) | Look::Done => Look::Done,
        }
    }

    fn evict(&mut self, key: u8, used: u64, now: u64) {
        // `built` holds another reference to each.
        let is_idle = |tracer: &mut Tracer| Arc::strong_count(tracer) == 2;
        if let Some(tracer) = self.slots.evict(&key, used, is_idle, now) {
            assert!(!tracer.is_evicted.swap(true, Ordering::Relaxed), "evicted twice");
            self.reserved.set(self.reserved.get() - 1);
        }
    }

    fn check(&self, actors: &[Actor]) {
        let held = actors.iter().filter_map(|actor| match actor {
            Actor::Look {
                at: Look::Holding(tracer),
                ..
            } => Some(tracer),
            _ => None,
        });
        for tracer in held {
            assert!(
                !tracer.is_evicted.load(Ordering::Relaxed),
                "a look-up holds an evicted tracer"
            );
        }
        assert_eq!(
            self.reserved.get(),
            self.slots.slots.len(),
            "reserved capacity differs from the number of slots"
        );
        assert!(self.reserved.get() <= self.max);
        self.slots.for_each(|_, tracer, _| {
            assert!(
                !tracer.is_evicted.load(Ordering::Relaxed),
                "an evicted tracer is in a slot"
            );
        });
    }

    fn check_end(&self) {
        let building = self
            .slots
            .slots
            .iter()
            .filter(|slot| matches!(slot.value(), Slot::Building(_)));
        assert_eq!(building.count(), 0, "a slot stays in building");
        // Each key is ready or can be built.
        for key in 0..2 {
            match self.slots.claim(&key, self.clock, || true) {
                Claim::Found(tracer) => assert!(!tracer.is_evicted.load(Ordering::Relaxed)),
                Claim::Make(_) => {}
                Claim::Wait(_) | Claim::Full => panic!("key {key} is unusable"),
            }
        }
    }
}

/// Runs the actors in one order. `order` holds the actor chosen at each step; missing steps choose
/// the first one and are appended.
fn run(actors: &mut [Actor], max: usize, order: &mut Vec<(usize, usize)>) -> Model {
    let mut model = Model {
        slots: Slots::default(),
        max,
        reserved: Cell::new(0),
        clock: 0,
        built: Vec::new(),
        refused: 0,
    };
    for step in 0.. {
        let ready: Vec<usize> = (0..actors.len()).filter(|at| actors[*at].can_step()).collect();
        if ready.is_empty() {
            break;
        }
        if step == order.len() {
            order.push((0, ready.len()));
        }
        let (chosen, choices) = order[step];
        assert_eq!(choices, ready.len(), "execution is not deterministic");
        actors[ready[chosen]].step(&mut model);
        model.check(actors);
    }
    assert!(actors.iter().all(Actor::is_done), "an actor waits forever");
    model.check_end();
    model
}

/// Runs the actors in every order. Returns the number of orders, and the most tracers built and
/// look-ups refused in one.
fn explore(actors: impl Fn() -> Vec<Actor>, max: usize) -> (usize, usize, usize) {
    let mut order = Vec::new();
    let (mut orders, mut built, mut refused) = (0, 0, 0);
    loop {
        let model = run(&mut actors(), max, &mut order);
        orders += 1;
        built = built.max(model.built.len());
        refused = refused.max(model.refused);
        while order.last().is_some_and(|(chosen, choices)| chosen + 1 == *choices) {
            order.pop();
        }
        let Some((chosen, _)) = order.last_mut() else {
            return (orders, built, refused);
        };
        *chosen += 1;
    }
}

#[test]
fn no_look_up_returns_an_evicted_tracer_in_any_order() {
    let (orders, built, refused) = explore(|| vec![look(0), look(0), evict(1), remove(0)], 1);
    assert!(orders > 1_000, "{orders}");
    assert_eq!((built, refused), (2, 0));
    let (orders, built, _) = explore(|| vec![look(0), look(0), evict(2)], 1);
    assert!(orders > 1_000, "{orders}");
    assert_eq!(built, 2);
}

#[test]
fn a_failed_build_leaves_no_slot_in_any_order() {
    let (orders, built, _) = explore(|| vec![failing(0), look(0), look(0), remove(0)], 1);
    assert!(orders > 1_000, "{orders}");
    assert_eq!(built, 2);
    explore(|| vec![failing(0), failing(0), evict(1), remove(0)], 1);
}

#[test]
fn keys_that_compete_for_capacity_get_it_in_turn_or_are_refused() {
    let (orders, built, refused) = explore(|| vec![look(0), look(1), evict(2)], 1);
    assert!(orders > 400, "{orders}");
    assert_eq!((built, refused), (2, 1));
    let (_, built, refused) = explore(|| vec![look(0), look(1), evict(1), remove(1)], 2);
    assert_eq!((built, refused), (2, 0));
}
