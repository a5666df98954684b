//! Tokens from their sources, duplicates, and reloads.

use std::fs;

use super::*;

pub(super) fn problems(gateway: &str, files: &[(&str, &str)]) -> Vec<String> {
    let folder = Folder::new(&[("gateway.toml", gateway)]);
    for (name, token) in files {
        folder.write(name, token);
    }
    let error = read(&folder, None).expect_err("problems");
    let path = folder.path("");
    let path = path.to_str().expect("UTF-8");
    let problems = error.problems().iter();
    problems
        .map(|problem| format!("{}: {}", problem.key(), problem.message().replace(path, "")))
        .collect()
}

#[test]
fn tokens_that_cannot_be_used_are_problems_that_name_the_caller() {
    let gateway = "
        [gateway.callers.missing]
        token = { file = 'missing' }
        tenant = 'a'
        [gateway.callers.short]
        token = [{ file = 'long' }, { file = 'short' }]
        tenant = 'a'
        [gateway.callers.unset]
        token = { env = 'TRACER_REGISTRY_TEST_UNSET' }
        tenant = 'a'
        [gateway.callers.empty]
        token = { file = 'empty' }
        tenant = 'a'";
    let files = [("short", "1234567"), ("long", "12345678"), ("empty", "\n")];
    assert_eq!(
        problems(gateway, &files),
        [
            "gateway.callers.empty.token: file empty: empty",
            "gateway.callers.missing.token: file missing: no such file",
            "gateway.callers.short.token[1]: file short: shorter than 8 bytes",
            "gateway.callers.unset.token: environment variable TRACER_REGISTRY_TEST_UNSET: \
             not set in the environment of this process",
        ]
    );
}

#[test]
fn a_token_of_two_callers_is_a_problem_in_any_form_and_twice_in_one_caller_it_is_not() {
    let digest = hex("token-of-acme-0001");
    let caller = |name: &str, token: &str| format!("[gateway.callers.{name}]\ntenant = 'a'\n{token}\n");
    let file = "token = { file = 'token' }";
    let by_digest = format!("token_sha256 = '{digest}'");
    let files = [("token", "token-of-acme-0001\n")];
    for (one, other, path) in [
        (file, file, "token"),
        (file, &by_digest, "token_sha256"),
        (&by_digest, &by_digest, "token_sha256"),
    ] {
        let gateway = caller("a", one) + &caller("b", other);
        let expected = format!("gateway.callers.b.{path}: the token of b is also the token of a");
        assert_eq!(problems(&gateway, &files), [expected]);
    }
    let twice = caller(
        "a",
        &format!("token = [{{ file = 'token' }}, {{ file = 'token' }}]\n{by_digest}"),
    );
    let world = World::new(&twice, &files);
    assert_eq!(
        world.identified(&[("api-key", "token-of-acme-0001")]),
        Ok("a".to_owned())
    );
}

#[test]
fn a_token_that_may_be_guessed_is_a_warning() {
    let gateway = "[gateway.callers.a]\ntoken = [{ file = 'fifteen' }, { file = 'sixteen' }]\ntenant = 'a'";
    let world = World::new(
        gateway,
        &[("fifteen", "123456789012345"), ("sixteen", "1234567890123456")],
    );
    let file = world.folder.path("fifteen").display().to_string();
    let expected = format!("gateway.callers.a.token[0]: file {file}: shorter than 16 bytes, and may be guessed");
    assert_eq!(world.callers.warnings(), [expected]);
}

pub(super) fn hex(token: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
    digest
        .as_ref()
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(digit)
        .collect()
}

fn digit(value: u8) -> char {
    char::from_digit(value.into(), 16).expect("below 16")
}

#[test]
#[cfg(unix)]
fn strict_permissions_apply_to_token_files() {
    use std::os::unix::fs::PermissionsExt as _;

    let gateway = "[keys]\nstrict_permissions = true\n[gateway.callers.a]\ntoken = { file = 'token' }\ntenant = 'a'";
    let folder = Folder::new(&[("gateway.toml", gateway), ("token", "token-of-acme-0001")]);
    let mode = |mode| fs::set_permissions(folder.path("token"), fs::Permissions::from_mode(mode)).expect("changed");
    mode(0o644);
    let error = read(&folder, None).expect_err("open to every user");
    assert!(error.to_string().contains("open to every user (mode 0644)"), "{error}");
    mode(0o640);
    read(&folder, None).expect("valid");
}

