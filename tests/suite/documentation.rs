//! The pages name only tests, files, headings and log lines that exist, and their lists are
//! complete.

use std::fs;
use std::path::{Path, PathBuf};

use crate::architecture::LAYERS;
use crate::sources::root;

/// Reads a file of the repository.
fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the files of a folder that have this extension, without subfolders. Empty if there is no
/// folder.
fn files_in(folder: &str, extension: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(root().join(folder)).into_iter().flatten();
    let files = files.map(|file| file.expect("a readable folder").file_name());
    let files = files.map(|name| Path::new(folder).join(name));
    files
        .filter(|file| file.extension().is_some_and(|found| found == extension))
        .collect()
}

/// The pages with checked links, relative to the root.
fn pages() -> Vec<PathBuf> {
    let mut pages = [".", "docs", "docs/decisions", "docs/deploy"]
        .map(|folder| files_in(folder, "md"))
        .concat();
    let crates = fs::read_dir(root().join("crates")).expect("a readable folder");
    let crates = crates.map(|entry| entry.expect("a readable folder").file_name());
    pages.extend(crates.map(|name| Path::new("crates").join(name).join("README.md")));
    pages
}

/// Returns the source of a test module with its submodules. `cli` stands for the tests of the
/// binary.
fn source_of(module: &str) -> String {
    if module == "cli" {
        return all_of("crates/cli/tests/suite") + &all_of("crates/cli/tests/suite/cluster");
    }
    read(format!("tests/suite/{module}.rs")) + &all_of(&format!("tests/suite/{module}"))
}

fn all_of(folder: &str) -> String {
    files_in(folder, "rs").into_iter().map(read).collect()
}

/// Returns the rows of the first table at or after a text, without its head.
fn rows<'a>(text: &'a str, before: &str) -> impl Iterator<Item = &'a str> {
    let (_, after) = text.split_once(before).unwrap_or_else(|| panic!("no {before:?}"));
    let table = after.lines().skip_while(|line| !line.starts_with("|---"));
    table.skip(1).take_while(|line| line.starts_with('|'))
}

/// Returns the texts between backticks.
fn code_spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_test_that_the_docs_name_exists() {
    let (promises, cases) = (read("docs/promises.md"), read("docs/isolation.md"));
    let rows = rows(&promises, "| promise | test |").chain(rows(&cases, "| # | situation | what holds | test |"));
    let last_cells = rows.filter_map(|row| row.trim_end_matches('|').rsplit('|').next());
    let named: Vec<&str> = last_cells.flat_map(code_spans).collect();
    assert!(named.len() > 40, "{named:?}");
    for name in named {
        let (module, test) = name.split_once("::").expect("a module and a test");
        assert!(
            source_of(module).contains(&format!("fn {test}()")),
            "there is no test {name}"
        );
    }
}

