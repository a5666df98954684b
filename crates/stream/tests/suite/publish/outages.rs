//! Servers that are killed or stopped.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tracer_registry_spool::{AppendError, Health, Store as _};

use super::check_numbers;
use super::support::{PARTITIONS, Publishing, Setup, answer, spans, until};

/// Returns the bodies of a queue without repetitions, in the order of their first places.
fn first_places(bodies: &[String]) -> Vec<&String> {
    let mut seen = BTreeSet::new();
    bodies.iter().filter(|body| seen.insert(*body)).collect()
}

/// Checks that all rows of these tenants are stored, in order.
async fn check_all(publishing: &Publishing, tenants: usize, orders: u64) {
    let bodies = publishing.bodies().await;
    assert_eq!(bodies.len(), tenants);
    let all: Vec<String> = (0..orders).map(|order| format!("{order:06}")).collect();
    for (subject, bodies) in bodies {
        assert_eq!(first_places(&bodies), all.iter().collect::<Vec<_>>(), "{subject}");
    }
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_killed_server_costs_no_row_if_there_is_a_local_store() {
    let mut publishing = Publishing::start(Setup {
        local: true,
        ..Setup::default()
    })
    .await;
    let mut answers = Vec::new();
    let append = |publishing: &Publishing, orders: std::ops::Range<u64>| {
        let rows = orders.flat_map(|order| (0..4).map(move |tenant| spans(&format!("tenant:t{tenant}"), order)));
        rows.map(|row| publishing.append(vec![row])).collect::<Vec<_>>()
    };
    answers.extend(append(&publishing, 0..100));
    publishing.cluster.kill(0);
    answers.extend(append(&publishing, 100..200));
    let local = publishing.local.clone().expect("a local store");
    until("rows in the local store", async || local.depth().rows > 0).await;
    answers.extend(append(&publishing, 200..300));
    for result in join_all(answers.drain(..).map(answer)).await {
        result.expect("stored");
    }
    assert_eq!(publishing.store().depth().health, Health::Working);
    publishing.cluster.restart(0).await;
    answers.extend(append(&publishing, 300..400));
    publishing.wait_for_back_fill().await;
    answers.extend(append(&publishing, 400..500));
    for result in join_all(answers.drain(..).map(answer)).await {
        result.expect("stored");
    }
    publishing.wait_for_back_fill().await;
    assert!(!publishing.has_event("Failing"));
    check_all(&publishing, 4, 500).await;
    publishing.close(Duration::from_secs(10)).await;
    let totals = publishing.totals().await;
    let stored = publishing.stored().await;
    for partition in 0..PARTITIONS {
        let totals = &totals[&partition];
        let last = check_numbers(&stored[usize::from(partition)], &totals.withdrawn);
        assert_eq!((totals.number, totals.sum), last);
    }
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn without_a_local_store_a_killed_server_is_a_failure_until_it_is_back() {
    let mut publishing = Publishing::start(Setup::default()).await;
    answer(publishing.append(vec![spans("tenant:a", 0)]))
        .await
        .expect("published");
    publishing.cluster.kill(0);
    let killed = Instant::now();
    let failed = answer(publishing.append(vec![spans("tenant:a", 1)])).await;
    assert!(matches!(failed, Err(AppendError::Failing(_))), "{failed:?}");
    publishing.wait_for_event("Failing").await;
    assert!(
        killed.elapsed() < Duration::from_millis(2_500),
        "{:?}",
        killed.elapsed()
    );
    assert_eq!(publishing.store().depth().health, Health::Failing);
    let refused = Instant::now();
    let failed = answer(publishing.append(vec![spans("tenant:b", 0)])).await;
    assert!(matches!(failed, Err(AppendError::Failing(_))), "{failed:?}");
    assert!(
        refused.elapsed() < Duration::from_millis(500),
        "{:?}",
        refused.elapsed()
    );
    publishing.cluster.restart(0).await;
    publishing.wait_for_event("Working").await;
    answer(publishing.append(vec![spans("tenant:a", 2)]))
        .await
        .expect("published");
    assert_eq!(publishing.store().depth().health, Health::Working);
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_server_that_answers_late_stores_a_row_twice_at_most_and_its_number_is_withdrawn() {
    let mut publishing = Publishing::start(Setup {
        local: true,
        ..Setup::default()
    })
    .await;
    answer(publishing.append(vec![spans("tenant:a", 0)]))
        .await
        .expect("published");
    publishing.cluster.stop(0);
    let answers: Vec<_> = (1..50)
        .map(|order| publishing.append(vec![spans("tenant:a", order)]))
        .collect();
    let local = publishing.local.clone().expect("a local store");
    until("rows in the local store", async || local.depth().rows >= 49).await;
    for result in join_all(answers.into_iter().map(answer)).await {
        result.expect("stored locally");
    }
    publishing.cluster.cont(0);
    publishing.wait_for_back_fill().await;
    check_all(&publishing, 1, 50).await;
    let stored: Vec<_> = publishing.stored().await.into_iter().flatten().collect();
    let ids: BTreeSet<_> = stored.iter().map(|message| &message.id).collect();
    assert_eq!(ids.len(), stored.len(), "a message is stored twice");
    publishing.close(Duration::from_secs(10)).await;
    let totals = publishing.totals().await;
    let totals: Vec<_> = totals.values().filter(|totals| totals.number > 0).collect();
    assert_eq!(totals.len(), 1);
    let last = check_numbers(&stored, &totals[0].withdrawn);
    assert_eq!((totals[0].number, totals[0].sum), last);
    assert!(!totals[0].withdrawn.is_empty());
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn rows_of_an_earlier_process_are_published_first() {
    let mut publishing = Publishing::start(Setup {
        local: true,
        ..Setup::default()
    })
    .await;
    publishing.cluster.kill(0);
    let answers: Vec<_> = (0..300)
        .map(|order| publishing.append(vec![spans("tenant:a", order)]))
        .collect();
    for result in join_all(answers.into_iter().map(answer)).await {
        result.expect("stored locally");
    }
    publishing.close(Duration::from_secs(10)).await;
    publishing.open().await;
    let answers: Vec<_> = (300..400)
        .map(|order| publishing.append(vec![spans("tenant:a", order)]))
        .collect();
    publishing.cluster.restart(0).await;
    for result in join_all(answers.into_iter().map(answer)).await {
        result.expect("stored");
    }
    publishing.wait_for_back_fill().await;
    check_all(&publishing, 1, 400).await;
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_cluster_without_one_server_goes_on() {
    let mut publishing = Publishing::start(Setup {
        nodes: 3,
        local: true,
        ..Setup::default()
    })
    .await;
    for order in 0..120_u64 {
        if order == 40 {
            publishing.cluster.kill(0);
        }
        if order == 80 {
            publishing.cluster.restart(0).await;
        }
        let rows = |queue: &str| vec![spans(queue, 2 * order), spans(queue, 2 * order + 1)];
        let answers = ["tenant:a", "tenant:b", "tenant:c"].map(|queue| publishing.append(rows(queue)));
        for result in join_all(answers.map(answer)).await {
            result.expect("stored");
        }
    }
    publishing.wait_for_back_fill().await;
    check_all(&publishing, 3, 240).await;
}
