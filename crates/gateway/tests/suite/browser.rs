//! The page of the admin listener in a real browser: `.ci/browser` installs what this needs.

use std::path::Path;
use std::process::Command;

use tracer_registry_collector::Fault;

use crate::admin::start;
use crate::support::{ACME, ADMIN, GLOBEX, KEYS, SCRAPER};

#[test]
#[ignore = "needs Chromium and Node, see .ci/browser"]
fn the_page_in_a_browser() {
    let service = start();
    let hostile = "<img src=x onerror=alert(1)><b>bold</b> \u{202e}turned\u{7}";
    service
        .collector
        .fault(Fault::status(401).body(hostile).only(KEYS[1].1));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/browser");
    let url = |address: Option<std::net::SocketAddr>| format!("http://{}", address.expect("a listener"));
    let status = Command::new("node")
        .args(["--test", "--test-concurrency=1", "gateway.test.mjs"])
        .current_dir(folder)
        .env("GATEWAY", url(service.gateway().http()))
        .env("ADMIN", url(service.gateway().admin()))
        .envs([
            ("TOKEN", ADMIN),
            ("METRICS", SCRAPER),
            ("CALLER_ACME", ACME),
            ("CALLER_GLOBEX", GLOBEX),
        ])
        .status();
    assert!(status.expect("Node").success(), "see the output above");
}
