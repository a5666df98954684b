//! A process that uses a store is killed at any moment: what was acknowledged is there.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use tracer_registry_spool::{Event, Point, Recovery};

use crate::diary::Diary;
use crate::support::{Spool, number};
use crate::worker::{FOLDER, Job, MAX_BYTES};

const KILLS: u64 = 20;
/// Points where the child kills itself, in turns, and after how many of them at most.
const POINTS: [(Point, u64); 6] = [
    (Point::BeforeCommit, 40),
    (Point::AfterCommit, 40),
    (Point::PurgeBegun, 2),
    (Point::PurgeDeleted, 2),
    (Point::PurgeEmptied, 2),
    (Point::PurgeDone, 2),
];

#[test]
fn acknowledged_rows_survive_every_kill() {
    if Job::is_done() {
        return;
    }
    let test = "crash::acknowledged_rows_survive_every_kill";
    let kills = number("SPOOL_KILLS", KILLS);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut diary = Diary::default();
    for seed in 0..kills {
        let mut random = StdRng::seed_from_u64(seed);
        let (point, most) = POINTS[random.random_range(0..POINTS.len())];
        let kill_at = (seed % 2 == 1).then(|| (point, random.random_range(1..=most)));
        let job = Job {
            seed: seed << 32,
            appends: u64::MAX,
            openings: 1,
            kill_at,
        };
        run(
            &mut diary,
            job.command(&[], test, folder.path()),
            kill_at.is_none().then_some(&mut random),
        );
        // A copy, so that the next child finds the files of a process that died. Without `-shm`: it
        // is an index of the log, which the first connection makes again.
        let copy = tempfile::tempdir().expect("a temporary folder");
        let copy = copy.path().join(FOLDER);
        copy_files(&folder.path().join(FOLDER), &copy);
        diary.check(&copy, &format!("kill {seed} at {kill_at:?}"));
    }
    println!(
        "{kills} kills: {} rows acknowledged, 0 lost; {} completed, {} of them came back; {} came without an answer; {} purges",
        diary.durable, diary.completed, diary.came_back, diary.unanswered, diary.purges,
    );
    assert!(diary.durable > kills, "too little was acknowledged");
}

/// Runs a child until it is dead, and reads its diary. Kills it at a random moment, unless it kills
/// itself.
fn run(diary: &mut Diary, mut command: Command, random: Option<&mut StdRng>) {
    let mut child = command.stderr(Stdio::piped()).spawn().expect("the binary starts");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let mut read = |lines: &mut dyn Iterator<Item = std::io::Result<String>>| {
        for line in lines {
            diary.read(&line.expect("text"));
        }
    };
    if let Some(random) = random {
        read(&mut lines.by_ref().take(random.random_range(0..2_000)));
        thread::sleep(Duration::from_micros(random.random_range(0..20_000)));
        child.kill().expect("the child runs");
    }
    read(&mut lines);
    let status = child.wait().expect("the child ends");
    assert_eq!(status.signal(), Some(9), "{status}");
}

fn copy_files(from: &Path, to: &Path) {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().mode(0o700).create(to).expect("a new folder");
    for name in ["spool.db", "spool.db-wal"] {
        if from.join(name).exists() {
            fs::copy(from.join(name), to.join(name)).expect("a copy");
        }
    }
}

#[test]
fn a_kill_while_a_file_is_set_aside_loses_none_of_its_rows() {
    if Job::is_done() {
        return;
    }
    let test = "crash::a_kill_while_a_file_is_set_aside_loses_none_of_its_rows";
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut job = Job {
        seed: 1,
        appends: u64::MAX,
        openings: 1,
        kill_at: Some((Point::AfterCommit, 20)),
    };
    run(&mut Diary::default(), job.command(&[], test, folder.path()), None);
    let files = folder.path().join(FOLDER);
    let rows = {
        let db = Connection::open(files.join("spool.db")).expect("a database");
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
            .expect("known");
        db.execute_batch("PRAGMA user_version = 99").expect("written");
        count_rows(&db)
    };
    assert!(rows > 0);
    // A name is changed, the log not yet: the state in which a kill may leave the files.
    let renamed = folder.path().join("renamed");
    copy_files(&files, &renamed);
    fs::rename(renamed.join("spool.db"), renamed.join("spool.db.newer-99-1")).expect("renamed");
    job.kill_at = Some((Point::BetweenRenames, 1));
    run(&mut Diary::default(), job.command(&[], test, folder.path()), None);

    for files in [files, renamed] {
        let mut spool = Spool::at(files.clone(), MAX_BYTES, |_| {});
        let events = spool.take_events();
        let is_empty = |recovery: &Recovery| recovery.queues.is_empty();
        assert!(
            matches!(&events[..], [Event::Opened(recovery)] if is_empty(recovery)),
            "{events:?}"
        );
        spool.close();
        let names = fs::read_dir(&files)
            .expect("a folder")
            .map(|file| file.expect("a file").path());
        let aside =
            names.filter(|path| path.to_string_lossy().contains("newer") && !path.to_string_lossy().ends_with("-wal"));
        let aside: Vec<_> = aside.collect();
        assert_eq!(aside.len(), 1, "{aside:?}");
        assert_eq!(count_rows(&Connection::open(&aside[0]).expect("a database")), rows);
    }
}

fn count_rows(db: &Connection) -> i64 {
    db.query_row("SELECT count(*) FROM rows", [], |row| row.get(0))
        .expect("a count")
}
