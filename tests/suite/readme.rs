//! What the pages of `docs/` name is there: the tests of promises and cases, the pages and headings that links lead to.

use std::fs;
use std::path::Path;

/// The source of a module of this suite, with the files of its own modules; of `cli`, the tests of the binary.
fn source_of(module: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    if module == "cli" {
        return all_of(&root.join("crates/cli/tests/suite"));
    }
    let suite = root.join("tests/suite");
    let source = fs::read_to_string(suite.join(format!("{module}.rs"))).expect("a module of the suite");
    source + &all_of(&suite.join(module))
}

fn all_of(folder: &Path) -> String {
    let files = fs::read_dir(folder).into_iter().flatten();
    let files = files.map(|file| file.expect("the folder can be read").path());
    files
        .map(|file| fs::read_to_string(file).expect("a source file"))
        .collect()
}

/// Names of tests in the last column of the table with this head.
fn named_in(text: &str, head: &str) -> Vec<String> {
    let (_, table) = text.split_once(head).expect("the table is there");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let cells = rows.filter_map(|line| line.trim_end_matches('|').rsplit('|').next());
    cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned))
        .collect()
}

#[test]
fn every_test_that_the_pages_name_is_there() {
    let mut named = named_in(include_str!("../../docs/promises.md"), "| promise | test |");
    named.extend(named_in(
        include_str!("../../docs/isolation.md"),
        "| # | situation | what holds | test |",
    ));
    assert!(named.len() > 40, "{named:?}");
    for name in named {
        let (module, test) = name.split_once("::").expect("a test is named with its module");
        assert!(
            source_of(module).contains(&format!("fn {test}()")),
            "there is no test {name}"
        );
    }
}

/// Links to pages and to headings, in the README, the security policy and `docs/`.
#[test]
fn every_link_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let in_docs = fs::read_dir(root.join("docs")).expect("the folder can be read");
    let pages = in_docs.map(|page| page.expect("the folder can be read").path());
    let pages = pages.filter(|page| page.extension().is_some_and(|extension| extension == "md"));
    let mut wrong = Vec::new();
    let mut seen = 0;
    for page in pages.chain(["README.md", "SECURITY.md"].map(|page| root.join(page))) {
        let text = fs::read_to_string(&page).expect("a page");
        for link in text.split("](").skip(1) {
            let link = link.split([')', ' ']).next().unwrap_or_default();
            if link.contains("://") {
                continue;
            }
            seen += 1;
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let file = if file.is_empty() {
                page.clone()
            } else {
                page.with_file_name("").join(file)
            };
            let leads = file.exists() && (heading.is_empty() || headings_of(&file).any(|known| known == heading));
            if !leads {
                wrong.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(seen > 40, "only {seen} links were found");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The names that a page's headings have in links.
fn headings_of(page: &Path) -> impl Iterator<Item = String> {
    let text = fs::read_to_string(page).expect("a page");
    let headings: Vec<String> = text.lines().filter(|line| line.starts_with('#')).map(anchor).collect();
    headings.into_iter()
}

fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || "- _".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn the_crate_page_lists_every_feature() {
    let manifest = include_str!("../../Cargo.toml");
    let (_, features) = manifest.split_once("\n[features]\n").expect("a section of features");
    let (features, _) = features.split_once("\n[").expect("a section after it");
    let names = features
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name);
    for name in names.filter(|name| *name != "default" && !name.starts_with('#')) {
        let row = format!("//! | `{name}` |");
        assert!(
            include_str!("../../src/lib.rs").contains(&row),
            "no row of the table is for {name}"
        );
    }
}

/// Messages of the log in a source file: the text of each `tracing` event, up to its first comma or value.
fn messages_in(source: &str) -> Vec<String> {
    let code: Vec<&str> = source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    let code = code.join("\n");
    let macros = [
        "tracing::error!(",
        "tracing::warn!(",
        "tracing::info!(",
        "tracing::debug!(",
    ];
    let events = macros.into_iter().flat_map(|event| code.split(event).skip(1));
    let messages = events.map(|event| {
        // Other texts in an event are names of targets.
        let text = event.split('"').skip(1).step_by(2).find(|text| text.contains(' '))?;
        let text = text.split(['{', ',', ';']).next()?;
        Some(text.trim_end_matches([' ', ':', '\n']).to_owned())
    });
    messages
        .map(|message| message.expect("an event has a message"))
        .collect()
}

#[test]
fn every_line_of_the_log_is_in_the_list_of_lines() {
    let listed = include_str!("../../docs/operations.md");
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![src.clone()];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the folder can be read") {
            let path = entry.expect("the folder can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                for message in messages_in(&fs::read_to_string(&path).expect("a source file")) {
                    seen += 1;
                    assert!(
                        listed.contains(&message),
                        "{}: docs/operations.md does not list the line {message:?}",
                        path.display()
                    );
                }
            }
        }
    }
    assert!(seen > 20, "{seen}");
}
