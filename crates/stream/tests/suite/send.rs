//! The sender with real servers.

use std::time::{Duration, Instant};

use tracer_registry_spool::{Rest, Store as _};
use tracer_registry_stream::test::TestCluster;

use crate::registry::{Receiver, Replica, Streams, check, until};

fn bodies(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("{number:04}")).collect()
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn messages_of_many_tenants_arrive_in_order_and_are_deleted() {
    let cluster = TestCluster::start(1).await;
    let mut streams = Streams::create(&cluster, 4).await;
    let replica = Replica::open(&cluster, 4, &[]);
    let queues: Vec<(u16, String)> = (0..20).map(|number| (number % 4, format!("tenant-{number}"))).collect();
    for body in bodies(0..20) {
        for (partition, queue) in &queues {
            streams.publish(*partition, queue, 3, &body).await;
        }
    }
    until("all are delivered", async || {
        check(replica.count() == 400, replica.count())
    })
    .await;
    for (_, queue) in &queues {
        assert_eq!(replica.delivered(queue), bodies(0..20), "{queue}");
    }
    for partition in 0..4 {
        let hot = format!("tr-hot-{partition}");
        until("they are deleted", async || {
            let left = streams.messages(&hot).await;
            check(left == 0, left)
        })
        .await;
        assert_eq!(streams.books(partition).await["finished"], serde_json::json!([300, 0]));
    }
    assert_eq!(replica.store().depth().rows, 0);
    replica.close();
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_backlog_arrives_in_order_without_a_pause() {
    // With several copies, the end of a pull overtakes its messages.
    let cluster = TestCluster::start(3).await;
    let mut streams = Streams::create(&cluster, 1).await;
    for body in bodies(0..500) {
        streams.publish(0, "a", 1, &body).await;
    }
    let replica = Replica::open(&cluster, 1, &[]);
    until("the first is delivered", async || check(replica.count() > 0, ())).await;
    let start = Instant::now();
    until("all are delivered", async || {
        check(replica.count() >= 500, replica.count())
    })
    .await;
    // Less than a pull waits.
    assert!(start.elapsed() < Duration::from_millis(1_800), "{:?}", start.elapsed());
    assert_eq!(replica.delivered("a"), bodies(0..500));
    replica.close();
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_tenant_that_refuses_is_parked_and_delays_no_other() {
    let cluster = TestCluster::start(1).await;
    let mut streams = Streams::create(&cluster, 1).await;
    let replica = Replica::open(&cluster, 1, &[("dead", Receiver::Refuses)]);
    for body in bodies(0..300) {
        streams.publish(0, "dead", 1, &body).await;
    }
    let mut waits = Vec::new();
    for (sent, body) in bodies(0..100).into_iter().enumerate() {
        streams.publish(0, "well", 1, &body).await;
        let start = Instant::now();
        until("the other gets its message", async || {
            check(replica.count() == sent + 1, replica.count())
        })
        .await;
        waits.push(start.elapsed());
    }
    waits.sort();
    assert!(waits[50] < Duration::from_secs(1), "{waits:?}");
    // Less than the servers wait for acknowledgements.
    assert!(waits[99] < Duration::from_secs(10), "{waits:?}");
    until("the dead one is parked", async || {
        let left = (streams.messages("tr-hot-0").await, streams.messages("tr-park-0").await);
        check(left == (0, 300), left)
    })
    .await;
    for body in bodies(300..330) {
        streams.publish(0, "dead", 1, &body).await;
    }
    replica.set("dead", Receiver::Accepts);
    until("it gets all", async || {
        let delivered = replica.delivered("dead");
        check(delivered.len() >= 330, delivered.len())
    })
    .await;
    assert_eq!(replica.delivered("dead"), bodies(0..330));
    until("all is deleted", async || {
        let left = (streams.messages("tr-hot-0").await, streams.messages("tr-park-0").await);
        check(left == (0, 0), left)
    })
    .await;
    assert_eq!(streams.books(0).await["finished"], serde_json::json!([430, 0]));
    assert_eq!(replica.store().depth().rows, 0);
    replica.close();
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn two_replicas_share_the_partitions_and_nothing_is_sent_twice() {
    let cluster = TestCluster::start(1).await;
    let mut streams = Streams::create(&cluster, 8).await;
    let first = Replica::open(&cluster, 8, &[]);
    until("the first has all", async || {
        let owned = streams.owned(8).await;
        check(owned.values().eq(&[8]), owned)
    })
    .await;
    let second = Replica::open(&cluster, 8, &[]);
    let mut published = 0;
    until("both have half", async || {
        for partition in 0..8 {
            streams
                .publish(partition, &format!("tenant-{partition}"), 1, &format!("{published:04}"))
                .await;
        }
        published += 1;
        let owned = streams.owned(8).await;
        check(owned.values().eq(&[4, 4]), owned)
    })
    .await;
    let all = bodies(0..published);
    until("all are delivered", async || {
        let count = first.count() + second.count();
        check(count >= published * 8, (count, published * 8))
    })
    .await;
    for partition in 0..8 {
        let queue = format!("tenant-{partition}");
        let both = [first.delivered(&queue), second.delivered(&queue)].concat();
        assert_eq!(both, all, "{queue}: first one, then the other, each once");
    }
    assert!(second.count() > 0);
    first.close();
    second.close();
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn another_replica_takes_over_from_a_dead_one_and_repeats_only_what_was_not_finished() {
    let cluster = TestCluster::start(1).await;
    let mut streams = Streams::create(&cluster, 2).await;
    let first = Replica::open(&cluster, 2, &[("kept", Receiver::Hangs), ("dead", Receiver::Refuses)]);
    for body in bodies(0..30) {
        for queue in ["kept", "dead", "well"] {
            streams.publish(0, queue, 1, &body).await;
        }
    }
    until("the first has sent what it can", async || {
        let left = (streams.messages("tr-hot-0").await, streams.messages("tr-park-0").await);
        check(first.delivered("well").len() == 30 && left == (0, 60), left)
    })
    .await;
    // These are held in the hot stream.
    for body in bodies(30..40) {
        streams.publish(1, "other", 1, &body).await;
    }
    until("they are delivered", async || check(first.count() == 40, first.count())).await;
    drop(first);
    let died = Instant::now();
    for body in bodies(40..50) {
        streams.publish(1, "other", 1, &body).await;
    }
    let second = Replica::open(&cluster, 2, &[]);
    until("the second has sent the rest", async || {
        let delivered = ["kept", "dead", "other"].map(|queue| second.delivered(queue).len());
        check(
            delivered[0] >= 30 && delivered[1] >= 30 && delivered[2] >= 10,
            delivered,
        )
    })
    .await;
    let failover = died.elapsed();
    // Six seconds until the first one counts as dead, and much for a slow computer.
    assert!(failover < Duration::from_secs(25), "{failover:?}");
    assert_eq!(second.delivered("kept"), bodies(0..30));
    assert_eq!(second.delivered("dead"), bodies(0..30));
    assert_eq!(second.delivered("well"), Vec::<String>::new());
    // Those that the first finished less than half a second before its end may be repeated.
    let other = second.delivered("other");
    assert_eq!(other[other.len() - 10..], bodies(40..50));
    assert!(bodies(30..40).ends_with(&other[..other.len() - 10]), "{other:?}");
    second.close();
}

/// A sender that has just lost the partition may park messages that the new owner sends.
#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_finished_message_that_is_parked_late_is_deleted_and_not_sent_again() {
    let cluster = TestCluster::start(1).await;
    let mut streams = Streams::create(&cluster, 1).await;
    let first = Replica::open(&cluster, 1, &[("dead", Receiver::Refuses)]);
    for body in bodies(0..3) {
        streams.publish(0, "well", 2, &body).await;
        streams.publish(0, "dead", 1, &body).await;
    }
    until("the first has sent what it can", async || {
        let left = (streams.messages("tr-hot-0").await, streams.messages("tr-park-0").await);
        check(first.count() == 3 && left == (0, 3), left)
    })
    .await;
    for (hot, body) in [1, 3, 5].into_iter().zip(bodies(0..3)) {
        streams.park(0, "well", 2, hot, hot, &body).await;
    }
    first.close();
    let second = Replica::open(&cluster, 1, &[]);
    until("the second has the rest, and the copies are deleted", async || {
        let left = streams.messages("tr-park-0").await;
        check(second.count() >= 3 && left == 0, (second.count(), left))
    })
    .await;
    assert_eq!(second.delivered("well"), Vec::<String>::new());
    assert_eq!(second.delivered("dead"), bodies(0..3));
    assert_eq!(streams.books(0).await["finished"], serde_json::json!([9, 0]));
    assert_eq!(second.store().depth().rows, 0);
    second.close();
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_replica_that_closes_hands_over_at_once() {
    let cluster = TestCluster::start(1).await;
    let mut streams = Streams::create(&cluster, 2).await;
    let first = Replica::open(&cluster, 2, &[("kept", Receiver::Hangs), ("dead", Receiver::Refuses)]);
    until("the first has all", async || {
        let owned = streams.owned(2).await;
        check(owned.values().eq(&[2]), owned)
    })
    .await;
    let second = Replica::open(&cluster, 2, &[]);
    until("both have half", async || {
        let owned = streams.owned(2).await;
        check(owned.values().eq(&[1, 1]), owned)
    })
    .await;
    for body in bodies(0..20) {
        for partition in 0..2 {
            streams
                .publish(partition, "kept", 1, &format!("{partition}{body}"))
                .await;
        }
    }
    until("half is delivered", async || {
        check(second.count() == 20, second.count())
    })
    .await;
    let start = Instant::now();
    first.close();
    until("the other half, too", async || {
        check(second.count() == 40, second.count())
    })
    .await;
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let delivered = second.delivered("kept");
    for partition in ["0", "1"] {
        let of_partition = delivered.iter().filter(|body| body.starts_with(partition));
        let of_partition: Vec<String> = of_partition.map(|body| body[1..].to_owned()).collect();
        assert_eq!(of_partition, bodies(0..20));
    }
    second.close();
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_row_that_was_released_with_a_rest_holds_only_that() {
    let cluster = TestCluster::start(1).await;
    let mut streams = Streams::create(&cluster, 1).await;
    let rest = Rest {
        items: 2,
        format: 1,
        body: "rest".into(),
    };
    let replica = Replica::open(&cluster, 1, &[("tenant", Receiver::Leaves(rest))]);
    streams.publish(0, "tenant", 5, "whole").await;
    until("the rest is delivered", async || {
        check(replica.count() == 1, replica.count())
    })
    .await;
    assert_eq!(replica.delivered("tenant"), ["rest"]);
    until("all five are finished", async || {
        let books = streams.books(0).await;
        check(books["finished"] == serde_json::json!([5, 0]), books)
    })
    .await;
    replica.close();
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_replica_that_lost_a_partition_reports_it_and_finishes_nothing_there() {
    let cluster = TestCluster::start(1).await;
    let mut streams = Streams::create(&cluster, 1).await;
    let replica = Replica::open(&cluster, 1, &[("kept", Receiver::Hangs)]);
    streams.publish(0, "kept", 1, "first").await;
    until("one is taken", async || check(replica.kept() == 1, replica.kept())).await;
    streams.publish(0, "kept", 1, "second").await;
    until("another waits", async || {
        let arrived = replica.state().arrived.clone();
        check(arrived.get("kept") == Some(&2), arrived)
    })
    .await;
    // As if another process had taken the partition over, and died.
    let mut books = streams.books(0).await;
    let epoch = books["epoch"].as_u64().expect("an epoch");
    books["epoch"] = (epoch + 1).into();
    books["owner"] = "00000000-0000-0000-0000-000000000001".into();
    let bucket = streams.context.get_key_value("tr-books").await.expect("a bucket");
    bucket.put("0", books.to_string().into()).await.expect("written");
    until("the waiting one has moved", async || {
        let moved = replica.state().moved.clone();
        check(moved.contains_key("kept"), moved)
    })
    .await;
    // The replica takes the partition over again, because that process does not live.
    until("both arrive again", async || {
        let (arrived, moved) = replica.net("kept");
        check(arrived - moved == 3, (arrived, moved))
    })
    .await;
    let (_, late) = replica.state().kept.remove(0);
    replica.store().complete(vec![late]);
    replica.set("kept", Receiver::Accepts);
    until("both are delivered", async || {
        check(replica.count() == 2, replica.delivered("kept"))
    })
    .await;
    assert_eq!(replica.delivered("kept"), ["first", "second"]);
    until("both are finished once", async || {
        let books = streams.books(0).await;
        check(books["finished"] == serde_json::json!([2, 0]), books)
    })
    .await;
    replica.close();
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_row_that_is_released_after_the_partition_was_lost_has_moved() {
    let cluster = TestCluster::start(1).await;
    let mut streams = Streams::create(&cluster, 1).await;
    let replica = Replica::open(&cluster, 1, &[("kept", Receiver::Hangs)]);
    streams.publish(0, "kept", 7, "body").await;
    until("it is taken", async || check(replica.kept() == 1, replica.kept())).await;
    let bucket = streams.context.get_key_value("tr-books").await.expect("a bucket");
    let other = serde_json::json!({
        "epoch": 99, "owner": "00000000-0000-0000-0000-000000000001", "finished": [0, 0],
        "buffer_lost": 0, "duplicates": 0, "expired": 0, "processes": {},
    });
    bucket.put("0", other.to_string().into()).await.expect("written");
    until("it arrives again", async || {
        let (arrived, moved) = replica.net("kept");
        check(arrived - moved == 14, (arrived, moved))
    })
    .await;
    let (_, late) = replica.state().kept.remove(0);
    replica.store().release(vec![(late, None)]);
    until("it has moved", async || {
        let (arrived, moved) = replica.net("kept");
        check(arrived - moved == 7, (arrived, moved))
    })
    .await;
    replica.close();
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn messages_that_are_deleted_behind_our_back_are_counted_with_their_items() {
    let cluster = TestCluster::start(1).await;
    let mut streams = Streams::create(&cluster, 3).await;
    for body in bodies(0..5) {
        let sequence = streams.publish(0, "tenant", 7, &body).await;
        if body == "0002" {
            streams.delete("tr-hot-0", sequence).await;
        }
    }
    for body in bodies(0..3) {
        let sequence = streams.publish(1, "other", 11, &body).await;
        if body == "0002" {
            streams.delete("tr-hot-1", sequence).await;
        }
    }
    streams.write_totals(0).await;
    streams.write_totals(1).await;
    let start = Instant::now();
    let replica = Replica::open(&cluster, 3, &[("dead", Receiver::Refuses)]);
    for body in bodies(0..3) {
        streams.publish(2, "dead", 13, &body).await;
    }
    until("they are parked", async || {
        let parked = streams.messages("tr-park-2").await;
        check(parked == 3, parked)
    })
    .await;
    streams.delete("tr-park-2", 2).await;
    replica.set("dead", Receiver::Accepts);
    for (partition, items) in [(0, 7), (1, 11), (2, 13)] {
        until("the loss is in the books", async || {
            let books = streams.books(partition).await;
            check(books["buffer_lost"] == items, books)
        })
        .await;
    }
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    assert_eq!(replica.delivered("dead"), ["0000", "0002"]);
    assert_eq!(replica.count(), 4 + 2 + 2);
    assert_eq!(replica.store().depth().rows, 0);
    replica.close();
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_restart_of_the_servers_loses_nothing() {
    let mut cluster = TestCluster::start(1).await;
    let mut streams = Streams::create(&cluster, 2).await;
    let replica = Replica::open(&cluster, 2, &[("dead", Receiver::Refuses)]);
    for round in 0..3 {
        for body in bodies(round * 50..round * 50 + 50) {
            for (partition, queue) in [(0, "well"), (1, "dead"), (1, "other")] {
                streams.publish(partition, queue, 1, &body).await;
            }
        }
        if round < 2 {
            cluster.kill(0);
            cluster.restart(0).await;
        }
    }
    replica.set("dead", Receiver::Accepts);
    for queue in ["well", "other", "dead"] {
        until("all are delivered", async || {
            let mut delivered = replica.delivered(queue);
            delivered.sort();
            delivered.dedup();
            check(delivered == bodies(0..150), (queue, delivered.len()))
        })
        .await;
    }
    until("nothing is left", async || {
        let mut left = 0;
        for stream in ["tr-hot-0", "tr-hot-1", "tr-park-0", "tr-park-1"] {
            left += streams.messages(stream).await;
        }
        check(left == 0, left)
    })
    .await;
    for partition in 0..2 {
        assert_eq!(streams.books(partition).await["buffer_lost"], 0);
    }
    replica.close();
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn three_servers_lose_nothing_when_one_is_killed() {
    let mut cluster = TestCluster::start(3).await;
    let mut streams = Streams::create(&cluster, 2).await;
    let replica = Replica::open(&cluster, 2, &[]);
    for round in 0..3 {
        for body in bodies(round * 20..round * 20 + 20) {
            for (partition, queue) in [(0, "a"), (1, "b")] {
                streams.publish(partition, queue, 1, &body).await;
            }
        }
        if round < 2 {
            cluster.kill(round);
        }
        if round == 1 {
            cluster.restart(0).await;
        }
    }
    for queue in ["a", "b"] {
        until("all are delivered", async || {
            let mut delivered = replica.delivered(queue);
            delivered.sort();
            delivered.dedup();
            check(delivered == bodies(0..60), (queue, delivered.len()))
        })
        .await;
    }
    replica.close();
}
