//! Erased data is not sent and on no disk, and later data of the tenant is refused.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use opentelemetry::trace::Span as _;
use tracer_registry::config::{DeadLetters, Explain, Export};
use tracer_registry::error::PurgeError;
use tracer_registry::report::{Erased, PurgeReceipt};
use tracer_registry::selector::SelectorBuilder;
use tracer_registry::status::{ChangeKind, DropReason, Severity, TracerStatus};
use tracer_registry::{LookupError, Selector};
use tracer_registry_collector::Fault;

use crate::support::{LONG, World, binding, once, quick, wait_for};

fn selector(of: SelectorBuilder) -> Selector {
    of.try_into().expect("slugs")
}

fn acme() -> Selector {
    selector(Selector::tenant("acme"))
}

impl World {
    fn purge(&self, selector: &Selector) -> PurgeReceipt {
        self.registry.purge(selector).expect("erased")
    }

    fn of(&self, selector: &Selector) -> TracerStatus {
        let status = self.registry.tracer_status(selector).expect("a selector");
        status.unwrap_or_else(|| panic!("{selector} has no counts"))
    }
}

/// Returns the spans and session events of a tracer that were erased.
fn erased(tracer: &TracerStatus) -> (u64, u64) {
    let of = |dropped: &std::collections::BTreeMap<DropReason, u64>| dropped.get(&DropReason::Purged).copied();
    (
        of(&tracer.spans.dropped).unwrap_or(0),
        of(&tracer.session_events.dropped).unwrap_or(0),
    )
}

#[test]
fn erased_data_is_not_sent_and_later_data_is_refused_until_it_is_allowed() {
    let world = World::new(&["acme", "globex"]);
    let (old, other) = (world.tenant("acme"), world.tenant("globex"));
    let dedicated = world.registry.dedicated(acme()).expect("configured");
    assert!(world.registry.pause(acme()).expect("configured"));
    let _session = old.session("s").start();
    (0..3).for_each(|_| old.start_span("erased").end());
    dedicated.start_span("erased").end();
    let receipt = world.purge(&acme());
    assert_eq!(
        (&receipt.selector, &receipt.selectors, receipt.generation),
        (&acme(), &vec![acme()], 1)
    );
    assert_eq!((receipt.memory.spans, receipt.memory.session_events), (4, 1));
    assert!(receipt.memory.bytes > 0);
    assert_eq!((receipt.spooled, receipt.rows), (Erased::default(), 0));
    let status = world.of(&acme());
    assert_eq!(erased(&status), (4, 1), "what the receipt has");
    assert!(status.erased && status.spans.pending() == 0 && status.queued_bytes == 0);
    let text = serde_json::to_string(&receipt).expect("JSON");
    assert_eq!(serde_json::from_str::<PurgeReceipt>(&text).expect("the same"), receipt);

    // Handles from before drop and count what they get.
    old.start_span("late").end();
    dedicated.start_span("late").end();
    assert_eq!(erased(&world.of(&acme())), (6, 1));
    for _ in 0..2 {
        let refused = world.registry.get(acme()).expect_err("erased");
        assert_eq!(refused, LookupError::Erased(acme()));
        assert!(!refused.is_unknown() && !refused.is_temporary());
    }
    assert_eq!(world.registry.dedicated(acme()), Err(LookupError::Erased(acme())));
    assert!(!world.of(&selector(Selector::tenant("globex"))).erased);
    other.start_span("of globex").end();
    world.registry.resume(acme()).expect("a selector");
    drop(world.registry.force_flush(LONG));
    assert_eq!(world.names("globex"), ["of globex"]);

    assert_eq!(world.registry.allow(acme()), Ok(true));
    assert_eq!(world.registry.allow(acme()), Ok(false));
    old.start_span("late").end();
    world.tenant("acme").start_span("new").end();
    assert!(
        world
            .registry
            .force_flush(LONG)
            .tracers
            .iter()
            .all(|tracer| tracer.pending == 0)
    );
    assert_eq!(world.names("acme"), ["new"]);
    let last = world.of(&acme());
    assert_eq!((last.erased, last.spans.accepted, last.spans.delivered), (false, 8, 1));
}

