//! `[spool]`: which settings need which others.

use super::toml;
#[cfg(feature = "spool")]
use super::{Folder, problems};

/// A table that can be used.
#[cfg(feature = "spool")]
const USED: &str = "[spool]\nmode = 'overflow'\npath = 'spool'\nmax_bytes = '1GiB'\n";

#[test]
fn nothing_is_written_to_disk_by_default() {
    let config = toml("").expect("valid");
    let spool = config.spool();
    assert_eq!(spool.mode, crate::config::SpoolMode::Off);
    assert_eq!(
        (&spool.path, spool.max_bytes, spool.tenant_max_bytes),
        (&None, None, None)
    );
}

#[cfg(not(feature = "spool"))]
#[test]
fn a_mode_needs_the_feature() {
    assert!(toml("spool = { mode = 'off', path = 'spool' }").is_ok());
    let refused = toml("spool = { mode = 'through', path = 'spool', max_bytes = '1GiB' }");
    let message = refused.expect_err("a program without the feature").to_string();
    assert!(
        message.contains("spool.mode: data on disk needs the feature `spool`"),
        "{message}"
    );
}

#[cfg(feature = "spool")]
#[test]
fn a_size_may_be_a_number_of_bytes() {
    for text in ["4294967296", "'4294967296'", "'4GiB'"] {
        let config = toml(&format!(
            "spool = {{ mode = 'overflow', path = 'spool', max_bytes = {text} }}"
        ));
        assert_eq!(config.expect(text).spool().max_bytes, Some(4_294_967_296), "{text}");
    }
}

#[cfg(feature = "spool")]
#[test]
fn a_mode_needs_a_folder_and_a_size() {
    for (text, expected) in [
        (
            "spool.mode = 'through'",
            &[
                "spool.max_bytes: missing; spool.mode is not \"off\"",
                "spool.path: missing; spool.mode is not \"off\"",
            ][..],
        ),
        (
            "spool = { mode = 'through', path = 'spool', max_bytes = 'lots' }",
            &["spool.max_bytes: expected a size such as \"64MiB\" or \"500kB\", or a number of bytes, found a string"],
        ),
        (
            "spool = { mode = 'overflow', path = '', max_bytes = '31MiB' }",
            &[
                "spool.max_bytes: must be at least 32MiB",
                "spool.path: expected the path of a folder",
            ],
        ),
        (
            "spool = { mode = 'overflow', path = 'spool', max_bytes = '64MiB', tenant_max_bytes = '65MiB' }",
            &["spool.tenant_max_bytes: must be at most spool.max_bytes"],
        ),
        (
            "spool = { tenant_max_bytes = '0B', max_age = '59s', wait_for_lock = '25h' }",
            &[
                "spool.max_age: must be from 1m to 365days",
                "spool.tenant_max_bytes: must be at least 1",
                "spool.wait_for_lock: must be at most 1day",
            ],
        ),
        (
            "spool.max_age = '366days'",
            &["spool.max_age: must be from 1m to 365days"],
        ),
        (
            "spool.mode = 'on'",
            &["spool.mode: expected one of \"off\", \"overflow\", \"through\", found a string"],
        ),
    ] {
        assert_eq!(problems(text), expected, "{text}");
    }
    assert!(toml(&format!("{USED}max_age = '365days'\ntenant_max_bytes = '1GiB'")).is_ok());
}

#[cfg(feature = "spool")]
#[test]
fn a_mode_needs_threads_and_protobuf() {
    let of = |export: &str| problems(&format!("{USED}[export]\n{export}"));
    assert_eq!(
        of("mode = 'inline'"),
        ["spool.mode: needs export.mode = \"background\": no thread writes between flushes"]
    );
    assert_eq!(
        of("protocol = 'http/json'"),
        ["spool.mode: needs export.protocol = \"http/protobuf\" or \"grpc\": data on disk is protobuf"]
    );
    let off = USED.replace("overflow", "off");
    assert!(toml(&format!("{off}[export]\nmode = 'inline'")).is_ok());
}

#[cfg(feature = "spool")]
#[test]
fn settings_of_several_layers_are_checked_together() {
    let folder = Folder::new(&[
        ("default.toml", "spool = { path = 'spool', max_bytes = '1GiB' }"),
        ("local.toml", "spool.mode = 'through'"),
    ]);
    let config = folder.load(&[]).expect("valid");
    assert_eq!(config.spool().path, Some(folder.path("spool")));
    let too_much = [("TRACER_REGISTRY__SPOOL__TENANT_MAX_BYTES", "2GiB")];
    let error = folder.load(&too_much).expect_err("more than the whole");
    assert!(error.to_string().contains("spool.tenant_max_bytes"), "{error}");
    // A layer that cannot be read may have the others.
    std::fs::write(folder.path("default.toml"), "[").expect("written");
    let error = folder.load(&[]).expect_err("not TOML");
    assert_eq!(error.problems().len(), 1, "{error}");
}

#[cfg(feature = "spool")]
#[test]
fn a_change_takes_effect_at_the_next_start() {
    let old = toml(USED).expect("valid");
    let mut new = toml(
        "[spool]\nmode = 'through'\npath = '/spool'\nmax_bytes = '2GiB'\ntenant_max_bytes = '1GiB'\n\
         max_age = '1h'\nwait_for_lock = '1s'\n",
    )
    .expect("valid");
    let mut names = old.needs_restart(&new);
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "spool.max_age",
            "spool.max_bytes",
            "spool.mode",
            "spool.path",
            "spool.tenant_max_bytes",
            "spool.wait_for_lock",
        ]
    );
    new.keep_startup_settings(&old);
    assert_eq!(new.spool(), old.spool());
}
