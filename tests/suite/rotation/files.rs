//! Keys in files that are replaced. The registry watches their folders.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use opentelemetry::trace::Span as _;
use tracer_registry::KeySource;
use tracer_registry::config::Binding;

use super::{Keys, endless_backoff, next_key};
use crate::support::{key_of, quick, wait_for};

#[test]
fn a_key_file_is_followed_after_each_kind_of_replacement_without_a_refusal() {
    let keys = Keys::new(&["renamed", "written", "again"], endless_backoff());
    let world = &keys.world;
    for tenant in ["renamed", "written", "again"] {
        world.tenant(tenant);
    }
    keys.replace("renamed", &next_key("renamed"));
    world.wait_for_key("renamed", &next_key("renamed"));
    keys.write("written", &next_key("written"));
    world.wait_for_key("written", &next_key("written"));
    fs::remove_file(keys.path("again")).expect("removed");
    wait_for("an error", || world.key("again").error, Option::is_some);
    keys.write("again", &next_key("again"));
    world.wait_for_key("again", &next_key("again"));
    for tenant in ["renamed", "written", "again"] {
        let old = world.revoke(&key_of(tenant));
        world.tenant(tenant).start_span("span").end();
        world.wait_for_spans(tenant, 1);
        assert_eq!(world.collector.fault_hits(old), 0, "{tenant}");
        let status = world.status(tenant);
        assert_eq!((status.last_error, world.key(tenant).error), (None, None), "{tenant}");
    }
}

#[test]
fn a_mounted_secret_is_followed_through_every_swap_of_its_data() {
    let keys = Keys::with(&[], |builder| builder.export(endless_backoff()));
    let folder = keys.folder.path().join("mount");
    let publish = |version: &str, key: &str| {
        fs::create_dir_all(folder.join(version)).expect("made");
        fs::write(folder.join(version).join("key"), key).expect("written");
        symlink(version, folder.join("..data_tmp")).expect("linked");
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).expect("swapped");
    };
    publish("..v1", &key_of("a"));
    symlink("..data/key", folder.join("key")).expect("linked");
    let keys = Keys::with(&[], |builder| {
        let key = KeySource::file(folder.join("key"));
        builder
            .export(endless_backoff())
            .tenant("a", Binding::new().api_key(key))
    });
    let a = keys.world.tenant("a");
    for version in 2..6 {
        let key = key_of(&format!("a{version}"));
        publish(&format!("..v{version}"), &key);
        fs::remove_dir_all(folder.join(format!("..v{}", version - 1))).expect("removed");
        keys.world.wait_for_key("a", &key);
    }
    assert_eq!(keys.world.key("a").rotations, 4);
    assert!(a.same_tracer(&keys.world.tenant("a")));
}

#[test]
fn spans_that_wait_for_a_new_key_are_sent_when_the_file_has_one() {
    let keys = Keys::new(&["a", "b"], endless_backoff());
    let world = &keys.world;
    let a = world.tenant("a");
    world.revoke(&key_of("a"));
    let session = a.session("s").start();
    for _ in 0..20 {
        a.start_span("span").end();
    }
    let refused = || world.status("a").last_error;
    wait_for("a refusal", refused, Option::is_some);
    world.tenant("b").start_span("span").end();
    world.wait_for_spans("b", 1);
    keys.replace("a", &next_key("a"));
    // Without the new key, the first retry would be in about an hour.
    world.wait_for_spans("a", 20);
    world.assert_nothing_lost("a");
    assert!(world.project("a").session(session.id()).is_some());
}

#[test]
fn keys_under_constant_rotation_are_never_mixed_up_and_no_data_is_lost() {
    const ROTATIONS: usize = 15;
    let tenants = ["a", "b", "c"];
    let keys = Keys::new(&tenants, quick());
    let world = &keys.world;
    let tracers = tenants.map(|tenant| world.tenant(tenant));
    let done = AtomicBool::new(false);
    thread::scope(|threads| {
        for (tracer, tenant) in tracers.iter().zip(tenants) {
            let done = &done;
            threads.spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    let session = tracer.session("s").start();
                    let _inside = session.enter();
                    tracer.start_span(format!("span of {tenant}")).end();
                    thread::yield_now();
                    if world.status(tenant).spans.pending() > 200 {
                        wait_for("room", || world.status(tenant).spans.pending(), |left| *left < 100);
                    }
                }
            });
        }
        let mut last = tenants.map(key_of);
        for rotation in 0..ROTATIONS {
            for (tenant, last) in tenants.iter().zip(&mut last) {
                let key = key_of(&format!("{tenant}_{rotation}"));
                world.collector.name_project(tenant, &key);
                // In both orders: the receiver revokes the old key before or after the file has the
                // new one.
                if rotation % 2 == 0 {
                    world.revoke(last);
                    keys.replace(tenant, &key);
                } else {
                    keys.replace(tenant, &key);
                    world.revoke(last);
                }
                *last = key;
            }
            for (tenant, key) in tenants.iter().zip(&last) {
                world.wait_for_key(tenant, key);
            }
        }
        done.store(true, Ordering::SeqCst);
    });
    world.flush();
    for tenant in tenants {
        world.assert_nothing_lost(tenant);
        assert!(
            world
                .names(tenant)
                .iter()
                .all(|name| *name == format!("span of {tenant}"))
        );
        for other in tenants.iter().filter(|other| **other != tenant) {
            world.assert_no_trace_of(&format!("key_of_{other}"), tenant);
            world.assert_no_trace_of(&format!("span of {other}"), tenant);
        }
    }
    let projects = world.collector.projects();
    assert_eq!(projects.len(), 3, "no request used an unknown key: {projects:#?}");
}

#[test]
fn a_key_file_is_watched_again_for_a_recreated_tracer() {
    let keys = Keys::new(&["a"], endless_backoff());
    let world = &keys.world;
    drop(world.tenant("a"));
    assert!(
        world
            .registry
            .remove(tracer_registry::Selector::tenant("a"))
            .expect("a name")
    );
    keys.replace("a", &next_key("a"));
    let a = world.tenant("a");
    assert_eq!(
        a.fingerprint(),
        crate::support::fingerprint(&world.collector, &next_key("a")),
        "the new tracer reads the file"
    );
    keys.replace("a", &key_of("a"));
    world.wait_for_key("a", &key_of("a"));
}