#[test]
fn a_purge_covers_each_selector_with_all_of_its_parts_and_no_other() {
    let world = World::with(&["acme", "globex"], |builder| {
        builder.environment("eu", binding("acme"))
    });
    let parts = [
        selector(Selector::environment("eu")),
        acme(),
        selector(Selector::environment("eu").tenant("acme")),
        selector(Selector::environment("eu").tenant("globex")),
    ];
    for of in &parts {
        world.registry.get(of).expect("configured");
    }
    let receipt = world.purge(&acme());
    assert_eq!(receipt.selectors, [parts[1].clone(), parts[2].clone()]);
    let refused = |of: &Selector| matches!(world.registry.get(of), Err(LookupError::Erased(_)));
    assert_eq!(parts.each_ref().map(refused), [false, true, true, false]);
    world.purge(&parts[0]);
    assert_eq!(parts.each_ref().map(refused), [true; 4]);
    // Both cover it.
    assert_eq!(world.registry.allow(acme()), Ok(true));
    assert_eq!(parts.each_ref().map(refused), [true, false, true, true]);
    assert_eq!(
        world.registry.allow(&parts[2]),
        Ok(false),
        "it was not erased by itself"
    );
}

#[test]
fn what_is_known_of_erased_data_is_forgotten_and_the_action_is_recorded() {
    let world = World::with(&["acme", "globex"], |builder| {
        builder.export(Export {
            explain: Explain {
                max_traces: Some(100),
                ..Explain::default()
            },
            dead_letters: DeadLetters {
                max_batches: Some(4),
                ..DeadLetters::default()
            },
            ..once()
        })
    });
    world.collector.fault(Fault::status(400));
    let trace_of = |tenant: &str| {
        let mut span = world.tenant(tenant).start_span("refused");
        let trace = span.span_context().trace_id();
        span.end();
        trace
    };
    let traces = [trace_of("acme"), trace_of("globex")];
    drop(world.registry.force_flush(LONG));
    let known = || traces.map(|trace| world.registry.explain(trace).expect("turned on").selectors.len());
    let refused =
        || ["acme", "globex"].map(|name| world.registry.refused(Selector::tenant(name)).expect("a slug").len());
    assert_eq!((known(), refused()), ([1, 1], [1, 1]));
    world.purge(&acme());
    assert_eq!((known(), refused()), ([0, 1], [0, 1]));
    let rule = |rule: &str| world.registry.attention().into_iter().find(|found| found.rule == rule);
    let notice = rule("erased").expect("an erased tenant");
    assert_eq!(
        (notice.severity, notice.count, notice.tracers),
        (Severity::Notice, 1, vec![acme()])
    );
    world.registry.allow(acme()).expect("allowed");
    assert_eq!(rule("erased"), None);
    let (changes, _) = world.registry.changes(0);
    let of_acme = changes.iter().filter(|change| change.selector == Some(acme()));
    let kinds: Vec<ChangeKind> = of_acme.map(|change| change.kind).collect();
    assert!(kinds.ends_with(&[ChangeKind::Purged, ChangeKind::Allowed]), "{kinds:?}");
}

