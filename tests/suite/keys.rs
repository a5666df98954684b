//! Key sources: variables, files, credentials, commands and the program's own sources.

mod characters;
#[cfg(target_os = "linux")]
mod commands;
#[cfg(unix)]
mod permissions;
mod providers;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tracer_registry::config::Binding;
use tracer_registry::secret::{Fingerprinter, KeyCommand, SecretErrorKind, SecretSources};
use tracer_registry::{KeySource, LookupError, TracerRegistry};

use crate::child_process::is_child;

/// Reads a key and returns whether it equals `expected`.
fn is_key(source: &KeySource, expected: &str) -> bool {
    let key = source.read(&SecretSources::default()).expect("a key");
    let fingerprinter = Fingerprinter::new();
    key.fingerprint(&fingerprinter) == fingerprinter.fingerprint(expected.as_bytes())
}

fn error_kind(source: &KeySource) -> SecretErrorKind {
    let error = source.read(&SecretSources::default()).expect_err("no key");
    assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
    error.kind().clone()
}

/// Error for a space at the start or end of a key.
fn blank_at_edge(at: usize) -> SecretErrorKind {
    let character = ' '.into();
    SecretErrorKind::WhitespaceAtEdge { at, character }
}

fn file(folder: &TempDir, content: impl AsRef<[u8]>) -> KeySource {
    let path = folder.path().join("key");
    fs::write(&path, content).expect("written");
    KeySource::file(path)
}

/// Creates a registry with tenant `acme` and its key in a file.
fn with_file(path: &Path) -> TracerRegistry {
    let acme = Binding::new().api_key(KeySource::file(path.to_owned()));
    TracerRegistry::builder().tenant("acme", acme).build().expect("valid")
}

/// Returns the number of tracers, as debug output, and of ledgers.
fn remaining(registry: &TracerRegistry) -> (String, usize) {
    (format!("{registry:?}"), registry.status().tracers.len())
}

fn is_empty(registry: &TracerRegistry) -> bool {
    remaining(registry) == ("TracerRegistry { tracers: 0, .. }".to_owned(), 0)
}

#[test]
fn an_environment_variable_is_read_as_a_key_or_refused() {
    let test = "keys::an_environment_variable_is_read_as_a_key_or_refused";
    let mut variables: Vec<(&str, OsString)> = [
        ("GOOD", "hh_key"),
        ("SPACES", " hh_key "),
        ("EMPTY", ""),
        ("LINES", "hh_canary\nhh_canary"),
        ("NEWLINE", "hh_canary\n"),
        ("TAB", "\thh_canary"),
    ]
    .map(|(name, value)| (name, value.into()))
    .into();
    let large: OsString = "a".repeat(8 * 1024 + 1).into();
    variables.push(("LARGE", large));
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStringExt;
        variables.push(("BYTES", OsString::from_vec(b"hh_canary\xff".to_vec())));
    }
    if !is_child(test, &variables) {
        return;
    }
    let variable = |name: &str| KeySource::Env(name.to_owned());
    assert!(is_key(&variable("GOOD"), "hh_key"));
    for (name, expected) in [
        ("UNSET", SecretErrorKind::Unset),
        ("", SecretErrorKind::Unset),
        ("A=B", SecretErrorKind::Unset),
        ("EMPTY", SecretErrorKind::Empty),
        ("SPACES", blank_at_edge(0)),
        ("LINES", SecretErrorKind::ControlCharacter(9)),
        ("NEWLINE", SecretErrorKind::ControlCharacter(9)),
        ("TAB", SecretErrorKind::ControlCharacter(0)),
        ("LARGE", SecretErrorKind::TooLarge(8 * 1024)),
        #[cfg(unix)]
        ("BYTES", SecretErrorKind::NotUtf8),
    ] {
        assert_eq!(error_kind(&variable(name)), expected, "{name}");
    }
    let error = variable("UNSET").read(&SecretSources::default()).expect_err("unset");
    assert_eq!(
        error.to_string(),
        "environment variable UNSET: not set in the environment of this process"
    );
}

