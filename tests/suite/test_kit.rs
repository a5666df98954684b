//! The test kit for services: project contents, and detection of leaks between projects.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use opentelemetry::trace::Span as _;
use tracer_registry::config::{BackendName, Binding};
use tracer_registry::{Enrichment, KeySource, LookupError, Selector, TracerRegistry};
use tracer_registry_testing::{Leak, TestRegistry};

use crate::support::LONG;

#[test]
fn a_tenant_an_environment_and_a_feature_each_have_their_own_project() {
    let test = TestRegistry::builder()
        .active_environment("staging")
        .environment("production")
        .feature("search")
        .start();
    let registry = test.registry();
    let tracers = [
        registry.tenant("acme"),
        registry.active(),
        registry.environment("production"),
        registry.feature("search"),
    ];
    for (number, tracer) in tracers.into_iter().enumerate() {
        tracer.expect("configured").start_span(number.to_string()).end();
    }
    let projects = [
        "acme",
        "environment:staging",
        "environment:production",
        "feature:search",
    ];
    for (number, name) in projects.into_iter().enumerate() {
        assert_eq!(test.project(name).tree(), format!("{number}\n"), "{name}");
    }
    assert!(test.project("globex").spans().is_empty(), "globex was never looked up");
    test.assert_isolated();
}

#[test]
fn only_named_tenants_are_known() {
    let test = TestRegistry::builder().tenants(["acme", "globex"]).start();
    test.registry().tenant("acme").expect("named");
    let unknown = test.registry().tenant("initech").map(drop);
    assert!(matches!(unknown, Err(LookupError::Resolve(_))), "{unknown:?}");
}

#[test]
fn spans_are_selected_by_name_attribute_session_and_parent() {
    for backend in [BackendName::Honeyhive, BackendName::Otlp] {
        let test = TestRegistry::builder().backend(backend).start();
        let acme = test.registry().tenant("acme").expect("any tenant is known");
        let session = acme.session("chat").metadata("plan", "enterprise").start();
        {
            let _in_session = session.enter();
            acme.in_span("ask", |_| {
                acme.in_span("answer", |span| span.set_attribute("tokens", 7));
                acme.in_span("answer", |span| span.set_attribute("tokens", 8));
            });
        }
        acme.in_span("later", |_| ());
        session.enrich(Enrichment::new().metric("tokens", 15));

        let project = test.project("acme");
        let spans = project.spans();
        assert_eq!(spans.named("answer").len(), 2);
        assert_eq!(spans.named("answer").with_attribute("tokens", 8).len(), 1);
        assert_eq!(spans.named("ask").children().tree(), "answer\nanswer\n");
        assert!(spans.named("answer").roots().is_empty());
        assert!(spans.named("later").of_session(session.id()).is_empty());
        assert_eq!(spans.of_session(session.id()).named("ask").one().parent_span_id, None);
        if backend == BackendName::Honeyhive {
            assert_eq!(project.session().metadata["plan"], "enterprise");
            assert_eq!(project.session().metrics["tokens"], 15);
            assert_eq!(project.tree(), "ask\n├─ answer\n└─ answer\nlater\n");
            assert_eq!(project.traces().len(), 2);
        }
        test.assert_isolated();

        let two = catch_unwind(AssertUnwindSafe(|| spans.named("answer").one().name.clone()));
        let message = two.expect_err("two spans match");
        let message = message.downcast_ref::<String>().expect("a text");
        assert!(
            message.contains("span of acme named \"answer\", found 2 in:"),
            "{message}"
        );
    }
}

#[test]
fn spans_under_another_tenants_key_are_a_leak() {
    let test = TestRegistry::builder()
        .tenants(["acme"])
        .configure(|builder| {
            let with_acmes_key = Binding::new()
                .api_key(KeySource::provider("test", "acme"))
                .header("x-test-project", "globex");
            builder.tenant("globex", with_acmes_key)
        })
        .start();
    test.registry()
        .tenant("globex")
        .expect("configured")
        .start_span("lost")
        .end();
    let leaks = test.leaks();
    let [Leak::Request { owner, received_in, .. }] = leaks.as_slice() else {
        panic!("{leaks:?}");
    };
    assert_eq!((owner.as_str(), received_in.as_str()), ("globex", "acme"));
    let failed = catch_unwind(AssertUnwindSafe(|| test.assert_isolated())).expect_err("a request leaked");
    let message = failed.downcast_ref::<String>().expect("a text");
    assert!(
        message.contains("request of globex was received under the key of acme: /"),
        "{message}"
    );
}

