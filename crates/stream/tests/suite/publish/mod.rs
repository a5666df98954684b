//! Appended rows to messages of real servers.

mod outages;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use tracer_registry_spool::{AppendError, Health, Kind, Store as _};
use tracer_registry_stream::Limits;

use self::support::{PARTITIONS, Publishing, Setup, Stored, answer, row, spans, until};

/// Checks that numbers and sums have no gap, but for withdrawn numbers. Returns the last ones.
fn check_numbers(messages: &[Stored], withdrawn: &[(u64, u64)]) -> (u64, u64) {
    let withdrawn: BTreeMap<u64, u64> = withdrawn.iter().copied().collect();
    let mut by_number: Vec<&Stored> = messages.iter().collect();
    by_number.sort_unstable_by_key(|message| message.number);
    let (mut number, mut sum) = (0, 0);
    let skip = |number: &mut u64, sum: &mut u64| {
        while let Some(items) = withdrawn.get(&(*number + 1)) {
            *number += 1;
            *sum += items;
        }
    };
    for message in by_number {
        if withdrawn.contains_key(&message.number) {
            continue; // Stored, though the answer was lost.
        }
        skip(&mut number, &mut sum);
        number += 1;
        sum += message.items;
        assert_eq!((message.number, message.sum), (number, sum), "{message:?}");
    }
    skip(&mut number, &mut sum);
    (number, sum)
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn rows_are_messages_in_order_with_numbers_without_gaps() {
    let mut publishing = Publishing::start(Setup::default()).await;
    let answered = Arc::new(Mutex::new(Vec::new()));
    let mut answers = Vec::new();
    for order in 0..100 {
        for tenant in 0..8 {
            let queue = format!("tenant:t{tenant}");
            let mut rows = vec![spans(&queue, 2 * order), spans(&queue, 2 * order + 1)];
            if order % 3 == 0 {
                rows.push(row(&queue, Kind::SessionEvents, order, format!("{order:06}")));
            }
            rows.truncate(usize::try_from(order % 4).expect("small").max(1));
            let (done, answer) = tokio::sync::oneshot::channel();
            let (call, answered) = (answers.len(), Arc::clone(&answered));
            let count = rows.len();
            publishing.store().append(
                rows,
                Box::new(move |result| {
                    answered.lock().expect("no panic").push(call);
                    let _ = done.send(result.map(|ids| ids.len() == count));
                }),
            );
            answers.push(answer);
        }
    }
    let calls = answers.len();
    for result in join_all(answers).await {
        assert!(matches!(result, Ok(Ok(true))), "{result:?}");
    }
    assert_eq!(*answered.lock().expect("no panic"), (0..calls).collect::<Vec<_>>());
    assert_eq!(publishing.store().depth().waiting_bytes, 0);

    for (subject, bodies) in publishing.bodies().await {
        assert!(bodies.is_sorted(), "{subject}: {bodies:?}");
        assert!(bodies.len() >= 9, "{subject}: {bodies:?}");
    }
    publishing.close(Duration::from_secs(10)).await;
    let totals = publishing.totals().await;
    let stored = publishing.stored().await;
    let processes: BTreeSet<_> = stored.iter().flatten().map(|message| &message.process).collect();
    assert_eq!(processes.len(), 1);
    for partition in 0..PARTITIONS {
        let last = check_numbers(&stored[usize::from(partition)], &[]);
        let totals = &totals[&partition];
        assert_eq!((totals.number, totals.sum), last);
        assert!(totals.ended && totals.withdrawn.is_empty(), "{totals:?}");
    }
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_full_stream_refuses_and_keeps_all_that_it_acknowledged() {
    let limits = Limits {
        max_bytes: 200_000,
        ..Limits::default()
    };
    let mut publishing = Publishing::start(Setup {
        limits,
        ..Setup::default()
    })
    .await;
    let mut accepted = Vec::new();
    let refused = loop {
        let order = accepted.len() as u64;
        let body = format!("{order:06}{}", "x".repeat(10_000));
        match answer(publishing.append(vec![row("tenant:a", Kind::Spans, order, body.clone())])).await {
            Ok(_) => accepted.push(body),
            Err(error) => break error,
        }
        assert!(accepted.len() < 100, "the stream is never full");
    };
    assert!(matches!(refused, AppendError::Full), "{refused}");
    publishing.wait_for_event("Full").await;
    assert_eq!(publishing.store().depth().health, Health::Full);
    assert_eq!(
        publishing.bodies().await.into_values().collect::<Vec<_>>(),
        [accepted.clone()]
    );
    let mut partition = 0;
    until("withdrawn numbers", async || {
        let totals = publishing.totals().await;
        totals
            .values()
            .any(|totals| totals.withdrawn == [(totals.number, 10_006)])
    })
    .await;
    for (index, totals) in publishing.totals().await {
        partition = index;
        assert_eq!(totals.number, accepted.len() as u64 + 1);
    }
    // What was delivered makes room.
    let stream = publishing
        .context
        .get_stream(format!("tr-hot-{partition}"))
        .await
        .expect("a stream");
    stream.purge().await.expect("an empty stream");
    until("room", async || {
        answer(publishing.append(vec![spans("tenant:a", 1_000)])).await.is_ok()
    })
    .await;
    publishing.wait_for_event("Working").await;
    publishing.close(Duration::from_secs(10)).await;
    let totals = &publishing.totals().await[&partition];
    assert_eq!(
        totals.sum,
        accepted.len() as u64 * 10_006 + 6 + totals.withdrawn.iter().map(|(_, items)| items).sum::<u64>()
    );
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_full_selector_stops_no_other_and_an_append_is_stored_as_a_whole() {
    let limits = Limits {
        max_messages_per_selector: 5,
        ..Limits::default()
    };
    let publishing = Publishing::start(Setup {
        limits,
        ..Setup::default()
    })
    .await;
    let rows = |queue: &str, orders: std::ops::Range<u64>| orders.map(|order| spans(queue, order)).collect::<Vec<_>>();
    answer(publishing.append(rows("tenant:a", 0..3))).await.expect("room");
    let refused = answer(publishing.append(rows("tenant:a", 3..6))).await;
    assert!(
        matches!(&refused, Err(AppendError::OwnerFull(owner)) if &**owner == "tenant:a"),
        "{refused:?}"
    );
    // Refused without asking the servers, but only this queue and kind.
    let again = answer(publishing.append(rows("tenant:a", 3..4))).await;
    assert!(matches!(again, Err(AppendError::OwnerFull(_))), "{again:?}");
    answer(publishing.append(vec![row("tenant:a", Kind::SessionEvents, 0, "event")]))
        .await
        .expect("room");
    answer(publishing.append(rows("tenant:b", 0..5))).await.expect("room");
    until("another attempt", async || {
        answer(publishing.append(rows("tenant:a", 3..5))).await.is_ok()
    })
    .await;

    let bodies = publishing.bodies().await;
    let text = |orders: std::ops::Range<u64>| orders.map(|order| format!("{order:06}")).collect::<Vec<_>>();
    let of = |token: &str| bodies.iter().find(|(subject, _)| subject.contains(token));
    assert_eq!(of("=3aa.s").map(|(_, bodies)| bodies), Some(&text(0..5)));
    assert_eq!(of("=3ab.s").map(|(_, bodies)| bodies), Some(&text(0..5)));
    assert_eq!(publishing.store().depth().health, Health::Working);
    assert!(!publishing.has_event("Full"));
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_body_that_no_message_can_have_is_refused() {
    let publishing = Publishing::start(Setup::default()).await;
    let max = publishing.context.client().max_payload() - (8 << 10);
    let large = |bytes: usize| vec![row("tenant:a", Kind::Spans, 0, vec![b'x'; bytes])];
    let refused = answer(publishing.append(large(max + 1))).await;
    assert!(
        matches!(refused, Err(AppendError::TooLarge { bytes, max: most }) if bytes == max + 1 && most == max),
        "{refused:?}"
    );
    answer(publishing.append(large(max))).await.expect("the largest body");
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn no_more_than_64_mib_wait_for_the_servers() {
    let publishing = Publishing::start(Setup::default()).await;
    publishing.cluster.stop(0);
    let body = vec![b'x'; 4 << 20];
    let answers: Vec<_> = (0..20)
        .map(|order| publishing.append(vec![row(&format!("tenant:t{order}"), Kind::Spans, 0, body.clone())]))
        .collect();
    let waiting = publishing.store().depth().waiting_bytes;
    assert!(waiting <= 64 << 20, "{waiting}");
    publishing.cluster.cont(0);
    let results = join_all(answers.into_iter().map(answer)).await;
    let is_busy: Vec<bool> = results
        .iter()
        .map(|result| matches!(result, Err(AppendError::Busy)))
        .collect();
    assert_eq!(is_busy, (0..20).map(|index| index >= 15).collect::<Vec<_>>());
    assert_eq!(publishing.store().depth().waiting_bytes, 0);
    answer(publishing.append(vec![spans("tenant:a", 0)])).await.ok();
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_close_publishes_what_was_appended() {
    let mut publishing = Publishing::start(Setup::default()).await;
    let answers: Vec<_> = (0..500)
        .map(|order| publishing.append(vec![spans("tenant:a", order)]))
        .collect();
    let store = Arc::clone(publishing.store());
    publishing.close(Duration::from_secs(20)).await;
    let (done, late) = tokio::sync::oneshot::channel();
    store.append(vec![spans("tenant:a", 500)], Box::new(|result| drop(done.send(result))));
    assert!(matches!(answer(late).await, Err(AppendError::Closed)));
    for result in join_all(answers.into_iter().map(answer)).await {
        result.expect("published");
    }
    let bodies: Vec<_> = publishing.bodies().await.into_values().collect();
    assert_eq!(
        bodies,
        [(0..500).map(|order| format!("{order:06}")).collect::<Vec<_>>()]
    );
    for totals in publishing.totals().await.values() {
        assert_eq!((totals.number, totals.sum, totals.ended), (500, 3_000, true));
    }
}
