//! The servers of the tests themselves.

use async_nats::jetstream::{self, stream};
use tracer_registry_stream::test::TestCluster;

/// Publishes to a new stream, kills a node, and reads the message from the others.
async fn keeps_a_message(nodes: usize) {
    let mut cluster = TestCluster::start(nodes).await;
    let client = async_nats::connect(cluster.urls()).await.expect("a connection");
    let context = jetstream::new(client);
    let config = stream::Config {
        name: "test".to_owned(),
        subjects: vec!["test.>".to_owned()],
        num_replicas: nodes,
        allow_direct: true,
        ..Default::default()
    };
    let stream = context.create_stream(config).await.expect("a stream");
    let ack = context.publish("test.a", "body".into()).await.expect("sent");
    let ack = ack.await.expect("an acknowledgement");

    cluster.kill(0);
    if nodes == 1 {
        cluster.restart(0).await;
    }
    // The client reconnects, and the others elect a leader.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let message = loop {
        match stream.get_raw_message(ack.sequence).await {
            Ok(message) => break message,
            Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
        }
    };
    assert_eq!(message.payload, "body");
    cluster.restart(0).await;
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn one_server_keeps_a_message_over_a_kill() {
    keeps_a_message(1).await;
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn three_servers_keep_a_message_without_one() {
    keeps_a_message(3).await;
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_stopped_server_answers_again_when_it_continues() {
    let cluster = TestCluster::start(1).await;
    let client = async_nats::connect(cluster.url()).await.expect("a connection");
    cluster.stop(0);
    let second = std::time::Duration::from_secs(1);
    let context = jetstream::new(client);
    let stopped = tokio::time::timeout(second, context.query_account()).await;
    assert!(!matches!(stopped, Ok(Ok(_))), "a stopped server answered");
    cluster.cont(0);
    context.query_account().await.expect("an answer");
}
