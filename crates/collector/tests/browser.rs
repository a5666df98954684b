//! The page in a real browser: `.ci/browser` installs what this needs.

use std::path::Path;
use std::process::Command;

use tracer_registry_collector::LocalCollector;

#[test]
#[ignore = "needs Chromium and Node, see .ci/browser"]
fn the_page_in_a_browser() {
    let collector = LocalCollector::builder()
        .project("acme", "key-acme")
        .project("globex", "key-globex")
        .start()
        .expect("a collector");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/browser");
    let status = Command::new("node")
        .args(["--test", "--test-concurrency=1", "collector.test.mjs"])
        .current_dir(folder)
        .env("COLLECTOR", collector.url())
        .status();
    assert!(status.expect("Node").success(), "see the output above");
}
