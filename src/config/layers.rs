//! Which files a configuration is made of: `default`, the active environment's, `local`, then variables.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use config::{Config as Parser, Environment, File, FileFormat};
use serde_json::Value;

use super::document::{ActiveEnvironment, Document};
use super::fault::Faults;
use super::{check, read};
use crate::selector::Name;

/// The prefix of variables that are laid over the files.
const PREFIX: &str = "TRACER_REGISTRY";
/// What faults in variables name in place of a file.
const VARIABLES: &str = "the variables TRACER_REGISTRY__*";
/// The layer that all others are laid over.
const DEFAULT: &str = "default";
/// The layer for one machine, laid over all other files.
const LOCAL: &str = "local";

const EXTENSIONS: [(&str, FileFormat); 4] = [
    ("toml", FileFormat::Toml),
    ("yaml", FileFormat::Yaml),
    ("yml", FileFormat::Yaml),
    ("json", FileFormat::Json),
];

/// Reads all layers and lays them over one another; every fault is added to `faults`.
///
/// A folder, or a file called `default`, is layered with its neighbours. Any other file stands alone. `variables` are those of the
/// process where nothing else is given.
pub(super) fn load(path: &Path, variables: Option<BTreeMap<String, String>>, faults: &mut Faults) -> Document {
    let mut whole = Document::default();
    let from_variables = variables_layer(variables, faults);
    let is_folder = path.is_dir();
    let layered = is_folder || path.file_stem().is_some_and(|stem| stem == DEFAULT);
    let folder = if is_folder {
        path
    } else {
        path.parent().unwrap_or(Path::new(""))
    };
    let base = if is_folder {
        layer_file(folder, DEFAULT, faults)
    } else {
        Some(path.to_owned())
    };
    match base {
        Some(base) => {
            if !is_folder && layered {
                // Asked for its faults: two default files beside one another.
                layer_file(folder, DEFAULT, faults);
            }
            whole.overlay(&file_layer(&base, faults));
        }
        None => {
            faults.enter(folder.display().to_string());
            faults.add("", "the folder has no default.toml, default.yaml or default.json");
        }
    }
    if layered {
        let local = layer_file(folder, LOCAL, faults)
            .map(|file| file_layer(&file, faults))
            .unwrap_or_default();
        let active = [&from_variables, &local, &whole]
            .into_iter()
            .find_map(|layer| active_environment(layer));
        if let Some(environment) = active.filter(|name| name != DEFAULT && name != LOCAL)
            && Name::new(&environment).is_ok()
            && let Some(file) = layer_file(folder, &environment, faults)
        {
            let layer = file_layer(&file, faults);
            if layer.active_environment.is_some() {
                faults.enter(file.display().to_string());
                faults.add(
                    "active_environment",
                    "the file of an environment cannot choose the environment; it belongs in default",
                );
            }
            whole.overlay(&layer);
        }
        whole.overlay(&local);
    }
    whole.overlay(&from_variables);
    faults.enter(path.display().to_string());
    whole
}

/// The environment that a layer makes the active one, if it says so and the variable it names has a value.
pub(super) fn active_environment(document: &Document) -> Option<String> {
    match document.active_environment.as_ref()? {
        ActiveEnvironment::Name(name) => Some(name.clone()),
        ActiveEnvironment::Variable(variable) => {
            let value = std::env::var(&variable.env).ok().filter(|value| !value.is_empty());
            value.or_else(|| variable.default.clone())
        }
    }
}

fn layer_file(folder: &Path, layer: &str, faults: &mut Faults) -> Option<PathBuf> {
    let candidates = EXTENSIONS
        .iter()
        .map(|(extension, _)| folder.join(format!("{layer}.{extension}")));
    let mut found: Vec<PathBuf> = candidates.filter(|file| file.is_file()).collect();
    if found.len() > 1 {
        faults.enter(found[1].display().to_string());
        faults.add("", format!("clashes with {}: a layer is one file", found[0].display()));
    }
    (!found.is_empty()).then(|| found.swap_remove(0))
}

fn file_layer(file: &Path, faults: &mut Faults) -> Document {
    faults.enter(file.display().to_string());
    let extension = file.extension().unwrap_or_default();
    let Some((_, format)) = EXTENSIONS.iter().find(|(known, _)| extension == *known) else {
        faults.add("", "a configuration file ends in .toml, .yaml, .yml or .json");
        return Document::default();
    };
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            faults.add("", format!("cannot be read: {}", error.kind()));
            return Document::default();
        }
    };
    let parsed = Parser::builder().add_source(File::from_str(&text, *format)).build();
    let folder = file.parent().unwrap_or(Path::new(""));
    layer(parsed, folder, faults)
}

fn variables_layer(variables: Option<BTreeMap<String, String>>, faults: &mut Faults) -> Document {
    faults.enter(VARIABLES);
    let given = variables.map(|variables| variables.into_iter().collect());
    let source = Environment::with_prefix(PREFIX)
        .separator("__")
        .try_parsing(true)
        .source(given);
    layer(Parser::builder().add_source(source).build(), Path::new(""), faults)
}

fn layer(parsed: Result<Parser, config::ConfigError>, folder: &Path, faults: &mut Faults) -> Document {
    let value = parsed.and_then(Parser::try_deserialize::<Value>);
    match value {
        Ok(value) => {
            let document = read::document(value, folder, faults);
            check::document(&document, faults);
            document
        }
        Err(error) => {
            faults.add("", without_source_text(&error.to_string()));
            Document::default()
        }
    }
}

/// A parser's message without the lines of the file that some parsers quote: a key could be on one of them.
fn without_source_text(message: &str) -> String {
    let quoted = |line: &&str| line.trim_start().starts_with(|c: char| c == '|' || c.is_ascii_digit());
    let kept: Vec<&str> = message.lines().filter(|line| !quoted(line)).map(str::trim).collect();
    kept.join(": ")
}
