//! Disks that are full or fail, and files that are damaged or of another program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use tracer_registry_spool::{AppendError, Event, Health, Kind, Lost, Point, Store as _};

use crate::support::{ALL, MIB, Spool, ids, now_ms, orders, row, until};

/// A file system of its own, which needs the rights of root.
struct Mount {
    at: tempfile::TempDir,
}

impl Mount {
    fn new(bytes: u64) -> Option<Self> {
        let at = tempfile::Builder::new()
            .prefix("spool-a")
            .tempdir()
            .expect("a temporary folder");
        let options = format!("size={bytes},mode=0700");
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "none"])
            .arg(at.path())
            .output();
        output
            .is_ok_and(|output| output.status.success())
            .then_some(Self { at })
    }

    fn remount(&self, options: &str) {
        let status = Command::new("mount")
            .args(["-o", &format!("remount,{options}")])
            .arg(self.at.path())
            .status();
        assert!(status.expect("mount runs").success());
    }

    fn folder(&self) -> PathBuf {
        self.at.path().join("spool")
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.at.path()).status();
    }
}

/// Appends until the store refuses. Returns the orders that it took.
fn fill(spool: &Spool, queue: &str, from: u64, bytes: usize) -> (Vec<u64>, AppendError) {
    let mut taken = Vec::new();
    for order in from.. {
        match spool.append(vec![row(queue, order, vec![7; bytes])]) {
            Ok(ids) => {
                spool.store().release(ids.into_iter().map(|id| (id, None)).collect());
                taken.push(order);
            }
            Err(error) => return (taken, error),
        }
    }
    unreachable!("the store refuses before")
}

/// Completes all rows of a queue, as a receiver that accepts them.
fn drain(spool: &Spool, queue: &str) -> Vec<u64> {
    let rows = spool.take(queue, Kind::Spans, ALL).expect("works");
    spool.store().complete(ids(&rows));
    orders(&rows)
}

fn is_full(event: &Event) -> bool {
    matches!(event, Event::Full)
}

fn is_working(event: &Event) -> bool {
    matches!(event, Event::Working)
}

/// A disk that another program fills: refused, not lost, and used again when there is room.
fn a_full_disk_heals(spool: &mut Spool, free: impl FnOnce()) {
    let (mut kept, error) = fill(spool, "acme", 1, 200_000);
    assert!(matches!(error, AppendError::Full), "{error}");
    assert!(kept.len() > 4, "{}", kept.len());
    assert_eq!(spool.store().depth().health, Health::Full);
    spool.wait_for(is_full);
    assert!(
        spool
            .append(vec![row("globex", 1, "small")])
            .is_err_and(|e| matches!(e, AppendError::Full))
    );

    // Rows can be taken and deleted while the disk is full.
    let first = spool
        .take("acme", Kind::Spans, tracer_registry_spool::Limit { rows: 2, ..ALL })
        .expect("works");
    spool.store().complete(ids(&first));
    let rows = kept.len() as u64;
    until(|| spool.store().depth().rows == rows - 2);
    free();
    spool.wait_for(is_working);
    spool
        .append(vec![row("globex", 1, "small")])
        .expect("there is room again");
    kept.drain(..2);
    spool.restart();
    assert_eq!(drain(spool, "acme"), kept, "what was refused is not there, all else is");
    assert_eq!(drain(spool, "globex"), [1]);
}

#[test]
fn a_full_file_system_refuses_and_heals() {
    let Some(mount) = Mount::new(24 * MIB) else { return };
    let ballast = mount.at.path().join("ballast");
    fs::write(&ballast, vec![1; 17 << 20]).expect("there is room");
    let mut spool = Spool::at(mount.folder(), 256 * MIB, |options| options.max_bytes = 64 * MIB);
    assert_eq!(
        spool.store().depth().health,
        Health::Full,
        "no room for the spare file of 8 MiB beside the ballast"
    );
    fs::remove_file(&ballast).expect("a file");
    spool.wait_for(is_working);
    fs::write(&ballast, vec![1; 6 << 20]).expect("there is room");
    a_full_disk_heals(&mut spool, || fs::remove_file(&ballast).expect("a file"));
    spool.close();
}

/// Run by the next test with a limit of file sizes.
#[test]
#[ignore = "needs a limit of file sizes"]
fn child_with_a_limit_of_file_sizes() {
    let mut spool = Spool::with(64 * MIB, |_| {});
    let (kept, error) = fill(&spool, "acme", 1, 200_000);
    assert!(
        matches!(error, AppendError::Full | AppendError::OwnerFull(_)),
        "{error}"
    );
    assert!(spool.store().depth().health != Health::Failing);
    spool.restart();
    assert_eq!(drain(&spool, "acme"), kept);
}

