//! The page `docs/gateway.md` matches the code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use tempfile::TempDir;
use tracer_registry::config::Config;
use tracer_registry::selector::Slug;

use crate::admin::ROUTES;
use crate::answer::RefusalKind;
use crate::config::Settings;
use crate::otlp_json;

const PAGE: &str = include_str!("../../../docs/gateway.md");

/// Returns the code blocks of a language.
fn blocks(language: &str) -> impl Iterator<Item = &'static str> {
    let fence = format!("```{language}\n");
    let starts: Vec<_> = PAGE.match_indices(&fence).map(|(at, fence)| at + fence.len()).collect();
    starts
        .into_iter()
        .map(|start| PAGE[start..].split("```").next().expect("the block"))
}

/// Returns the cells of each row of the first table after a heading.
fn rows(heading: &str) -> Vec<Vec<&'static str>> {
    let (_, after) = PAGE.split_once(&format!("\n## {heading}\n")).expect(heading);
    let rows = after.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    rows.take_while(|line| line.starts_with('|'))
        .map(|row| row.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

fn read(files: &BTreeMap<&str, String>) -> Settings {
    let folder = TempDir::new().expect("a temporary folder");
    for (name, text) in files {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().expect("in the folder")).expect("made");
        fs::write(file, text).expect("written");
    }
    let config = Config::load_files_for_gateway(folder.path()).unwrap_or_else(|error| panic!("{files:?}: {error}"));
    Settings::read(&config).unwrap_or_else(|error| panic!("{files:?}: {error}"))
}

fn read_table(gateway: &str) -> Settings {
    let mut text = gateway.to_owned();
    if !text.contains("[gateway.callers.") && !text.contains("open = ") {
        text.push_str("\n[gateway.callers.any]\ntoken = { env = 'ANY' }\ntenant = 'any'\n");
    }
    let defaults = "[defaults]\nbackend = 'otlp'\n".to_owned();
    read(&BTreeMap::from([("default.toml", defaults), ("gateway.toml", text)]))
}

#[test]
fn the_real_configuration_has_two_callers_and_every_other_example_is_valid() {
    let (mut folder, mut tables) = (BTreeMap::new(), 0);
    for block in blocks("toml") {
        if let Some(named) = block.strip_prefix("# config/") {
            let name = named.lines().next().expect("a file");
            folder.insert(name, block.to_owned());
        } else {
            read_table(block);
            tables += 1;
        }
    }
    assert!(tables >= 5, "{tables}");
    let callers = read(&folder).callers;
    let names: Vec<_> = callers.keys().map(Slug::as_str).collect();
    assert_eq!(names, ["acme-backend", "globex-worker"]);
    assert_eq!(callers["globex-worker"].token_sha256.len(), 1);
}

#[test]
fn the_example_of_quotas_is_valid() {
    let page = include_str!("../../../docs/policies.md");
    let (_, section) = page.split_once("\n## Quotas\n").expect("a section");
    let block = section
        .split("```toml\n")
        .nth(1)
        .and_then(|after| after.split("```").next());
    let defaults = "[defaults]\nbackend = 'otlp'\nendpoint = 'http://127.0.0.1:1'\napi_key = { env = 'KEY' }\n";
    let folder = TempDir::new().expect("a temporary folder");
    fs::write(
        folder.path().join("default.toml"),
        format!("{defaults}[tenants.globex]\n"),
    )
    .expect("written");
    fs::write(folder.path().join("gateway.toml"), block.expect("an example")).expect("written");
    let config = Config::load_files_for_gateway(folder.path()).expect("valid");
    let quota = |tenant| {
        let selector = tracer_registry::Selector::tenant(tenant)
            .try_into()
            .expect("a selector");
        config.resolve(&selector).expect("a binding").quota
    };
    let (acme, globex) = (quota("acme"), quota("globex"));
    assert_eq!(
        (acme.spans_per_second, globex.spans_per_second),
        (Some(5000), Some(1000))
    );
    assert_eq!((acme.bytes_per_day, globex.spans_burst), (Some(10 << 30), Some(5000)));
    let settings = Settings::read(&config).expect("valid");
    let of_caller = settings.callers["shared-api"].quota;
    assert_eq!(of_caller.requests_per_second, Some(50));
    assert_eq!(of_caller.spans_per_month, Some(100_000_000));
}

/// Returns the headings of the page of the admin listener that name a route, with the text below.
fn documented_routes() -> Vec<(&'static str, &'static str)> {
    let page = include_str!("../../../docs/admin.md");
    let sections = page.split("\n### `").skip(1);
    sections.filter_map(|section| section.split_once("`\n")).collect()
}