#[test]
fn one_final_newline_and_a_byte_order_mark_are_stripped_from_a_key_file() {
    let folder = TempDir::new().expect("a temporary folder");
    for (content, key) in [
        ("hh_key", "hh_key"),
        ("hh_key\n", "hh_key"),
        ("hh_key\r\n", "hh_key"),
        ("hh key\n", "hh key"),
        ("schlüssel\n", "schlüssel"),
        ("\u{feff}hh_key\n", "hh_key"),
    ] {
        assert!(is_key(&file(&folder, content), key), "{content:?}");
    }
    for (content, at) in [("hh_key  \n", 7), (" hh_key", 0), ("\u{feff}hh_key \r\n", 6), (" ", 0)] {
        assert_eq!(error_kind(&file(&folder, content)), blank_at_edge(at), "{content:?}");
    }
    let largest = "a".repeat(8 * 1024);
    for end in ["", "\n", "\r\n"] {
        for start in ["", "\u{feff}"] {
            assert!(is_key(&file(&folder, format!("{start}{largest}{end}")), &largest));
            let larger = file(&folder, format!("{start}{largest}a{end}"));
            assert_eq!(error_kind(&larger), SecretErrorKind::TooLarge(8 * 1024));
        }
    }
}

#[test]
fn a_file_without_a_valid_key_is_an_error() {
    let folder = TempDir::new().expect("a temporary folder");
    let large = vec![b'a'; 1 << 20];
    let contents: [(&[u8], SecretErrorKind); 10] = [
        (b"", SecretErrorKind::Empty),
        (b"\xef\xbb\xbf\n", SecretErrorKind::Empty),
        (b"\n", SecretErrorKind::Empty),
        (b"\r\n", SecretErrorKind::Empty),
        (b"hh_canary\n\n", SecretErrorKind::ControlCharacter(9)),
        (b"hh_canary\nhh_canary\n", SecretErrorKind::ControlCharacter(9)),
        (b"hh_canary\r", SecretErrorKind::ControlCharacter(9)),
        (b"hh_canary\xff", SecretErrorKind::NotUtf8),
        (b"hh_canary\0", SecretErrorKind::ControlCharacter(9)),
        (&large, SecretErrorKind::TooLarge(8 * 1024)),
    ];
    for (content, expected) in contents {
        assert_eq!(error_kind(&file(&folder, content)), expected);
    }
    for (path, expected) in [
        (folder.path().join("missing"), SecretErrorKind::NotFound),
        (folder.path().to_owned(), SecretErrorKind::NotAFile),
        (
            folder.path().join("key/below"),
            SecretErrorKind::Unreadable(fs::read(folder.path().join("key/below")).expect_err("a file").into()),
        ),
        (PathBuf::new(), SecretErrorKind::NotFound),
        ("/dev/zero".into(), SecretErrorKind::NotAFile),
    ] {
        assert_eq!(
            error_kind(&KeySource::file(path.clone())),
            expected,
            "{}",
            path.display()
        );
    }
}

#[cfg(unix)]
#[test]
fn a_pipe_as_key_file_is_an_error_without_blocking() {
    let folder = TempDir::new().expect("a temporary folder");
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    assert_eq!(error_kind(&KeySource::file(pipe.clone())), SecretErrorKind::NotAFile);
    // Mounted secrets are symbolic links to the current version.
    std::os::unix::fs::symlink(&pipe, folder.path().join("link")).expect("linked");
    assert_eq!(
        error_kind(&KeySource::file(folder.path().join("link"))),
        SecretErrorKind::NotAFile
    );
    fs::write(folder.path().join("real"), "hh_key").expect("written");
    std::os::unix::fs::symlink("real", folder.path().join("mounted")).expect("linked");
    assert!(is_key(&KeySource::file(folder.path().join("mounted")), "hh_key"));
}

