//! Files of a configuration: `default`, the active environment's, `gateway` if asked for, `local`,
//! then variables.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::config::problem::{Layer, Problems};
use crate::config::read::declared::DeclaredNames;
use crate::config::read::defined_paths::DefinedPathsBuilder;
use crate::config::read::parse::{self, Syntax};
use crate::config::read::table::Table;
use crate::config::read::variables::Variables;
use crate::config::rules::check;
use crate::config::settings::binding::Binding;
use crate::config::settings::document::{ActiveEnvironment, Document};
use crate::config::settings::setting::{Fields as _, field_names, read_whole};
use crate::selector::Slug;
use crate::util::regular_file;
use crate::util::system_error::SystemError;

/// Name of the lowest layer.
const DEFAULT: &str = "default";
/// Name of the layer for the gateway, which other programs do not read.
const GATEWAY: &str = "gateway";
/// Name of the layer for one machine, above all other files.
const LOCAL: &str = "local";
/// Maximum size of an operator's file, enough for several hundred thousand tenants.
const MAX_FILE_BYTES: u64 = 16 << 20;

pub(crate) const EXTENSIONS: [(&str, Syntax); 4] = [
    ("toml", Syntax::Toml),
    ("yaml", Syntax::Yaml),
    ("yml", Syntax::Yaml),
    ("json", Syntax::Json),
];

#[cfg(feature = "watch")]
/// Returns every file that [`load`] looks for.
pub(crate) fn files(path: &Path, for_gateway: bool, environment: Option<&Slug>) -> Vec<PathBuf> {
    let (folder, is_layered) = folder_of(path, for_gateway);
    if !is_layered {
        return vec![path.to_owned()];
    }
    let gateway = for_gateway.then_some(GATEWAY);
    let layers = [Some(DEFAULT), gateway, Some(LOCAL), environment.map(Slug::as_str)];
    let files = layers.into_iter().flatten().flat_map(|layer| candidates(folder, layer));
    files.collect()
}

/// Returns the folder of the layers, and whether the path has layers at all.
fn folder_of(path: &Path, for_gateway: bool) -> (&Path, bool) {
    if path.is_dir() {
        return (path, true);
    }
    let is_layered = is_named(path, DEFAULT) || for_gateway && is_named(path, GATEWAY);
    (path.parent().unwrap_or(Path::new("")), is_layered)
}

fn is_named(file: &Path, layer: &str) -> bool {
    file.file_stem().is_some_and(|stem| stem == layer)
}

fn candidates<'a>(folder: &'a Path, layer: &'a str) -> impl Iterator<Item = PathBuf> + use<'a> {
    EXTENSIONS
        .iter()
        .map(move |(extension, _)| folder.join(format!("{layer}.{extension}")))
}

/// Reads and overlays all layers. Adds every problem to `problems`, and the paths of each layer to
/// `defined_paths`.
///
/// A folder, or a file called `default`, is layered with its neighbours. Any other file stands
/// alone. With `for_gateway`, a layer `gateway` is read too, and its file also is one of these.
pub(crate) fn load(
    path: &Path,
    for_gateway: bool,
    variables: &Variables,
    defined_paths: &mut DefinedPathsBuilder,
    problems: &mut Problems,
) -> Document {
    let mut whole = Document::default();
    let is_folder = path.is_dir();
    let (folder, layered) = folder_of(path, for_gateway);
    // Also looked for if its file is given, because two files of a layer side by side are a problem.
    let mut found = |rank, layer| {
        problems.enter(rank, folder.display().to_string());
        let found = layer_file(folder, layer, problems);
        let is_given = !is_folder && is_named(path, layer);
        if is_given { Some(path.to_owned()) } else { found }
    };
    let gateway = (layered && for_gateway)
        .then(|| found(Layer::Gateway, GATEWAY))
        .flatten();
    let default = if layered {
        found(Layer::Default, DEFAULT)
    } else {
        Some(path.to_owned())
    };
    match default {
        Some(file) => whole.overlay(&file_layer(Layer::Default, &file, defined_paths, problems)),
        // The gateway's file may be the whole configuration.
        None if gateway.is_some() => {}
        None => problems.add_unread("the folder has no default.toml, default.yaml, default.yml or default.json"),
    }
    let mut gateway_layer = Document::default();
    if let Some(file) = gateway {
        gateway_layer = file_layer(Layer::Gateway, &file, defined_paths, problems);
    }
    let mut local = Document::default();
    if layered {
        problems.enter(Layer::Local, folder.display().to_string());
        if let Some(file) = layer_file(folder, LOCAL, problems) {
            local = file_layer(Layer::Local, &file, defined_paths, problems);
        }
    }
    if layered {
        // First of two reads, because the declared names depend on the environment's file.
        let mut ignored = Problems::default();
        let tree = variables.tree(None, &mut ignored);
        let from_variables = read_whole::<Document>(tree, String::new(), Path::new(""), &mut ignored);
        let choice = [&from_variables, &local, &gateway_layer, &whole]
            .into_iter()
            .find_map(|layer| layer.active_environment.as_ref());
        // Only a valid name becomes a file name: `../../etc/passwd` is refused when the whole
        // configuration is checked.
        if let Some(ActiveName(Ok(environment))) = choice.and_then(|choice| active_name(choice, variables))
            && environment != DEFAULT
            && environment != LOCAL
            && !(for_gateway && environment == GATEWAY)
            && Slug::new(&environment).is_ok()
        {
            let file = environment_layer(folder, &environment, defined_paths, problems);
            whole.overlay_layer(&file, Layer::Environment);
        }
    }
    whole.overlay_layer(&gateway_layer, Layer::Gateway);
    whole.overlay_layer(&local, Layer::Local);
    problems.enter(Layer::Variables, Layer::Variables.name());
    let declared = DeclaredNames::new(&whole, problems.has_unread_file());
    let tree = variables.tree(Some(&declared), problems);
    let from_variables = layer(tree, Path::new(""), defined_paths, problems);
    whole.overlay_layer(&from_variables, Layer::Variables);
    problems.enter(Layer::Whole, path.display().to_string());
    whole
}

