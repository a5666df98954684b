//! Projects: what a table says of one, what forgets it, and who may name one.

use std::fs;

use super::{Folder, faults, listed, resolve, toml, try_resolve};
use crate::config::{ResolveError, ResolvedBinding};
use crate::selector::{Selector, Slug};

const KEY: &str = "api_key = { env = 'K' }";

fn project(text: &str, selector: &str) -> Option<String> {
    resolve(&toml(text).expect("valid"), selector).project
}

#[test]
fn the_nearest_project_holds_with_the_names_filled_in() {
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
fn a_project_that_cannot_be_one_or_in_which_names_could_meet_is_a_fault() {
    let text = "a project is a text without control characters that neither is empty nor begins or ends with a blank";
    for (written, message) in [
        ("''", text),
        ("' a'", text),
        ("\"a\\nb\"", text),
        ("7", "a text is expected, found a number"),
        (
            "'{tenant}-{feature}'",
            "different names could meet in one text: put `/` between {tenant} and {feature}",
        ),
    ] {
        let said = faults(&format!("[defaults]\nproject = {written}"));
        assert_eq!(said, [format!("defaults.project: {message}")], "{written}");
    }
}

#[test]
fn a_change_of_backend_or_endpoint_forgets_the_project_and_no_other_change_does() {
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
fn a_file_that_moves_a_table_forgets_the_project_of_the_file_below() {
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

/// What acme's file comes to, under what the operator says.
fn of_acme(operator: &str, file: &str) -> Result<ResolvedBinding, ResolveError> {
    of_acme_in("tenant:acme", operator, file)
}

fn of_acme_in(selector: &str, operator: &str, file: &str) -> Result<ResolvedBinding, ResolveError> {
    let folder = Folder::new(&[("default.toml", &*format!("tenants_dir = 'tenants.d'\n{operator}"))]);
    fs::create_dir(folder.path("tenants.d")).expect("made");
    fs::write(folder.path("tenants.d/acme.toml"), file).expect("written");
    let config = folder.load(&[]).expect("valid");
    let acme = Slug::new("acme").expect("a name");
    let binding = config.tenant_file(&acme).expect("without a fault").expect("there");
    config.resolve_with(&selector.parse::<Selector>().expect("a selector"), Some(&binding))
}

fn langsmith(more: &str) -> String {
    format!("[defaults]\nbackend = 'langsmith'\n[tenants.'*']\nproject = '{{tenant}}'\n{KEY}\n{more}")
}

const OWN: &str = "[untrusted]\nkeys = ['env:OF_{tenant}', 'env:SHARED']\nendpoints = ['https://*.vendor.example']";

fn refused(said: Result<ResolvedBinding, ResolveError>) -> Vec<String> {
    match said {
        Err(ResolveError::Refused(refused)) => listed(&refused),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_tenants_file_does_not_name_a_project_with_the_operators_key() {
    let said = refused(of_acme(&langsmith(""), "project = 'globex'"));
    assert_eq!(
        said,
        [
            "tenants.acme.project: an untrusted layer may not name this project with a key that is not its own tenant's alone; \
          to allow it: untrusted.projects = [\"globex\"]"
        ]
    );
    // As the tables below say it.
    let same = of_acme(&langsmith(""), "project = '{tenant}'").expect("no choice");
    assert_eq!(same.project.as_deref(), Some("acme"));
    // Neither by its slug's own name, written out: that it is the same is chance.
    assert_eq!(refused(of_acme(&langsmith(""), "project = 'acme'")).len(), 1);
}

#[test]
fn a_tenants_file_names_what_the_operator_allows_and_the_line_that_is_printed_allows_it() {
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
        let said = allowed(pattern, project).expect(pattern).project;
        assert_eq!(said.as_deref(), Some(project), "{pattern}");
    }
    for (pattern, project) in [
        ("{tenant}", "globex"),
        ("{tenant}/*", "globex/search"),
        ("{tenant}", "acme-eu"),
    ] {
        let said = refused(allowed(pattern, project));
        let line = said[0].split("to allow it: ").nth(1).expect("a line");
        let operator = langsmith("").replace("[defaults]", &format!("{line}\n[defaults]"));
        let file = format!("project = '{project}'");
        assert_eq!(of_acme(&operator, &file).expect(line).project.as_deref(), Some(project));
    }
}

#[test]
fn a_tenants_file_names_any_project_with_a_key_of_its_own_and_of_nobody_elses() {
    let own = langsmith(OWN);
    let named = of_acme(&own, "project = 'any'\napi_key = { env = 'OF_ACME' }").expect("its own key");
    assert_eq!(named.project.as_deref(), Some("any"));
    let with_template = of_acme(&own, "project = 'any'\napi_key = { env = 'OF_{tenant}' }").expect("its own key");
    assert_eq!(with_template.project.as_deref(), Some("any"));
    // A key that every tenant's file may have.
    assert_eq!(
        refused(of_acme(&own, "project = 'any'\napi_key = { env = 'SHARED' }")).len(),
        1
    );
    // The operator's route has another key, and the file's project would go with it.
    let route = "[features.f]\n[[routes]]\nwhen = { tenant = 'acme', feature = 'f' }\napi_key = { env = 'ROUTE' }\n";
    let operator = langsmith(&format!("{route}{OWN}"));
    let file = "project = 'any'\napi_key = { env = 'OF_ACME' }";
    let said = refused(of_acme_in("feature:f,tenant:acme", &operator, file));
    assert!(said[0].starts_with("tenants.acme.project: "), "{said:?}");
    // Unless the route names the project too.
    let operator = operator.replace("{ env = 'ROUTE' }", "{ env = 'ROUTE' }\nproject = 'r'");
    let named = of_acme_in("feature:f,tenant:acme", &operator, file).expect("the operator's");
    assert_eq!(named.project.as_deref(), Some("r"));
}

#[test]
fn where_keys_choose_no_project_a_key_of_its_own_is_not_enough_at_the_operators_endpoint() {
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
fn the_operators_project_does_not_go_where_a_tenants_file_leads() {
    let file = "api_key = { env = 'OF_ACME' }\nendpoint = 'https://acme.vendor.example'";
    let moved = of_acme(&langsmith(OWN), file).expect("allowed");
    assert_eq!(moved.project, None);
}

#[test]
fn a_pattern_that_could_mean_more_than_it_says_is_a_fault() {
    let said = faults("[untrusted]\nprojects = ['{tenant}-*', '{feature}', '']");
    assert_eq!(said.len(), 3, "{said:?}");
    assert_eq!(
        said[0],
        "untrusted.projects[0]: a tenant could name another one's project: put / between {tenant} and *"
    );
}

#[test]
fn a_binding_from_json_is_judged_as_a_file_is() {
    let config = toml(&langsmith("[features.f]")).expect("valid");
    let acme = Slug::new("acme").expect("a name");
    let row = crate::config::Binding::from_json(serde_json::json!({ "project": "globex" })).expect("valid");
    let given = config.tenant_given(&acme, row.clone()).expect("valid");
    let selector = "tenant:acme".parse::<Selector>().expect("a selector");
    assert!(matches!(
        config.resolve_with(&selector, Some(&given)),
        Err(ResolveError::Refused(_))
    ));
    let trusted = config.tenant_given(&acme, row.trusted().api_key(crate::secret::KeySource::env("T")));
    let resolved = config.resolve_with(&selector, Some(&trusted.expect("valid")));
    assert_eq!(resolved.map(|binding| binding.project), Ok(Some("globex".to_owned())));
    assert!(try_resolve(&config, "tenant:acme").is_ok());
}
