//! Purges, shared bindings, nudges, roles, quotas, and wrong input.

use std::fs;
use std::time::Instant;

use serde_json::{Value, json};
use tracer_registry_collector::{Fault, LocalCollector};

use super::{Cluster, Replica, number, wait_until};
use crate::serve::Served;
use crate::text;

#[test]
#[ignore = "needs nats-server"]
fn a_purge_by_one_replica_erases_on_all_and_on_later_ones_until_it_is_allowed() {
    let cluster = Cluster::start();
    let replicas = [cluster.replica(), cluster.replica()];
    let failing = cluster.collector.fault(Fault::status(503).only("key-of-acme"));
    for replica in &replicas {
        for _ in 0..5 {
            assert_eq!(replica.status("acme"), 200);
        }
        assert_eq!(replica.status("globex"), 200);
    }
    cluster.wait_for_spans("globex", 2);
    // All of it is with the sender of the tenant, and with the other replica nothing.
    let held = |replica: &Replica| {
        let (_, status) = replica.ask("GET", "/api/tenants/acme");
        number(&status["spans"], "recovered")
    };
    wait_until(|| match replicas.each_ref().map(held) {
        [10, 0] | [0, 10] => Ok(()),
        held => Err(format!("{held:?}")),
    });
    replicas[0].wait_for_ledger(|ledger| ledger["waiting"] == 10);
    let other = replicas.iter().find(|replica| held(replica) == 0).expect("one of them");
    let receipt = other.json(&["purge", "acme"]);
    let places = ["memory", "spooled", "streamed"].map(|place| number(&receipt[place], "spans"));
    assert_eq!(places, [0, 0, 10], "{receipt}");
    assert_eq!(receipt["rows"], 10, "{receipt}");

    let later = cluster.replica();
    for replica in replicas.iter().chain([&later]) {
        replica.wait_for_status("acme", 403);
        assert_eq!(replica.status("globex"), 200);
    }
    let ledger = other.wait_for_ledger(|ledger| ledger["waiting"] == 0);
    assert_eq!(ledger["purged"], 10, "{ledger}");

    assert!(other.says(&["allow", "acme"]).ends_with("takes data again\n"));
    cluster.collector.clear_fault(failing);
    for replica in replicas.iter().chain([&later]) {
        replica.wait_for_status("acme", 200);
        assert_eq!(replica.status("acme"), 200);
    }
    // No span from before the purge.
    cluster.wait_for_spans("acme", 6);
    let ledger = later.wait_for_ledger(|ledger| ledger["waiting"] == 0 && ledger["published"] == 21);
    let shown = later.says(&["cluster"]);
    let equation = "published 21 + unconfirmed 0 = finished 11 + waiting 0 + buffer_lost 0 + expired 0 + purged 10\n";
    assert!(shown.starts_with(equation), "{shown}");
    assert_eq!(shown.lines().count(), 6, "a row for each replica: {shown}");
    assert_eq!(later.json(&["cluster"])["replicas"].as_array().map(Vec::len), Some(3));
    assert_eq!((&ledger["purged"], &ledger["finished"]), (&10.into(), &11.into()));
    assert_eq!(cluster.received("acme"), 6);
}