#[test]
fn a_credential_is_read_only_from_the_credentials_directory() {
    let test = "keys::a_credential_is_read_only_from_the_credentials_directory";
    let folder = TempDir::new().expect("a temporary folder");
    let credentials = folder.path().join("credentials");
    fs::create_dir(&credentials).expect("created");
    fs::write(credentials.join("acme"), "hh_key\n").expect("written");
    fs::write(folder.path().join("outside"), "hh_canary").expect("written");
    if !is_child(test, &[("CREDENTIALS_DIRECTORY", credentials.as_os_str())]) {
        return;
    }
    let credential = |name: &str| KeySource::Credential(name.to_owned());
    assert!(is_key(&credential("acme"), "hh_key"));
    for (name, expected) in [
        ("../outside", SecretErrorKind::CredentialName),
        ("/etc/passwd", SecretErrorKind::CredentialName),
        ("..", SecretErrorKind::CredentialName),
        (".", SecretErrorKind::CredentialName),
        ("", SecretErrorKind::CredentialName),
        ("globex", SecretErrorKind::NotFound),
    ] {
        assert_eq!(error_kind(&credential(name)), expected, "{name}");
    }
}

#[test]
fn a_credential_without_a_credentials_directory_is_an_error() {
    if is_child::<&str>("keys::a_credential_without_a_credentials_directory_is_an_error", &[]) {
        assert_eq!(
            error_kind(&KeySource::Credential("acme".into())),
            SecretErrorKind::NoCredentialsDirectory
        );
    }
}

#[test]
fn a_command_gets_the_tenant_as_one_argument_and_shows_no_arguments() {
    let exec = |words: &[&str]| KeySource::Exec(KeyCommand::new(words.to_vec()).timeout(Duration::from_secs(3600)));
    let registry = TracerRegistry::builder()
        .tenant(
            "*",
            Binding::new().api_key(exec(&["printf", "hh_key_of_%s", "{tenant}"])),
        )
        .tenant("failing", Binding::new().api_key(exec(&["false", "--token=hh_canary"])))
        .tenant("whole", Binding::new().api_key(exec(&["vault read --token=hh_canary"])))
        .tenant(
            "many",
            Binding::new().api_key(exec(&["printf", "hh_canary\nhh_canary"])),
        )
        .build()
        .expect("valid");
    let (acme, globex) = (
        registry.tenant("acme").expect("printed"),
        registry.tenant("globex").expect("printed"),
    );
    assert_ne!(acme.fingerprint(), globex.fingerprint());
    for tenant in ["failing", "whole", "many"] {
        let error = registry.tenant(tenant).expect_err("no key");
        assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
    }
    let checked = format!(
        "{:?} {registry:?} {:?}",
        registry.check(tracer_registry::check::CheckMode::Keys),
        registry.config()
    );
    assert!(!checked.contains("canary"), "{checked}");
}

#[test]
fn a_failed_look_up_leaves_no_state_and_the_next_one_retries() {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("acme");
    let registry = with_file(&path);
    for (content, expected) in [
        (None, SecretErrorKind::NotFound),
        (Some("".as_bytes()), SecretErrorKind::Empty),
        (Some(b"hh_canary\nhh_canary"), SecretErrorKind::ControlCharacter(9)),
        (Some(b"\xff"), SecretErrorKind::NotUtf8),
    ] {
        if let Some(content) = content {
            fs::write(&path, content).expect("written");
        }
        match registry.tenant("acme") {
            Err(LookupError::Secret(error)) => assert_eq!(error.kind(), &expected),
            other => panic!("{other:?}"),
        }
        assert!(is_empty(&registry), "{:?}", remaining(&registry));
    }
    fs::write(&path, "hh_key\n").expect("written");
    let first = registry.tenant("acme").expect("a key");
    fs::remove_file(&path).expect("removed");
    let second = registry.tenant("acme").expect("the existing tracer");
    assert!(first.same_tracer(&second));
    // A new tracer reads the key again.
    assert!(registry.dedicated(tracer_registry::Selector::tenant("acme")).is_err());
}
