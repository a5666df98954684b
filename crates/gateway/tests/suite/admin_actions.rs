//! Actions of the admin listener, and reloads of its settings.

use std::time::{Duration, Instant};

use serde_json::json;
use tracer_registry_collector::Fault;

use crate::admin::{TABLE, bearer, routes, start};
use crate::limits::Raw;
use crate::support::{ACME, ADMIN, KEYS, SCRAPER, Service, body, until};

#[test]
fn the_configuration_is_shown_with_its_faults_and_a_reload_reports_them() {
    let service = start();
    let page = service.page("/api/config");
    assert_eq!(page["settings"]["export.timeout"], "\"10s\"");
    assert_eq!(
        page["tables"],
        json!({"callers": 5, "environments": 0, "features": 0, "routes": 0, "tenants": 2, "wildcard": false})
    );
    assert_eq!((&page["faults"], &page["gateway"]["tls"]), (&json!([]), &false.into()));
    let expected = service.gateway().admin().unwrap().ip().to_string();
    assert!(
        page["gateway"]["admin"].as_str().unwrap().starts_with(&expected),
        "{page}"
    );

    service.write_config(TABLE, "[tenants.initech]");
    let (status, answer) = service.admin("POST", "/api/reload");
    assert_eq!((status, &answer["added"]), (200, &json!(["tenant:initech"])));
    service.write_config(TABLE, "[tenants.initech]\nexport.timeout = 5\nunknown = 1");
    let (status, answer) = service.admin("POST", "/api/reload");
    assert_eq!(status, 409);
    assert_eq!(answer["error"]["message"], "the running configuration is kept");
    assert_eq!(answer["error"]["faults"].as_array().unwrap().len(), 2, "{answer}");
    assert_eq!(service.page("/api/config")["faults"], answer["error"]["faults"]);
}

#[test]
fn a_removed_tracer_is_created_again_by_the_next_data() {
    let service = start();
    assert_eq!(
        service.admin("POST", "/api/tenants/acme/remove"),
        (200, json!({"removed": false}))
    );
    assert_eq!(service.post(ACME, &[], body(&["one"])).status, 200);
    assert_eq!(
        service.admin("POST", "/api/tenants/acme/remove"),
        (200, json!({"removed": true}))
    );
    until(|| service.page("/api/tenants/acme")["tracers"] == 0);
    assert_eq!(service.post(ACME, &[], body(&["two"])).status, 200);
    service.flush();
    assert_eq!(service.spans("acme"), ["one", "two"]);
}

#[test]
fn a_reload_revokes_tokens_and_without_the_table_none_is_valid() {
    let service = start();
    std::fs::write(service.path("tokens/admin"), "another-token-of-the-admin").unwrap();
    service.gateway().reload().unwrap();
    let status = |token: &str| {
        service
            .ask("GET", "/api/config", &[("authorization", &bearer(token))], "")
            .status
    };
    assert_eq!((status(ADMIN), status("another-token-of-the-admin")), (401, 200));
    service.write_config("", "");
    service.gateway().reload().unwrap();
    assert_eq!((status("another-token-of-the-admin"), status(SCRAPER)), (401, 401));
}

#[test]
fn a_listener_that_stays_open_does_not_lose_its_tls_by_a_reload() {
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let service = Service::prepare("", "");
    std::fs::write(service.path("cert.pem"), certificate.cert.pem()).unwrap();
    std::fs::write(service.path("key.pem"), certificate.signing_key.serialize_pem()).unwrap();
    let listen = |listen: &str| TABLE.replace("127.0.0.1:0", listen);
    let tls = "\ntls = { certificate = \"cert.pem\", key = \"key.pem\" }";
    service.write_config(&(listen("0.0.0.0:0") + tls), "");
    let service = service.start_again().unwrap();
    let refused = || {
        service.write_config(&listen("127.0.0.1:0"), "");
        let error = service.gateway().reload().unwrap_err().to_string();
        assert!(
            error.contains("gateway.admin.listen: 0.0.0.0:0 is not a loopback address; set gateway.tls"),
            "{error}"
        );
    };
    refused();
    // Without the table, no token is valid; with it, one would be.
    service.write_config("", "");
    service.gateway().reload().unwrap();
    refused();
}

