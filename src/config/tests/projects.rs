//! Projects: merging, discarding, and who may name one.

use std::fs;

use super::{Folder, listed, problems, resolve, toml, try_resolve};
use crate::config::{ResolveError, ResolvedBinding};
use crate::selector::{Selector, Slug};

const KEY: &str = "api_key = { env = 'K' }";

fn project(text: &str, selector: &str) -> Option<String> {
    resolve(&toml(text).expect("valid"), selector).project
}

#[test]
fn the_highest_layers_project_wins_and_is_filled_in() {
    let text = format!(
        "[defaults]\n{KEY}\nproject = 'all'\n[environments.staging]\nproject = 'env-{{environment}}'\n\
         [tenants.'*']\nproject = '{{tenant}}'\n[tenants.acme]\nproject = 'Acme Inc.'\n[features.f]\n\
         [[routes]]\nwhen = {{ tenant = 'acme', feature = 'f' }}\nproject = '{{tenant}}/{{feature}}'"
    );
    for (selector, expected) in [
        ("feature:f", "all"),
        ("environment:staging", "env-staging"),
        ("tenant:globex", "globex"),
        ("tenant:acme", "Acme Inc."),
        ("feature:f,tenant:acme", "acme/f"),
    ] {
        assert_eq!(project(&text, selector).as_deref(), Some(expected), "{selector}");
    }
    assert_eq!(project(&format!("[tenants.a]\n{KEY}"), "tenant:a"), None);
}

#[test]
fn an_invalid_or_ambiguous_project_is_a_problem() {
    let text = "a project must be a non-empty string without control characters or surrounding white space";
    for (value, message) in [
        ("''", text),
        ("' a'", text),
        ("\"a\\nb\"", text),
        ("7", "expected a string, found a number"),
        (
            "'{tenant}-{feature}'",
            "different names could produce the same text; put `/` between {tenant} and {feature}",
        ),
    ] {
        let shown = problems(&format!("[defaults]\nproject = {value}"));
        assert_eq!(shown, [format!("defaults.project: {message}")], "{value}");
    }
}

#[test]
fn only_a_change_of_backend_or_endpoint_discards_the_project() {
    let with = |changed: &str| {
        project(
            &format!(
                "[defaults]\nbackend = 'phoenix'\nendpoint = 'https://a.example'\nproject = 'p'\n{KEY}\n\
                 proxy = {{ url = 'http://proxy:1' }}\n[tenants.t]\n{KEY}\n{changed}"
            ),
            "tenant:t",
        )
    };
    for change in [
        "endpoint = 'https://b.example'",
        "endpoint = 'http://a.example'",
        "backend = 'langsmith'",
    ] {
        assert_eq!(with(change), None, "{change}");
        assert_eq!(
            with(&format!("{change}\nproject = 'q'")).as_deref(),
            Some("q"),
            "{change}"
        );
    }
    for other in [
        "endpoint = 'https://a.example/other/path'",
        "backend = 'phoenix'",
        "proxy = { url = 'http://other:1' }",
        "tls = { ca = '/other.pem' }",
        "weight = 7",
    ] {
        assert_eq!(with(other).as_deref(), Some("p"), "{other}");
    }
}

#[test]
fn a_file_that_changes_the_endpoint_discards_the_lower_files_project() {
    let folder = Folder::new(&[
        (
            "default.toml",
            &*format!("[tenants.t]\nbackend = 'phoenix'\nendpoint = 'https://a.example'\nproject = 'p'\n{KEY}"),
        ),
        (
            "local.toml",
            &*format!("[tenants.t]\nendpoint = 'http://localhost:6006'\n{KEY}"),
        ),
    ]);
    assert_eq!(resolve(&folder.load(&[]).expect("valid"), "tenant:t").project, None);
}

/// Resolves acme with its file, below the operator's tables.
fn of_acme(operator: &str, file: &str) -> Result<ResolvedBinding, ResolveError> {
    of_acme_in("tenant:acme", operator, file)
}

fn of_acme_in(selector: &str, operator: &str, file: &str) -> Result<ResolvedBinding, ResolveError> {
    let folder = Folder::new(&[("default.toml", &*format!("tenants_dir = 'tenants.d'\n{operator}"))]);
    fs::create_dir(folder.path("tenants.d")).expect("made");
    fs::write(folder.path("tenants.d/acme.toml"), file).expect("written");
    let config = folder.load(&[]).expect("valid");
    let acme = Slug::new("acme").expect("a name");
    let binding = config.tenant_file(&acme).expect("valid").expect("a file");
    config.resolve_with(&selector.parse::<Selector>().expect("a selector"), Some(&binding))
}

fn langsmith(more: &str) -> String {
    format!("[defaults]\nbackend = 'langsmith'\n[tenants.'*']\nproject = '{{tenant}}'\n{KEY}\n{more}")
}

const OWN: &str = "[untrusted]\nkeys = ['env:OF_{tenant}', 'env:SHARED']\nendpoints = ['https://*.vendor.example']";

