//! The document of a status: `docs/status.md` names each field and its type, and no other; and it is read back as it was written.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use opentelemetry::trace::Span as _;
use serde_json::Value;
use tracer_registry::Selector;
use tracer_registry::config::{BackendName, Protocol, Quota};
use tracer_registry::report::Report;
use tracer_registry::secret::Fingerprinter;
use tracer_registry::status::{Status, TracerQuery};
use tracer_registry_collector::Fault;

use super::{eternal_pauses, inline};
use crate::reload::{Files, table};
use crate::support::{LONG, World, binding, collector, key_of, once, registry, wait_for};

/// The types of fields by section of the page.
type Page = BTreeMap<String, BTreeMap<String, String>>;

fn page() -> Page {
    let mut page = Page::new();
    let mut section = String::new();
    for line in include_str!("../../../docs/status.md").lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            heading.clone_into(&mut section);
        } else if line.starts_with("| `") {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let field = cells[1].trim_matches('`').to_owned();
            let fields = page.entry(section.clone()).or_default();
            assert_eq!(fields.insert(field, cells[2].to_owned()), None, "{line}");
        }
    }
    page
}

/// What was seen of the page while documents were compared with it.
#[derive(Default)]
struct Seen {
    faults: Vec<String>,
    /// Fields with another value than null.
    filled: BTreeSet<(String, String)>,
}

impl Seen {
    fn compare(&mut self, page: &Page, section: &str, document: &Value) {
        let (Some(fields), Some(document)) = (page.get(section), document.as_object()) else {
            self.faults
                .push(format!("{section}: no table, or no object: {document}"));
            return;
        };
        let known: BTreeSet<&str> = fields
            .keys()
            .map(|field| field.split('.').next().unwrap_or_default())
            .collect();
        let written: BTreeSet<&str> = document.keys().map(String::as_str).collect();
        let is_right = match section {
            "Answer" => written.len() == 1 && written.is_subset(&known),
            _ => written == known,
        };
        if !is_right {
            self.faults
                .push(format!("{section}: the page has {known:?}, a status {written:?}"));
        }
        for (field, kind) in fields {
            let value = field
                .split('.')
                .try_fold(&Value::Object(document.clone()), |at, name| at.get(name))
                .cloned();
            let Some(value) = value else { continue };
            if !value.is_null() {
                self.filled.insert((section.to_owned(), field.clone()));
            }
            if !self.has_type(page, kind, &value) {
                self.faults
                    .push(format!("{section}: {field} is {value}, and no {kind}"));
            }
        }
    }

    fn has_type(&mut self, page: &Page, kind: &str, value: &Value) -> bool {
        if let Some(kind) = kind.strip_suffix(" or null") {
            return value.is_null() || self.has_type(page, kind, value);
        }
        if let Some(kind) = kind.strip_prefix("list of ") {
            return value
                .as_array()
                .is_some_and(|items| items.iter().all(|item| self.has_type(page, kind, item)));
        }
        if let (Some((words, last)), Value::String(text)) = (kind.rsplit_once(" or "), value) {
            return words
                .split(", ")
                .chain([last])
                .any(|word| word.trim_matches('`') == text);
        }
        let kind = kind.rsplit(" or ").next().unwrap_or_default();
        if let Some(section) = kind.strip_prefix('[').and_then(|kind| kind.split(']').next()) {
            self.compare(page, section, value);
            return true;
        }
        match kind {
            "text" => value.is_string(),
            "number" => value.is_u64(),
            "true or false" | "false" => value.is_boolean(),
            "time" => value
                .as_str()
                .is_some_and(|time| time.len() == 24 && time.ends_with('Z') && time.contains('T')),
            "numbers by reason" | "numbers by rule" | "numbers by selector" => value
                .as_object()
                .is_some_and(|counts| counts.values().all(Value::is_u64)),
            _ => false,
        }
    }
}

/// Of registries in trouble of every kind.
fn statuses() -> Vec<Status> {
    vec![
        of_an_asked_wait(),
        of_changed_files(),
        of_files_that_wait(),
        of_refused_keys(),
        of_grpc(),
        of_refused_spans(),
        of_copies(),
        of_an_open_breaker(),
        #[cfg(feature = "spool")]
        of_a_failing_disk(),
    ]
}

/// A disk that fails, and a file that was set aside.
#[cfg(feature = "spool")]
fn of_a_failing_disk() -> Status {
    use tracer_registry::config::SpoolMode;
    use tracer_registry_spool::{Event, Failing, test::TestStore};

    let disk = TestStore::new();
    let world = World::with(&["a"], |builder| {
        builder.store(SpoolMode::Overflow, move |report| {
            let store = disk.open(&report);
            report(Event::SetAside {
                file: "spool.db.damaged-1".into(),
                why: "it is no database".to_owned(),
            });
            report(Event::Failing(Failing {
                what: "append",
                error: "no such device".to_owned(),
            }));
            Ok(store)
        })
    });
    world.tenant("a");
    world.registry.status()
}

/// A configuration that was read again, and then has a fault.
fn of_changed_files() -> Status {
    let files = Files::new(&["acme"], &table("acme", "acme"));
    files.tenant("acme").start_span("span").end();
    files.world.flush();
    files.rewrite(&format!("{}source = \"other\"\n", table("acme", "acme")));
    files.world.registry.reload().expect("without a fault");
    files.rewrite("[tenants.acme]\nsourse = \"x\"\n");
    files.world.registry.reload().expect_err("a fault");
    files.world.registry.status()
}