#[test]
fn a_pause_keeps_the_data_until_it_is_resumed() {
    let service = start();
    let paused = |action: &str, changed: bool| {
        let expected = json!({"paused": action == "pause", "changed": changed});
        assert_eq!(
            service.admin("POST", &format!("/api/tenants/acme/{action}")),
            (200, expected)
        );
    };
    paused("pause", true);
    paused("pause", false);
    assert_eq!(service.post(ACME, &[], body(&["kept"])).status, 200);
    assert_eq!(
        service.admin("POST", "/api/tenants/acme/flush?timeout=100ms"),
        (200, json!({"pending": 1}))
    );
    assert_eq!(service.page("/api/tenants/acme")["paused"], true);
    assert_eq!(service.page("/api/tenants?only=paused")["found"], 1);
    assert_eq!(service.spans("acme"), Vec::<String>::new());
    paused("resume", true);
    paused("resume", false);
    assert_eq!(
        service.admin("POST", "/api/tenants/acme/flush?timeout=30s"),
        (200, json!({"pending": 0}))
    );
    assert_eq!(service.spans("acme"), ["kept"]);
    assert_eq!(service.admin("POST", "/api/tenants/initech/pause").0, 404);
    assert_eq!(service.admin("POST", "/api/tenants/initech/flush").0, 404);
    for timeout in ["31s", "-1s", "x", ""] {
        assert_eq!(
            service
                .admin("POST", &format!("/api/tenants/acme/flush?timeout={timeout}"))
                .0,
            400
        );
    }
}

#[test]
fn an_erased_tenant_gets_403_until_it_is_allowed() {
    let service = start();
    let path = |action: &str| format!("/api/tenants/acme/{action}");
    service.admin("POST", &path("pause"));
    assert_eq!(service.post(ACME, &[], body(&["erased"])).status, 200);
    let (status, receipt) = service.admin("POST", &path("purge"));
    assert_eq!((status, &receipt["selector"]), (200, &json!("tenant:acme")));
    assert_eq!(
        (&receipt["memory"]["spans"], &receipt["rows"]),
        (&json!(1), &json!(0)),
        "{receipt}"
    );
    let page = service.page("/api/tenants/acme");
    assert_eq!(
        (&page["erased"], &page["spans"]["dropped"]),
        (&true.into(), &json!({"purged": 1}))
    );
    assert_eq!(service.post(ACME, &[], body(&["late"])).status, 403);
    let attention = service.page("/api/attention");
    let mut rules = attention["attention"].as_array().unwrap().iter();
    assert!(rules.any(|item| item["rule"] == "erased"), "{attention}");
    let allow = |changed: bool| {
        let expected = json!({"erased": false, "changed": changed});
        assert_eq!(service.admin("POST", &path("allow")), (200, expected));
    };
    allow(true);
    allow(false);
    service.admin("POST", &path("resume"));
    assert_eq!(service.post(ACME, &[], body(&["new"])).status, 200);
    service.admin("POST", &path("flush"));
    assert_eq!(service.spans("acme"), ["new"]);
    for action in ["purge", "allow"] {
        assert_eq!(service.admin("POST", &format!("/api/tenants/initech/{action}")).0, 404);
    }
}

