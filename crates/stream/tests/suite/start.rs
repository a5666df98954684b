//! `init`, and the checks of a start.

use std::time::{Duration, Instant};

use async_nats::jetstream::{self, stream};
use secrecy::SecretString;
use tracer_registry_spool::Store as _;
use tracer_registry_stream::test::{TestCluster, TestOptions};
use tracer_registry_stream::{
    Credentials, Found, Hooks, InitReport, Mode, OpenError, StreamOptions, StreamStore, init,
};

use crate::support::{options, until};

fn found<'a>(report: &'a InitReport, name: &str) -> &'a Found {
    let thing = report.things.iter().find(|thing| thing.name == name);
    &thing.unwrap_or_else(|| panic!("no {name} in {report:?}")).found
}

fn all_are(report: &InitReport, expected: &Found) {
    assert_eq!(report.things.len(), 4 * 3 + 5);
    for thing in &report.things {
        assert_eq!(thing.found, *expected, "{}", thing.name);
    }
}

/// Opens a store on a thread without a runtime.
async fn open(options: StreamOptions) -> Result<std::sync::Arc<StreamStore>, OpenError> {
    let opened = tokio::task::spawn_blocking(|| StreamStore::open(options)).await;
    opened.expect("no panic")
}

async fn refusal(options: StreamOptions) -> String {
    match open(options).await {
        Ok(_) => panic!("the store started"),
        Err(error) => error.to_string(),
    }
}

async fn close(store: std::sync::Arc<StreamStore>) {
    let deadline = Instant::now() + Duration::from_secs(5);
    let closed = tokio::task::spawn_blocking(move || store.close(deadline)).await;
    closed.expect("no panic");
}

async fn context(cluster: &TestCluster) -> jetstream::Context {
    jetstream::new(async_nats::connect(cluster.urls()).await.expect("a connection"))
}

