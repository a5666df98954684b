//! Key files that every user may read or write: a check warns, strict permissions refuse.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tracer_registry::check::{CheckMode, CheckWarning};
use tracer_registry::config::{Binding, Config, Proxy, Tls};
use tracer_registry::secret::SecretErrorKind;
use tracer_registry::{KeySource, LookupError, TracerRegistry};

use crate::log::Log;
use crate::support::{key_of, wait_for};

fn write(folder: &TempDir, name: &str, mode: u32) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, key_of("a")).expect("written");
    set_mode(&path, mode);
    path
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set by the owner");
}

fn with_key(path: &Path) -> Binding {
    Binding::new().api_key(KeySource::file(path))
}

#[test]
fn a_check_warns_of_key_files_open_to_every_user_without_logging() {
    let folder = TempDir::new().expect("a temporary folder");
    let link = folder.path().join("link");
    let (open, closed) = (write(&folder, "open", 0o644), write(&folder, "closed", 0o400));
    symlink("open", &link).expect("linked");
    let log = Log::default();
    tracing::subscriber::with_default(log.clone(), || {
        for (mode, is_open) in [
            (0o600, false),
            (0o640, false),
            (0o660, false),
            (0o601, false),
            (0o644, true),
            (0o604, true),
            (0o602, true),
            (0o4666, true),
        ] {
            set_mode(&open, mode);
            for path in [&open, &link] {
                let registry = TracerRegistry::builder()
                    .tenant("a", with_key(path))
                    .build()
                    .expect("valid");
                let checked = registry.check(CheckMode::Keys);
                let file = path.clone();
                let expected = is_open.then_some(CheckWarning::OpenKeyFile { file, mode });
                assert_eq!(checked[0].warnings, Vec::from_iter(expected), "{mode:o}");
                assert!(!checked[0].is_faulty());
                registry.tenant("a").expect("a warning only");
            }
        }
        let proxy = Proxy::url("http://127.0.0.1:9").credentials(KeySource::file(&link));
        let registry = TracerRegistry::builder()
            .tenant("a", with_key(&closed).proxy(proxy))
            .build()
            .expect("valid");
        let warnings = registry.check(CheckMode::Keys).remove(0).warnings;
        let shown: Vec<String> = warnings.iter().map(ToString::to_string).collect();
        let expected = format!(
            "key file {} is open to every user (mode 4666); close it with chmod o-rw",
            link.display()
        );
        assert_eq!(shown, [expected]);
    });
    assert_eq!(log.lines(), [""; 0], "no log line");
}

#[test]
fn strict_permissions_refuse_key_files_open_to_every_user() {
    let folder = TempDir::new().expect("a temporary folder");
    let path = write(&folder, "key", 0o644);
    let registry = TracerRegistry::builder()
        .strict_permissions(true)
        .tenant("a", with_key(&path))
        .build()
        .expect("valid");
    let Err(LookupError::Secret(error)) = registry.tenant("a") else {
        panic!("the file was read")
    };
    assert_eq!(error.kind(), &SecretErrorKind::OpenToEveryUser(0o644));
    let message = "open to every user (mode 0644), and keys.strict_permissions is set; close it with chmod o-rw";
    assert_eq!(error.to_string(), format!("file {}: {message}", path.display()));
    let checked = registry.check(CheckMode::Keys).remove(0);
    assert!(checked.is_faulty() && checked.warnings.is_empty(), "{checked:?}");
    set_mode(&path, 0o640);
    registry.tenant("a").expect("restricted permissions");
    // A change to open permissions keeps the last good key.
    fs::write(folder.path().join("next"), "next").expect("written");
    set_mode(&folder.path().join("next"), 0o604);
    fs::rename(folder.path().join("next"), &path).expect("replaced");
    let status = || registry.status().tracers.remove(0).key.expect("a tracer with a key");
    let kept = wait_for("an error", status, |key| key.error.is_some());
    assert_eq!(kept.rotations, 0);
    assert_eq!(
        kept.error.expect("an error").kind(),
        &SecretErrorKind::OpenToEveryUser(0o604)
    );
}

#[test]
fn strict_permissions_are_set_in_a_file_and_change_on_restart() {
    let folder = TempDir::new().expect("a temporary folder");
    write(&folder, "key", 0o644);
    let file = folder.path().join("default.toml");
    let write = |strict: &str| {
        fs::write(&file, format!("{strict}\n[tenants.a]\napi_key = {{ file = 'key' }}\n")).expect("written");
    };
    write("[keys]\nstrict_permissions = true");
    let registry = TracerRegistry::from_config(&file).expect("valid");
    registry.tenant("a").expect_err("open to every user");
    write("");
    let changes = registry.reload().expect("valid");
    assert_eq!(changes.needs_restart, ["keys.strict_permissions"]);
    registry.tenant("a").expect_err("unchanged until a restart");
    TracerRegistry::from_config(&file)
        .expect("valid")
        .tenant("a")
        .expect("not strict");
    write("[keys]\nstrict_permissions = 'yes'");
    let error = Config::load(&file).expect_err("no boolean").to_string();
    assert!(
        error.contains("keys.strict_permissions: expected true or false"),
        "{error}"
    );
}

#[test]
fn permissions_of_client_certificate_keys_are_checked() {
    let folder = TempDir::new().expect("a temporary folder");
    let pair = rcgen::generate_simple_self_signed(["client".to_owned()]).expect("a certificate");
    let (cert, key) = (write(&folder, "cert", 0o644), write(&folder, "cert.key", 0o644));
    fs::write(&cert, pair.cert.pem()).expect("written");
    fs::write(&key, pair.signing_key.serialize_pem()).expect("written");
    let tls = Tls {
        cert: Some(cert),
        key: Some(key.clone()),
        ..Tls::default()
    };
    let secret = write(&folder, "key", 0o600);
    let registry = |strict| {
        TracerRegistry::builder()
            .strict_permissions(strict)
            .tenant("a", with_key(&secret).tls(tls.clone()))
            .build()
            .expect("valid")
    };
    let checked = registry(false).check(CheckMode::Keys).remove(0);
    let expected = CheckWarning::OpenKeyFile {
        file: key.clone(),
        mode: 0o644,
    };
    assert_eq!(checked.warnings, [expected], "the certificate is public");
    registry(false).tenant("a").expect("a warning only");
    let error = registry(true).tenant("a").expect_err("refused").to_string();
    assert!(error.contains("cert.key: open to every user (mode 0644)"), "{error}");
    set_mode(&key, 0o600);
    registry(true).tenant("a").expect("restricted permissions");
}
