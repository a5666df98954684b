//! The session queue without an engine: merging of events, and panics.

use futures_util::FutureExt;
use serde_json::json;

use super::*;
use crate::config::{BackendName, Binding};
use crate::export::accounting::counted_lane::CountedLane;
use crate::export::lane::tests::lane;

fn table(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(table) => table,
        other => panic!("{other}"),
    }
}

fn enrichment(value: i32) -> SessionEvent {
    SessionEvent::Enrich(table(json!({"metadata": {"value": value}})))
}

/// Returns the values of the next request.
fn next_values(queue: &SessionQueue) -> Option<Vec<Value>> {
    let events = queue.next()?;
    let value = |event: QueuedEvent| match event.content.event {
        SessionEvent::Start(body) => body,
        #[cfg(feature = "encoded")]
        SessionEvent::Single(body) => body,
        SessionEvent::Enrich(delta) => delta["metadata"]["value"].clone(),
    };
    Some(events.into_iter().map(value).collect())
}

#[test]
fn events_that_cannot_merge_stay_first_in_the_queue() {
    let (lane, _ledger, _events_rx) = lane(Binding::new().backend(BackendName::Honeyhive));
    let queue = SessionQueue::of(&lane, Uuid::from_u128(1));
    queue.push(SessionEvent::Start(json!("start")));
    queue.push(enrichment(1));
    queue.push(enrichment(2));
    queue.push(SessionEvent::Enrich(table(json!({"metadata": {"value": {"x": 3}}}))));
    queue.push(SessionEvent::Start(json!("again")));
    queue.push(enrichment(5));
    assert_eq!(next_values(&queue), Some(vec![json!("start")]));
    assert_eq!(next_values(&queue), Some(vec![json!(1), json!(2)]));
    queue.push(enrichment(6));
    assert_eq!(next_values(&queue), Some(vec![json!({"x": 3})]));
    assert_eq!(next_values(&queue), Some(vec![json!("again")]));
    assert_eq!(next_values(&queue), Some(vec![json!(5), json!(6)]));
    assert_eq!(next_values(&queue), None);
}

#[test]
fn a_session_has_one_queue_until_its_last_handle_and_event_are_gone() {
    let (lane, _ledger, mut events_rx) = lane(Binding::new().backend(BackendName::Honeyhive));
    let queue_of = |session| SessionQueue::of(&lane, Uuid::from_u128(session));
    let (one, other) = (queue_of(1), queue_of(2));
    assert!(Arc::ptr_eq(&one, &queue_of(1)) && !Arc::ptr_eq(&one, &other));
    assert_eq!(lane.session_queue_count(), 2);
    one.push(enrichment(1));
    drop((one, other));
    assert_eq!(
        lane.session_queue_count(),
        1,
        "the engine has the queue of the unsent event"
    );
    queue_of(1).push(enrichment(2));
    assert_eq!(next_values(&queue_of(1)), Some(vec![json!(1), json!(2)]));
    drop(events_rx.try_recv().expect("the first event"));
    assert_eq!(lane.session_queue_count(), 0);
    for session in 0..1000 {
        queue_of(session).push(enrichment(0));
        drop(events_rx.try_recv());
    }
    assert_eq!(lane.session_queue_count(), 0);
}

#[test]
fn a_queue_that_is_dropped_late_does_not_remove_its_successor() {
    let (lane, _ledger, _events_rx) = lane(Binding::new().backend(BackendName::Honeyhive));
    let session = Uuid::from_u128(1);
    let queue = SessionQueue::of(&lane, session);
    lane.remove_session_queue(session);
    assert!(Arc::ptr_eq(&queue, &SessionQueue::of(&lane, session)));
}

#[test]
fn a_panic_while_sending_drops_events_one_by_one_and_the_queue_continues() {
    let sessionless = Binding::new().backend(BackendName::Otlp).endpoint("http://127.0.0.1:9");
    let (lane, _ledger, mut events_rx) = lane(sessionless);
    let queue = SessionQueue::of(&lane, Uuid::from_u128(1));
    let mark = Arc::clone(&lane).begin_flush();
    // Bypass `push`. The backend has no session API, so creating the request panics.
    for value in 0..3 {
        let ticket = lane.accept_event(1000).expect("the event fits");
        let mut state = queue.state.lock();
        state.waiting.push_back(QueuedEvent {
            content: Content::new(enrichment(value), Source::Program),
            ticket,
            by_id: None,
        });
        state.running = true;
    }
    Arc::clone(&queue)
        .run()
        .now_or_never()
        .expect("it completes immediately");
    let snapshot = lane.snapshot();
    assert_eq!(snapshot.held_bytes, 0);
    let events = snapshot.ledgers.events.snapshot();
    assert_eq!((events.accepted, events.pending()), (3, 0));
    assert_eq!(events.dropped[&DropReason::Encoding], 3);
    assert!(matches!(
        snapshot.failures.map(|failures| failures.error),
        Some(ExportError::Encoding(_))
    ));
    assert_eq!(lane.pending(&mark).events, 0);
    assert!(!queue.state.lock().running, "the next event notifies the engine again");
    assert!(events_rx.try_recv().is_err());
}