#[test]
fn after_a_reload_a_revoked_token_is_unknown_and_counts_continue() {
    let text = |tokens: &str| format!("[gateway.callers.acme]\ntoken = [{tokens}]\ntenant = 'acme'");
    let world = World::new(
        &text("{ file = 'old' }"),
        &[("old", "the-old-token-01"), ("new", "the-new-token-01")],
    );
    let (old, new) = ([("api-key", "the-old-token-01")], [("api-key", "the-new-token-01")]);
    world.callers.get("acme").expect("configured").counts().accept(5);
    assert!(world.identified(&new).is_err());
    world
        .folder
        .write("gateway.toml", &text("{ file = 'old' }, { file = 'new' }"));
    let both = read(&world.folder, Some(&world.callers)).expect("valid");
    assert!(both.identify(&map(&old)).is_ok() && both.identify(&map(&new)).is_ok());
    world.folder.write("gateway.toml", &text("{ file = 'new' }"));
    let rotated = read(&world.folder, Some(&both)).expect("valid");
    assert_eq!(rotated.identify(&map(&old)).map(drop), Err(Refusal::Unauthorized));
    let acme = rotated.identify(&map(&new)).expect("valid");
    assert_eq!((acme.snapshot().requests, acme.snapshot().spans), (1, 5));
    assert_eq!(rotated.unidentified().refused(Reason::Unauthorized), 2);
    world.folder.write("new", "another-token-01");
    let replaced = read(&world.folder, Some(&rotated)).expect("valid");
    assert!(replaced.identify(&map(&new)).is_err());
    assert!(replaced.identify(&map(&[("api-key", "another-token-01")])).is_ok());
}

#[test]
#[cfg(unix)]
fn commands_run_next_to_each_other() {
    // Each command waits until all have started.
    let started = tempfile::tempdir().expect("a folder");
    let path = started.path().to_str().expect("UTF-8");
    let caller = |index: u32| {
        let wait = format!("set -- {path}/*; until [ $# = 8 ]; do sleep 0.01; set -- {path}/*; done");
        let command = format!("touch {path}/{index}; {wait}; echo token-of-caller-{index}");
        format!("[gateway.callers.c{index}]\ntoken = {{ exec = ['sh', '-c', '{command}'] }}\ntenant = 'a'\n")
    };
    let gateway: Vec<String> = (0..8).map(caller).collect();
    let gateway = gateway.concat();
    let world = World::new(&gateway, &[]);
    assert_eq!(
        world.identified(&[("api-key", "token-of-caller-7")]),
        Ok("c7".to_owned())
    );
}

#[test]
fn a_reload_states_which_callers_and_tokens_changed() {
    let gateway = |first: &str, rest: &str| {
        format!("[gateway.callers.{first}]\ntoken = {{ file = 'one' }}\ntenant = 'a'\n{rest}")
    };
    let mut world = World::new(&gateway("first", ""), &[("one", "token-number-one")]);
    let changes = |world: &mut World| {
        let callers = read(&world.folder, Some(&world.callers)).expect("valid");
        let changes = callers.changes_since(&world.callers);
        world.callers = callers;
        (!changes.is_empty()).then(|| changes.to_string())
    };
    assert_eq!(changes(&mut world), None);
    world.folder.write("one", "another-token-one");
    let rotated = "0 callers added, 0 removed; 1 tokens added, 1 removed";
    assert_eq!(changes(&mut world).as_deref(), Some(rotated));
    let second = "[gateway.callers.third]\ntoken = { file = 'two' }\ntenant = 'a'";
    world.folder.write("two", "token-number-two");
    world.folder.write("gateway.toml", &gateway("second", second));
    let renamed = "2 callers added, 1 removed; 1 tokens added, 0 removed";
    assert_eq!(changes(&mut world).as_deref(), Some(renamed));
}