#[test]
fn the_page_of_the_admin_listener_has_every_route_with_its_parameters_and_a_command() {
    let mut documented: BTreeMap<_, _> = documented_routes().into_iter().collect();
    for route in ROUTES {
        let heading = format!("{} {}", route.method, route.path);
        let section = documented.remove(&*heading).unwrap_or_else(|| panic!("no {heading}"));
        for parameter in route.parameters {
            assert!(section.contains(&format!("`{parameter}`")), "{heading}: {parameter}");
        }
        let (before, after) = route.path.split_once("{selector}").unwrap_or((route.path, ""));
        let shows = |line: &str| line.starts_with("$ curl ") && line.contains(before) && line.contains(after);
        assert!(section.lines().any(shows), "{heading}");
    }
    assert!(documented.is_empty(), "{documented:?}");
}

#[test]
fn the_limits_have_the_defaults_of_the_settings() {
    let rows = rows("Limits");
    assert_eq!(rows.len(), 9);
    for row in rows {
        let (name, default) = (row[0].trim_matches('`'), row[1].trim_matches('`'));
        let written = read_table(&format!("[gateway]\n{name} = {default}\n"));
        assert_eq!(written, read_table("[gateway]\n"), "{name}");
    }
}

#[cfg(feature = "jetstream")]
#[test]
fn the_page_of_the_cluster_has_every_setting_with_its_default_and_valid_examples() {
    let page = include_str!("../../../docs/cluster.md");
    let table = page
        .split("```toml\n")
        .nth(1)
        .and_then(|after| after.split("```").next());
    let table = table.expect("an example");
    let expected = read_table(table);
    let (_, settings) = page.split_once("\n## Settings\n").expect("a section");
    let (settings, _) = settings.split_once("\n## ").expect("a section after it");
    let mut names = BTreeSet::new();
    for row in settings.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        names.extend(cells[0].split(", ").map(|name| name.trim_matches('`')));
        if cells[2] != "none" {
            let default = format!("{} = {}", cells[0].trim_matches('`'), cells[2].trim_matches('`'));
            assert_eq!(read_table(&format!("{table}{default}\n")), expected, "{default}");
        }
    }
    let all = [
        "accept_weaker_durability",
        "credentials",
        "max_bytes",
        "max_messages_per_selector",
        "max_parked_bytes",
        "monitor",
        "partitions",
        "prefix",
        "publish_timeout",
        "replicas",
        "role",
        "servers",
        "tls.ca",
        "tls.certificate",
        "tls.key",
        "window",
    ];
    assert_eq!(names, BTreeSet::from(all));
}

#[test]
fn the_answers_are_those_of_all_refusals() {
    let answers: BTreeSet<(String, &str)> = rows("Answers")
        .iter()
        .map(|row| (row[0].to_owned(), row[1].trim_matches('`')))
        .collect();
    let name = |code| match code {
        3 => "INVALID_ARGUMENT",
        4 => "DEADLINE_EXCEEDED",
        7 => "PERMISSION_DENIED",
        8 => "RESOURCE_EXHAUSTED",
        12 => "UNIMPLEMENTED",
        14 => "UNAVAILABLE",
        16 => "UNAUTHENTICATED",
        other => panic!("{other}"),
    };
    let refusals = RefusalKind::ALL.map(|kind| (kind.status().as_u16().to_string(), name(kind.grpc_code())));
    let expected: BTreeSet<_> = refusals.into_iter().chain([("200".to_owned(), "OK")]).collect();
    assert_eq!(answers, expected);
}

#[test]
fn the_clients_have_the_versions_of_the_lock_files() {
    let python = include_str!("../../../tests/clients/python/requirements.txt");
    let node = include_str!("../../../tests/clients/node/package-lock.json");
    let (_, table) = PAGE.split_once("| client | version |").expect("a table of clients");
    let rows: Vec<&str> = table.lines().skip(2).take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() >= 9, "{rows:?}");
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let (language, package) = cells[1].split_once(' ').expect("a language and a package");
        let (package, version) = (package.trim_matches('`'), cells[2]);
        let locked = match language {
            "Python" => python.lines().any(|line| line == format!("{package}=={version} \\")),
            "Node" => node.contains(&format!(
                "\"node_modules/{package}\": {{\n      \"version\": \"{version}\","
            )),
            _ => false,
        };
        assert!(locked, "{row}");
    }
}

#[test]
fn the_body_of_the_example_with_curl_is_valid() {
    let command = blocks("bash").next().expect("a command");
    let body = command.split("-d '").nth(1).expect("a body");
    let body = body.split('\'').next().expect("its end");
    let protobuf = otlp_json::to_protobuf(body.as_bytes()).expect("OTLP/JSON");
    tracer_registry::ingest::Traces::from_protobuf(protobuf.into()).expect("traces");
}
