//! Every order in which look-ups, builders, evictions and removals can meet, on the real slots.

use std::cell::Cell;
use std::mem;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::selector::SelectorError;

type Tracer = Arc<Token>;

/// A tracer as the pool sees it.
#[derive(Debug, Default)]
struct Token {
    /// It was evicted.
    dead: AtomicBool,
}

/// One who acts on the slots, step by step.
enum Actor {
    /// Looks a name up; where it is to make the tracer, it does or fails.
    Look { key: u8, fails: bool, at: Look },
    /// Looks for what can be evicted, evicts it, so often.
    Evict { left: usize, found: Option<Vec<(u8, u64)>> },
    /// Takes a name's tracer out.
    Remove { key: u8, done: bool },
}

enum Look {
    Begin,
    Making(Arc<Build<Tracer>>),
    Waiting(Arc<Build<Tracer>>),
    Holding(Tracer),
    Done,
}

struct World {
    slots: Slots<u8, Tracer>,
    max: usize,
    places: Cell<usize>,
    clock: u64,
    /// Everything that was ever made, and not evicted or taken out.
    made: Vec<Tracer>,
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

    fn step(&mut self, world: &mut World) {
        world.clock += 1;
        let now = world.clock;
        match self {
            Self::Look { key, fails, at } => *at = world.look(*key, *fails, mem::replace(at, Look::Done), now),
            Self::Evict { left, found } => match found.take() {
                None => {
                    let mut seen = Vec::new();
                    world.slots.each(|key, _, used| seen.push((*key, used.get())));
                    *found = Some(seen);
                }
                Some(seen) => {
                    *left -= 1;
                    for (key, used) in seen {
                        world.evict(key, used, now);
                    }
                }
            },
            Self::Remove { key, done } => {
                *done = true;
                if world.slots.remove(key) {
                    world.places.set(world.places.get() - 1);
                }
            }
        }
    }
}

impl World {
    fn look(&mut self, key: u8, fails: bool, at: Look, now: u64) -> Look {
        match at {
            Look::Begin => {
                let admit = || {
                    let free = self.places.get() < self.max;
                    self.places.set(self.places.get() + usize::from(free));
                    free
                };
                match self.slots.ask(&key, now, admit) {
                    Asked::Found(tracer) => Look::Holding(tracer),
                    Asked::Wait(build) => Look::Waiting(build),
                    Asked::Make(build) => Look::Making(build),
                    Asked::NoRoom => {
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
                self.made.extend(result.clone());
                if self.slots.finish(&key, &build, result.clone(), now) {
                    self.places.set(self.places.get() - 1);
                }
                result.map_or(Look::Done, Look::Holding)
            }
            Look::Waiting(build) => build.wait().map_or(Look::Done, Look::Holding),
            Look::Holding(_) | Look::Done => Look::Done,
        }
    }

    fn evict(&mut self, key: u8, used: u64, now: u64) {
        // `made` has each once more.
        let is_idle = |tracer: &mut Tracer| Arc::strong_count(tracer) == 2;
        if let Some(tracer) = self.slots.evict(&key, used, is_idle, now) {
            assert!(!tracer.dead.swap(true, Ordering::Relaxed), "evicted twice");
            self.places.set(self.places.get() - 1);
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
                !tracer.dead.load(Ordering::Relaxed),
                "somebody holds a tracer that was evicted"
            );
        }
        assert_eq!(
            self.places.get(),
            self.slots.slots.len(),
            "a place for each slot, and for no other"
        );
        assert!(self.places.get() <= self.max);
        self.slots.each(|_, tracer, _| {
            assert!(
                !tracer.dead.load(Ordering::Relaxed),
                "a tracer that was evicted can be found"
            );
        });
    }

    fn check_end(&self) {
        let building = self
            .slots
            .slots
            .iter()
            .filter(|slot| matches!(slot.value(), Slot::Building(_)));
        assert_eq!(building.count(), 0, "a slot is building for ever");
        // A name that is there is found, one that is not can be made.
        for key in 0..2 {
            match self.slots.ask(&key, self.clock, || true) {
                Asked::Found(tracer) => assert!(!tracer.dead.load(Ordering::Relaxed)),
                Asked::Make(_) => {}
                Asked::Wait(_) | Asked::NoRoom => panic!("the name {key} is lost"),
            }
        }
    }
}

/// Runs the actors in one order: `order` says which of those that can go on does, and is made longer where it ends.
fn run(actors: &mut [Actor], max: usize, order: &mut Vec<(usize, usize)>) -> World {
    let mut world = World {
        slots: Slots::default(),
        max,
        places: Cell::new(0),
        clock: 0,
        made: Vec::new(),
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
        assert_eq!(choices, ready.len(), "the same steps come to the same");
        actors[ready[chosen]].step(&mut world);
        world.check(actors);
    }
    assert!(actors.iter().all(Actor::is_done), "somebody waits for ever");
    world.check_end();
    world
}

/// Runs the actors in every order there is. Gives how many there are, and the most that was made and refused in one.
fn explore(actors: impl Fn() -> Vec<Actor>, max: usize) -> (usize, usize, usize) {
    let mut order = Vec::new();
    let (mut orders, mut made, mut refused) = (0, 0, 0);
    loop {
        let world = run(&mut actors(), max, &mut order);
        orders += 1;
        made = made.max(world.made.len());
        refused = refused.max(world.refused);
        while order.last().is_some_and(|(chosen, choices)| chosen + 1 == *choices) {
            order.pop();
        }
        let Some((chosen, _)) = order.last_mut() else {
            return (orders, made, refused);
        };
        *chosen += 1;
    }
}

#[test]
fn however_look_ups_evictions_and_a_removal_meet_nobody_gets_a_dead_tracer() {
    let (orders, made, refused) = explore(|| vec![look(0), look(0), evict(1), remove(0)], 1);
    assert!(orders > 1_000, "{orders}");
    assert_eq!((made, refused), (2, 0));
    let (orders, made, _) = explore(|| vec![look(0), look(0), evict(2)], 1);
    assert!(orders > 1_000, "{orders}");
    assert_eq!(made, 2);
}

#[test]
fn a_builder_that_fails_leaves_nothing_whoever_waits_or_takes_it_out() {
    let (orders, made, _) = explore(|| vec![failing(0), look(0), look(0), remove(0)], 1);
    assert!(orders > 1_000, "{orders}");
    assert_eq!(made, 2);
    explore(|| vec![failing(0), failing(0), evict(1), remove(0)], 1);
}

#[test]
fn names_that_want_the_same_place_have_it_one_after_the_other_or_are_refused() {
    let (orders, made, refused) = explore(|| vec![look(0), look(1), evict(2)], 1);
    assert!(orders > 400, "{orders}");
    assert_eq!((made, refused), (2, 1));
    let (_, made, refused) = explore(|| vec![look(0), look(1), evict(1), remove(1)], 2);
    assert_eq!((made, refused), (2, 0));
}