async fn creates_once(nodes: usize) {
    let cluster = TestCluster::start(nodes).await;
    let options = options(&cluster).0;
    let report = init(&options, Mode::Check).await.expect("a report");
    all_are(&report, &Found::Missing);
    assert!(!report.is_as_configured());
    let report = init(&options, Mode::Create).await.expect("a report");
    all_are(&report, &Found::Created);
    assert!(report.is_as_configured(), "{report:?}");
    for mode in [Mode::Check, Mode::Create, Mode::Update] {
        let report = init(&options, mode).await.expect("a report");
        all_are(&report, &Found::AsConfigured);
        assert_eq!(report.servers.len(), nodes);
        assert!(report.is_as_configured(), "{report:?}");
    }
    let store = open(options).await.expect("a store");
    close(store).await;
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn init_creates_what_is_missing_and_then_changes_nothing() {
    creates_once(1).await;
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn init_on_three_servers() {
    creates_once(3).await;
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn what_differs_is_reported_and_changed_only_by_an_update() {
    let cluster = TestCluster::start(1).await;
    let (mut options, _) = options(&cluster);
    init(&options, Mode::Create).await.expect("a report");

    options.limits.max_messages_per_selector = 7;
    let context = context(&cluster).await;
    let stream = context.get_stream("tr-hot-2").await.expect("a stream");
    let mut sender = stream.consumer_info("send").await.expect("a consumer").config;
    sender.ack_wait = Duration::from_secs(77);
    stream.update_consumer(sender).await.expect("an update");

    for mode in [Mode::Check, Mode::Create] {
        let report = init(&options, mode).await.expect("a report");
        assert!(!report.is_as_configured());
        for partition in 0..4 {
            let Found::Differs { differences, refused } = found(&report, &format!("tr-hot-{partition}")) else {
                panic!("{report:?}");
            };
            let [difference] = &differences[..] else {
                panic!("{differences:?}")
            };
            assert_eq!(difference.field, "max_msgs_per_subject");
            assert_eq!((difference.is.as_str(), difference.should.as_str()), ("100000", "7"));
            assert_eq!(*refused, None);
        }
        let Found::Differs { differences, .. } = found(&report, "tr-hot-2/send") else {
            panic!("{report:?}");
        };
        assert_eq!((differences[0].field, &*differences[0].is), ("ack_wait", "77s"));
        assert_eq!(*found(&report, "tr-park-0"), Found::AsConfigured);
    }
    let refused = refusal(clone(&options)).await;
    assert!(
        refused.contains("ack_wait of tr-hot-2/send is 77s, not 10s"),
        "{refused}"
    );
    assert!(
        !refused.contains("max_msgs_per_subject"),
        "a bound may differ: {refused}"
    );

    let report = init(&options, Mode::Update).await.expect("a report");
    assert!(report.is_as_configured(), "{report:?}");
    assert!(matches!(found(&report, "tr-hot-0"), Found::Updated(_)));
    assert!(matches!(found(&report, "tr-hot-2/send"), Found::Updated(_)));
    all_are(
        &init(&options, Mode::Check).await.expect("a report"),
        &Found::AsConfigured,
    );
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn what_cannot_be_changed_is_reported_with_the_servers_reason() {
    let cluster = TestCluster::start(1).await;
    let (options, _) = options(&cluster);
    init(&options, Mode::Create).await.expect("a report");
    let context = context(&cluster).await;
    let config = context
        .get_stream("tr-hot-1")
        .await
        .expect("a stream")
        .cached_info()
        .config
        .clone();
    context.delete_stream("tr-hot-1").await.expect("deleted");
    let memory = stream::Config {
        storage: stream::StorageType::Memory,
        ..config
    };
    context.create_stream(memory).await.expect("a stream");

    let report = init(&options, Mode::Update).await.expect("a report");
    let Found::Differs { differences, refused } = found(&report, "tr-hot-1") else {
        panic!("{report:?}");
    };
    assert_eq!((differences[0].field, &*differences[0].is), ("storage", "memory"));
    assert!(
        refused.as_ref().is_some_and(|why| why.contains("storage")),
        "{refused:?}"
    );
    let refused = refusal(options).await;
    assert!(refused.contains("storage of tr-hot-1 is memory, not file"), "{refused}");
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn the_number_of_partitions_cannot_change() {
    let cluster = TestCluster::start(1).await;
    let (mut options, _) = options(&cluster);
    init(&options, Mode::Create).await.expect("a report");
    for partitions in [3, 5] {
        options.partitions = partitions;
        let error = init(&options, Mode::Update).await.expect_err("refused").to_string();
        let rule = format!("was created for 4 partitions, not {partitions}");
        assert!(error.contains(&rule), "{error}");
        let refused = refusal(clone(&options)).await;
        assert!(refused.contains(&rule), "{refused}");
    }
    // Another prefix has streams of its own.
    options.prefix = "other".to_owned();
    let report = init(&options, Mode::Create).await.expect("a report");
    assert_eq!(*found(&report, "other-hot-4"), Found::Created);
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_store_starts_only_with_its_streams_and_replicas() {
    let cluster = TestCluster::start(1).await;
    let (mut options, _) = options(&cluster);
    let refused = refusal(clone(&options)).await;
    assert!(refused.contains("tr-hot-0 is missing"), "{refused}");
    assert!(refused.contains("run `tracer-registry stream init`"), "{refused}");

    init(&options, Mode::Create).await.expect("a report");
    options.replicas = 3;
    let refused = refusal(clone(&options)).await;
    assert!(refused.contains("num_replicas of tr-hot-0 is 1, not 3"), "{refused}");
    options.accept_weaker_durability = true;
    close(open(options).await.expect("accepted")).await;
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn servers_that_may_lose_data_are_refused() {
    let unsynced = TestOptions {
        sync_always: false,
        ..TestOptions::default()
    };
    let cluster = TestCluster::start_with(unsynced).await;
    let (mut options, _) = options(&cluster);
    let report = init(&options, Mode::Create).await.expect("a report");
    assert!(
        report.refused.as_ref().is_some_and(|why| why.contains("sync_interval")),
        "{report:?}"
    );
    assert!(!report.is_as_configured());
    let refused = refusal(clone(&options)).await;
    assert!(refused.contains("sync_interval of the server n0"), "{refused}");
    options.monitor.clear();
    let refused = refusal(clone(&options)).await;
    assert!(refused.contains("monitor is empty"), "{refused}");
    options.accept_weaker_durability = true;
    close(open(options).await.expect("accepted")).await;
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_store_starts_while_a_minority_of_servers_is_away() {
    let mut cluster = TestCluster::start(3).await;
    let (mut options, _) = options(&cluster);
    init(&options, Mode::Create).await.expect("a report");
    let monitor = options.monitor.clone();
    options.monitor.truncate(2);
    let refused = refusal(clone(&options)).await;
    assert!(
        refused.contains("monitor has 2 addresses, and the cluster 3 servers"),
        "{refused}"
    );
    options.monitor = monitor;
    cluster.kill(2);
    close(open(options).await.expect("a store")).await;
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn without_servers_a_store_starts_and_checks_them_later() {
    let mut cluster = TestCluster::start(1).await;
    let (options, reports) = options(&cluster);
    cluster.kill(0);
    let begin = Instant::now();
    let store = open(options).await.expect("a store");
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    cluster.restart(0).await;
    // The streams are missing.
    let reported = |text: &str| {
        reports
            .lock()
            .expect("a lock")
            .iter()
            .any(|report| report.contains(text))
    };
    until("the missing streams are reported", || reported("tr-hot-0 is missing")).await;
    close(store).await;
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn credentials_are_used_and_never_shown() {
    let with_token = TestOptions {
        config: "authorization { token: s3cret-token }".to_owned(),
        ..TestOptions::default()
    };
    let cluster = TestCluster::start_with(with_token).await;
    let (mut options, _) = options(&cluster);
    options.credentials = Credentials::Token(SecretString::from("wr0ng-token"));
    let error = init(&options, Mode::Create).await.expect_err("refused");
    assert!(matches!(error, OpenError::Connect(_)), "{error:?}");
    assert!(error.to_string().contains("authorization violation"), "{error}");
    assert!(
        !format!("{error:?} {:?}", options.credentials).contains("wr0ng"),
        "{error:?}"
    );
    options.credentials = Credentials::Token(SecretString::from("s3cret-token"));
    init(&options, Mode::Create).await.expect("a report");

    options.credentials = Credentials::Nkey(SecretString::from("no seed"));
    let error = init(&options, Mode::Create).await.expect_err("refused");
    assert_eq!(
        error.to_string(),
        "the credentials of the stream are no seed of an nkey"
    );
}

fn clone(options: &StreamOptions) -> StreamOptions {
    StreamOptions {
        servers: options.servers.clone(),
        credentials: options.credentials.clone(),
        tls: options.tls.clone(),
        prefix: options.prefix.clone(),
        monitor: options.monitor.clone(),
        local: None,
        hooks: Hooks::default(),
        report: options.report.clone(),
        ..*options
    }
}
