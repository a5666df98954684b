use std::fs;
use std::os::unix::fs::symlink;
use std::sync::mpsc::{Receiver, RecvTimeoutError};

use tempfile::TempDir;

use super::*;

const LONG: Duration = Duration::from_secs(30);

struct Watched {
    folder: TempDir,
    watcher: Watcher,
    reports: Receiver<BTreeSet<PathBuf>>,
}

impl Watched {
    fn new(poll_interval: Duration, use_events: bool) -> Self {
        let (reported, reports) = mpsc::channel();
        let watcher = Watcher::start_with(poll_interval, use_events, move |changed: &BTreeSet<PathBuf>| {
            drop(reported.send(changed.clone()));
            None
        });
        Self {
            folder: TempDir::new().expect("a folder"),
            watcher: watcher.expect("a thread"),
            reports,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("written");
        path
    }

    /// Waits until a path is reported.
    fn wait_for(&self, path: &Path) {
        while !self
            .reports
            .recv_timeout(LONG)
            .expect("a report in time")
            .contains(path)
        {}
    }
}

/// Runs a test with events alone, and with polling alone.
fn with_events_and_with_polling(test: impl Fn(Watched)) {
    test(Watched::new(LONG * 10, true));
    test(Watched::new(Duration::from_millis(1), false));
}

#[test]
fn a_file_is_reported_however_it_is_replaced() {
    with_events_and_with_polling(|watched| {
        let file = watched.write("key", "one");
        watched.watcher.watch(&file);
        fs::write(&file, "in place").expect("written");
        watched.wait_for(&file);
        fs::rename(watched.write("key.new", "renamed"), &file).expect("renamed");
        watched.wait_for(&file);
        fs::remove_file(&file).expect("removed");
        watched.wait_for(&file);
        watched.write("key", "back again");
        watched.wait_for(&file);
    });
}

#[test]
fn a_file_behind_a_symlink_is_reported_at_each_swap() {
    with_events_and_with_polling(|watched| {
        fs::create_dir(watched.path("1")).expect("made");
        watched.write("1/key", "one");
        symlink("1", watched.path("..data")).expect("linked");
        symlink("..data/key", watched.path("key")).expect("linked");
        let file = watched.path("key");
        watched.watcher.watch(&file);
        for version in ["2", "3"] {
            fs::create_dir(watched.path(version)).expect("made");
            watched.write(&format!("{version}/key"), version);
            symlink(version, watched.path("..data_tmp")).expect("linked");
            fs::rename(watched.path("..data_tmp"), watched.path("..data")).expect("swapped");
            watched.wait_for(&file);
        }
        fs::write(watched.path("3/key"), "in place").expect("written");
        watched.wait_for(&file);
    });
}

#[test]
fn events_report_the_changed_entry_of_a_folder_and_polling_the_folder() {
    let watched = Watched::new(LONG * 10, true);
    let mark = watched.write("mark", "");
    watched.watcher.watch(watched.folder.path());
    // Watched last: once it is reported, the folder's events are subscribed.
    watched.watcher.watch_and_report(&mark);
    watched.wait_for(&mark);
    let file = watched.write("acme.toml", "one");
    watched.wait_for(&file);

    let watched = Watched::new(Duration::from_millis(1), false);
    watched.watcher.watch(watched.folder.path());
    watched.write("acme.toml", "one");
    watched.wait_for(watched.folder.path());
}

#[test]
fn a_file_in_a_folder_that_is_created_later_is_reported() {
    let watched = Watched::new(Duration::from_millis(1), true);
    let file = watched.path("later/key");
    watched.watcher.watch(&file);
    fs::create_dir(watched.path("later")).expect("made");
    watched.write("later/key", "one");
    watched.wait_for(&file);
}

#[test]
fn reads_and_unwatched_files_are_not_reported() {
    let watched = Watched::new(LONG * 10, true);
    let (file, other) = (watched.write("key", "one"), watched.write("other", "one"));
    watched.watcher.watch(&file);
    watched.watcher.watch(&other);
    watched.watcher.unwatch(&file);
    assert_eq!(fs::read_to_string(&other).expect("there"), "one");
    fs::write(&file, "two").expect("written");
    fs::write(&other, "two").expect("written");
    let reported = watched.reports.recv_timeout(LONG).expect("a report in time");
    assert_eq!(reported, BTreeSet::from([other]));
}

#[test]
fn watch_and_report_reports_once_and_the_thread_ends_with_the_watcher() {
    let watched = Watched::new(LONG * 10, true);
    let file = watched.write("key", "one");
    watched.watcher.watch_and_report(&file);
    watched.wait_for(&file);
    drop(watched.watcher);
    assert_eq!(watched.reports.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
}

#[test]
fn a_repeated_report_includes_what_changed_meanwhile() {
    let folder = TempDir::new().expect("a folder");
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    for file in [&one, &other] {
        fs::write(file, "").expect("written");
    }
    let (reported, reports) = mpsc::channel();
    // Delay until the next report, per call.
    let mut waits = [Some(LONG * 10), Some(Duration::ZERO)].into_iter();
    let watcher = Watcher::start_with(LONG * 10, true, move |changed: &BTreeSet<PathBuf>| {
        drop(reported.send(changed.clone()));
        waits.next().flatten()
    });
    let watcher = watcher.expect("a thread");
    let next = || reports.recv_timeout(LONG).expect("a report in time");
    watcher.watch_and_report(&one);
    assert_eq!(next(), BTreeSet::from([one.clone()]));
    watcher.watch_and_report(&other);
    // Both, because the first is due again; then both once more without a change.
    let both = BTreeSet::from([one, other]);
    assert_eq!((next(), next()), (both.clone(), both));
    drop(watcher);
    assert_eq!(reports.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
}
