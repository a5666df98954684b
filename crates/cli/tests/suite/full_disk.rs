//! A gateway on a disk of its own that fills while the receiver is away, and is freed again.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use tempfile::TempDir;
use tracer_registry_collector::{Fault, LocalCollector};

use crate::serve::Served;
use crate::support::LONG;

const DISK: usize = 64 << 20;
/// Bytes of a span. One row is a little smaller, because it is compressed.
const SPAN: usize = 1 << 20;
const TENANTS: [&str; 2] = ["acme", "globex"];

/// A file system of its own, which needs the rights of root.
struct Disk(TempDir);

impl Disk {
    fn new() -> Option<Self> {
        let at = tempfile::tempdir().expect("a folder");
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={DISK},mode=0700"), "none"])
            .arg(at.path())
            .output();
        output.is_ok_and(|output| output.status.success()).then_some(Self(at))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// A gateway, and what it was sent.
struct Gateway {
    served: Served,
    collector: LocalCollector,
    random: u64,
    sent: u32,
    /// By tenant: names of spans that were answered with success.
    accepted: [BTreeSet<String>; 2],
    _folder: TempDir,
}

impl Gateway {
    fn start(spool: &Path) -> Self {
        let mut collector = LocalCollector::builder();
        for tenant in TENANTS {
            collector = collector.project(tenant, format!("key-of-{tenant}"));
        }
        let collector = collector.start().expect("started");
        let folder = tempfile::tempdir().expect("a folder");
        let config = format!(
            "[defaults]\nbackend = \"otlp\"\nendpoint = \"{}\"\n\
             [tenants.acme]\napi_key = {{ file = \"acme\" }}\n[tenants.globex]\napi_key = {{ file = \"globex\" }}\n\
             [spool]\nmode = \"through\"\npath = \"{}\"\nmax_bytes = \"128MiB\"\n\
             [gateway]\nhttp = \"127.0.0.1:0\"\ngrpc = false\n\
             [gateway.callers.all]\ntoken = {{ file = \"token\" }}\ntenant = {{ header = \"x-tenant\", allow = [\"*\"] }}\n",
            collector.url(),
            spool.display()
        );
        for (file, content) in [
            ("acme", "key-of-acme"),
            ("globex", "key-of-globex"),
            ("token", "token-of-the-caller"),
            ("gateway.toml", &config),
        ] {
            fs::write(folder.path().join(file), content).expect("written");
        }
        let file = folder.path().join("gateway.toml");
        Self {
            served: Served::start(&["--config", file.to_str().expect("UTF-8")]),
            collector,
            random: 0,
            sent: 0,
            accepted: Default::default(),
            _folder: folder,
        }
    }

    /// Sends a span of this size. Returns whether it was accepted; all else must be 503.
    fn send(&mut self, tenant: usize, bytes: usize) -> bool {
        self.sent += 1;
        let name = format!("span-{}", self.sent);
        // Half of it remains when it is compressed.
        let mut content = String::with_capacity(bytes + 16);
        while content.len() < bytes {
            self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            write!(content, "{:016x}", mixed ^ (mixed >> 27)).expect("a string");
        }
        let body = format!(
            r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"traceId":"{:032x}","spanId":"{:016x}","name":"{name}","attributes":[{{"key":"content","value":{{"stringValue":"{content}"}}}}]}}]}}]}}]}}"#,
            self.sent, self.sent
        );
        let headers = format!(
            "authorization: Bearer token-of-the-caller\r\nx-tenant: {}\r\n",
            TENANTS[tenant]
        );
        let answer = self.served.send(&headers, &body);
        let is_accepted = answer.starts_with("HTTP/1.1 200 ");
        assert!(is_accepted || answer.starts_with("HTTP/1.1 503 "), "{answer}");
        if is_accepted {
            self.accepted[tenant].insert(name);
        }
        is_accepted
    }

    /// Sends until the gateway refuses, as often as `count`.
    fn fill(&mut self, count: u32) {
        let mut refused = 0;
        while refused < count {
            let tenant = self.sent as usize % TENANTS.len();
            refused += u32::from(!self.send(tenant, SPAN));
            assert!(self.sent < 1000, "the disk is full before");
        }
    }

    /// Waits until all accepted spans have arrived.
    fn wait_for_all(&self) {
        let has_all = |collector: &LocalCollector| {
            let arrived = TENANTS.map(|tenant| collector.project(tenant).map_or(0, |project| project.spans().len()));
            arrived == self.accepted.each_ref().map(BTreeSet::len)
        };
        // A released tenant is tried again after at most a minute.
        let all = self.collector.wait_until(3 * LONG, has_all);
        for (tenant, accepted) in TENANTS.iter().zip(&self.accepted) {
            let project = self.collector.project(tenant).expect("it has sent");
            let names: Vec<&str> = project.spans().iter().map(|span| span.name.as_str()).collect();
            let arrived: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(&arrived, accepted, "{tenant}");
            assert_eq!(names.len(), accepted.len(), "{tenant}: each once");
        }
        assert!(all);
    }
}

#[test]
fn a_gateway_on_a_full_disk_refuses_loses_nothing_and_takes_data_again() {
    let Some(disk) = Disk::new() else {
        eprintln!("not tested: a file system of its own needs the rights of root");
        return;
    };
    let mut gateway = Gateway::start(&disk.0.path().join("spool"));
    for round in 0..2 {
        let away = gateway.collector.fault(Fault::status(503));
        let before: usize = gateway.accepted.iter().map(BTreeSet::len).sum();
        gateway.fill(6);
        // The log has one line for each kind of problem in a while.
        if round == 0 {
            gateway.served.wait_for_log("the spool is full");
        }
        let taken = gateway.accepted.iter().map(BTreeSet::len).sum::<usize>() - before;
        assert!(taken > 20, "round {round}: {taken}");
        gateway.collector.clear_fault(away);
        gateway.wait_for_all();
        if round == 0 {
            gateway.served.wait_for_log("the spool has room again");
        }
        let deadline = Instant::now() + LONG;
        while !gateway.send(round, SPAN) {
            assert!(Instant::now() < deadline, "it takes no data again");
        }
        gateway.wait_for_all();
    }
    let accepted = gateway.accepted.each_ref().map(BTreeSet::len);
    let (code, output, log) = gateway.served.stop();
    assert_eq!(code, Some(0), "{output}\n{log}");
    for (tenant, accepted) in TENANTS.iter().zip(accepted) {
        let line = format!("tenant:{tenant}: {accepted} spans delivered");
        assert!(output.lines().any(|is| is == line), "{line}: {output}");
    }
    assert!(!log.contains("panicked"), "{log}");
}