fn refused(resolved: Result<ResolvedBinding, ResolveError>) -> Vec<String> {
    match resolved {
        Err(ResolveError::Refused(refused)) => listed(&refused),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_tenants_file_must_not_name_a_project_with_the_operators_key() {
    let shown = refused(of_acme(&langsmith(""), "project = 'globex'"));
    assert_eq!(
        shown,
        [
            "tenants.acme.project: an untrusted layer may name this project only with its own tenant's key; \
          to allow it: untrusted.projects = [\"globex\"]"
        ]
    );
    // Equal to the lower tables' setting.
    let same = of_acme(&langsmith(""), "project = '{tenant}'").expect("unchanged");
    assert_eq!(same.project.as_deref(), Some("acme"));
    // The literal slug is refused too, because the match is accidental.
    assert_eq!(refused(of_acme(&langsmith(""), "project = 'acme'")).len(), 1);
}

#[test]
fn a_tenants_file_may_name_allowed_projects_and_the_suggested_setting_allows_them() {
    let allowed = |pattern: &str, project: &str| {
        let operator = langsmith(&format!("[untrusted]\nprojects = ['{pattern}']"));
        of_acme(&operator, &format!("project = '{project}'"))
    };
    for (pattern, project) in [
        ("{tenant}", "acme"),
        ("{tenant}/*", "acme/search"),
        ("shared", "shared"),
        ("*", "anything"),
    ] {
        let named = allowed(pattern, project).expect(pattern).project;
        assert_eq!(named.as_deref(), Some(project), "{pattern}");
    }
    for (pattern, project) in [
        ("{tenant}", "globex"),
        ("{tenant}/*", "globex/search"),
        ("{tenant}", "acme-eu"),
    ] {
        let shown = refused(allowed(pattern, project));
        let line = shown[0].split("to allow it: ").nth(1).expect("a line");
        let operator = langsmith("").replace("[defaults]", &format!("{line}\n[defaults]"));
        let file = format!("project = '{project}'");
        assert_eq!(of_acme(&operator, &file).expect(line).project.as_deref(), Some(project));
    }
}

#[test]
fn a_tenants_file_may_name_any_project_with_its_own_key_only() {
    let own = langsmith(OWN);
    let named = of_acme(&own, "project = 'any'\napi_key = { env = 'OF_ACME' }").expect("its own key");
    assert_eq!(named.project.as_deref(), Some("any"));
    let with_template = of_acme(&own, "project = 'any'\napi_key = { env = 'OF_{tenant}' }").expect("its own key");
    assert_eq!(with_template.project.as_deref(), Some("any"));
    // A key that every tenant's file may use.
    assert_eq!(
        refused(of_acme(&own, "project = 'any'\napi_key = { env = 'SHARED' }")).len(),
        1
    );
    // The operator's route sets another key, which would be used with the file's project.
    let route = "[features.f]\n[[routes]]\nwhen = { tenant = 'acme', feature = 'f' }\napi_key = { env = 'ROUTE' }\n";
    let operator = langsmith(&format!("{route}{OWN}"));
    let file = "project = 'any'\napi_key = { env = 'OF_ACME' }";
    let shown = refused(of_acme_in("feature:f,tenant:acme", &operator, file));
    assert!(shown[0].starts_with("tenants.acme.project: "), "{shown:?}");
    // Allowed if the route also names the project.
    let operator = operator.replace("{ env = 'ROUTE' }", "{ env = 'ROUTE' }\nproject = 'r'");
    let named = of_acme_in("feature:f,tenant:acme", &operator, file).expect("the operator's");
    assert_eq!(named.project.as_deref(), Some("r"));
}

#[test]
fn with_shared_projects_a_tenants_file_must_also_set_its_own_endpoint() {
    for backend in ["phoenix", "mlflow"] {
        let operator = format!(
            "[defaults]\nbackend = '{backend}'\nendpoint = 'https://operators.example'\n[tenants.'*']\nproject = '{{tenant}}'\n{KEY}\n{OWN}"
        );
        let file = "project = 'globex'\napi_key = { env = 'OF_ACME' }";
        assert_eq!(refused(of_acme(&operator, file)).len(), 1, "{backend}");
        let elsewhere = format!("{file}\nendpoint = 'https://acme.vendor.example'");
        let named = of_acme(&operator, &elsewhere).expect("its own server");
        assert_eq!(named.project.as_deref(), Some("globex"), "{backend}");
    }
}

#[test]
fn the_operators_project_is_not_sent_to_an_untrusted_endpoint() {
    let file = "api_key = { env = 'OF_ACME' }\nendpoint = 'https://acme.vendor.example'";
    let moved = of_acme(&langsmith(OWN), file).expect("allowed");
    assert_eq!(moved.project, None);
}

#[test]
fn an_ambiguous_pattern_is_a_problem() {
    let shown = problems("[untrusted]\nprojects = ['{tenant}-*', '{feature}', '']");
    assert_eq!(shown.len(), 3, "{shown:?}");
    assert_eq!(
        shown[0],
        "untrusted.projects[0]: a tenant could match another tenant's project; put / between {tenant} and *"
    );
}

#[test]
fn a_binding_from_json_is_checked_like_a_file() {
    let config = toml(&langsmith("[features.f]")).expect("valid");
    let acme = Slug::new("acme").expect("a name");
    let row = crate::config::Binding::from_json(serde_json::json!({ "project": "globex" })).expect("valid");
    let given = config.tenant_from_program(&acme, row.clone()).expect("valid");
    let selector = "tenant:acme".parse::<Selector>().expect("a selector");
    assert!(matches!(
        config.resolve_with(&selector, Some(&given)),
        Err(ResolveError::Refused(_))
    ));
    let trusted = config.tenant_from_program(&acme, row.trusted().api_key(crate::secret::KeySource::env("T")));
    let resolved = config.resolve_with(&selector, Some(&trusted.expect("valid")));
    assert_eq!(resolved.map(|binding| binding.project), Ok(Some("globex".to_owned())));
    assert!(try_resolve(&config, "tenant:acme").is_ok());
}
