//! Reads a crate's modules: the file, the items and the names of each.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::Visit;
use syn::{Attribute, Item, ItemMod};

use super::mentions::{Mentions, Segments, only_tests};

/// Index into `Modules`.
pub(crate) type ModuleId = usize;

pub(crate) enum Definition {
    /// An item of this module itself.
    Item,
    Module(ModuleId),
    Import(Segments),
}

pub(crate) struct Module {
    pub(crate) parent: Option<ModuleId>,
    /// Relative to the `base` argument of `read`.
    pub(crate) file: PathBuf,
    /// The items, without those of test builds. Items inside a macro call such as `pin_project!`
    /// are included.
    pub(crate) items: Vec<Item>,
    /// The definitions of each name in this scope. A macro's name ends with `!`.
    pub(crate) names: BTreeMap<String, Vec<Definition>>,
    pub(crate) mentions: Mentions,
}

/// All modules of a crate, its root first.
pub(crate) type Modules = Vec<Module>;

/// Reads the crate whose root file (`lib.rs` or `main.rs`) is `root`, a path relative to `base`.
pub(crate) fn read(base: &Path, root: &Path) -> Modules {
    let mut modules = Vec::new();
    let folder = base.join(root).with_file_name("");
    read_file(&mut modules, base, None, root, &folder);
    modules
}

fn read_file(modules: &mut Modules, base: &Path, parent: Option<ModuleId>, file: &Path, children: &Path) -> ModuleId {
    let text = fs::read_to_string(base.join(file)).expect("a readable file");
    let code = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    read_module(modules, base, parent, file, children, code.items)
}

/// Reads a module of `file`. Its child modules are files in the folder `children`.
fn read_module(
    modules: &mut Modules,
    base: &Path,
    parent: Option<ModuleId>,
    file: &Path,
    children: &Path,
    items: Vec<Item>,
) -> ModuleId {
    let id = modules.len();
    modules.push(Module {
        parent,
        file: file.to_owned(),
        items: Vec::new(),
        names: BTreeMap::new(),
        mentions: Mentions::default(),
    });
    let items: Vec<Item> = items.into_iter().flat_map(expanded).collect();
    let items: Vec<Item> = items.into_iter().filter(|item| !only_tests(attributes(item))).collect();
    for item in &items {
        if let Item::Mod(declared) = item {
            let name = declared.ident.to_string();
            let folder = children.join(&name);
            let child = if let Some((_, items)) = &declared.content {
                read_module(modules, base, Some(id), file, &folder, items.clone())
            } else {
                let path = file_of(declared, children);
                let path = path.strip_prefix(base).expect("below the base");
                read_file(modules, base, Some(id), path, &folder)
            };
            define(modules, id, &name, Definition::Module(child));
        }
        for name in defined(item) {
            define(modules, id, &name, Definition::Item);
        }
        modules[id].mentions.visit_item(item);
    }
    for (name, path) in modules[id].mentions.uses.clone() {
        define(modules, id, &name, Definition::Import(path));
    }
    modules[id].items = items;
    id
}

fn define(modules: &mut Modules, id: ModuleId, name: &str, definition: Definition) {
    modules[id].names.entry(name.to_owned()).or_default().push(definition);
}

fn file_of(declared: &ItemMod, children: &Path) -> PathBuf {
    let has_path = declared.attrs.iter().any(|attribute| attribute.path().is_ident("path"));
    assert!(!has_path, "unsupported: `#[path]` on modules");
    let flat = children.join(format!("{}.rs", declared.ident));
    if flat.exists() {
        flat
    } else {
        children.join(declared.ident.to_string()).join("mod.rs")
    }
}

/// Returns the items inside a macro call such as `pin_project!`, or the item itself.
fn expanded(item: Item) -> Vec<Item> {
    match &item {
        Item::Macro(called) if called.ident.is_none() => match called.mac.parse_body::<syn::File>() {
            Ok(body) if !body.items.is_empty() => body.items,
            _ => vec![item],
        },
        _ => vec![item],
    }
}

/// Returns the names that an item defines in its module.
fn defined(item: &Item) -> Vec<String> {
    match item {
        Item::Macro(item) if item.ident.is_none() => defined_by_tokens(item.mac.tokens.clone()),
        _ => name_of(item).into_iter().collect(),
    }
}

pub(crate) fn name_of(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        Item::Macro(item) => return item.ident.as_ref().map(|name| format!("{name}!")),
        _ => return None,
    };
    Some(name.to_string())
}

/// Returns the names in a macro call whose body is not a list of items: each name after a keyword
/// that defines one.
fn defined_by_tokens(tokens: TokenStream) -> Vec<String> {
    let words = tokens.into_iter().map(|token| match token {
        TokenTree::Ident(word) => word.to_string(),
        _ => String::new(),
    });
    let words: Vec<String> = words.collect();
    let keywords = ["const", "enum", "fn", "static", "struct", "trait", "type", "union"];
    let pairs = words
        .windows(2)
        .filter(|pair| keywords.contains(&pair[0].as_str()) && !pair[1].is_empty());
    pairs.map(|pair| pair[1].clone()).collect()
}

pub(crate) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
