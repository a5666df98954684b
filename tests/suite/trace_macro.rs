//! `#[trace]`: each form of function, against the local collector.

mod capture;
mod drop_order;
mod forms;
mod futures;
mod hygiene;
mod isolation;
mod iterators;
mod names;
mod option_docs;
mod outcomes;
mod scoped;
mod ui;
mod unrouted_calls;

use std::sync::Arc;

use tracer_registry_collector::Span;

use crate::support::World;

/// Runs work in the scope of the only tenant `a`, and returns the flushed world.
fn traced(work: impl FnOnce()) -> World {
    let world = World::new(&["a"]);
    {
        let _in_a = world.tenant("a").enter();
        work();
    }
    world.flush();
    world
}

/// Runs a future in the scope of the only tenant `a`, and returns the flushed world.
fn traced_async<F: Future>(work: F) -> World {
    let world = World::new(&["a"]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(world.tenant("a").scope(work));
    world.flush();
    world
}

impl World {
    fn traced(&self, name: &str) -> Arc<Span> {
        self.span("a", name)
    }

    fn input(&self, name: &str, input: &str) -> Option<String> {
        let span = self.traced(name);
        let value = span.attributes.get(&format!("honeyhive_inputs.{input}"))?;
        Some(value.to_string())
    }

    fn output(&self, name: &str, output: &str) -> Option<String> {
        let span = self.traced(name);
        let value = span.attributes.get(&format!("honeyhive_outputs.{output}"))?;
        Some(value.to_string())
    }
}
