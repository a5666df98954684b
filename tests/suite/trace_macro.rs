//! `#[trace]`: every form of function, against the local collector.

mod arguments;
mod captured;
mod counted;
mod documented;
mod forms;
mod futures;
mod hygiene;
mod isolated;
mod items;
mod names;
mod outcomes;
mod scoped;
mod ui;

use std::sync::Arc;

use tracer_registry_collector::Span;

use crate::support::World;

/// A world with one tenant, in whose scope something was run.
fn traced(work: impl FnOnce()) -> World {
    let world = World::new(&["a"]);
    {
        let _in_a = world.tenant("a").enter();
        work();
    }
    world.flush();
    world
}

/// A world with one tenant, in whose scope a future was run.
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