/// A configuration whose files have another table instead of the one before, again and again.
fn of_files_that_wait() -> Status {
    let text = |tenant: &str| format!("[reload]\nwatch = true\n{}", table(tenant, "acme"));
    let files = Files::new(&["acme"], &text("acme"));
    let mut turn = 0;
    let waits = || {
        turn += 1;
        files.rewrite(&text(&format!("t{turn}")));
        files.world.registry.status()
    };
    wait_for("a wait", waits, |status| status.configuration.waiting_since.is_some())
}

/// A registry with one tracer and a refused key.
fn with_a_refused_key() -> World {
    let world = World::with(&["a"], |builder| {
        builder.environment("b", binding("a")).export(inline())
    });
    world.collector.fault(Fault::status(401));
    let a = world.tenant("a");
    let _session = a.session("s").start();
    a.start_span("span").end();
    drop(world.registry.force_flush(LONG));
    world
}

fn of_refused_keys() -> Status {
    with_a_refused_key().registry.status()
}

fn of_grpc() -> Status {
    let fingerprinter = Fingerprinter::new();
    let collector = collector(&["a"], &fingerprinter).start().expect("a free port");
    let mut export = inline();
    export.protocol = Some(Protocol::Grpc);
    let registry = registry(&collector.url(), &[], &fingerprinter)
        .tenant("a", binding("a").backend(BackendName::Otlp).endpoint(collector.url()))
        .export(export)
        .build()
        .expect("valid");
    collector.fault(Fault::status(401));
    registry.tenant("a").expect("configured").start_span("span").end();
    drop(registry.force_flush(LONG));
    registry.status()
}

fn of_copies() -> Status {
    let world = World::with(&["a", "b"], |builder| {
        let b: Selector = "tenant:b".parse().expect("a selector");
        builder.tenant("a", binding("a").also(&b))
    });
    drop(world.tenant("a"));
    world.registry.status()
}

fn of_refused_spans() -> Status {
    let quota = Quota {
        spans_per_day: Some(5),
        ..Quota::default()
    };
    let world = World::with(&["a"], |builder| {
        builder.export(inline()).tenant("a", binding("a").quota(quota))
    });
    world.collector.fault(Fault::status(400).times(1));
    for _ in 0..2 {
        world.tenant("a").start_span("span").end();
        drop(world.registry.force_flush(LONG));
    }
    world.registry.status()
}

fn of_an_asked_wait() -> Status {
    let world = World::with(&["a"], |builder| builder.export(eternal_pauses()));
    world.collector.fault(Fault::status(503).retry_after("1800"));
    world.tenant("a").start_span("span").end();
    let is_asked = |status: &Status| {
        let request = status.tracers[0].oldest_request;
        request.is_some_and(|request| request.next_attempt.is_some() && request.asked_wait_ms.is_some())
    };
    let status = wait_for("a wait", || world.registry.status(), is_asked);
    drop(world.registry.shutdown(Duration::ZERO));
    status
}

fn of_an_open_breaker() -> Status {
    let world = World::with(&["a"], |builder| builder.export(eternal_pauses()));
    world.collector.fault(Fault::status(503));
    let a = world.tenant("a");
    a.start_span("span").end();
    let tried = || {
        drop(world.registry.force_flush(Duration::from_millis(1)));
        serde_json::to_value(world.status("a").breakers.spans.state).expect("serializable")
    };
    wait_for("an open breaker", tried, |state| state["open"].is_object());
    a.start_span("waits").end();
    let status = world.registry.status();
    drop(world.registry.shutdown(Duration::ZERO));
    status
}

#[test]
fn the_page_names_every_field_of_a_status_with_its_type_and_no_other() {
    let page = page();
    let mut seen = Seen::default();
    for status in statuses() {
        seen.compare(&page, "Status", &serde_json::to_value(status).expect("serializable"));
    }
    let world = with_a_refused_key();
    world.registry.environment("b").expect("configured");
    let mut query = TracerQuery::default();
    query.limit = 1;
    let tracers = serde_json::to_value(world.registry.tracers(&query)).expect("serializable");
    seen.compare(&page, "Page", &tracers);
    for attention in world.registry.attention() {
        seen.compare(
            &page,
            "Attention",
            &serde_json::to_value(attention).expect("serializable"),
        );
    }
    for endpoint in world.registry.endpoints() {
        seen.compare(
            &page,
            "Endpoint",
            &serde_json::to_value(endpoint).expect("serializable"),
        );
    }
    assert!(seen.faults.is_empty(), "{:#?}", seen.faults);
    let fields = page
        .iter()
        .flat_map(|(section, fields)| fields.keys().map(|field| (section.clone(), field.clone())));
    // Only known of what a lane has left on disk.
    let of_lanes = ["oldest", "oldest_spooled"];
    let fields = fields.filter(|(_, field)| !of_lanes.contains(&field.as_str()));
    let never: Vec<_> = fields.filter(|field| !seen.filled.contains(field)).collect();
    assert!(never.is_empty(), "nothing was compared with {never:?}");
}

#[test]
fn a_status_is_read_back_as_it_was_written() {
    for status in statuses() {
        let text = serde_json::to_string(&status).expect("serializable");
        let read: Status = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(read, status);
        assert_eq!(serde_json::to_string(&read).expect("serializable"), text);
    }
}

#[test]
fn a_report_is_read_back_as_it_was_written() {
    let world = World::with(&["a", "b"], |builder| builder.export(once()));
    world.collector.fault(Fault::status(400).only(key_of("a")));
    for name in ["a", "b"] {
        let tracer = world.tenant(name);
        tracer.session("chat").start();
        tracer.start_span("span").end();
    }
    let report = world.registry.force_flush(LONG);
    assert!(report.tracers[0].last_error.is_some() && report.lost() > 0, "{report}");
    let text = serde_json::to_string(&report).expect("serializable");
    assert_eq!(serde_json::from_str::<Report>(&text).expect("readable"), report);
}
