//! Numbers for the successive tracers of each name.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::super::program::cast::Setting;
use super::super::subject::Instance;
use crate::lock::lock;
use tracer_registry::TracerHandle;

/// Numbers tracers without a handle of them: a tracer with a handle is not evicted.
#[derive(Default)]
pub(super) struct Instances(Mutex<Table>);

#[derive(Default)]
struct Table {
    /// Address of a tracer's instance token to its number.
    numbers: HashMap<usize, usize>,
    /// Keeps the tokens alive, so that no address is reused.
    tokens: Vec<Arc<dyn Any + Send + Sync>>,
    instances: HashMap<usize, Instance>,
    last: usize,
}

impl Instances {
    /// Returns the number of a tracer that a look-up returned. It has one of the permitted
    /// settings.
    pub(super) fn found(&self, member: usize, tracer: &TracerHandle, permitted: &[Setting]) -> usize {
        let mut table = lock(&self.0);
        let number = table.number(tracer);
        let new = || Instance {
            member,
            settings: permitted.to_vec(),
        };
        let instance = table.instances.entry(number).or_insert_with(new);
        // The settings of a tracer never change, so all its look-ups must permit them.
        instance.settings.retain(|setting| permitted.contains(setting));
        number
    }

    /// Returns and clears all instances.
    pub(super) fn take(&self) -> HashMap<usize, Instance> {
        let mut table = lock(&self.0);
        table.numbers.clear();
        table.tokens.clear();
        std::mem::take(&mut table.instances)
    }
}

impl Table {
    fn number(&mut self, tracer: &TracerHandle) -> usize {
        let token = tracer.instance_token();
        let address = Arc::as_ptr(&token).addr();
        if let Some(number) = self.numbers.get(&address) {
            return *number;
        }
        self.last += 1;
        self.numbers.insert(address, self.last);
        self.tokens.push(token);
        self.last
    }
}