#[test]
fn the_page_of_the_spool_shows_what_is_on_disk() {
    let service = start();
    let (status, answer) = service.admin("GET", "/api/spool");
    let off = "nothing is written to disk: spool.mode is \"off\"";
    assert_eq!((status, &answer["error"]["message"]), (409, &json!(off)));
    service.write_config(
        TABLE,
        "[spool]\nmode = \"overflow\"\npath = \"spool\"\nmax_bytes = \"64MiB\"",
    );
    let reload = service.admin("POST", "/api/reload").1;
    assert_eq!(
        reload["needs_restart"],
        json!(["spool.mode", "spool.path", "spool.max_bytes"])
    );
    let service = service.start_again().unwrap();
    let page = service.page("/api/spool");
    assert_eq!(
        (&page["mode"], &page["health"]),
        (&json!("overflow"), &json!("working"))
    );
    assert_eq!((&page["rows"], &page["set_aside"]), (&json!(0), &json!([])));
}

#[test]
fn a_rotation_reads_the_key_now_and_a_dry_run_changes_nothing() {
    let service = start();
    let rotate = |query: &str| service.admin("POST", &format!("/api/tenants/acme/rotate{query}"));
    assert_eq!(service.post(ACME, &[], body(&["before"])).status, 200);
    service.flush();
    let (_, same) = rotate("?dry_run");
    assert_eq!(
        (&same["changed"], &same["connection"]),
        (&false.into(), &"accepted".into())
    );
    // The key of another project, so that its effect is visible.
    std::fs::write(service.path("keys/acme"), KEYS[1].1).unwrap();
    let (_, tried) = rotate("?dry_run=true");
    assert_eq!(
        (&tried["changed"], &tried["connection"]),
        (&true.into(), &"accepted".into())
    );
    assert_eq!(
        service.page("/api/tenants/acme")["key"]["fingerprint"],
        same["fingerprint"]
    );
    let (status, rotated) = rotate("");
    let expected = json!({
        "before": same["fingerprint"], "fingerprint": tried["fingerprint"], "changed": true, "tracers": 1,
    });
    assert_eq!((status, rotated), (200, expected));
    assert_eq!(service.post(ACME, &[], body(&["after"])).status, 200);
    service.flush();
    assert_eq!(
        (service.spans("acme"), service.spans("globex")),
        (vec!["before".to_owned()], vec!["after".to_owned()])
    );

    service.collector.fault(Fault::reject_key().times(1));
    let (_, refused) = rotate("?dry_run");
    assert!(refused["connection"]["failed"].is_string(), "{refused}");
    std::fs::remove_file(service.path("keys/acme")).unwrap();
    for query in ["", "?dry_run"] {
        let (status, answer) = rotate(query);
        assert_eq!(status, 409, "{answer}");
        assert!(
            answer["error"]["message"]
                .as_str()
                .unwrap()
                .contains("the key cannot be read"),
            "{answer}"
        );
    }
    assert_eq!(service.admin("POST", "/api/tenants/initech/rotate").0, 404);
    assert_eq!(service.admin("POST", "/api/tenants/initech/rotate?dry_run").0, 404);
    assert_eq!(rotate("?dry_run=1").0, 400);
}