#[test]
fn a_limit_of_file_sizes_is_a_full_disk() {
    let test = std::env::current_exe().expect("this test");
    // In blocks of 1 KiB: the spare file of 8 MiB fits, a database of 29 MiB does not.
    let script = format!(
        "trap '' XFSZ; ulimit -f 9000; exec '{}' --ignored --exact faults::child_with_a_limit_of_file_sizes",
        test.display()
    );
    let output = Command::new("bash").args(["-c", &script]).output().expect("bash runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}

#[test]
fn a_file_that_another_program_locks_fails_and_heals() {
    let mut spool = Spool::new();
    let taken = spool
        .append(vec![row("acme", 1, "before"), row("acme", 2, "delivered")])
        .expect("appended");
    let other = rusqlite::Connection::open(spool.file("spool.db")).expect("a database");
    other.execute_batch("BEGIN IMMEDIATE").expect("locked");
    let (refused, error) = fill(&spool, "acme", 3, 100);
    assert!(refused.is_empty());
    assert!(matches!(error, AppendError::Failing(_)), "{error}");
    assert_eq!(spool.store().depth().health, Health::Failing);
    spool.wait_for(|event| matches!(event, Event::Failing(_)));
    // What is completed now is deleted later.
    spool.store().complete(vec![taken[1]]);
    until(|| spool.take("acme", Kind::Spans, ALL).is_err());
    assert!(spool.purge("acme").is_err());
    other.execute_batch("ROLLBACK").expect("unlocked");
    drop(other);
    let events = spool.wait_for(is_working);
    let opened = events.iter().find_map(|event| match event {
        Event::Opened(recovery) => Some(recovery),
        _ => None,
    });
    assert!(
        opened.expect("opened again").queues.is_empty(),
        "nothing beyond what the store knew"
    );
    spool.append(vec![row("acme", 3, "again")]).expect("works again");
    until(|| spool.store().depth().rows == 2);
    assert!(
        spool.take("acme", Kind::Spans, ALL).expect("works").is_empty(),
        "what was taken still is"
    );
    spool.restart();
    assert_eq!(drain(&spool, "acme"), [1, 3]);
}

#[test]
fn a_disk_that_fails_at_the_start_heals_later() {
    let Some(mount) = Mount::new(64 * MIB) else { return };
    Spool::at(mount.folder(), 32 * MIB, |_| {}).close();
    mount.remount("ro");
    let mut spool = Spool::at(mount.folder(), 32 * MIB, |_| {});
    assert_eq!(spool.store().depth().health, Health::Failing);
    assert!(matches!(&spool.take_events()[..], [Event::Failing(_)]));
    mount.remount("rw");
    let events = spool.wait_for(is_working);
    assert!(matches!(&events[..], [Event::Opened(_), Event::Working]), "{events:?}");
    spool.append(vec![row("acme", 1, "body")]).expect("works");
    spool.close();
}

/// Makes a file with 40 rows of each of two tenants, closes it, and damages it.
fn damaged(damage: impl FnOnce(&Path)) -> Spool {
    let mut spool = Spool::new();
    for order in 1..=40 {
        let rows = ["acme", "globex"].map(|queue| row(queue, order, format!("{queue} {order};").repeat(600)));
        spool.append(rows.to_vec()).expect("appended");
    }
    spool.purge("initech").expect("works");
    spool.close();
    spool.take_events();
    damage(&spool.file("spool.db"));
    spool.open().expect("a damaged file is no error");
    spool
}

fn set_aside(events: &[Event]) -> PathBuf {
    let mut files = events.iter().filter_map(|event| match event {
        Event::SetAside { file, .. } => Some(file.clone()),
        _ => None,
    });
    let file = files.next().expect("set aside");
    assert!(files.next().is_none(), "once");
    file
}

fn write_at(file: &Path, at: u64, bytes: &[u8]) {
    use std::os::unix::fs::FileExt as _;
    fs::OpenOptions::new()
        .write(true)
        .open(file)
        .expect("a file")
        .write_all_at(bytes, at)
        .expect("written");
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x1234_5678_9abc_def0_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..bytes).map(|_| next()).collect()
}

#[test]
fn a_file_without_its_header_is_set_aside_at_the_start() {
    let mut spool = damaged(|file| write_at(file, 0, &noise(100)));
    let events = spool.take_events();
    let file = set_aside(&events);
    assert!(file.to_string_lossy().contains("spool.db.damaged-"));
    assert!(fs::metadata(&file).expect("kept").len() > 100_000);
    assert!(matches!(events.last(), Some(Event::Opened(recovery)) if recovery.queues.is_empty()));
    assert_eq!(spool.store().depth().health, Health::Working);
    spool.append(vec![row("acme", 1, "new")]).expect("works");
    spool.restart();
    assert_eq!(drain(&spool, "acme"), [1]);
}

#[test]
fn a_file_that_is_cut_off_is_set_aside_and_its_purges_are_kept_if_they_can_be_read() {
    let spool = damaged(|file| {
        let length = fs::metadata(file).expect("a file").len();
        fs::OpenOptions::new()
            .write(true)
            .open(file)
            .and_then(|file| file.set_len(length / 2))
            .expect("cut off");
    });
    let events = spool.take_events();
    assert!(set_aside(&events).exists());
    assert_eq!(spool.store().depth().rows, 0);
    spool.append(vec![row("acme", 1, "new")]).expect("works");
}

#[test]
fn noise_in_a_file_costs_at_most_that_file_and_never_another_tenant() {
    // From the first page to the last: tables, indexes, bodies.
    let mut pages = 0;
    let mut aside = 0;
    let mut page = 1;
    while page == 1 || page < pages {
        let mut length = 0;
        let mut spool = damaged(|file| {
            length = fs::metadata(file).expect("a file").len();
            write_at(file, page * 4096, &noise(4096));
        });
        pages = length / 4096;
        let mut seen = Vec::new();
        for queue in ["acme", "globex"] {
            // The first take may find the damage, and the store opens a new file.
            let Ok(rows) = spool.take(queue, Kind::Spans, ALL) else {
                continue;
            };
            for row in &rows {
                let foreign = if queue == "acme" { "globex" } else { "acme" };
                assert!(
                    !String::from_utf8_lossy(&row.body).contains(foreign),
                    "page {page}: a row of {foreign}"
                );
            }
            seen.extend(orders(&rows));
            spool.store().complete(ids(&rows));
        }
        // The store works, with the old file or a new one.
        until(|| spool.append(vec![row("initrode", now_ms(), "new")]).is_ok());
        until(|| spool.store().depth().health == Health::Working);
        aside += usize::from(
            spool
                .take_events()
                .iter()
                .any(|event| matches!(event, Event::SetAside { .. })),
        );
        spool.close();
        page += pages.div_ceil(24);
    }
    assert!(aside > 0, "noise in tables is found");
}

#[test]
fn damage_that_a_take_finds_sets_the_file_aside_and_reports_what_was_not_taken() {
    let mut spool = damaged(|_| {});
    spool.take_events();
    let first = spool
        .take("acme", Kind::Spans, tracer_registry_spool::Limit { rows: 3, ..ALL })
        .expect("works");
    // Each overflow page begins with the number of the next one.
    let file = spool.file("spool.db");
    let pages = fs::metadata(&file).expect("a file").len() / 4096;
    for page in 1..pages {
        let at = usize::try_from(page * 4096).expect("small");
        let begin = fs::read(&file).expect("a file")[at..at + 4].to_vec();
        if begin[0] == 0 {
            write_at(&file, page * 4096, &[0x7f, 0xff, 0xff, 0xff]);
        }
    }
    until(|| spool.take("globex", Kind::Spans, ALL).is_err());
    let events = spool.wait_for(|event| matches!(event, Event::Opened(_)));
    set_aside(&events);
    let mut lost: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Lost {
                why: Lost::Damaged,
                depth,
            } => Some((depth.queue.to_string(), depth.span_rows)),
            _ => None,
        })
        .collect();
    lost.sort();
    assert_eq!(lost, [("acme".to_owned(), 37), ("globex".to_owned(), 40)]);

    // Rows of the old file: a completed one is ignored, a released one is lost.
    let new = spool.append(vec![row("acme", 90, "new")]).expect("works");
    spool.store().complete(vec![first[0].id]);
    spool.store().release(vec![(first[1].id, None)]);
    let events = spool.wait_for(|event| matches!(event, Event::Lost { .. }));
    assert_eq!(events.len(), 1, "{events:?}");
    spool.store().release(vec![(new[0], None)]);
    assert_eq!(drain(&spool, "acme"), [90]);
    let refused = spool.append(vec![row("initech", 1, "erased before")]);
    assert!(
        matches!(refused, Err(AppendError::Erased(_))),
        "a purge survives the file: {refused:?}"
    );
    spool.restart();
    assert!(matches!(
        spool.append(vec![row("initech", 1, "erased")]),
        Err(AppendError::Erased(_))
    ));
}

