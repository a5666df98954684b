//! What several tests use.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tracer_registry_spool::Event;
use tracer_registry_stream::test::TestCluster;
use tracer_registry_stream::{Limits, StreamOptions};

/// What a store reported, as text.
pub(crate) type Reports = Arc<Mutex<Vec<String>>>;

/// Options for a cluster: as many copies as servers, and 4 partitions.
pub(crate) fn options(cluster: &TestCluster) -> (StreamOptions, Reports) {
    let reports = Reports::default();
    let of_store = Arc::clone(&reports);
    let report = move |event: Event| of_store.lock().expect("a lock").push(format!("{event:?}"));
    let covers = |erased: &str, queue: &str| erased == queue;
    let options = StreamOptions {
        replicas: cluster.nodes(),
        partitions: 4,
        monitor: cluster.monitor_urls(),
        limits: Limits {
            max_bytes: 256 << 20,
            max_parked_bytes: 256 << 20,
            ..Limits::default()
        },
        ..StreamOptions::new(cluster.urls(), covers, Arc::new(report))
    };
    (options, reports)
}

/// Waits until a condition holds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "timed out: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