#[test]
fn a_reload_names_what_changed_in_the_gateway_and_what_needs_a_restart() {
    let service = start();
    let reload = || service.admin("POST", "/api/reload");
    let counts = |added: usize, removed: usize| json!({"added": added, "removed": removed});
    let (status, answer) = reload();
    assert_eq!((status, &answer["changed"]), (200, &json!("nothing changed")));
    assert_eq!((&answer["gateway"], &answer["callers"]), (&json!([]), &counts(0, 0)));

    std::fs::write(service.path("tokens/late"), "token-of-late-api").unwrap();
    let late = "[gateway.callers.late-api]\ntoken = { file = \"tokens/late\" }\ntenant = \"acme\"";
    let elsewhere = TABLE.replace("127.0.0.1:0", "127.0.0.1:1");
    let lines = "max_connections = 77\nlog.format = \"json\"\ntelemetry.endpoint = \"http://127.0.0.1:9/v1/metrics\"";
    service.write_config(&format!("{elsewhere}\n{lines}"), late);
    let (status, answer) = reload();
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["gateway"], json!(["gateway.callers", "gateway.max_connections"]));
    assert_eq!(
        (&answer["callers"], &answer["caller_tokens"]),
        (&counts(1, 0), &counts(1, 0))
    );
    let waiting = ["gateway.admin.listen", "gateway.telemetry", "gateway.log"];
    assert_eq!(answer["needs_restart"], json!(waiting));
    assert_eq!(
        answer["changed"],
        format!(
            "applied: gateway.callers, gateway.max_connections; needs a restart: {}",
            waiting.join(", ")
        )
    );
    // What waits is named until it is applied; what was applied is not.
    let (_, answer) = reload();
    assert_eq!(
        (&answer["gateway"], &answer["needs_restart"]),
        (&json!([]), &json!(waiting))
    );

    std::fs::write(service.path("tokens/admin"), "another-token-of-the-admin").unwrap();
    std::fs::write(service.path("tokens/late"), "another-token-of-late-api").unwrap();
    let (_, answer) = reload();
    assert_eq!(answer["gateway"], json!(["gateway.callers", "gateway.admin"]));
    assert_eq!(
        (&answer["callers"], &answer["caller_tokens"]),
        (&counts(0, 0), &counts(1, 1))
    );
}

#[test]
fn a_name_that_is_not_configured_is_not_found_unless_it_has_counts() {
    let service = start();
    let routes = || routes().into_iter().filter(|(_, path)| path.contains("/acme"));
    let text = "tenant \"initech\" is not configured";
    for (method, path) in routes() {
        let (status, answer) = service.admin(&method, &path.replace("/acme", "/initech"));
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        // Without dead letters, no selector is looked at.
        if path.ends_with("/refused") {
            assert_eq!(status, 409);
        } else {
            assert!(status == 404 && message.contains(text), "{method} {path}: {answer}");
        }
    }
    let keeping = Service::with(TABLE, "[export.dead_letters]\nmax_batches = 1");
    assert_eq!(keeping.admin("GET", "/api/tenants/initech/refused").0, 404);

    service.write_config(TABLE, "[tenants.initech]");
    assert_eq!(service.admin("POST", "/api/reload").0, 200);
    assert_eq!(service.admin("POST", "/api/tenants/initech/resume").0, 200);
    assert_eq!(service.admin("POST", "/api/tenants/initech/pause").0, 200);
    service.write_config(TABLE, "");
    assert_eq!(service.admin("POST", "/api/reload").0, 200);
    assert_eq!(service.page("/api/tenants/initech")["paused"], true);
    assert_eq!(
        service.admin("POST", "/api/tenants/initech/resume"),
        (200, json!({"paused": false, "changed": true}))
    );
}

#[test]
fn flushes_that_wait_delay_no_other_action() {
    let service = start();
    service.collector.fault(Fault::hang());
    assert_eq!(service.post(ACME, &[], body(&["kept"])).status, 200);
    let flushes: Vec<_> = (0..2)
        .map(|_| {
            let mut raw = Raw::connect(service.gateway().admin().unwrap());
            raw.write(format!(
                "POST /api/tenants/acme/flush?timeout=8s HTTP/1.1\r\nhost: localhost\r\n\
                 authorization: Bearer {ADMIN}\r\nconnection: close\r\n\r\n"
            ));
            raw
        })
        .collect();
    // Until both of them wait.
    std::thread::sleep(Duration::from_millis(500));
    let started = Instant::now();
    assert_eq!(service.admin("POST", "/api/reload").0, 200);
    assert_eq!(service.admin("POST", "/api/tenants/acme/rotate").0, 200);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    service.collector.clear_faults();
    for mut flush in flushes {
        let answer = flush.read_to_end();
        assert!(answer.ends_with("{\"pending\":0}\n"), "{answer}");
    }
}
