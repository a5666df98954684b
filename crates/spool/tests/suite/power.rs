//! The power fails while a process uses a store: what was acknowledged is there.
//!
//! `strace` records what the process writes, syncs and acknowledges. From this record the test
//! makes images of the disk as a loss of power may leave it at a moment, and opens each. The `-shm`
//! file is not in them: it is written through mapped memory, which a record of calls does not show,
//! and SQLite makes it again from the log when the first connection opens the file.

mod disk;
mod record;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use crate::diary::Diary;
use crate::worker::{FOLDER, Job};
use disk::{Disk, Kept};
use record::{Call, Record};

const CUTS: usize = 200;
const CALLS: &str = "openat,lseek,write,writev,pwrite64,pwritev,ftruncate,fallocate,fsync,fdatasync,unlink,unlinkat,rename,renameat,renameat2";

#[test]
#[ignore = "needs strace"]
fn acknowledged_rows_survive_a_loss_of_power() {
    if Job::is_done() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let job = Job {
        seed: 7,
        appends: 60,
        openings: 2,
        kill_at: None,
    };
    let record = record(job, folder.path());
    let mut random = StdRng::seed_from_u64(7);
    let mut cuts = cuts(&record, &mut random);
    cuts.sort_unstable();

    let (mut disk, mut diary) = (Disk::default(), Diary::default());
    let (mut at, mut images) = (0, 0);
    for &cut in &cuts {
        for &step in &record.steps[at..cut] {
            disk.apply(&record.calls, step);
            if let Some(line) = record.line(step) {
                diary.read(line);
            }
        }
        at = cut;
        let mut seen: Vec<BTreeMap<&str, Vec<u8>>> = Vec::new();
        for kept in [Kept::Nothing, Kept::All, Kept::Some, Kept::Reordered, Kept::Torn] {
            let image = disk.image(kept, &mut random);
            if !seen.contains(&image) {
                images += 1;
                check(
                    &image,
                    &diary,
                    &format!("call {cut} of {}, {kept:?} kept", record.steps.len()),
                );
                seen.push(image);
            }
        }
    }
    println!(
        "{images} images at {} moments of {} calls, {} synced: {} rows acknowledged at the last one, 0 lost",
        cuts.len(),
        record.calls.len(),
        record.calls.iter().filter(|call| matches!(call, Call::Sync(_))).count(),
        diary.durable,
    );
    assert!(diary.durable > 100, "too little was acknowledged");
}

/// Runs a child to its end, and returns the record of its calls.
fn record(job: Job, folder: &Path) -> Record {
    let file = folder.join("record");
    let file = file.to_str().expect("text");
    let trace = format!("trace={CALLS}");
    let strace = [
        "strace",
        "-f",
        "-y",
        "-xx",
        "-s",
        "1000000",
        "-e",
        "signal=none",
        "-e",
        &trace,
        "-o",
        file,
    ];
    let test = "power::acknowledged_rows_survive_a_loss_of_power";
    let diary = folder.join("diary");
    let status = job
        .command(&strace, test, folder)
        .stderr(File::create(&diary).expect("a new file"))
        .status()
        .expect("strace starts");
    let lines = || fs::read_to_string(&diary).unwrap_or_default();
    assert!(status.success(), "{status}: {}", lines());
    let store = folder.join(FOLDER);
    let lines = BufReader::new(File::open(file).expect("a record")).lines();
    Record::read(lines.map(|line| line.expect("text")), store.to_str().expect("text"))
}

/// Moments between two steps: half of them in a sync, when most is not synced yet.
fn cuts(record: &Record, random: &mut StdRng) -> Vec<usize> {
    let syncs: Vec<usize> = record.ends_of_syncs().collect();
    let any = (0..CUTS / 2)
        .map(|_| random.random_range(0..=record.steps.len()))
        .collect::<Vec<_>>();
    let in_sync = syncs.choose_multiple(random, CUTS - any.len()).copied();
    any.into_iter().chain(in_sync).collect()
}

/// Writes an image, and opens it.
fn check(image: &BTreeMap<&str, Vec<u8>>, diary: &Diary, context: &str) {
    // In memory if possible: these files are not to survive anything.
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    let parent = parent.expect("a temporary folder");
    let folder = parent.path().join(FOLDER);
    fs::DirBuilder::new().mode(0o700).create(&folder).expect("a new folder");
    for (name, content) in image {
        write_private(&folder.join(name), content);
    }
    diary.clone().check(&folder, context);
}

fn write_private(path: &Path, content: &[u8]) {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .expect("a new file");
    file.write_all(content).expect("written");
}
