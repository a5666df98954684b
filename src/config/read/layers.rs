//! Which files a configuration is made of: `default`, the active environment's, `local`, then variables.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::config::fault::{Faults, Layer};
use crate::config::read::declared::DeclaredNames;
use crate::config::read::parse::{self, Written};
use crate::config::read::shape::Shapes;
use crate::config::read::variables::Variables;
use crate::config::rules::check;
use crate::config::settings::document::{ActiveEnvironment, Document};
use crate::config::settings::setting::read_whole;
use crate::selector::Slug;
use crate::util::regular_file;
use crate::util::system_error::SystemError;

/// What faults in variables name in place of a file.
const VARIABLES: &str = "the variables TRACER_REGISTRY__*";
/// The layer that all others are laid over.
const DEFAULT: &str = "default";
/// The layer for one machine, laid over all other files.
const LOCAL: &str = "local";
/// The largest file of the operator: some hundred thousand tenants.
const MAX_FILE_BYTES: u64 = 16 << 20;

pub(crate) const EXTENSIONS: [(&str, Written); 4] = [
    ("toml", Written::Toml),
    ("yaml", Written::Yaml),
    ("yml", Written::Yaml),
    ("json", Written::Json),
];

#[cfg(feature = "watch")]
/// Every file that [`load`] looks for.
pub(crate) fn files(path: &Path, environment: Option<&Slug>) -> Vec<PathBuf> {
    let (folder, is_layered) = folder_of(path);
    if !is_layered {
        return vec![path.to_owned()];
    }
    let layers = [Some(DEFAULT), Some(LOCAL), environment.map(Slug::as_str)];
    let files = layers.into_iter().flatten().flat_map(|layer| candidates(folder, layer));
    files.collect()
}

/// The folder of the layers, and whether there are any but the path itself.
fn folder_of(path: &Path) -> (&Path, bool) {
    if path.is_dir() {
        return (path, true);
    }
    let is_default = path.file_stem().is_some_and(|stem| stem == DEFAULT);
    (path.parent().unwrap_or(Path::new("")), is_default)
}

fn candidates<'a>(folder: &'a Path, layer: &'a str) -> impl Iterator<Item = PathBuf> + use<'a> {
    EXTENSIONS
        .iter()
        .map(move |(extension, _)| folder.join(format!("{layer}.{extension}")))
}

/// Reads all layers and lays them over one another; every fault is added to `faults`, and what each layer has to `shapes`.
///
/// A folder, or a file called `default`, is layered with its neighbours. Any other file stands alone.
pub(crate) fn load(path: &Path, variables: &Variables, shapes: &mut Shapes, faults: &mut Faults) -> Document {
    let mut whole = Document::default();
    let is_folder = path.is_dir();
    let (folder, layered) = folder_of(path);
    faults.enter(Layer::Default, folder.display().to_string());
    // Asked also if the file is given: two default files beside one another are a fault.
    let found = if layered {
        layer_file(folder, DEFAULT, faults)
    } else {
        None
    };
    match (is_folder, found) {
        (false, _) => whole.overlay(&file_layer(Layer::Default, path, shapes, faults)),
        (true, Some(file)) => whole.overlay(&file_layer(Layer::Default, &file, shapes, faults)),
        (true, None) => faults.add_unread("the folder has no default.toml, default.yaml, default.yml or default.json"),
    }
    let mut local = Document::default();
    if layered {
        faults.enter(Layer::Local, folder.display().to_string());
        if let Some(file) = layer_file(folder, LOCAL, faults) {
            local = file_layer(Layer::Local, &file, shapes, faults);
        }
    }
    if layered {
        // Read once more below: which names are declared depends on the file that the environment chooses.
        let mut untold = Faults::default();
        let tree = variables.tree(None, &mut untold);
        let from_variables = read_whole::<Document>(tree, String::new(), Path::new(""), &mut untold);
        let choice = [&from_variables, &local, &whole]
            .into_iter()
            .find_map(|layer| layer.active_environment.as_ref());
        // Only a name makes a file's name: `../../etc/passwd` is refused when the whole is checked.
        if let Some(ActiveName(Ok(environment))) = choice.and_then(|choice| active_name(choice, variables))
            && environment != DEFAULT
            && environment != LOCAL
            && Slug::new(&environment).is_ok()
        {
            whole.overlay(&environment_layer(folder, &environment, shapes, faults));
        }
    }
    whole.overlay(&local);
    faults.enter(Layer::Variables, VARIABLES);
    let declared = DeclaredNames::new(&whole, faults.some_file_is_unread());
    let tree = variables.tree(Some(&declared), faults);
    let from_variables = layer(tree, Path::new(""), shapes, faults);
    whole.overlay(&from_variables);
    faults.enter(Layer::Whole, path.display().to_string());
    whole
}

