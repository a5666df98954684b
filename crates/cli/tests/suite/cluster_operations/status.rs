//! What a replica shows: its status, its metrics, its readiness, and the commands of the page.

use serde_json::Value;
use tracer_registry_collector::Fault;

use super::{Cluster, Replica, wait_until};
use crate::admin_docs::{Example, examples, matches};
use crate::get;

/// Returns the first cell of each row of the table after a heading.
fn names_in(page: &str, heading: &str) -> Vec<String> {
    let (_, section) = page.split_once(heading).expect(heading);
    let rows = section.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let rows = rows.take_while(|line| line.starts_with('|'));
    let mut names: Vec<String> = rows
        .filter_map(|row| row.split('`').nth(1))
        .map(str::to_owned)
        .collect();
    names.sort();
    names
}

/// Waits until the state of a replica's stream is as expected, and returns it.
fn wait_for(replica: &Replica, is_there: &dyn Fn(&Value) -> bool) -> Value {
    let mut found = Value::Null;
    wait_until(|| {
        found = replica.ask("GET", "/api/stream").1;
        if is_there(&found) {
            Ok(())
        } else {
            Err(found.to_string())
        }
    });
    found
}

/// Asserts that the pages name each metric and field, and no other.
fn assert_is_documented(replica: &Replica) {
    let metrics = replica.says(&["metrics"]);
    let scraped = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let mut scraped: Vec<String> = scraped
        .filter(|name| name.starts_with("tracer_registry_stream_"))
        .map(str::to_owned)
        .collect();
    scraped.sort();
    assert_eq!(
        scraped,
        names_in(
            include_str!("../../../../../docs/metrics.md"),
            "\n## Names of a stream\n"
        )
    );
    assert!(metrics.contains("\ntracer_registry_stream_connected 1\n"), "{metrics}");
    assert!(
        metrics.contains("\ntracer_registry_stream_published_total 5\n"),
        "{metrics}"
    );
    let stream = replica.ask("GET", "/api/stream").1;
    let mut fields: Vec<String> = stream.as_object().expect("fields").keys().cloned().collect();
    fields.sort();
    let page = include_str!("../../../../../docs/cluster.md");
    assert_eq!(fields, names_in(page, "\n## The state of a replica\n"));
    let mut fields: Vec<String> = replica.cluster().as_object().expect("fields").keys().cloned().collect();
    fields.sort();
    assert_eq!(fields, names_in(page, "\n## The ledger of all replicas\n"));
}

#[test]
#[ignore = "needs nats-server"]
fn a_replica_shows_its_servers_its_partitions_and_what_waits() {
    let mut cluster = Cluster::start();
    let spool = "[spool]\nmode = \"through\"\npath = \"spool\"\nmax_bytes = \"64MiB\"\n";
    let replica = cluster.replica_with("", spool);
    let without_spool = cluster.replica_with("role = \"ingest\"", "");
    cluster.collector.fault(Fault::status(503).only("key-of-acme"));
    for tenant in ["acme", "acme", "acme", "globex"] {
        assert_eq!(replica.status(tenant), 200);
    }
    let is_ready = |of: &Replica| get(&of.served.http, "/readyz").starts_with("HTTP/1.1 200 ");
    let found = wait_for(&replica, &|stream| {
        stream["parked_selectors"] == 1 && stream["held_items"] == 3
    });
    for (field, value) in [
        ("owned", 2),
        ("partitions", 2),
        ("published", 4),
        ("held_messages", 3),
        ("withdrawn", 0),
    ] {
        assert_eq!(found[field], value, "{field}: {found}");
    }
    assert_eq!(
        (&found["server"], &found["away_since"], &found["can_store"]),
        (&"n0".into(), &Value::Null, &true.into())
    );
    assert!(
        replica.says(&["stream"]).contains("parked_selectors "),
        "the same as text"
    );
    wait_until(|| {
        if is_ready(&replica) && is_ready(&without_spool) {
            Ok(())
        } else {
            Err("not ready".to_owned())
        }
    });

    cluster.servers.kill(0);
    let is_away = |stream: &Value| stream["server"].is_null() && stream["away_since"].is_u64();
    let found = wait_for(&replica, &is_away);
    assert_eq!(found["can_store"], true, "{found}");
    wait_for(&without_spool, &|stream| {
        is_away(stream) && stream["can_store"] == false && stream["error"].is_string()
    });
    assert_eq!((is_ready(&replica), is_ready(&without_spool)), (true, false));
    assert_eq!((replica.status("globex"), without_spool.status("globex")), (200, 503));
    let severity = |of: &Replica| {
        let (_, attention) = of.ask("GET", "/api/attention");
        let items = attention["attention"].as_array().expect("a list").clone();
        items
            .into_iter()
            .find(|item| item["rule"] == "stream_away")
            .expect("an item")["severity"]
            .clone()
    };
    assert_eq!([severity(&replica), severity(&without_spool)], ["warning", "error"]);
    wait_for(&replica, &|stream| stream["local_items"] == 1);

    cluster.runtime.block_on(cluster.servers.restart(0));
    let found = wait_for(&replica, &|stream| {
        stream["local_items"] == 0 && stream["published"] == 5
    });
    assert_eq!(found["server"], "n0", "{found}");
    cluster.wait_for_spans("globex", 2);
    wait_until(|| {
        if is_ready(&without_spool) {
            Ok(())
        } else {
            Err("not ready".to_owned())
        }
    });

    assert_is_documented(&replica);
    // With the data of a failing receiver left, which others send later.
    drop((replica, without_spool));
}

#[test]
#[ignore = "needs nats-server"]
fn the_commands_of_the_page_have_their_output() {
    let cluster = Cluster::start();
    let replica = cluster.replica();
    assert_eq!(replica.status("acme"), 200);
    cluster.wait_for_spans("acme", 1);
    replica.wait_for_ledger(|ledger| ledger["finished"] == 1);
    let mut asked = 0;
    for Example { command, output } in examples(include_str!("../../../../../docs/cluster.md")) {
        let Some(arguments) = command.strip_prefix("tracer-registry admin ") else {
            continue;
        };
        asked += 1;
        let shown = replica.says(&arguments.split(' ').collect::<Vec<_>>());
        assert!(matches(&output, &shown), "{command}\n{shown}\nthe page has:{output}");
    }
    assert!(asked >= 3, "{asked}");
    replica.stop();
}
