//! The tracers that names had one after the other, by number.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::super::program::cast::Setting;
use super::super::subject::Instance;
use crate::lock::lock;
use tracer_registry::TracerHandle;

/// Counts tracers without holding one: a held tracer is not evicted.
#[derive(Default)]
pub(super) struct Instances(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// By the place in memory of what makes a tracer's span ids its own.
    numbers: HashMap<usize, usize>,
    /// Held, so that no two of them have the same place one after the other.
    places: Vec<Arc<dyn Any + Send + Sync>>,
    instances: HashMap<usize, Instance>,
    last: usize,
}

impl Instances {
    /// The number of a tracer that a look-up gave, which has one of these settings.
    pub(super) fn found(&self, member: usize, tracer: &TracerHandle, may_be: &[Setting]) -> usize {
        let mut known = lock(&self.0);
        let number = known.number(tracer);
        let new = || Instance {
            member,
            settings: may_be.to_vec(),
        };
        let instance = known.instances.entry(number).or_insert_with(new);
        // It has one for all its life: what all look-ups say.
        instance.settings.retain(|setting| may_be.contains(setting));
        number
    }

    /// What is known of all, which is forgotten.
    pub(super) fn take(&self) -> HashMap<usize, Instance> {
        let mut known = lock(&self.0);
        known.numbers.clear();
        known.places.clear();
        std::mem::take(&mut known.instances)
    }
}

impl Known {
    fn number(&mut self, tracer: &TracerHandle) -> usize {
        let identity = tracer.instance_token();
        let place = Arc::as_ptr(&identity).addr();
        if let Some(number) = self.numbers.get(&place) {
            return *number;
        }
        self.last += 1;
        self.numbers.insert(place, self.last);
        self.places.push(identity);
        self.last
    }
}
