//! The folder of a store: one process, one user.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tracer_registry_spool::{OpenError, Options, SqliteStore, Store as _};

use crate::support::{MIB, Spool};

#[test]
fn another_process_is_refused_and_named() {
    let spool = Spool::new();
    let lock = spool.file("spool.lock");
    // `flock` of util-linux takes the same kind of lock.
    let status = Command::new("flock")
        .arg("-n")
        .arg(&lock)
        .arg("true")
        .status()
        .expect("flock runs");
    assert!(!status.success(), "the folder is locked");
    drop(spool);

    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("spool");
    Spool::at(path.clone(), 32 * MIB, |_| {}).close();
    let script = format!(
        "flock '{0}' bash -c 'echo $$ > {0}; echo locked; read'",
        path.join("spool.lock").display()
    );
    let mut other = Command::new("bash")
        .args(["-c", &script])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("bash runs");
    let mut line = String::new();
    let output = std::io::BufReader::new(other.stdout.take().expect("piped"));
    std::io::BufRead::read_line(&mut { output }, &mut line).expect("a line");
    let mut options = Options::new(&path, 32 * MIB, crate::support::covers, std::sync::Arc::new(|_| {}));
    let refused = SqliteStore::open(options.clone());
    assert!(
        matches!(refused, Err(OpenError::Locked { by: Some(_), .. })),
        "{refused:?}"
    );
    drop(other.stdin.take());
    other.wait().expect("it ends");
    options.wait_for_lock = Duration::from_secs(30);
    SqliteStore::open(options).expect("unlocked");
}

#[test]
fn a_folder_or_file_that_others_can_use_is_refused() {
    let base = tempfile::tempdir().expect("a temporary folder");
    let open = |folder: &Path| {
        let options = Options::new(folder, 32 * MIB, crate::support::covers, std::sync::Arc::new(|_| {}));
        SqliteStore::open(options).map(|store| store.close(std::time::Instant::now() + Duration::from_secs(30)))
    };
    let rule = |folder: &Path| match open(folder) {
        Err(OpenError::Folder { rule, .. }) => rule,
        other => panic!("{}: {other:?}", folder.display()),
    };
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changed");

    let folder = base.path().join("spool");
    open(&folder).expect("created");
    assert_eq!(
        fs::metadata(&folder).expect("a folder").permissions().mode() & 0o777,
        0o700
    );
    for file in ["spool.db", "spool.lock", "spool.spare"] {
        assert_eq!(
            fs::metadata(folder.join(file)).expect(file).permissions().mode() & 0o777,
            0o600,
            "{file}"
        );
    }

    mode(&folder, 0o750);
    assert_eq!(rule(&folder), "must not be accessible to other users");
    mode(&folder, 0o700);
    for file in ["spool.db", "spool.lock", "spool.spare"] {
        let file = folder.join(file);
        mode(&file, 0o640);
        assert_eq!(
            rule(&folder),
            "must not be accessible to other users",
            "{}",
            file.display()
        );
        mode(&file, 0o600);
        fs::hard_link(&file, base.path().join("second name")).expect("linked");
        assert_eq!(
            rule(&folder),
            "must not have a second name (hard link)",
            "{}",
            file.display()
        );
        fs::remove_file(base.path().join("second name")).expect("a file");
        let elsewhere = base.path().join("elsewhere");
        fs::rename(&file, &elsewhere).expect("renamed");
        symlink(&elsewhere, &file).expect("linked");
        assert_eq!(
            rule(&folder),
            "must be a regular file, and no symbolic link",
            "{}",
            file.display()
        );
        fs::rename(&elsewhere, &file).expect("renamed");
    }
    for file in ["spool.db-wal", "spool.db-shm"] {
        symlink(base.path().join("elsewhere"), folder.join(file)).expect("linked");
        assert_eq!(rule(&folder), "must be a regular file, and no symbolic link");
        fs::remove_file(folder.join(file)).expect("a link");
    }
    open(&folder).expect("all as before");

    let link = base.path().join("link");
    symlink(&folder, &link).expect("linked");
    assert_eq!(rule(&link), "must be a folder, and no symbolic link");
    assert_eq!(rule(&folder.join("spool.db")), "must be a folder, and no symbolic link");
    assert_eq!(rule(&base.path().join("none/spool")), "must be in a folder that exists");
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&folder, Some(12_345), None).expect("changed");
        assert_eq!(rule(&folder), "must belong to the user of this process");
    }
}
