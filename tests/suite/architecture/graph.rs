//! Which file names items of which other file, and the circles in that.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::sources::modules;
use crate::sources::names::{Target, resolve};

/// For each file: the files that define what it names, with the names.
pub(super) type Graph = BTreeMap<PathBuf, BTreeMap<PathBuf, BTreeSet<String>>>;

/// Reads the crate in the folder `src`. Paths are relative to `base`.
pub(super) fn of_crate(base: &Path, src: &Path) -> Graph {
    let mut graph = Graph::new();
    for root in ["lib.rs", "main.rs"].map(|root| src.join(root)) {
        if !base.join(&root).exists() {
            continue;
        }
        let modules = modules::read(base, &root);
        for (id, module) in modules.iter().enumerate() {
            let named = graph.entry(module.file.clone()).or_default();
            let targets = module
                .mentions
                .paths
                .iter()
                .flat_map(|path| resolve(&modules, id, path));
            for target in targets {
                if let Target::Item(place, name) = target
                    && modules[place].file != module.file
                {
                    named.entry(modules[place].file.clone()).or_default().insert(name);
                }
            }
        }
    }
    graph
}

/// The largest sets of files in which each file reaches each other one, largest first.
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

/// The files that `file` names, directly or through others. Contains `file` if it is in a circle.
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

/// Lists each circle: its files, and for each file the others that it names and by which items.
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
