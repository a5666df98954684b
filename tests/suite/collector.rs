//! The local collector, tested over real HTTP.

mod client;
mod exports;
mod faults;
mod hosts;
mod inspection;
mod lifetime;
mod read_api;
mod resource_limits;
mod retention;
mod sessions;
mod spans;

use std::time::Duration;

use tracer_registry_collector::LocalCollector;

/// Time limit that only a failing test reaches.
const PATIENCE: Duration = Duration::from_secs(20);

/// Starts a collector with project `acme` for `key-a` and project `bolt` for `key-b`.
fn collector() -> LocalCollector {
    LocalCollector::builder()
        .project("acme", "key-a")
        .project("bolt", "key-b")
        .start()
        .expect("a free port")
}

/// Returns the span names of a project, in order of arrival.
fn span_names(collector: &LocalCollector, project: &str) -> Vec<String> {
    let project = collector.project(project).expect("a known project");
    project.spans().iter().map(|span| span.name.clone()).collect()
}