#[test]
fn a_log_that_is_cut_off_loses_only_its_end() {
    let spool = Spool::new();
    let mut sizes = Vec::new();
    for order in 1..=20 {
        spool
            .append(vec![row("acme", order, vec![7; 5_000])])
            .expect("appended");
        sizes.push(fs::metadata(spool.file("spool.db-wal")).expect("a log").len());
    }
    // The state after a crash, with a log that ends in the 15th transaction.
    let copy = copy(&spool.options.folder);
    let file = fs::OpenOptions::new()
        .write(true)
        .open(copy.path().join("spool/spool.db-wal"))
        .expect("a log");
    file.set_len(sizes[14] - 100).expect("cut off");
    let mut found = Spool::at(copy.path().join("spool"), 256 * MIB, |_| {});
    assert_eq!(drain(&found, "acme"), (1..=14).collect::<Vec<_>>());
    found.close();
}

/// Copies the files of a folder: the state that a crash leaves.
fn copy(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::Builder::new()
        .prefix("spool-a")
        .tempdir()
        .expect("a temporary folder");
    crate::support::copy_folder(folder, &copy.path().join("spool"));
    copy
}

#[test]
fn a_file_of_another_program_or_a_newer_version_is_set_aside_untouched() {
    for (name, change) in [
        ("spool.db.newer-7-", "PRAGMA user_version = 7"),
        ("spool.db.foreign-", "PRAGMA application_id = 1"),
        ("spool.db.foreign-", "PRAGMA user_version = 0"),
    ] {
        let spool = damaged(|file| {
            let db = rusqlite::Connection::open(file).expect("a database");
            db.execute_batch(change).expect("changed");
        });
        let events = spool.take_events();
        let file = set_aside(&events);
        assert!(file.to_string_lossy().contains(name), "{}", file.display());
        let db = rusqlite::Connection::open(&file).expect("a database");
        let rows: i64 = db
            .query_row("SELECT count(*) FROM rows", [], |row| row.get(0))
            .expect("intact");
        assert_eq!(rows, 80);
        // A purge holds although the file is another one.
        let refused = spool.append(vec![row("initech", 1, "erased before")]);
        assert!(matches!(refused, Err(AppendError::Erased(_))), "{refused:?}");
    }
}

