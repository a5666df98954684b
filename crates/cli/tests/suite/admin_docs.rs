//! The commands of docs/admin.md have the output that the page shows.

use std::path::Path;
use std::process::Command;

use crate::admin::admin_of;
use crate::serve::Served;
use crate::text;

const PAGE: &str = include_str!("../../../../docs/admin.md");

/// A command of a page, and the output that follows it. `..` stands for any text.
pub(crate) struct Example {
    pub(crate) command: String,
    pub(crate) output: String,
}

pub(crate) fn examples(page: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    for block in page.split("```console\n").skip(1) {
        let (block, _) = block.split_once("```").expect("its end");
        let mut continues = false;
        for line in block.lines() {
            if let Some(command) = line.strip_prefix("$ ") {
                let (command, output) = (command.to_owned(), String::new());
                examples.push(Example { command, output });
            } else {
                let example = examples.last_mut().expect("a command before its output");
                let text = if continues {
                    &mut example.command
                } else {
                    &mut example.output
                };
                *text = format!("{text}\n{line}");
            }
            continues = line.ends_with('\\') && (continues || line.starts_with("$ "));
        }
    }
    examples
}

/// Returns whether a text has all parts of a pattern, in order and from its start to its end. White
/// space does not count.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let [pattern, text] = [pattern, text].map(|text| text.split_whitespace().collect::<String>());
    let mut parts = pattern.split("..");
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[test]
fn a_pattern_covers_the_whole_text() {
    assert!(matches("{\"a\": 1, ..}", "{\"a\":1,\"b\":2}\n"));
    assert!(matches("..", "") && matches("", "\n") && matches("a .. b .. c", "a1b2c"));
    assert!(
        !matches("a", "ab") && !matches("", "a") && !matches("a .. c", "a c b") && !matches("a .. b .. c", "a c b")
    );
}

#[test]
#[ignore = "needs curl: run tests/clients/run"]
fn every_command_of_the_page_has_its_output() {
    let loopback = "127.0.0.1:0";
    let mut served = Served::start(&["--demo", "--http", loopback, "--grpc", loopback, "--admin", loopback]);
    let admin = admin_of(&mut served);
    let program = Path::new(env!("CARGO_BIN_EXE_tracer-registry"))
        .parent()
        .expect("a folder");
    let token = "demo-token-of-the-admin";
    for variable in [
        "export ADMIN=http://127.0.0.1:4320",
        &format!("export AUTH='authorization: Bearer {token}'"),
    ] {
        assert!(PAGE.contains(variable), "{variable}");
    }
    let examples = examples(PAGE);
    let mut asked = 0;
    for Example { command, output } in &examples {
        let is_program =
            command.starts_with("tracer-registry admin ") || command.starts_with("tracer-registry explain ");
        if !is_program && !command.starts_with("curl ") {
            continue;
        }
        asked += 1;
        let mut line = command.replace("127.0.0.1:4318", &served.http);
        if is_program {
            line = format!("{line} --url {admin}");
        }
        let shell = Command::new("timeout")
            .args([
                "5",
                "bash",
                "-c",
                &format!("export PATH='{}':\"$PATH\"; {line}", program.display()),
            ])
            .env("ADMIN", &admin)
            .env("AUTH", format!("authorization: Bearer {token}"))
            .env("TRACER_REGISTRY_ADMIN_TOKEN", token)
            .output()
            .expect("a shell");
        let shown = text(&shell.stdout);
        assert!(
            matches(output, &shown),
            "{line}\n{shown}{}\nthe page has:{output}",
            text(&shell.stderr)
        );
    }
    assert!(asked > 10, "{asked}");
    served.stop();
}
