//! Compares the public paths of each library of the workspace with the list in `tests/public-api/`, so that the API changes on purpose.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use syn::punctuated::Punctuated;
use syn::{Attribute, Field, Ident, ImplItem, Item, Meta, Token, TraitItem, Type, UseTree, Visibility};

use crate::sources::modules::{self, Definition, ModuleId, Modules, attributes, name_of};
use crate::sources::names::{Target, resolve};
use crate::sources::{root, source_folders};

/// Renews the lists instead of comparing.
const RENEW: &str = "UPDATE_PUBLIC_API";

#[test]
#[expect(clippy::disallowed_methods, reason = "a variable asks for new lists")]
fn public_paths_change_only_on_purpose() {
    let mut changes = String::new();
    for folder in source_folders() {
        let lib = folder.join("lib.rs");
        if !root().join(&lib).exists() {
            continue;
        }
        let package = package_of(&root().join(&folder).with_file_name("Cargo.toml"));
        let list = root().join("tests/public-api").join(format!("{package}.txt"));
        let now = public_paths(&package.replace('-', "_"), &modules::read(root(), &lib));
        if std::env::var_os(RENEW).is_some() {
            let lines: Vec<String> = now.into_iter().collect();
            fs::write(&list, lines.join("\n") + "\n").expect("a writable file");
            continue;
        }
        let committed = fs::read_to_string(&list).unwrap_or_default();
        let committed: BTreeSet<String> = committed.lines().map(str::to_owned).collect();
        changes.extend(committed.difference(&now).map(|line| format!("- {line}\n")));
        changes.extend(now.difference(&committed).map(|line| format!("+ {line}\n")));
    }
    assert!(
        changes.is_empty(),
        "the public API changed:\n{changes}\nIf that is meant, add a line to CHANGELOG.md and renew the lists:\n\
         {RENEW}=1 cargo test --test suite --all-features public_api\n"
    );
}

/// An attribute, or those that a `cfg_attr` adds under a condition.
fn unconditional(attribute: &Attribute) -> Vec<Meta> {
    if !attribute.path().is_ident("cfg_attr") {
        return vec![attribute.meta.clone()];
    }
    let parts = attribute.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
    parts.expect("a condition and attributes").into_iter().skip(1).collect()
}

fn package_of(manifest: &Path) -> String {
    let text = fs::read_to_string(manifest).expect("a readable file");
    let (_, package) = text.split_once("[package]").expect("a package");
    let name = package.lines().find_map(|line| line.strip_prefix("name = "));
    name.expect("a name").trim_matches('"').to_owned()
}

/// One line for each public path of the crate, with its kind.
fn public_paths(name: &str, modules: &Modules) -> BTreeSet<String> {
    let mut api = Api {
        modules,
        paths: BTreeSet::new(),
    };
    api.of_module(0, name);
    for item in modules.iter().flat_map(|module| &module.items) {
        let is_exported = |attribute: &Attribute| attribute.path().is_ident("macro_export");
        if attributes(item).iter().any(is_exported) && !is_hidden(attributes(item)) {
            let macro_name = name_of(item).expect("a macro has a name");
            api.add(&format!("{name}::{macro_name}"), "macro");
        }
    }
    api.paths
}

struct Api<'a> {
    modules: &'a Modules,
    paths: BTreeSet<String>,
}

