//! Actions of the admin listener, and reloads of its settings.

use serde_json::json;
use tracer_registry_collector::Fault;

use crate::admin::{TABLE, bearer, start};
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
