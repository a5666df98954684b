use super::*;
use crate::config::{AuthScheme, BackendName, Binding, Config, Document, SessionMode, Tls};
use crate::secret::KeySource;
use crate::selector::{Selector, SelectorKind, Slug};

fn binding() -> Binding {
    Binding::new()
        .source("production")
        .header("x-project", "p")
        .metadata("plan", "pro")
        .resource("service.name", "shop")
        .api_key(KeySource::Provider {
            provider: "test".into(),
            name: "{tenant}".into(),
        })
}

fn resolved(tenants: &[(&str, Binding)], slug: &str) -> ResolvedBinding {
    let tables = tenants
        .iter()
        .map(|(name, binding)| ((*name).to_owned(), Arc::new(binding.clone())));
    let document = Document {
        tenants: tables.collect(),
        ..Document::default()
    };
    let config = Config::from_document(document).expect("valid");
    let selector = Selector::of(SelectorKind::Tenant, Slug::new(slug).expect("a name"));
    config.resolve(&selector).expect("configured")
}

#[test]
fn tenants_with_equal_bindings_share_a_destination_that_names_neither() {
    let tenants = [("*", binding())];
    let (one, other) = (resolved(&tenants, "acme"), resolved(&tenants, "globex"));
    assert!(one.api_key != other.api_key);
    let destinations = DestinationCache::new(Protocol::HttpProtobuf);
    let shared = destinations.get_or_create(&one).expect("a destination");
    assert!(Arc::ptr_eq(
        &shared,
        &destinations.get_or_create(&other).expect("a destination")
    ));
    let shown = format!("{shared:?}");
    assert!(!shown.contains("acme") && !shown.contains("globex"), "{shown}");
    for binding in [one, other] {
        let resource = shared.resource(&binding.selector);
        let selector = resource.get(&"tracer_registry.selector".into());
        assert_eq!(selector, Some(binding.selector.to_string().into()));
        assert_eq!(resource.get(&"service.name".into()), Some("shop".into()));
    }
}

#[test]
fn bindings_that_differ_have_separate_destinations() {
    let changes: [fn(Binding) -> Binding; 12] = [
        |binding| binding.backend(BackendName::Langsmith).project("p"),
        |binding| binding.endpoint("http://localhost:1"),
        |binding| binding.auth("x-api-key", AuthScheme::Raw),
        |binding| binding.header("x-project", "other"),
        |binding| binding.source("other"),
        |binding| binding.metadata("plan", "other"),
        |binding| binding.metadata("tenant", "{tenant}"),
        |binding| binding.resource("service.name", "other"),
        |binding| binding.sampling_ratio(0.5),
        |binding| binding.sessions(SessionMode::PerTrace),
        |binding| {
            binding.tls(Tls {
                ca: Some("/some/ca.pem".into()),
                ..Tls::default()
            })
        },
        |binding| binding.weight(7),
    ];
    let destinations = DestinationCache::new(Protocol::HttpProtobuf);
    let mut made = vec![
        destinations
            .get_or_create(&resolved(&[("a", binding())], "a"))
            .expect("a destination"),
    ];
    for change in changes {
        made.push(
            destinations
                .get_or_create(&resolved(&[("a", change(binding()))], "a"))
                .expect("a destination"),
        );
    }
    let shared = made
        .iter()
        .enumerate()
        .any(|(at, one)| made[..at].iter().any(|before| Arc::ptr_eq(one, before)));
    assert!(!shared);
    assert_eq!(destinations.recent.lock().len(), MAX_RECENT);
}
