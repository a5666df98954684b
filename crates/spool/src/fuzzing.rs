//! Fuzz target of this crate. It takes any bytes, panics if an invariant is broken, and returns
//! whether the file that they describe is intact.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::{Duration, Instant};

use crate::{Done, Kind, Limit, Options, Row, SqliteStore, Store as _, check};

const PATIENCE: Duration = Duration::from_secs(60);
const QUEUES: [&str; 2] = ["acme", "globex"];

/// A file with some bytes changed: it is checked, and a store opens and uses it, or a new one.
///
/// A change is a place in 4 bytes, a length in one, and the new bytes.
pub fn file(mut changes: &[u8]) -> bool {
    let folder = folder();
    let mut file = intact(&folder).to_vec();
    while let Some(([p0, p1, p2, p3, length], rest)) = changes.split_first_chunk() {
        let at = u32::from_le_bytes([*p0, *p1, *p2, *p3]) as usize % file.len();
        let length = usize::from(*length).min(rest.len()).min(file.len() - at);
        file[at..at + length].copy_from_slice(&rest[..length]);
        changes = &rest[length..];
    }
    close(&open(&folder));
    let path = folder.join("spool.db");
    fs::write(&path, file).expect("a folder of this process");
    let is_intact = check::check(&path).is_ok_and(|checked| checked.damage.is_empty());
    let store = open(&folder);
    for queue in QUEUES {
        let limit = Limit {
            rows: 100,
            bytes: usize::MAX,
            before: u64::MAX,
        };
        let rows = wait(|done| store.take(&queue.into(), Kind::Spans, limit, done));
        assert!(rows.is_ok() || !is_intact, "an intact file can be read");
        store.complete(rows.unwrap_or_default().into_iter().map(|row| row.id).collect());
    }
    let appended = wait(|done| store.append(vec![row("initech", 1)], done));
    assert!(appended.is_ok() || !is_intact, "an intact file can be used");
    close(&store);
    fs::remove_dir_all(&folder).expect("a folder of this process");
    is_intact
}

/// The bytes of a file with rows of two tenants.
fn intact(folder: &Path) -> &'static [u8] {
    static INTACT: OnceLock<Vec<u8>> = OnceLock::new();
    INTACT.get_or_init(|| {
        let store = open(folder);
        let rows = (0..20).flat_map(|order| QUEUES.map(|queue| row(queue, order)));
        wait(|done| store.append(rows.collect(), done)).expect("a new file");
        close(&store);
        fs::read(folder.join("spool.db")).expect("a file of this process")
    })
}

fn row(queue: &str, order: u64) -> Row {
    Row {
        queue: queue.into(),
        owner: queue.into(),
        kind: Kind::Spans,
        order,
        items: 1,
        generation: 0,
        created: u64::MAX,
        format: 0,
        body: format!("{queue};").repeat(900).into(),
    }
}

fn folder() -> PathBuf {
    std::env::temp_dir().join(format!(
        "spool-fuzz-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ))
}

fn open(folder: &Path) -> Arc<SqliteStore> {
    let options = Options::new(folder, 1 << 25, |what, queue| what == queue, Arc::new(|_| {}));
    SqliteStore::open(options).expect("a folder of this process")
}

fn close(store: &SqliteStore) {
    store.close(Instant::now() + PATIENCE);
}

fn wait<T: Send + 'static>(call: impl FnOnce(Done<T>)) -> T {
    let (sender, receiver) = mpsc::channel();
    call(Box::new(move |result| drop(sender.send(result))));
    receiver.recv_timeout(PATIENCE).expect("an answer")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `ok-` and `bad-` at the start of a name tell whether the seed is accepted. A package has no
    /// seeds.
    #[test]
    fn seeds_of_files_keep_their_invariants() {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = package.join("../..");
        if !root.join("fuzz").exists() && package.join(".cargo_vcs_info.json").exists() {
            return;
        }
        let (mut accepted, mut refused) = (0, 0);
        for seed in fs::read_dir(root.join("fuzz/seeds/spool_file")).expect("the seeds of the target") {
            let seed = seed.expect("a readable folder");
            let (name, data) = (seed.file_name(), fs::read(seed.path()).expect("a readable file"));
            let (name, is_accepted) = (name.to_string_lossy(), file(&data));
            accepted += usize::from(is_accepted);
            refused += usize::from(!is_accepted);
            assert!(!name.starts_with("ok-") || is_accepted, "{name} is refused");
            assert!(!name.starts_with("bad-") || !is_accepted, "{name} is accepted");
        }
        assert!(accepted > 2 && refused > 2, "{accepted} accepted, {refused} refused");
    }
}