#[test]
fn a_parent_trace_or_session_of_another_project_is_a_leak_unless_it_is_external() {
    let test = TestRegistry::builder()
        .tenants(["globex"])
        .configure(|builder| {
            let trusting = |name: &str| {
                let key = KeySource::provider("test", name);
                let trusting = Binding::new().api_key(key).trust_remote_parent(true);
                trusting.propagate_session_id(true)
            };
            let builder = builder.tenant("acme", trusting("acme"));
            builder.tenant("initech", trusting("initech"))
        })
        .start();
    let registry = test.registry();
    let [acme, globex, initech] = ["acme", "globex", "initech"].map(|name| registry.tenant(name).expect("configured"));
    let outside = HashMap::from([(
        "traceparent".to_owned(),
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
    )]);
    acme.extract(&outside).run(|| acme.start_span("asked").end());
    initech.extract(&outside).run(|| initech.start_span("asked").end());
    assert_eq!(test.leaks(), []);

    // Headers injected by one tracer, extracted by another one that trusts remote parents.
    let mut headers = HashMap::new();
    let session = acme.session("chat").start();
    {
        let _in_session = session.enter();
        acme.in_span("calls", |_| acme.inject(&mut headers));
    }
    // The registry that started the trace refuses the parent, but accepts the session.
    initech.extract(&headers).run(|| initech.start_span("called").end());
    // Another process cannot know which tenant started the trace.
    test.collector().name_project("initech", "another key of initech");
    let elsewhere = TracerRegistry::builder()
        .secret_source("own", |_: &str| Ok("another key of initech".into()))
        .tenant(
            "initech",
            Binding::new()
                .endpoint(test.collector().url())
                .api_key(KeySource::provider("own", "initech"))
                .trust_remote_parent(true),
        )
        .build()
        .expect("valid");
    let there = elsewhere.tenant("initech").expect("configured");
    there.extract(&headers).run(|| there.start_span("called there").end());
    assert!(elsewhere.force_flush(LONG).is_complete());
    globex.extract(&headers).run(|| globex.start_span("called").end());
    let leaks = test.leaks();
    let is_initech = |project: &str| project == "initech";
    assert!(
        leaks.iter().all(|leak| match leak {
            Leak::Parent { project, parent, .. } => is_initech(project) && parent == "calls",
            Leak::Session {
                project, session: id, ..
            } => is_initech(project) && id == session.id(),
            Leak::Trace { projects, .. } => *projects == ["acme", "initech"],
            _ => false,
        }),
        "{leaks:#?}"
    );
    assert_eq!(leaks.len(), 3, "{leaks:#?}");
}

#[test]
fn a_session_id_that_two_projects_start_is_no_leak() {
    let test = TestRegistry::start();
    let id = uuid::Uuid::from_u128(7);
    let tenants = ["acme", "globex"];
    for tenant in tenants {
        let tracer = test.registry().tenant(tenant).expect("any tenant is known");
        let session = tracer.session("chat").id(id).start();
        let _in_session = session.enter();
        tracer.in_span("retrieve", |_| ());
    }
    for tenant in tenants {
        let project = test.project(tenant);
        assert_eq!(project.spans().of_session(&id.to_string()).len(), 1);
    }
    test.assert_isolated();

    let initech = test.registry().tenant("initech").expect("any tenant is known");
    let key = "honeyhive.session_id";
    initech.in_span("stray", |span| span.set_attribute(key, id.to_string()));
    let leaks = test.leaks();
    let [Leak::Session { span, project, .. }] = leaks.as_slice() else {
        panic!("{leaks:?}");
    };
    assert_eq!((span.as_str(), project.as_str()), ("stray", "initech"));
}

#[test]
fn a_canary_is_found_in_any_request() {
    let test = TestRegistry::start();
    let canary = test.canary("acme");
    let registry = test.registry();
    let [acme, globex] = ["acme", "globex"].map(|name| registry.tenant(name).expect("any tenant is known"));
    acme.in_span(format!("about {canary}"), |span| {
        span.input("question", canary.as_str());
    });
    assert_eq!(test.leaks(), []);

    let question = format!("{{\"nested\": \"in {canary}.\"}}");
    globex.session("chat").input("question", question).start();
    let leaks = test.leaks();
    let [
        Leak::Canary {
            owner,
            received_in,
            path,
            ..
        },
    ] = leaks.as_slice()
    else {
        panic!("{leaks:?}");
    };
    assert_eq!([owner, received_in, path], ["acme", "globex", "/session/start"]);
}

#[test]
fn two_concurrent_test_registries_see_only_their_own_spans() {
    let [one, two] = [TestRegistry::start(), TestRegistry::start()];
    let tracer = |test: &TestRegistry| {
        test.registry()
            .get(Selector::tenant("acme"))
            .expect("any tenant is known")
    };
    tracer(&one).start_span("one").end();
    tracer(&two).start_span("two").end();
    assert_eq!(one.project("acme").tree(), "one\n");
    assert_eq!(two.project("acme").tree(), "two\n");
}

#[test]
fn undelivered_spans_fail_the_test_that_reads_them() {
    let test = TestRegistry::builder()
        .configure(|builder| builder.export(crate::support::once()))
        .start();
    let acme = test.registry().tenant("acme").expect("any tenant is known");
    test.collector()
        .fault(tracer_registry_collector::Fault::status(400).times(1));
    acme.start_span("refused").end();
    let failed = catch_unwind(AssertUnwindSafe(|| test.project("acme").spans().len()));
    let message = failed.expect_err("the span was refused");
    let message = message.downcast_ref::<String>().expect("a text");
    assert!(message.starts_with("not everything was delivered:\n"), "{message}");
}
