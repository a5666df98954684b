//! Start, stop, and in whose threads.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tracer_registry_collector::{CollectorError, Fault, LocalCollector};

use super::client::{export, get, span};
use super::{PATIENCE, collector, span_names};

#[test]
fn two_collectors_do_not_know_each_other() {
    let (one, two) = (collector(), collector());
    assert_ne!(one.addr(), two.addr());
    assert_eq!(export("key-a", vec![span("one", 1)]).status(&one), 200);
    assert!(span_names(&two, "acme").is_empty());
    assert_eq!(one.url(), format!("http://{}", one.addr()));
}

#[test]
fn many_senders_at_once_land_each_in_its_own_project() {
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
fn an_address_that_is_taken_or_none_is_an_error_that_names_it() {
    let collector = collector();
    let taken = collector.addr().to_string();
    for address in [taken.as_str(), "nonsense"] {
        let error = LocalCollector::builder().listen(address).start().unwrap_err();
        assert!(matches!(error, CollectorError::Listen { .. }), "{error:?}");
        assert!(error.to_string().contains(address), "{error}");
    }
}

#[test]
fn after_shutdown_the_port_is_closed_and_what_was_received_stays() {
    let collector = collector();
    assert_eq!(export("key-a", vec![span("one", 1)]).status(&collector), 200);
    collector.shutdown();
    collector.shutdown();
    assert!(get("/").send(&collector).is_err());
    assert_eq!(span_names(&collector, "acme"), ["one"]);
}

#[test]
fn a_drop_breaks_requests_that_hang_and_does_not_wait_for_them() {
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
async fn a_collector_can_be_started_used_and_dropped_inside_a_reactor() {
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
fn an_observer_may_hold_and_drop_the_last_handle() {
    let slot: Arc<Mutex<Option<LocalCollector>>> = Arc::default();
    let (told, hear) = std::sync::mpsc::channel();
    let inside = Arc::clone(&slot);
    let observer = move |_: &_| {
        let last = inside.lock().unwrap().take();
        drop(last);
        told.send(()).unwrap();
    };
    let collector = LocalCollector::builder().observer(observer).start().unwrap();
    let call = {
        let mut slot = slot.lock().unwrap();
        let call = export("key-a", vec![]).begin(&collector).unwrap();
        *slot = Some(collector);
        call
    };
    hear.recv_timeout(PATIENCE).unwrap();
    // Whether the answer still gets out does not matter; that nothing waits for itself does.
    let _ = call.finish();
}

#[test]
fn a_wait_ends_when_its_time_is_over_or_the_condition_holds() {
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
