//! Which file names items of which other file, and where that goes round in a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::modules::{self, Id, Modules, Name};

/// For each file the files whose items it names, with the names.
pub(super) type Graph = BTreeMap<PathBuf, BTreeMap<PathBuf, BTreeSet<String>>>;

/// The files of the crate whose sources are in `src`, named from `base` on.
pub(super) fn of_crate(base: &Path, src: &Path) -> Graph {
    let mut graph = Graph::new();
    for root in ["lib.rs", "main.rs"].map(|root| src.join(root)) {
        if base.join(&root).exists() {
            let modules = modules::read(base, &root);
            for id in 0..modules.len() {
                add(&mut graph, &modules, id);
            }
        }
    }
    graph
}

fn add(graph: &mut Graph, modules: &Modules, id: Id) {
    let module = &modules[id];
    let named = graph.entry(module.file.clone()).or_default();
    for path in &module.mentions.paths {
        for target in Names(modules).textual(id, path) {
            if let Target::Item(place, name) = target
                && modules[place].file != module.file
            {
                named.entry(modules[place].file.clone()).or_default().insert(name);
            }
        }
    }
}

/// What a path leads to.
#[derive(Clone)]
enum Target {
    /// An item, or what belongs to it, with the module that defines it.
    Item(Id, String),
    Module(Id),
    /// Of another crate, a local variable, a parameter.
    Foreign,
}

struct Names<'a>(&'a Modules);

impl Names<'_> {
    /// As `resolve`; a macro is known below its definition too.
    fn textual(&self, id: Id, path: &[String]) -> Vec<Target> {
        let mut scope = Some(id);
        while let [name] = path
            && name.ends_with('!')
            && let Some(id) = scope
        {
            if self.0[id].names.contains_key(name) {
                return vec![Target::Item(id, name.clone())];
            }
            scope = self.0[id].parent;
        }
        self.resolve(id, path, &mut BTreeSet::new())
    }

    fn resolve(&self, id: Id, path: &[String], seen: &mut BTreeSet<(Id, Vec<String>)>) -> Vec<Target> {
        if !seen.insert((id, path.to_vec())) {
            return Vec::new();
        }
        let mut start = match path[0].as_str() {
            "crate" => 0,
            "self" | "super" => id,
            first => {
                let found = self.lookup(id, first, seen);
                if found.is_empty() {
                    return vec![Target::Foreign];
                }
                return found
                    .into_iter()
                    .flat_map(|found| self.walk(found, &path[1..], seen))
                    .collect();
            }
        };
        let mut rest = path;
        while let Some(first) = rest.first()
            && ["crate", "self", "super"].contains(&first.as_str())
        {
            if first == "super" {
                start = self.0[start].parent.expect("a path within the crate");
            }
            rest = &rest[1..];
        }
        self.walk(Target::Module(start), rest, seen)
    }

    fn walk(&self, from: Target, path: &[String], seen: &mut BTreeSet<(Id, Vec<String>)>) -> Vec<Target> {
        let (Target::Module(id), Some(next)) = (&from, path.first()) else {
            return vec![from];
        };
        let found = self.lookup(*id, next, seen);
        if found.is_empty() {
            // Defined by a macro, in a way that cannot be seen here.
            return vec![Target::Item(*id, next.clone())];
        }
        found
            .into_iter()
            .flat_map(|found| self.walk(found, &path[1..], seen))
            .collect()
    }

    fn lookup(&self, id: Id, name: &str, seen: &mut BTreeSet<(Id, Vec<String>)>) -> Vec<Target> {
        let module = &self.0[id];
        let bare = name.trim_end_matches('!');
        let names = [bare.to_owned(), format!("{bare}!")];
        let mut found = Vec::new();
        for what in names.iter().filter_map(|name| module.names.get(name)).flatten() {
            match what {
                Name::Item => found.push(Target::Item(id, bare.to_owned())),
                Name::Module(child) => found.push(Target::Module(*child)),
                Name::Used(path) => found.extend(self.resolve(id, path, seen)),
            }
        }
        if found.is_empty() {
            for glob in &module.mentions.globs {
                for target in self.resolve(id, glob, seen) {
                    if let Target::Module(id) = target {
                        found.extend(self.lookup(id, name, seen));
                    }
                }
            }
        }
        found
    }
}

/// The sets of files that name each other round in circles, largest first.
pub(super) fn circles(graph: &Graph) -> Vec<BTreeSet<PathBuf>> {
    let reached: BTreeMap<&PathBuf, BTreeSet<&PathBuf>> =
        graph.keys().map(|file| (file, reached(graph, file))).collect();
    let mut circles = BTreeSet::new();
    for (file, reaches) in &reached {
        let circle: BTreeSet<PathBuf> = reaches
            .iter()
            .filter(|other| reached[*other].contains(file))
            .map(|other| (*other).clone())
            .collect();
        if !circle.is_empty() {
            circles.insert(circle);
        }
    }
    let mut circles: Vec<_> = circles.into_iter().collect();
    circles.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
    circles
}

/// The files that this one names, directly or by others; itself where it is in a circle.
fn reached<'a>(graph: &'a Graph, file: &PathBuf) -> BTreeSet<&'a PathBuf> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&PathBuf> = graph[file].keys().collect();
    while let Some(file) = next.pop() {
        if reached.insert(file) {
            next.extend(graph[file].keys());
        }
    }
    reached
}

/// The circles with their files, and for each file whom it names in there and by which items.
pub(super) fn shown(graph: &Graph) -> String {
    let mut text = String::new();
    for circle in circles(graph) {
        writeln!(text, "\na circle of {} files:", circle.len()).expect("a string takes it");
        for from in &circle {
            writeln!(text, "  {}", from.display()).expect("a string takes it");
            for (to, names) in graph[from].iter().filter(|(to, _)| circle.contains(*to)) {
                let names = names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
                writeln!(text, "    -> {}  ({names})", to.display()).expect("a string takes it");
            }
        }
    }
    text
}
