//! The modules of a crate: which file holds each, what it defines, what it brings in from others.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::Visit;
use syn::{Attribute, Item, ItemMod, Meta};

use super::mentions::{Mentions, Written, only_tests};

/// The place of a module in `Modules`.
pub(super) type Id = usize;

pub(super) enum Name {
    /// Defined in this module.
    Item,
    Module(Id),
    /// Brought in by `use`.
    Used(Written),
}

pub(super) struct Module {
    pub(super) parent: Option<Id>,
    /// Below the folder that was asked for.
    pub(super) file: PathBuf,
    pub(super) names: BTreeMap<String, Vec<Name>>,
    pub(super) mentions: Mentions,
}

/// The root is the first.
pub(super) type Modules = Vec<Module>;

/// The modules that are built where no test is, from the root file (`lib.rs`, `main.rs`) on.
pub(super) fn read(base: &Path, root: &Path) -> Modules {
    let mut modules = Vec::new();
    let children = base.join(root);
    file(&mut modules, base, None, root, children.parent().expect("a folder"));
    modules
}

fn file(modules: &mut Modules, base: &Path, parent: Option<Id>, path: &Path, children: &Path) -> Id {
    let text = fs::read_to_string(base.join(path)).expect("a readable file");
    let code = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    module(modules, base, parent, path, children, &code.items)
}

/// Reads the module with these items; its child modules are files in the folder `children`.
fn module(modules: &mut Modules, base: &Path, parent: Option<Id>, path: &Path, children: &Path, items: &[Item]) -> Id {
    let id = modules.len();
    modules.push(Module {
        parent,
        file: path.to_owned(),
        names: BTreeMap::new(),
        mentions: Mentions::default(),
    });
    for item in items.iter().filter(|item| !only_tests(attributes(item))) {
        if let Item::Mod(declared) = item {
            let name = declared.ident.to_string();
            let folder = children.join(&name);
            let child = match &declared.content {
                Some((_, items)) => module(modules, base, Some(id), path, &folder, items),
                None => {
                    let path = file_of(declared, children);
                    let path = path.strip_prefix(base).expect("below the base");
                    file(modules, base, Some(id), path, &folder)
                }
            };
            define(modules, id, &name, Name::Module(child));
        }
        for name in defined(item) {
            define(modules, id, &name, Name::Item);
        }
        modules[id].mentions.visit_item(item);
    }
    for (name, path) in modules[id].mentions.uses.clone() {
        define(modules, id, &name, Name::Used(path));
    }
    id
}

fn define(modules: &mut Modules, id: Id, name: &str, what: Name) {
    modules[id].names.entry(name.to_owned()).or_default().push(what);
}

fn file_of(declared: &ItemMod, children: &Path) -> PathBuf {
    let given = declared.attrs.iter().find_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("path") => Some(&pair.value),
        _ => None,
    });
    assert!(given.is_none(), "`#[path]` on a module: this test does not read that");
    let flat = children.join(format!("{}.rs", declared.ident));
    if flat.exists() {
        flat
    } else {
        children.join(declared.ident.to_string()).join("mod.rs")
    }
}

/// The names that an item defines in its module.
fn defined(item: &Item) -> Vec<String> {
    match item {
        Item::Const(item) => vec![item.ident.to_string()],
        Item::Enum(item) => vec![item.ident.to_string()],
        Item::Fn(item) => vec![item.sig.ident.to_string()],
        Item::Static(item) => vec![item.ident.to_string()],
        Item::Struct(item) => vec![item.ident.to_string()],
        Item::Trait(item) => vec![item.ident.to_string()],
        Item::TraitAlias(item) => vec![item.ident.to_string()],
        Item::Type(item) => vec![item.ident.to_string()],
        Item::Union(item) => vec![item.ident.to_string()],
        Item::Macro(item) => match &item.ident {
            Some(name) => vec![format!("{name}!")],
            None => defined_by_tokens(item.mac.tokens.clone()),
        },
        _ => Vec::new(),
    }
}

/// As `pin_project!` and `thread_local!` hand items on.
fn defined_by_tokens(tokens: TokenStream) -> Vec<String> {
    let words: Vec<Option<String>> = tokens
        .into_iter()
        .map(|token| match token {
            TokenTree::Ident(word) => Some(word.to_string()),
            _ => None,
        })
        .collect();
    let mut names = Vec::new();
    for pair in words.windows(2) {
        if let [Some(keyword), Some(name)] = pair
            && ["const", "enum", "fn", "static", "struct", "trait", "type", "union"].contains(&keyword.as_str())
        {
            names.push(name.clone());
        }
    }
    names
}

pub(super) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