/// The active environment as a layer or a variable names it; an error for a value that is not UTF-8.
pub(crate) struct ActiveName(pub(crate) Result<String, ()>);

/// What the choice of the active environment comes to, if it comes to a name.
pub(crate) fn active_name(choice: &ActiveEnvironment, variables: &Variables) -> Option<ActiveName> {
    match choice {
        ActiveEnvironment::Slug(name) => Some(ActiveName(Ok(name.clone()))),
        ActiveEnvironment::Variable(variable) => match variables.get(&variable.env) {
            Some(value) => Some(ActiveName(value.to_str().map(str::to_owned).ok_or(()))),
            None => variable.default.clone().map(|name| ActiveName(Ok(name))),
        },
    }
}

fn environment_layer(folder: &Path, environment: &str, shapes: &mut Shapes, faults: &mut Faults) -> Document {
    faults.enter(Layer::Environment, folder.display().to_string());
    let Some(file) = layer_file(folder, environment, faults) else {
        return Document::default();
    };
    let mut layer = file_layer(Layer::Environment, &file, shapes, faults);
    if layer.active_environment.take().is_some() {
        faults.add(
            "active_environment",
            "the file of an environment cannot choose the environment; it belongs in default",
        );
    }
    layer
}

/// The file of a folder that is called `layer`; two of them are a fault.
pub(crate) fn layer_file(folder: &Path, layer: &str, faults: &mut Faults) -> Option<PathBuf> {
    // Also a link to nothing counts: a layer that cannot be read is a fault, not a layer less.
    let mut found: Vec<PathBuf> = candidates(folder, layer)
        .filter(|file| fs::symlink_metadata(file).is_ok())
        .collect();
    if found.len() > 1 {
        let clash = format!("clashes with {}: a layer is one file", found[1].display());
        faults.add(file_name(&found[0]), clash);
    }
    (!found.is_empty()).then(|| found.swap_remove(0))
}

fn file_name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn file_layer(rank: Layer, file: &Path, shapes: &mut Shapes, faults: &mut Faults) -> Document {
    faults.enter(rank, file.display().to_string());
    match parsed(file, MAX_FILE_BYTES) {
        Ok(value) => {
            // Absolute, so that it is the same folder after the process went to another one.
            let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
            layer(value, file.parent().unwrap_or(Path::new("")), shapes, faults)
        }
        Err(message) => {
            faults.add_unread(message);
            Document::default()
        }
    }
}

/// What a file of at most so many bytes says.
pub(crate) fn parsed(file: &Path, most: u64) -> Result<serde_json::Value, String> {
    let text = read_text(file, most)?;
    let extension = file.extension().unwrap_or_default();
    let format = EXTENSIONS.iter().find(|(known, _)| extension == *known);
    let (_, written) = format.ok_or("a configuration file ends in .toml, .yaml, .yml or .json")?;
    parse::parse(&text, *written, most)
}

fn read_text(file: &Path, most: u64) -> Result<String, String> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => "no such file or folder".to_owned(),
        _ => format!("cannot be read: {}", SystemError::from(error)),
    };
    let open = regular_file::open(file).map_err(unreadable)?;
    let mut bytes = Vec::new();
    open.ok_or("not a regular file")?
        .take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > most {
        return Err(format!("larger than {}", parse::bytes(most)));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid].split(|byte| *byte == b'\n').count();
        format!("line {line}: not UTF-8 text")
    })
}

fn layer(value: serde_json::Value, folder: &Path, shapes: &mut Shapes, faults: &mut Faults) -> Document {
    shapes.note(faults.layer(), &value);
    let document = read_whole(value, String::new(), folder, faults);
    check::document(&document, faults);
    document
}

/// A folder that is not there would make every tenant of it an unknown one.
pub(crate) fn check_folder(folder: Option<&Path>, faults: &mut Faults) {
    if let Some(folder) = folder
        && !folder.is_dir()
    {
        faults.add("tenants_dir", format!("no such folder: {}", folder.display()));
    }
}
