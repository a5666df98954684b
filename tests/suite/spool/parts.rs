//! Requests with parts for several tenants.

use std::sync::Arc;

use tracer_registry::config::{BackendName, Binding, Spool, SpoolMode};
use tracer_registry::ingest::{Accepted, IngestError, Ingested, Traces};
use tracer_registry::{Selector, TracerHandle, TracerRegistry};
use tracer_registry_collector::Fault;
use tracer_registry_spool::AppendError;
use tracer_registry_spool::test::TestStore;

use super::{Disk, wait_until_spooled};
use crate::ingest::request::{attribute, checked, request, traces};
use crate::support::binding;

/// Sends a request that goes to disk, and waits for the commit.
fn ingest(registry: &TracerRegistry, parts: Vec<(TracerHandle, Traces)>) -> Result<Vec<Ingested>, IngestError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    match registry.ingest(None, parts)? {
        Accepted::Now(_) => panic!("it must be on disk first"),
        Accepted::OnceDurable(durable) => runtime.expect("a runtime").block_on(durable),
    }
}

#[test]
fn the_error_of_a_request_names_the_tenant_that_the_disk_refuses() {
    let (disk, store) = (Disk::new(SpoolMode::Through, &["a", "b"]), Arc::new(TestStore::new()));
    let on_disk = Arc::clone(&store);
    let registry = disk.start_with(|builder| {
        let builder = builder.spool(Spool::default());
        builder.store(SpoolMode::Through, move |report| Ok(on_disk.open(&report)))
    });
    let tracer = |tenant| registry.tenant(tenant).expect("configured");
    let send = || {
        ingest(
            &registry,
            ["a", "b"].map(|tenant| (tracer(tenant), traces(&["span"]))).to_vec(),
        )
    };
    let selector: Selector = "tenant:b".parse().expect("a selector");
    store.fill_owner("b", true);
    let full = IngestError::SpoolFull {
        selector: selector.clone(),
    };
    assert_eq!(send(), Err(full));
    store.fill_owner("b", false);
    store.fail(Some(AppendError::Erased("tenant:b".into())));
    assert_eq!(send(), Err(IngestError::Erased { selector }));
    store.fail(None);
    assert!(send().is_ok());
}

#[test]
fn an_attribute_of_a_client_that_chooses_a_project_is_not_sent_from_the_disk() {
    const CHOOSES: &str = "openinference.project.name";
    let disk = Disk::new(SpoolMode::Through, &["a"]);
    let fault = disk.collector.fault(Fault::status(503));
    let registry = disk.start_with(|builder| {
        let phoenix = Binding::new()
            .backend(BackendName::Phoenix)
            .endpoint(disk.collector.url());
        builder.defaults(phoenix).tenant("a", binding("a").project("bound"))
    });
    let mut request = request(&["span"]);
    let resource = request.resource_spans[0].resource.get_or_insert_default();
    resource.attributes.push(attribute(CHOOSES, "other"));
    let tracer = registry.tenant("a").expect("configured");
    ingest(&registry, vec![(tracer, checked(&request))]).expect("on disk");
    wait_until_spooled(&registry, "a", 1);
    disk.collector.clear_fault(fault);
    disk.wait_for_names("a", &["span".to_owned()]);
    let project = disk.collector.project("a").expect("a tenant");
    assert_eq!(project.spans()[0].resource.attributes[CHOOSES], "bound");
}