/// Name of the active environment from a layer or variable. An error if the value is not UTF-8.
pub(crate) struct ActiveName(pub(crate) Result<String, ()>);

/// Resolves the selection of the active environment, if it yields a name.
pub(crate) fn active_name(choice: &ActiveEnvironment, variables: &Variables) -> Option<ActiveName> {
    match choice {
        ActiveEnvironment::Slug(name) => Some(ActiveName(Ok(name.clone()))),
        ActiveEnvironment::Variable(variable) => match variables.get(&variable.env) {
            Some(value) => Some(ActiveName(value.to_str().map(str::to_owned).ok_or(()))),
            None => variable.default.clone().map(|name| ActiveName(Ok(name))),
        },
    }
}

fn environment_layer(
    folder: &Path,
    environment: &str,
    defined_paths: &mut DefinedPathsBuilder,
    problems: &mut Problems,
) -> Document {
    problems.enter(Layer::Environment, folder.display().to_string());
    let Some(file) = layer_file(folder, environment, problems) else {
        return Document::default();
    };
    let mut layer = file_layer(Layer::Environment, &file, defined_paths, problems);
    if layer.active_environment.take().is_some() {
        problems.add(
            "active_environment",
            "an environment's file cannot select the environment; set it in default",
        );
    }
    layer
}

/// Returns the file of a layer in a folder. Several files for one layer are a problem.
pub(crate) fn layer_file(folder: &Path, layer: &str, problems: &mut Problems) -> Option<PathBuf> {
    // Dangling links count too: an unreadable layer is a problem, not a missing layer.
    let mut found: Vec<PathBuf> = candidates(folder, layer)
        .filter(|file| fs::symlink_metadata(file).is_ok())
        .collect();
    if found.len() > 1 {
        let conflict = format!("conflicts with {}: a layer must be a single file", found[1].display());
        problems.add(file_name(&found[0]), conflict);
    }
    (!found.is_empty()).then(|| found.swap_remove(0))
}

fn file_name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn file_layer(rank: Layer, file: &Path, defined_paths: &mut DefinedPathsBuilder, problems: &mut Problems) -> Document {
    problems.enter(rank, file.display().to_string());
    match parsed(file, MAX_FILE_BYTES) {
        Ok(value) => {
            // Absolute, so that it stays valid if the process changes its working directory.
            let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
            layer(value, file.parent().unwrap_or(Path::new("")), defined_paths, problems)
        }
        Err(message) => {
            problems.add_unread(message);
            Document::default()
        }
    }
}

/// Parses a file of at most `max_bytes`.
pub(crate) fn parsed(file: &Path, max_bytes: u64) -> Result<serde_json::Value, String> {
    let text = read_text(file, max_bytes)?;
    let extension = file.extension().unwrap_or_default();
    let format = EXTENSIONS.iter().find(|(known, _)| extension == *known);
    let (_, syntax) = format.ok_or("unsupported file type; expected .toml, .yaml, .yml or .json")?;
    parse::parse(&text, *syntax, max_bytes)
}

fn read_text(file: &Path, max_bytes: u64) -> Result<String, String> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => "no such file or folder".to_owned(),
        _ => format!("cannot be read: {}", SystemError::from(error)),
    };
    let open = regular_file::open(file).map_err(unreadable)?;
    let mut bytes = Vec::new();
    open.ok_or("not a regular file")?
        .take(max_bytes + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > max_bytes {
        return Err(format!("larger than {}", parse::bytes(max_bytes)));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid].split(|byte| *byte == b'\n').count();
        format!("line {line}: not valid UTF-8")
    })
}

fn layer(
    value: serde_json::Value,
    folder: &Path,
    defined_paths: &mut DefinedPathsBuilder,
    problems: &mut Problems,
) -> Document {
    defined_paths.add_file(problems.layer(), &value);
    let document = read_document(value, folder, problems);
    check::document(&document, problems);
    document
}

fn read_document(value: serde_json::Value, folder: &Path, problems: &mut Problems) -> Document {
    let Some(mut table) = Table::new(value, String::new(), folder, problems) else {
        return Document::default();
    };
    let document = Document::take_fields(&mut table);
    table.finish_root(&field_names::<Binding>());
    document
}

/// Adds a problem if the folder is missing. Without it, every tenant in it would seem unknown.
pub(crate) fn check_folder(folder: Option<&Path>, problems: &mut Problems) {
    if let Some(folder) = folder
        && !folder.is_dir()
    {
        problems.add("tenants_dir", format!("no such folder: {}", folder.display()));
    }
}
