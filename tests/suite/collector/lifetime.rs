//! Start, shutdown, drop and waiting.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tracer_registry_collector::{CollectorError, Fault, LocalCollector};

use super::client::{export, get, span};
use super::{PATIENCE, collector, span_names};

#[test]
fn two_collectors_are_independent() {
    let (one, two) = (collector(), collector());
    assert_ne!(one.addr(), two.addr());
    assert_eq!(export("key-a", vec![span("one", 1)]).status(&one), 200);
    assert!(span_names(&two, "acme").is_empty());
    assert_eq!(one.url(), format!("http://{}", one.addr()));
}

#[test]
fn concurrent_senders_each_reach_their_own_project() {
    let collector = collector();
    std::thread::scope(|scope| {
        for sender in 0..8 {
            let (key, name) = if sender % 2 == 0 {
                ("key-a", "even")
            } else {
                ("key-b", "odd")
            };
            let collector = &collector;
            scope.spawn(move || {
                (1..=20).for_each(|id| assert_eq!(export(key, vec![span(name, id)]).status(collector), 200));
            });
        }
    });
    assert_eq!(span_names(&collector, "acme"), ["even"; 80]);
    assert_eq!(span_names(&collector, "bolt"), ["odd"; 80]);
}

#[test]
fn an_unusable_listen_address_is_an_error_that_names_it() {
    let collector = collector();
    let taken = collector.addr().to_string();
    for address in [taken.as_str(), "nonsense"] {
        let error = LocalCollector::builder().listen(address).start().unwrap_err();
        assert!(matches!(error, CollectorError::Listen { .. }), "{error:?}");
        assert!(error.to_string().contains(address), "{error}");
    }
}

#[test]
fn after_shutdown_the_port_is_closed_and_received_data_is_kept() {
    let collector = collector();
    assert_eq!(export("key-a", vec![span("one", 1)]).status(&collector), 200);
    collector.shutdown();
    collector.shutdown();
    assert!(get("/").send(&collector).is_err());
    assert_eq!(span_names(&collector, "acme"), ["one"]);
}

#[test]
fn a_drop_closes_hanging_requests_without_waiting() {
    let collector = collector();
    let fault = collector.fault(Fault::hang());
    let hanging = export("key-a", vec![]).begin(&collector).unwrap();
    assert!(collector.wait_until(PATIENCE, |collector| collector.fault_hits(fault) == 1));
    let begun = Instant::now();
    drop(collector);
    assert!(begun.elapsed() < PATIENCE);
    assert!(hanging.finish().is_err());
}

#[tokio::test]
async fn a_collector_can_be_started_used_and_dropped_inside_an_async_runtime() {
    let collector = collector();
    let call = export("key-a", vec![span("one", 1)]);
    let collector = tokio::task::spawn_blocking(move || {
        assert_eq!(call.status(&collector), 200);
        collector
    });
    let collector = collector.await.unwrap();
    assert_eq!(span_names(&collector, "acme"), ["one"]);
    drop(collector);
}

#[test]
fn an_observer_may_drop_the_last_handle() {
    let slot: Arc<Mutex<Option<LocalCollector>>> = Arc::default();
    let (dropped_tx, dropped_rx) = std::sync::mpsc::channel();
    let taken_from = Arc::clone(&slot);
    let observer = move |_: &_| {
        let last = taken_from.lock().unwrap().take();
        drop(last);
        dropped_tx.send(()).unwrap();
    };
    let collector = LocalCollector::builder().observer(observer).start().unwrap();
    let call = {
        let mut slot = slot.lock().unwrap();
        let call = export("key-a", vec![]).begin(&collector).unwrap();
        *slot = Some(collector);
        call
    };
    dropped_rx.recv_timeout(PATIENCE).unwrap();
    // The response may or may not arrive. The test checks for a deadlock only.
    let _ = call.finish();
}

#[test]
fn wait_until_returns_on_timeout_or_when_the_condition_holds() {
    let collector = collector();
    assert!(!collector.wait_until(Duration::from_millis(10), |_| false));
    assert!(collector.wait_until(Duration::ZERO, |_| true));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            collector.wait_until(PATIENCE, |collector| {
                collector.project("acme").is_some_and(|p| p.spans().len() == 2)
            })
        });
        export("key-a", vec![span("one", 1)]).status(&collector);
        export("key-a", vec![span("two", 2)]).status(&collector);
        assert!(waiting.join().unwrap());
    });
    assert!(collector.wait_until(Duration::MAX, |_| true));
}