#[test]
#[ignore = "needs nats-server"]
fn a_shared_binding_makes_a_tenant_known_on_all_replicas_until_it_is_removed() {
    let cluster = Cluster::start();
    let untrusted = "[untrusted]\nendpoints = [\"https://tracing.example\"]\n";
    let replicas = [cluster.replica_with("", untrusted), cluster.replica_with("", untrusted)];
    for replica in &replicas {
        replica.wait_for_status("initech", 403);
    }
    fs::write(cluster.folder.path().join("keys/initech"), "new-key").expect("written");
    let file = cluster.folder.path().join("initech.json");
    let put = |json: &str| {
        fs::write(&file, json).expect("written");
        cluster.bindings(&["put", "initech", file.to_str().expect("UTF-8")])
    };
    for (json, rule) in [
        ("{", "no JSON"),
        (r#"{"colour": "red"}"#, "colour"),
        (r#"{"api_key": "a-key-itself"}"#, "a key is never written"),
        (
            r#"{"api_key": {"env": "GLOBEX_KEY"}}"#,
            "an untrusted layer may not use this key source",
        ),
        (
            r#"{"endpoint": "https://attacker.example"}"#,
            "an untrusted layer may not send to this endpoint",
        ),
    ] {
        let output = put(json);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{json}: {stderr}");
        assert!(stderr.contains(rule), "{json}: {stderr}");
        assert!(!stderr.contains("a-key-itself"), "{stderr}");
    }
    let none = cluster.bindings(&["list"]);
    assert_eq!((none.status.code(), text(&none.stdout).as_str()), (Some(0), ""));

    let output = put("{}");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let begun = Instant::now();
    for replica in &replicas {
        replica.wait_for_status("initech", 200);
    }
    println!("known on all replicas after {:?}", begun.elapsed());
    cluster.wait_for_spans("new", 2);
    assert_eq!(text(&cluster.bindings(&["list"]).stdout), "initech\n");

    let output = cluster.bindings(&["remove", "initech"]);
    assert_eq!(text(&output.stdout), "initech: removed\n");
    for replica in &replicas {
        replica.wait_for_status("initech", 403);
        assert_eq!(replica.status("acme"), 200);
    }
    let again = cluster.bindings(&["remove", "initech"]);
    assert_eq!(
        (again.status.code(), text(&again.stdout).as_str()),
        (Some(1), "initech: there was none\n")
    );
    for replica in replicas {
        replica.stop();
    }
}

#[test]
#[ignore = "needs nats-server"]
fn a_nudge_makes_other_replicas_read_a_changed_key() {
    let cluster = Cluster::start();
    let (ingest, sender) = (
        cluster.replica_with("role = \"ingest\"", ""),
        cluster.replica_with("role = \"send\"", ""),
    );
    assert_eq!(ingest.status("acme"), 200);
    cluster.wait_for_spans("acme", 1);
    let key_of = |replica: &Replica| replica.ask("GET", "/api/tenants/acme").1["key"].clone();
    let before = key_of(&sender);
    fs::write(cluster.folder.path().join("keys/acme"), "new-key").expect("written");
    assert_eq!(key_of(&sender)["fingerprint"], before["fingerprint"]);
    assert_eq!(
        ingest.says(&["nudge", "acme"]),
        "acme: all replicas read the key again\n"
    );
    wait_until(|| match key_of(&sender) {
        key if key["fingerprint"] != before["fingerprint"] => Ok(()),
        key => Err(key.to_string()),
    });
    assert_eq!(ingest.status("acme"), 200);
    cluster.wait_for_spans("new", 1);
    assert_eq!(cluster.received("acme"), 1);
    ingest.stop();
    sender.stop();
}

#[test]
#[ignore = "needs nats-server"]
fn an_ingest_replica_never_sends_and_a_sender_takes_no_requests() {
    let cluster = Cluster::start();
    let ingest = cluster.replica_with("role = \"ingest\"", "");
    for _ in 0..3 {
        assert_eq!(ingest.status("acme"), 200);
    }
    let ledger = ingest.wait_for_ledger(|ledger| ledger["published"] == 3);
    assert_eq!(
        (&ledger["waiting"], &ledger["unowned"]),
        (&3.into(), &json!([0, 1])),
        "{ledger}"
    );
    assert_eq!(cluster.received("acme"), 0);

    let sender = cluster.replica_with("role = \"send\"", "");
    cluster.wait_for_spans("acme", 3);
    let answer = sender.post("acme");
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.contains("takes no requests"),
        "{answer}"
    );
    let ledger = ingest.wait_for_ledger(|ledger| ledger["finished"] == 3);
    let role = |replica: &Value| (replica["takes_requests"] == true, replica["sends"] == true);
    let mut roles: Vec<_> = ledger["replicas"]
        .as_array()
        .expect("a list")
        .iter()
        .map(role)
        .collect();
    roles.sort_unstable();
    assert_eq!(roles, [(false, true), (true, false)]);
    ingest.stop();
    sender.stop();
}

#[test]
#[ignore = "needs nats-server"]
fn two_replicas_share_a_limit() {
    let cluster = Cluster::start();
    let quota = "[tenants.probe]\nquota.spans_per_day = 1000\n[tenants.initech]\nquota.spans_per_day = 20\n";
    for tenant in ["probe", "initech"] {
        fs::write(cluster.folder.path().join("keys").join(tenant), "new-key").expect("written");
    }
    let replicas = [cluster.replica_with("", quota), cluster.replica_with("", quota)];
    let used = |replica: &Replica, tenant: &str| {
        assert!([200, 429].contains(&replica.status(tenant)));
        let (_, status) = replica.ask("GET", &format!("/api/tenants/{tenant}"));
        number(&status["quota"][0], "used")
    };
    for replica in &replicas {
        // Once it has counted the other one.
        wait_until(|| match [used(replica, "probe"), used(replica, "probe")] {
            [before, after] if after == before + 2 => Ok(()),
            used => Err(format!("{used:?}")),
        });
    }
    for replica in &replicas {
        for expected in (1..=10).map(|spans| 2 * spans).chain([20]) {
            assert_eq!(used(replica, "initech"), expected);
        }
        let answer = replica.post("initech");
        assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
        assert!(answer.to_lowercase().contains("\r\nretry-after: "), "{answer}");
    }
    for replica in replicas {
        replica.stop();
    }
}

#[test]
#[ignore = "needs nats-server"]
fn wrong_input_and_absent_servers_have_a_status_and_a_reason() {
    let mut cluster = Cluster::start();
    let replica = cluster.replica();
    let message = |answer: &Value| answer["error"]["message"].as_str().unwrap_or_default().to_owned();
    for action in ["nudge", "purge", "allow"] {
        for (selector, expected, rule) in [
            ("feature%3Anone", 404, "feature \"none\" is not configured"),
            ("tenant%3A", 400, "tenant"),
        ] {
            let (status, answer) = replica.ask("POST", &format!("/api/tenants/{selector}/{action}"));
            assert_eq!(
                (status, message(&answer).contains(rule)),
                (expected, true),
                "{action}: {answer}"
            );
        }
    }
    // Another replica may have data of a tenant that is not configured any more.
    let receipt = replica.json(&["purge", "unknown"]);
    assert_eq!(receipt["rows"], 0, "{receipt}");
    assert_eq!(replica.says(&["allow", "unknown"]), "unknown: takes data again\n");
    let refused = replica.refused(&["nudge", "feature:none"]);
    assert!(refused.contains("feature \"none\" is not configured"), "{refused}");
    cluster.servers.kill(0);
    // No answer of the servers is waited for without end.
    for (method, path) in [
        ("POST", "/api/tenants/acme/nudge"),
        ("GET", "/api/cluster"),
        ("POST", "/api/tenants/acme/purge"),
        ("POST", "/api/tenants/acme/allow"),
    ] {
        let begun = Instant::now();
        let (status, answer) = replica.ask(method, path);
        println!("{path}: {status} after {:?}: {}", begun.elapsed(), message(&answer));
        if path.ends_with("/allow") {
            // It is known without the servers that nothing is erased.
            assert_eq!((status, &answer["changed"]), (200, &false.into()), "{answer}");
        } else {
            let is_clear = message(&answer).contains("the NATS servers do not answer") || path.ends_with("/purge");
            assert_eq!((status, is_clear), (503, true), "{path}: {answer}");
        }
    }
    let answer = replica.post("acme");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    cluster.runtime.block_on(cluster.servers.restart(0));
    replica.wait_for_status("acme", 200);
    let ledger = replica.wait_for_ledger(|ledger| ledger["published"] == 1 && ledger["waiting"] == 0);
    assert_eq!(ledger["purged"], 0, "{ledger}");
    replica.stop();
}

#[test]
fn a_gateway_without_a_stream_says_so() {
    let collector = LocalCollector::start().expect("started");
    let folder = tempfile::tempdir().expect("a folder");
    crate::serve::configuration(folder.path(), &collector, "acme");
    fs::write(folder.path().join("token"), "a-token-of-a-caller").expect("written");
    fs::write(folder.path().join("admin"), super::TOKEN).expect("written");
    let file = folder.path().join("gateway.toml");
    let config = fs::read_to_string(&file).expect("written before");
    let admin = "[gateway.admin]\nlisten = \"127.0.0.1:0\"\ntoken = { file = \"admin\" }\n";
    fs::write(&file, format!("{config}{admin}")).expect("written");
    let replica = Replica::of(Served::start(&["--config", file.to_str().expect("UTF-8")]));
    for arguments in [&["cluster"][..], &["stream"], &["nudge", "acme"]] {
        let refused = replica.refused(arguments);
        assert!(refused.contains("there is no [gateway.stream]"), "{refused}");
    }
    replica.stop();
}