#[cfg(feature = "encoded")]
mod single_events {
    use super::*;

    fn single(value: &str) -> SessionEvent {
        SessionEvent::Single(json!(value))
    }

    fn enrichment_of(id: Uuid, value: i32) -> SessionEvent {
        SessionEvent::Enrich(table(json!({"event_id": id.to_string(), "metadata": {"value": value}})))
    }

    #[test]
    fn an_event_and_its_enrichments_follow_the_events_of_its_session() {
        let (lane, _ledger, _events_rx) = lane(Binding::new().backend(BackendName::Honeyhive));
        let [session, event] = [1, 2].map(Uuid::from_u128);
        let queue = SessionQueue::of(&lane, session);
        queue.push(SessionEvent::Start(json!("start")));
        SessionQueue::try_push_single(&lane, event, session, single("event")).expect("it fits");
        // Handles of neither id are kept.
        SessionQueue::of(&lane, event)
            .try_push(enrichment_of(event, 1))
            .expect("it fits");
        queue.push(enrichment_of(session, 2));
        for expected in [json!("start"), json!("event"), json!(1), json!(2)] {
            assert_eq!(next_values(&queue), Some(vec![expected]), "ids never merge");
        }
        assert_eq!(next_values(&queue), None);
        assert_eq!(lane.session_queue_count(), 1, "the event's id is forgotten");
        SessionQueue::of(&lane, event)
            .try_push(enrichment_of(event, 3))
            .expect("it fits");
        assert_eq!(next_values(&queue), None, "nothing is left to follow");
    }

    #[test]
    fn an_enrichment_keeps_the_place_of_its_event_after_the_event_was_sent() {
        let (lane, _ledger, _events_rx) = lane(Binding::new().backend(BackendName::Honeyhive));
        let [session, event] = [1, 2].map(Uuid::from_u128);
        let queue = SessionQueue::of(&lane, session);
        SessionQueue::try_push_single(&lane, event, session, single("event")).expect("it fits");
        SessionQueue::of(&lane, event)
            .try_push(enrichment_of(event, 1))
            .expect("it fits");
        assert_eq!(next_values(&queue), Some(vec![json!("event")]));
        SessionQueue::of(&lane, event)
            .try_push(enrichment_of(event, 2))
            .expect("it fits");
        assert_eq!(next_values(&queue), Some(vec![json!(1), json!(2)]));
    }

    #[test]
    fn an_event_of_an_event_shares_the_queue_of_the_outermost_session() {
        let (lane, _ledger, mut events_rx) = lane(Binding::new().backend(BackendName::Honeyhive));
        let [session, event, inner] = [1, 2, 3].map(Uuid::from_u128);
        let queue = SessionQueue::of(&lane, session);
        let push = |id, of, value| SessionQueue::try_push_single(&lane, id, of, single(value)).expect("it fits");
        push(event, session, "event");
        push(inner, event, "inner");
        push(session, session, "own");
        push(session, inner, "circle");
        for expected in ["event", "inner", "own", "circle"] {
            assert_eq!(next_values(&queue), Some(vec![json!(expected)]));
        }
        assert_eq!(next_values(&queue), None);
        drop(queue);
        while events_rx.try_recv().is_ok() {}
        assert_eq!(lane.session_queue_count(), 0, "no queue keeps another one alive");
    }

    #[test]
    fn a_session_of_a_client_holds_the_memory_of_its_sender_once() {
        let (lane, _ledger, _events_rx) = lane(Binding::new().backend(BackendName::Honeyhive));
        let held = || lane.snapshot().held_bytes;
        let bytes = single("event").byte_size();
        let queue = SessionQueue::of(&lane, Uuid::from_u128(1));
        queue.push(single("event"));
        assert_eq!(held(), bytes, "the program's sessions are trusted");
        let push = |id| SessionQueue::try_push_single(&lane, Uuid::from_u128(id), Uuid::from_u128(2), single("event"));
        push(3).and_then(|_| push(4)).expect("they fit");
        assert_eq!(held(), 3 * bytes + SessionQueue::SENDER_BYTES);
    }

    #[test]
    fn an_event_that_does_not_fit_is_in_no_ledger() {
        let (lane, _ledger, _events_rx) = lane(Binding::new().backend(BackendName::Honeyhive));
        let session = Uuid::from_u128(1);
        let push = |_| SessionQueue::try_push_single(&lane, Uuid::from_u128(2), session, single("event"));
        let full = (0..1_000_000).map(push).find_map(Result::err);
        assert_eq!(full, Some(DropReason::QueueFull));
        let events = lane.snapshot().ledgers.events.snapshot();
        assert!(events.accepted > 0 && events.dropped.is_empty(), "{events:?}");
        lane.abandon();
        assert_eq!(push(0).err(), Some(DropReason::AfterShutdown));
    }
}
