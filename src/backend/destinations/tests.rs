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
        .map(|(name, binding)| ((*name).to_owned(), binding.clone()));
    let document = Document {
        tenants: tables.collect(),
        ..Document::default()
    };
    let config = Config::from_document(document).expect("valid");
    let selector = Selector::of(SelectorKind::Tenant, Slug::new(slug).expect("a name"));
    config.resolve(&selector).expect("configured")
}

#[test]
fn tenants_whose_bindings_say_the_same_have_one_destination_and_it_knows_neither() {
    let tenants = [("*", binding())];
    let (one, other) = (resolved(&tenants, "acme"), resolved(&tenants, "globex"));
    assert!(one.api_key != other.api_key);
    let destinations = Destinations::new(Protocol::HttpProtobuf);
    let shared = destinations.of(&one).expect("a destination");
    assert!(Arc::ptr_eq(&shared, &destinations.of(&other).expect("a destination")));
    let shown = format!("{shared:?}");
    assert!(!shown.contains("acme") && !shown.contains("globex"), "{shown}");
    for binding in [one, other] {
        let resource = shared.resource(&binding.selector);
        let whose = resource.get(&"tracer_registry.selector".into());
        assert_eq!(whose, Some(binding.selector.to_string().into()));
        assert_eq!(resource.get(&"service.name".into()), Some("shop".into()));
    }
}

#[test]
fn bindings_that_differ_in_anything_have_destinations_of_their_own() {
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
    let destinations = Destinations::new(Protocol::HttpProtobuf);
    let mut made = vec![
        destinations
            .of(&resolved(&[("a", binding())], "a"))
            .expect("a destination"),
    ];
    for change in changes {
        made.push(
            destinations
                .of(&resolved(&[("a", change(binding()))], "a"))
                .expect("a destination"),
        );
    }
    let shared = made
        .iter()
        .enumerate()
        .any(|(at, one)| made[..at].iter().any(|before| Arc::ptr_eq(one, before)));
    assert!(!shared);
    assert_eq!(destinations.recent.lock().len(), KEPT, "and no more of them are kept");
}
