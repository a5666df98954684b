//! Keys in files that are replaced. Nobody asks for it: the folders are watched.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use opentelemetry::trace::Span as _;
use tracer_registry::KeySource;
use tracer_registry::config::Binding;

use super::{Keys, eternal_pauses, next};
use crate::support::{key_of, quick, wait_for};

#[test]
fn a_file_is_followed_however_it_is_replaced_and_nothing_is_refused() {
    let keys = Keys::new(&["renamed", "written", "again"], eternal_pauses());
    let world = &keys.world;
    for tenant in ["renamed", "written", "again"] {
        world.tenant(tenant);
    }
    keys.replace("renamed", &next("renamed"));
    world.wait_for_key("renamed", &next("renamed"));
    keys.write("written", &next("written"));
    world.wait_for_key("written", &next("written"));
    fs::remove_file(keys.path("again")).expect("removed");
    wait_for("an error", || world.key("again").error, Option::is_some);
    keys.write("again", &next("again"));
    world.wait_for_key("again", &next("again"));
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
    let keys = Keys::with(&[], |builder| builder.export(eternal_pauses()));
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
            .export(eternal_pauses())
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
fn spans_that_wait_for_a_refused_key_go_out_when_the_file_has_another() {
    let keys = Keys::new(&["a", "b"], eternal_pauses());
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
    keys.replace("a", &next("a"));
    // They would else be sent again in about an hour.
    world.wait_for_spans("a", 20);
    world.assert_nothing_lost("a");
    assert!(world.project("a").session(session.id()).is_some());
}

#[test]
fn tenants_keys_that_change_all_the_time_are_never_swapped_and_nothing_is_lost() {
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
                // In both orders: the receiver may be told first, or the file be written first.
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
    assert_eq!(
        projects.len(),
        3,
        "nothing came under a key that is nobody's: {projects:#?}"
    );
}

#[test]
fn a_file_is_watched_as_long_as_a_tracer_has_its_key() {
    let keys = Keys::new(&["a"], eternal_pauses());
    let world = &keys.world;
    drop(world.tenant("a"));
    assert!(
        world
            .registry
            .remove(tracer_registry::Selector::tenant("a"))
            .expect("a name")
    );
    keys.replace("a", &next("a"));
    let a = world.tenant("a");
    assert_eq!(
        a.fingerprint(),
        crate::support::fingerprint(&world.collector, &next("a")),
        "it is read anew"
    );
    keys.replace("a", &key_of("a"));
    world.wait_for_key("a", &key_of("a"));
}