#[test]
fn every_relative_link_has_a_target() {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for page in pages() {
        for link in read(&page).split("](").skip(1) {
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
            let exists = root().join(&file).exists();
            if !exists || !(heading.is_empty() || anchors(&read(file)).any(|anchor| anchor == heading)) {
                wrong.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(seen > 40, "only {seen} links were found");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Returns the names of a page's headings in links.
fn anchors(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter(|line| line.starts_with('#')).map(|heading| {
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || "- _".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

#[test]
fn every_file_that_the_pages_about_the_code_name_exists() {
    let roots = [
        "src/",
        "crates/",
        "tests/",
        "docs/",
        "examples/",
        "benches/",
        "config/",
        ".ci/",
    ];
    for page in ["ARCHITECTURE.md", "CONTRIBUTING.md", "docs/promises.md"] {
        let text = read(page);
        let paths: Vec<&str> = code_spans(&text)
            .filter(|span| roots.iter().any(|root| span.starts_with(root)) && !span.contains(char::is_whitespace))
            .collect();
        assert!(paths.len() > 5, "{page}: {paths:?}");
        for path in paths {
            assert!(root().join(path).exists(), "{page} names {path}, which does not exist");
        }
    }
}

#[test]
fn the_architecture_page_lists_the_modules_in_their_order() {
    let text = read("ARCHITECTURE.md");
    let listed: Vec<&str> = rows(&text, "## Modules of the library")
        .filter_map(|row| code_spans(row).next())
        .map(|path| path.trim_start_matches("src/").trim_end_matches(".rs"))
        .collect();
    assert_eq!(listed, LAYERS);
}

#[test]
fn every_fuzz_target_is_listed_and_built_and_has_seeds() {
    let text = read("CONTRIBUTING.md");
    let mut listed: Vec<&str> = rows(&text, "## Fuzz")
        .filter_map(|row| row.split('|').nth(1))
        .flat_map(code_spans)
        .collect();
    listed.sort_unstable();
    let mut targets = files_in("fuzz/fuzz_targets", "rs");
    targets.sort_unstable();
    let targets: Vec<&str> = targets.iter().filter_map(|file| file.file_stem()?.to_str()).collect();
    assert_eq!(listed, targets);
    let manifest = read("fuzz/Cargo.toml");
    for target in targets {
        assert!(
            manifest.contains(&format!("path = \"fuzz_targets/{target}.rs\"")),
            "{target}"
        );
        let seeds = fs::read_dir(root().join("fuzz/seeds").join(target));
        assert!(
            seeds.is_ok_and(|mut seeds| seeds.next().is_some()),
            "{target} has no seeds"
        );
    }
}

#[test]
fn the_book_lists_every_page() {
    let book = read("docs/README.md");
    for page in [files_in("docs", "md"), files_in("docs/decisions", "md")].concat() {
        let link = format!("]({})", page.strip_prefix("docs").expect("in docs").display());
        assert!(
            page.ends_with("README.md") || book.contains(&link),
            "docs/README.md does not list {}",
            page.display()
        );
    }
}

#[test]
fn the_page_of_examples_lists_every_program() {
    let page = read("docs/examples.md");
    for entry in fs::read_dir(root().join("examples")).expect("a readable folder") {
        let path = entry.expect("a readable folder").path();
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a plain name");
        if path.is_file() || path.join("main.rs").exists() {
            assert!(
                rows(&page, "# Examples by use case").any(|row| code_spans(row).any(|span| span == name)),
                "docs/examples.md does not list {name}"
            );
        }
    }
}

#[test]
fn the_code_of_every_page_is_a_doc_test() {
    let lib = read("src/lib.rs");
    for page in files_in("docs", "md") {
        let is_included = lib.contains(&format!("include_str!(\"../{}\")", page.display()));
        assert!(
            is_included || !read(&page).contains("```rust"),
            "src/lib.rs does not include {}",
            page.display()
        );
    }
}

#[test]
fn both_tables_of_features_list_every_feature() {
    let (manifest, lib, page) = (read("Cargo.toml"), read("src/lib.rs"), read("docs/configuration.md"));
    let listed: Vec<&str> = rows(&page, "## Cargo features")
        .filter_map(|row| code_spans(row).next())
        .collect();
    let (_, features) = manifest.split_once("\n[features]\n").expect("a section of features");
    let (features, _) = features.split_once("\n[").expect("a section after it");
    let names = features
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name);
    for name in names.filter(|name| *name != "default" && !name.starts_with('#')) {
        let row = format!("//! | `{name}` |");
        assert!(lib.contains(&row), "src/lib.rs does not list the feature {name}");
        assert!(
            listed.contains(&name),
            "docs/configuration.md does not list the feature {name}"
        );
    }
}

/// Returns the messages of the log in a source file: the text of each `tracing` event, up to its
/// first comma, value or line break.
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
        // The other texts of an event are names of targets, without blanks.
        let text = event.split('"').skip(1).step_by(2).find(|text| text.contains(' '))?;
        let text = text.split(['{', ',', ';', '\\']).next()?;
        Some(text.trim_end_matches([' ', ':', '\n']).to_owned())
    });
    messages
        .map(|message| message.expect("an event has a message"))
        .collect()
}

#[test]
fn the_operations_page_lists_every_log_message() {
    let listed = read("docs/operations.md");
    let mut folders = vec![root().join("src")];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a readable folder") {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                for message in messages_in(&read(&path)) {
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
