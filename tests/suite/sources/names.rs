//! Resolves paths to the items that they name, through imports and re-exports.

use std::collections::BTreeSet;

use super::mentions::Segments;
use super::modules::{Definition, ModuleId, Modules};

/// The target of a path.
#[derive(Clone)]
pub(crate) enum Target {
    /// An item, or a member of it, and the module that defines the item.
    Item(ModuleId, String),
    Module(ModuleId),
    /// Not of this crate: another crate's item, or a local variable or type parameter.
    Foreign,
}

type Seen = BTreeSet<(ModuleId, Segments)>;

/// Resolves a path as the module `id` sees it.
pub(crate) fn resolve(modules: &Modules, id: ModuleId, path: &[String]) -> Vec<Target> {
    resolve_once(modules, id, path, &mut Seen::new())
}

fn resolve_once(modules: &Modules, id: ModuleId, path: &[String], seen: &mut Seen) -> Vec<Target> {
    // An import may share its name with the module that it goes through: `use flush::flush`.
    if !seen.insert((id, path.to_vec())) {
        return Vec::new();
    }
    let is_keyword = |word: &&String| ["crate", "self", "super"].contains(&word.as_str());
    let keywords = path.iter().take_while(is_keyword).count();
    if keywords > 0 {
        let start = path[..keywords].iter().fold(id, |id, word| match word.as_str() {
            "crate" => 0,
            "super" => modules[id].parent.expect("the path stays inside the crate"),
            _ => id,
        });
        return walk(modules, Target::Module(start), &path[keywords..], seen);
    }
    let found = look_up(modules, id, &path[0], seen);
    if found.is_empty() {
        return vec![Target::Foreign];
    }
    follow(modules, found, &path[1..], seen)
}

fn walk(modules: &Modules, from: Target, path: &[String], seen: &mut Seen) -> Vec<Target> {
    let (Target::Module(id), Some(next)) = (&from, path.first()) else {
        return vec![from];
    };
    let found = look_up(modules, *id, next, seen);
    if found.is_empty() {
        // A macro of this module defines it, in a form that this reader cannot parse.
        return vec![Target::Item(*id, next.clone())];
    }
    follow(modules, found, &path[1..], seen)
}

/// Continues a path from the targets of its first segment. If a module and a function share the
/// name, the path continues in the module.
fn follow(modules: &Modules, mut found: Vec<Target>, rest: &[String], seen: &mut Seen) -> Vec<Target> {
    let is_module = |target: &Target| matches!(target, Target::Module(_));
    if !rest.is_empty() && found.iter().any(is_module) {
        found.retain(is_module);
    }
    let found = found.into_iter();
    found.flat_map(|found| walk(modules, found, rest, seen)).collect()
}

/// Finds a name in the scope of a module. A macro is found with and without its `!`.
fn look_up(modules: &Modules, id: ModuleId, name: &str, seen: &mut Seen) -> Vec<Target> {
    let module = &modules[id];
    let bare = name.trim_end_matches('!');
    let spellings = [bare.to_owned(), format!("{bare}!")];
    let mut found = Vec::new();
    for definition in spellings.iter().filter_map(|name| module.names.get(name)).flatten() {
        match definition {
            Definition::Item => found.push(Target::Item(id, bare.to_owned())),
            Definition::Module(child) => found.push(Target::Module(*child)),
            Definition::Import(path) => found.extend(resolve_once(modules, id, path, seen)),
        }
    }
    if found.is_empty() {
        for glob in &module.mentions.globs {
            for target in resolve_once(modules, id, glob, seen) {
                if let Target::Module(id) = target {
                    found.extend(look_up(modules, id, name, seen));
                }
            }
        }
    }
    found
}
