//! The local collector, asked over real HTTP.

mod abuse;
mod bounds;
mod client;
mod exports;
mod faults;
mod hosts;
mod lifetime;
mod observing;
mod readback;
mod sessions;
mod spans;

use std::time::Duration;

use tracer_registry_collector::LocalCollector;

/// Long enough that only a broken test waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A collector with a project `acme` for `key-a` and one `bolt` for `key-b`.
fn collector() -> LocalCollector {
    LocalCollector::builder()
        .project("acme", "key-a")
        .project("bolt", "key-b")
        .start()
        .expect("loopback is there")
}

/// Names of the spans of a project, in order of arrival.
fn span_names(collector: &LocalCollector, project: &str) -> Vec<String> {
    let project = collector.project(project).expect("the project is there");
    project.spans().iter().map(|span| span.name.clone()).collect()
}
