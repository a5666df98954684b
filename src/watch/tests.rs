use std::fs;
use std::os::unix::fs::symlink;
use std::sync::mpsc::{Receiver, RecvTimeoutError};

use tempfile::TempDir;

use super::*;

const LONG: Duration = Duration::from_secs(30);

struct Watched {
    folder: TempDir,
    watcher: Watcher,
    told: Receiver<BTreeSet<PathBuf>>,
}

impl Watched {
    fn new(poll: Duration, by_events: bool) -> Self {
        let (tell, told) = mpsc::channel();
        let watcher = Watcher::start_with(poll, by_events, move |changed: &BTreeSet<PathBuf>| {
            drop(tell.send(changed.clone()));
            None
        });
        Self {
            folder: TempDir::new().expect("a folder"),
            watcher: watcher.expect("a thread"),
            told,
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

    /// Waits until a path is told.
    fn wait_for(&self, path: &Path) {
        while !self.told.recv_timeout(LONG).expect("told in time").contains(path) {}
    }
}

/// By events alone, and by looking alone.
fn both_ways(test: impl Fn(Watched)) {
    test(Watched::new(LONG * 10, true));
    test(Watched::new(Duration::from_millis(1), false));
}

#[test]
fn a_file_is_told_however_it_is_replaced() {
    both_ways(|watched| {
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
fn a_file_behind_a_link_that_is_swapped_is_told_each_time() {
    both_ways(|watched| {
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
fn an_entry_of_a_watched_folder_is_told_by_name_where_there_are_events_and_else_the_folder() {
    let watched = Watched::new(LONG * 10, true);
    let mark = watched.write("mark", "");
    watched.watcher.watch(watched.folder.path());
    // Asked for afterwards: when it is told, the folder is listened to.
    watched.watcher.watch_what_was_read(&mark);
    watched.wait_for(&mark);
    let file = watched.write("acme.toml", "one");
    watched.wait_for(&file);

    let watched = Watched::new(Duration::from_millis(1), false);
    watched.watcher.watch(watched.folder.path());
    watched.write("acme.toml", "one");
    watched.wait_for(watched.folder.path());
}

#[test]
fn a_file_in_a_folder_that_is_made_later_is_told() {
    let watched = Watched::new(Duration::from_millis(1), true);
    let file = watched.path("later/key");
    watched.watcher.watch(&file);
    fs::create_dir(watched.path("later")).expect("made");
    watched.write("later/key", "one");
    watched.wait_for(&file);
}

#[test]
fn reading_and_what_is_watched_no_more_are_not_told() {
    let watched = Watched::new(LONG * 10, true);
    let (file, other) = (watched.write("key", "one"), watched.write("other", "one"));
    watched.watcher.watch(&file);
    watched.watcher.watch(&other);
    watched.watcher.unwatch(&file);
    assert_eq!(fs::read_to_string(&other).expect("there"), "one");
    fs::write(&file, "two").expect("written");
    fs::write(&other, "two").expect("written");
    let told = watched.told.recv_timeout(LONG).expect("told in time");
    assert_eq!(told, BTreeSet::from([other]));
}

#[test]
fn what_was_read_before_is_told_once_and_the_thread_ends_with_the_watcher() {
    let watched = Watched::new(LONG * 10, true);
    let file = watched.write("key", "one");
    watched.watcher.watch_what_was_read(&file);
    watched.wait_for(&file);
    drop(watched.watcher);
    assert_eq!(watched.told.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
}

#[test]
fn what_is_asked_for_again_is_told_again_with_what_changed_meanwhile() {
    let folder = TempDir::new().expect("a folder");
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    for file in [&one, &other] {
        fs::write(file, "").expect("written");
    }
    let (tell, told) = mpsc::channel();
    // How long it is to be until it is told again, call by call.
    let mut waits = [Some(LONG * 10), Some(Duration::ZERO)].into_iter();
    let watcher = Watcher::start_with(LONG * 10, true, move |changed: &BTreeSet<PathBuf>| {
        drop(tell.send(changed.clone()));
        waits.next().flatten()
    });
    let watcher = watcher.expect("a thread");
    let next = || told.recv_timeout(LONG).expect("told in time");
    watcher.watch_what_was_read(&one);
    assert_eq!(next(), BTreeSet::from([one.clone()]));
    watcher.watch_what_was_read(&other);
    // Both, since the first one is asked for again; and again at once, with nothing that changed.
    let both = BTreeSet::from([one, other]);
    assert_eq!((next(), next()), (both.clone(), both));
    drop(watcher);
    assert_eq!(told.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
}