#[test]
fn nothing_of_a_look_up_that_races_with_a_purge_is_sent_after_it() {
    let world = World::with(&["acme"], |builder| builder.export(quick()));
    for _ in 0..20 {
        let done = AtomicBool::new(false);
        thread::scope(|threads| {
            for dedicated in [false, true, false] {
                let (world, done) = (&world, &done);
                threads.spawn(move || {
                    while !done.load(Ordering::Relaxed) {
                        let found = if dedicated {
                            world.registry.dedicated(acme())
                        } else {
                            world.registry.get(acme())
                        };
                        match found {
                            Ok(tracer) => tracer.start_span("span").end(),
                            Err(error) => assert_eq!(error, LookupError::Erased(acme())),
                        }
                    }
                });
            }
            wait_for("a span", || world.names("acme").len(), |spans| *spans > 0);
            world.purge(&acme());
            let before = world.of(&acme()).spans.delivered;
            thread::park_timeout(std::time::Duration::from_millis(5));
            let status = world.of(&acme());
            assert_eq!((status.spans.delivered, status.spans.pending()), (before, 0));
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(world.registry.allow(acme()), Ok(true));
    }
    let spans = world.of(&acme()).spans;
    assert_eq!(spans.accepted, spans.delivered + spans.lost(), "{spans:#?}");
}

#[test]
fn a_purge_needs_a_selector_and_a_running_registry() {
    let world = World::new(&["acme"]);
    let invalid = world.registry.purge(Selector::tenant("ACME")).expect_err("no slug");
    assert!(matches!(invalid, PurgeError::Selector(_)), "{invalid}");
    // A tenant that never sent anything.
    assert_eq!(world.purge(&acme()).selectors, []);
    drop(world.registry.shutdown(LONG));
    assert_eq!(world.registry.purge(acme()), Err(PurgeError::Shutdown));
    assert_eq!(world.registry.allow(acme()), Err(PurgeError::Shutdown));
}

#[cfg(feature = "spool")]
mod on_disk {
    use std::path::Path;
    use std::sync::{Arc, OnceLock, mpsc};
    use std::time::{Instant, SystemTime};

    use bytes::Bytes;
    use tracer_registry::config::{Spool, SpoolMode};
    use tracer_registry::secret::Fingerprinter;
    use tracer_registry::status::Status;
    use tracer_registry_spool::test::TestStore;
    use tracer_registry_spool::{
        AppendError, Depth, Done, Event, Failing, Kind, Limit, Options, Purged, Recovery, Rest, Row, RowId,
        SqliteStore, Store, Taken, Usage,
    };

    use super::*;

    /// Writes a row of junk that holds a mark for each queue, as an earlier process would.
    fn leave(folder: &Path, queues: &[(&str, u32)]) {
        let covers = |_: &str, _: &str| false;
        let options = Options::new(folder, 64 << 20, covers, Arc::new(drop));
        let store = SqliteStore::open(options).expect("a folder of this process alone");
        let now = SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_millis();
        let now = u64::try_from(now).expect("before the year 584 million");
        let rows = queues.iter().enumerate().map(|(number, (queue, spans))| Row {
            queue: (*queue).into(),
            owner: (*queue).into(),
            kind: Kind::Spans,
            order: number as u64,
            items: *spans,
            generation: 0,
            created: now,
            format: 0,
            body: Bytes::from(format!("mark-of-{queue}-").repeat(500)),
        });
        let (sender, appended) = mpsc::channel();
        let done = Box::new(move |result| drop(sender.send(result)));
        store.append(rows.collect(), done);
        appended.recv().expect("an answer").expect("appended");
        store.close(Instant::now() + LONG);
    }

    fn has_mark(folder: &Path, queue: &str) -> bool {
        let mark = format!("mark-of-{queue}");
        let files = std::fs::read_dir(folder).expect("a folder");
        files.flatten().any(|file| {
            let bytes = std::fs::read(file.path()).expect("a file");
            bytes.windows(mark.len()).any(|window| window == mark.as_bytes())
        })
    }

    fn start(folder: &Path) -> World {
        start_in(SpoolMode::Overflow, folder)
    }

    fn start_in(mode: SpoolMode, folder: &Path) -> World {
        World::with(&["acme"], |builder| {
            builder.spool(Spool {
                mode: Some(mode),
                path: Some(folder.to_owned()),
                max_bytes: Some(64 << 20),
                ..Spool::default()
            })
        })
    }

    fn spooled(status: &Status) -> Vec<(String, u64, u64)> {
        let tracers = status.tracers.iter().filter(|tracer| tracer.spans.recovered > 0);
        let of = |tracer: &TracerStatus| {
            (
                tracer.selector.to_string(),
                tracer.spans.recovered,
                tracer.spans.spooled,
            )
        };
        tracers.map(of).collect()
    }

    #[test]
    fn rows_of_an_earlier_process_are_erased_and_a_restart_keeps_the_refusal() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("spool");
        let queues = [
            ("tenant:gone", 3),
            ("environment:eu,tenant:gone", 4),
            ("tenant:other", 5),
        ];
        leave(&path, &queues);
        let gone = selector(Selector::tenant("gone"));
        {
            let world = start(&path);
            let status = world.registry.status();
            let spool = status.spool.as_ref().expect("a spool");
            assert_eq!(
                (spool.mode, spool.rows, spool.spans, spool.recovered),
                (SpoolMode::Overflow, 3, 12, 12)
            );
            assert_eq!(spooled(&status).iter().map(|(_, _, spooled)| spooled).sum::<u64>(), 12);
            let receipt = world.purge(&gone);
            assert_eq!(
                (receipt.spooled.spans, receipt.rows, receipt.memory),
                (7, 2, Erased::default())
            );
            assert!(
                receipt.spooled.bytes > 0 && receipt.file_bytes_before > 0,
                "{receipt:?}"
            );
            assert_eq!(erased(&world.of(&gone)), (3, 0));
            let left = world.registry.status();
            assert_eq!(left.spool.expect("a spool").spans, 5);
            let [has_gone, has_other] = ["tenant:gone", "tenant:other"].map(|queue| has_mark(&path, queue));
            assert!(!has_gone && has_other, "in the files, while they are open");
        }
        let world = start(&path);
        let status = world.registry.status();
        assert_eq!(spooled(&status), [("tenant:other".to_owned(), 5, 5)]);
        assert_eq!(status.spool.expect("a spool").recovered, 5);
        let rule = world
            .registry
            .attention()
            .into_iter()
            .find(|found| found.rule == "erased");
        assert_eq!(rule.expect("still erased").tracers, std::slice::from_ref(&gone));
        assert_eq!(world.registry.allow(&gone), Ok(true));
        drop(world);
        let world = start(&path);
        assert_eq!(world.registry.allow(&gone), Ok(false));
        assert_eq!(world.purge(&gone).generation, 2);
    }

    #[test]
    fn data_with_a_copy_on_disk_is_erased_in_both_places() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("spool");
        let world = start_in(SpoolMode::Through, &path);
        world.collector.fault(Fault::status(503));
        let tracer = world.tenant("acme");
        (0..20).for_each(|n| tracer.start_span(format!("{n}")).end());
        let on_disk = || world.registry.spool_status().expect("a spool").spans;
        wait_for("all on disk", on_disk, |spans| *spans == 20);
        let receipt = world.purge(&acme());
        let (memory, spooled) = (receipt.memory.spans, receipt.spooled.spans);
        assert_eq!(memory + spooled, 20, "{receipt:?}");
        assert!(receipt.rows > 0, "{receipt:?}");
        assert_eq!(erased(&world.of(&acme())), (20, 0));
        wait_for("an empty disk", on_disk, |spans| *spans == 0);
        drop((tracer, world));
        let world = start_in(SpoolMode::Through, &path);
        assert_eq!(world.registry.status().spool.expect("a spool").recovered, 0);
        assert_eq!(world.registry.allow(acme()), Ok(true));
        world.tenant("acme").start_span("new").end();
        world.flush();
        assert_eq!(world.names("acme"), ["new"]);
    }

    /// A store that fails after it has recorded a purge.
    struct FailsPurges(Arc<dyn Store>);

    impl Store for FailsPurges {
        fn append(&self, rows: Vec<Row>, done: Done<Result<Vec<RowId>, AppendError>>) {
            self.0.append(rows, done);
        }

        fn take(&self, queue: &Arc<str>, kind: Kind, limit: Limit, done: Done<Result<Vec<Taken>, Failing>>) {
            self.0.take(queue, kind, limit, done);
        }

        fn release(&self, rows: Vec<(RowId, Option<Rest>)>) {
            self.0.release(rows);
        }

        fn complete(&self, rows: Vec<RowId>) {
            self.0.complete(rows);
        }

        fn save_usage(&self, usage: Vec<Usage>) {
            self.0.save_usage(usage);
        }

        fn purge(&self, what: &str, done: Done<Result<Purged, Failing>>) {
            let failing = Failing {
                what: "erase",
                error: "asked for by a test".to_owned(),
            };
            self.0.purge(what, Box::new(move |_| done(Err(failing))));
        }

        fn allow(&self, what: &str, done: Done<Result<bool, Failing>>) {
            self.0.allow(what, done);
        }

        fn depth(&self) -> Depth {
            self.0.depth()
        }

        fn close(&self, deadline: Instant) {
            self.0.close(deadline);
        }
    }

    #[test]
    fn a_purge_that_the_disk_recorded_before_it_failed_ends_by_itself() {
        let (disk, reports) = (Arc::new(TestStore::new()), Arc::new(OnceLock::new()));
        let (on_disk, report_to) = (Arc::clone(&disk), Arc::clone(&reports));
        let world = World::with(&["acme", "globex"], |builder| {
            builder.store(SpoolMode::Through, move |report| {
                drop(report_to.set(Arc::clone(&report)));
                Ok(Arc::new(FailsPurges(on_disk.open(&report))) as _)
            })
        });
        world.collector.fault(Fault::status(503));
        let tracer = world.tenant("acme");
        (0..5).for_each(|number| tracer.start_span(format!("{number}")).end());
        let spans = || world.registry.spool_status().expect("a spool").spans;
        wait_for("all on disk", spans, |spans| *spans == 5);
        let failed = world.registry.purge(acme()).expect_err("the disk fails");
        assert!(matches!(failed, PurgeError::Disk(_)), "{failed}");
        assert!(world.registry.get(acme()).is_ok(), "nothing changed in memory");
        // The store has opened its file again.
        let opened = Event::Opened(Recovery {
            queues: Vec::new(),
            next_order: 0,
            generation: 1,
            erased: vec!["tenant:acme".to_owned()],
            usage: Vec::new(),
        });
        reports.get().expect("opened")(opened);
        let status = wait_for(
            "the end of the purge",
            || world.of(&acme()),
            |status| erased(status) == (5, 0),
        );
        assert!(status.erased, "{status:?}");
        assert_eq!(
            (status.spans.pending(), status.spans.spooled, status.queued_bytes),
            (0, 0, 0)
        );
        assert_eq!(world.registry.get(acme()), Err(LookupError::Erased(acme())));
        assert!(world.registry.tenant("globex").is_ok());
        tracer.start_span("late").end();
        assert_eq!(erased(&world.of(&acme())), (6, 0));
    }

    #[test]
    fn a_folder_has_one_registry() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("spool");
        let world = start(&path);
        let second = crate::support::registry("http://127.0.0.1:9", &["acme"], &Fingerprinter::default())
            .spool(Spool {
                mode: Some(SpoolMode::Through),
                path: Some(path.clone()),
                max_bytes: Some(64 << 20),
                ..Spool::default()
            })
            .build()
            .expect_err("in use");
        let message = second.to_string();
        let expected = format!("cannot open the spool: spool folder {} is in use", path.display());
        assert!(message.starts_with(&expected), "{message}");
        drop(world.registry.shutdown(LONG));
        drop(start(&path));
    }
}
