//! Collects the paths in a piece of code, except in test code.

use proc_macro2::{TokenStream, TokenTree};
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{Attribute, Field, ImplItem, Item, Macro, Meta, Path, Stmt, Token, TraitItem, UseTree, Variant, Visibility};

/// The segments of a path as written, without generic arguments. `$crate` is `crate`. The name of a
/// called macro ends with `!`.
pub(crate) type Segments = Vec<String>;

#[derive(Default)]
pub(crate) struct Mentions {
    pub(crate) paths: Vec<Segments>,
    /// Each import: its name in this scope, and its path.
    pub(super) uses: Vec<(String, Segments)>,
    /// The modules behind `use module::*`.
    pub(super) globs: Vec<Segments>,
}

/// Returns true if an item with these attributes exists only in test builds.
pub(super) fn only_tests(attributes: &[Attribute]) -> bool {
    attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("cfg"))
        .any(|attribute| attribute.parse_args().is_ok_and(|meta| holds(&meta) == Some(false)))
}

/// Evaluates a `cfg` condition for a build without tests. Returns `None` if it depends on something
/// else.
fn holds(condition: &Meta) -> Option<bool> {
    let parts = || match condition {
        Meta::List(list) => list
            .parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)
            .expect("conditions")
            .iter()
            .map(holds)
            .collect::<Vec<_>>(),
        _ => Vec::new(),
    };
    match condition.path().get_ident()?.to_string().as_str() {
        "test" | "doctest" | "fuzzing" => Some(false),
        "not" => parts()[0].map(|holds| !holds),
        "all" if parts().contains(&Some(false)) => Some(false),
        "any" if parts().iter().all(|part| *part == Some(false)) => Some(false),
        _ => None,
    }
}

impl Mentions {
    fn of_use(&mut self, before: &Segments, tree: &UseTree) {
        let with = |name: String| before.iter().cloned().chain([name]).collect::<Segments>();
        match tree {
            UseTree::Path(path) => self.of_use(&with(path.ident.to_string()), &path.tree),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.of_use(before, tree)),
            UseTree::Glob(_) => self.globs.push(before.clone()),
            UseTree::Name(name) if name.ident == "self" => {
                let name = before.last().expect("`self` is in a group").clone();
                self.import(name, before.clone());
            }
            UseTree::Name(name) => self.import(name.ident.to_string(), with(name.ident.to_string())),
            UseTree::Rename(rename) => self.import(rename.rename.to_string(), with(rename.ident.to_string())),
        }
    }

    fn import(&mut self, name: String, path: Segments) {
        self.paths.push(path.clone());
        self.uses.push((name, path));
    }

    /// Collects from tokens without a syntax tree: names joined by `::`, and macro calls.
    fn of_tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let is =
            |at: usize, sign: char| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == sign);
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Group(group) => self.of_tokens(group.stream()),
                TokenTree::Ident(first) => {
                    let is_member = at > 0 && (is(at - 1, '.') || is(at - 1, ':') && at > 1 && is(at - 2, ':'));
                    let mut path = vec![first.to_string()];
                    while is(at + 1, ':') && is(at + 2, ':') {
                        let Some(TokenTree::Ident(next)) = tokens.get(at + 3) else {
                            break;
                        };
                        path.push(next.to_string());
                        at += 3;
                    }
                    if is(at + 1, '!') && matches!(tokens.get(at + 2), Some(TokenTree::Group(_))) {
                        path.last_mut().expect("a name").push('!');
                    }
                    if !is_member {
                        self.paths.push(path);
                    }
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
            at += 1;
        }
    }

    /// Collects from strings, in which serde names functions: `with = "super::seconds"`.
    fn of_strings(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => self.of_strings(group.stream()),
                TokenTree::Literal(literal) => {
                    if let Ok(text) = syn::parse2::<syn::LitStr>(TokenTree::Literal(literal).into())
                        && let Ok(path) = text.parse::<Path>()
                    {
                        self.visit_path(&path);
                    }
                }
                TokenTree::Ident(_) | TokenTree::Punct(_) => {}
            }
        }
    }
}

impl<'code> Visit<'code> for Mentions {
    fn visit_item(&mut self, item: &'code Item) {
        match item {
            // A module is read on its own.
            Item::Mod(_) => {}
            _ if only_tests(super::modules::attributes(item)) => {}
            Item::Use(used) if used.leading_colon.is_none() => self.of_use(&Vec::new(), &used.tree),
            _ => visit::visit_item(self, item),
        }
    }

    fn visit_impl_item(&mut self, item: &'code ImplItem) {
        let attributes = match item {
            ImplItem::Const(item) => &item.attrs,
            ImplItem::Fn(item) => &item.attrs,
            ImplItem::Type(item) => &item.attrs,
            ImplItem::Macro(item) => &item.attrs,
            _ => return,
        };
        if !only_tests(attributes) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_trait_item(&mut self, item: &'code TraitItem) {
        let attributes = match item {
            TraitItem::Const(item) => &item.attrs,
            TraitItem::Fn(item) => &item.attrs,
            TraitItem::Type(item) => &item.attrs,
            TraitItem::Macro(item) => &item.attrs,
            _ => return,
        };
        if !only_tests(attributes) {
            visit::visit_trait_item(self, item);
        }
    }

    fn visit_field(&mut self, field: &'code Field) {
        if !only_tests(&field.attrs) {
            visit::visit_field(self, field);
        }
    }

    fn visit_variant(&mut self, variant: &'code Variant) {
        if !only_tests(&variant.attrs) {
            visit::visit_variant(self, variant);
        }
    }

    fn visit_stmt(&mut self, stmt: &'code Stmt) {
        let attributes: &[Attribute] = match stmt {
            Stmt::Local(local) => &local.attrs,
            Stmt::Macro(called) => &called.attrs,
            _ => &[],
        };
        if !only_tests(attributes) {
            visit::visit_stmt(self, stmt);
        }
    }

    // `pub(in crate::export)` uses nothing of that module.
    fn visit_visibility(&mut self, _: &'code Visibility) {}

    fn visit_attribute(&mut self, attribute: &'code Attribute) {
        match &attribute.meta {
            Meta::List(list) if list.path.is_ident("serde") || list.path.is_ident("schemars") => {
                self.of_strings(list.tokens.clone());
            }
            Meta::List(list) if !list.path.is_ident("cfg") => self.of_tokens(list.tokens.clone()),
            _ => {}
        }
    }

    fn visit_macro(&mut self, called: &'code Macro) {
        let mut path = written(&called.path);
        path.last_mut().expect("a macro has a name").push('!');
        self.paths.push(path);
        self.of_tokens(called.tokens.clone());
    }

    fn visit_path(&mut self, path: &'code Path) {
        if path.leading_colon.is_none() {
            self.paths.push(written(path));
        }
        visit::visit_path(self, path);
    }
}

fn written(path: &Path) -> Segments {
    path.segments.iter().map(|segment| segment.ident.to_string()).collect()
}