impl Api<'_> {
    fn add(&mut self, path: &str, kind: &str) {
        self.paths.insert(format!("{path} ({kind})"));
    }

    fn of_module(&mut self, id: ModuleId, path: &str) {
        for item in &self.modules[id].items {
            if is_hidden(attributes(item)) {
                continue;
            }
            match item {
                Item::Use(used) if is_public(&used.vis) => self.of_use(id, &mut Vec::new(), &used.tree, path),
                Item::Mod(module) if is_public(&module.vis) => {
                    let name = module.ident.to_string();
                    for definition in &self.modules[id].names[&name] {
                        if let Definition::Module(child) = definition {
                            self.add(&format!("{path}::{name}"), "mod");
                            self.of_module(*child, &format!("{path}::{name}"));
                        }
                    }
                }
                _ if visibility(item).is_some_and(is_public) => {
                    let name = name_of(item).expect("an item with a visibility has a name");
                    self.of_item(id, &name, &format!("{path}::{name}"));
                }
                _ => {}
            }
        }
    }

    fn of_use(&mut self, id: ModuleId, before: &mut Vec<String>, tree: &UseTree, path: &str) {
        let (name, alias) = match tree {
            UseTree::Path(next) => {
                before.push(next.ident.to_string());
                self.of_use(id, before, &next.tree, path);
                before.pop();
                return;
            }
            UseTree::Group(group) => return group.items.iter().for_each(|tree| self.of_use(id, before, tree, path)),
            UseTree::Glob(_) => {
                for target in resolve(self.modules, id, before) {
                    match target {
                        Target::Module(module) => self.of_module(module, path),
                        Target::Item(..) | Target::Foreign => {
                            self.add(&format!("{path}::*"), &format!("all of {}", before.join("::")));
                        }
                    }
                }
                return;
            }
            UseTree::Name(name) => (&name.ident, &name.ident),
            UseTree::Rename(rename) => (&rename.ident, &rename.rename),
        };
        let used: Vec<String> = before.iter().cloned().chain([name.to_string()]).collect();
        let path = format!("{path}::{alias}");
        for target in resolve(self.modules, id, &used) {
            match target {
                Target::Item(module, name) => self.of_item(module, &name, &path),
                Target::Module(module) => {
                    self.add(&path, "mod");
                    self.of_module(module, &path);
                }
                Target::Foreign => self.add(&path, &format!("of {}", used.join("::"))),
            }
        }
    }

    /// Adds an item of the module `id`, under the public path `path`, and its members.
    fn of_item(&mut self, id: ModuleId, name: &str, path: &str) {
        let items = self.modules[id].items.iter();
        for item in items.filter(|item| name_of(item).is_some_and(|known| known == name)) {
            match item {
                Item::Const(_) => self.add(path, "const"),
                Item::Enum(item) => {
                    self.add(path, "enum");
                    for variant in &item.variants {
                        let path = format!("{path}::{}", variant.ident);
                        self.add(&path, "variant");
                        self.of_fields(variant.fields.iter(), &path);
                    }
                }
                Item::Fn(_) => self.add(path, "fn"),
                Item::Static(_) => self.add(path, "static"),
                Item::Struct(item) => {
                    self.add(path, "struct");
                    self.of_fields(item.fields.iter().filter(|field| is_public(&field.vis)), path);
                }
                Item::Trait(item) => {
                    self.add(path, "trait");
                    for member in &item.items {
                        match member {
                            TraitItem::Const(member) => self.add(&format!("{path}::{}", member.ident), "const"),
                            TraitItem::Fn(member) => self.add(&format!("{path}::{}", member.sig.ident), "fn"),
                            TraitItem::Type(member) => self.add(&format!("{path}::{}", member.ident), "type"),
                            _ => {}
                        }
                    }
                }
                Item::Type(_) => self.add(path, "type"),
                _ => {}
            }
            self.of_derives(attributes(item), path);
        }
        self.of_impls(id, name, path);
    }

    fn of_fields<'f>(&mut self, fields: impl Iterator<Item = &'f Field>, path: &str) {
        for (index, field) in fields.enumerate() {
            let name = field.ident.as_ref().map_or(index.to_string(), ToString::to_string);
            self.add(&format!("{path}::{name}"), "field");
        }
    }

    fn of_derives(&mut self, attributes: &[Attribute], path: &str) {
        for attribute in attributes.iter().flat_map(unconditional) {
            if let Meta::List(derives) = &attribute
                && derives.path.is_ident("derive")
            {
                let _ = derives.parse_nested_meta(|derived| {
                    let name = derived.path.segments.last().expect("a name").ident.to_string();
                    self.add(path, &format!("impl {name}"));
                    Ok(())
                });
            }
            if attribute.path().is_ident("non_exhaustive") {
                self.add(path, "non_exhaustive");
            }
        }
    }

    /// Adds what `impl` blocks anywhere in the crate give to the item: public members, and the names of traits.
    fn of_impls(&mut self, id: ModuleId, name: &str, path: &str) {
        let is_it = |target: &Target| matches!(target, Target::Item(module, item) if *module == id && item == name);
        for (place, module) in self.modules.iter().enumerate() {
            for item in &module.items {
                let Item::Impl(item) = item else { continue };
                let Type::Path(of) = &*item.self_ty else { continue };
                let of: Vec<String> = of
                    .path
                    .segments
                    .iter()
                    .map(|segment| segment.ident.to_string())
                    .collect();
                if !resolve(self.modules, place, &of).iter().any(is_it) {
                    continue;
                }
                if let Some(implemented) = &item.trait_ {
                    let name = &implemented.0.segments.last().expect("a name").ident;
                    self.add(path, &format!("impl {name}"));
                    continue;
                }
                for member in &item.items {
                    match member {
                        ImplItem::Const(member) if is_public(&member.vis) => {
                            self.add(&format!("{path}::{}", member.ident), "const");
                        }
                        ImplItem::Fn(member) if is_public(&member.vis) && !is_hidden(&member.attrs) => {
                            self.add(&format!("{path}::{}", member.sig.ident), "fn");
                        }
                        _ => {}
                    }
                }
            }
        }
    }
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

fn is_hidden(attributes: &[Attribute]) -> bool {
    let is_hidden = |attribute: &Attribute| {
        attribute.path().is_ident("doc") && attribute.parse_args::<Ident>().is_ok_and(|word| word == "hidden")
    };
    attributes.iter().any(is_hidden)
}

fn visibility(item: &Item) -> Option<&Visibility> {
    match item {
        Item::Const(item) => Some(&item.vis),
        Item::Enum(item) => Some(&item.vis),
        Item::Fn(item) => Some(&item.vis),
        Item::Static(item) => Some(&item.vis),
        Item::Struct(item) => Some(&item.vis),
        Item::Trait(item) => Some(&item.vis),
        Item::Type(item) => Some(&item.vis),
        Item::Union(item) => Some(&item.vis),
        _ => None,
    }
}