#[test]
fn a_crash_between_two_renames_keeps_the_log_with_its_database() {
    let mut spool = Spool::new();
    spool
        .append(vec![row("acme", 1, "in the log alone")])
        .expect("appended");
    let copy = copy(&spool.options.folder);
    spool.close();
    let folder = copy.path().join("spool");
    fs::rename(folder.join("spool.db"), folder.join("spool.db.damaged-1")).expect("renamed");
    let mut found = Spool::at(folder.clone(), 256 * MIB, |_| {});
    assert_eq!(found.store().depth().rows, 0);
    found.close();
    let checked = tracer_registry_spool::check::check(&folder.join("spool.db.damaged-1")).expect("readable");
    assert_eq!(checked.queues.len(), 1, "{checked:?}");
}

#[test]
fn a_panic_of_a_thread_is_a_failure_after_which_the_store_goes_on() {
    static PANICS: [AtomicBool; 2] = [AtomicBool::new(false), AtomicBool::new(false)];
    let at = |point| {
        let panics = match point {
            Point::AfterCommit => &PANICS[0],
            Point::BeforeSnapshot => &PANICS[1],
            _ => return,
        };
        assert!(!panics.swap(false, Ordering::SeqCst), "on purpose");
    };
    let spool = Spool::with(256 * MIB, |options| options.at = at);
    spool.append(vec![row("acme", 1, "before")]).expect("works");
    spool.take_events();
    for (panics, after) in PANICS.iter().zip([2, 3]) {
        panics.store(true, Ordering::SeqCst);
        if after == 2 {
            let error = spool.append(vec![row("acme", after, "lost")]).expect_err("panics");
            assert!(matches!(error, AppendError::Failing(_)), "{error}");
        } else {
            let error = spool.take("acme", Kind::Spans, ALL).expect_err("panics");
            assert_eq!(error.error, "the thread panicked");
        }
        spool.wait_for(|event| matches!(event, Event::Failing(failing) if failing.error == "the thread panicked"));
        spool.wait_for(is_working);
        assert_eq!(spool.store().depth().waiting_bytes, 0);
        spool.append(vec![row("acme", after, "after")]).expect("works");
    }
    let ids = spool.append(vec![row("acme", 4, "last")]).expect("works");
    spool.store().release(ids.into_iter().map(|id| (id, None)).collect());
    assert_eq!(orders(&spool.take("acme", Kind::Spans, ALL).expect("works")), [4]);
    assert_eq!(spool.store().depth().rows, 4, "nothing of the failed commit");
}
