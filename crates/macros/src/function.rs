//! Parses the traced function, rejects unsupported ones and rebinds the arguments.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens as _, quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::visit_mut::{self, VisitMut};
use syn::{
    Attribute, Error, FnArg, Ident, Item, ItemFn, Meta, Pat, PatIdent, Receiver, Result, Signature, Token, TraitItemFn,
    parse_quote,
};

/// A function with a body: free, associated, or in a trait or its implementation.
pub(crate) struct Function(pub(crate) ItemFn);

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let ahead = input.fork();
        match input.parse::<ItemFn>() {
            Ok(function) => Ok(Self(function)),
            Err(error) => Err(unsupported_item(&ahead).unwrap_or(error)),
        }
    }
}

/// Returns the error for an item that is not a function with a body.
fn unsupported_item(input: ParseStream<'_>) -> Option<Error> {
    if let Ok(declared) = input.fork().parse::<TraitItemFn>()
        && declared.default.is_none()
    {
        return Some(Error::new_spanned(
            declared.sig,
            "`#[trace]` requires a function body: put it on the functions of the implementations",
        ));
    }
    let item = input.fork().parse::<Item>().ok()?;
    let message = match &item {
        Item::Impl(_) => "`#[trace]` applies to functions only: put it on the functions of the `impl` block",
        Item::Fn(_) => return None,
        _ => "`#[trace]` applies to functions only",
    };
    Some(Error::new(first_span(item.to_token_stream()), message))
}

fn first_span(tokens: TokenStream) -> Span {
    tokens
        .into_iter()
        .next()
        .map_or_else(Span::call_site, |token| token.span())
}

impl Function {
    /// Rejects unsupported functions.
    pub(crate) fn check(&self) -> Result<()> {
        let Signature {
            constness,
            abi,
            variadic,
            ..
        } = &self.0.sig;
        if let Some(constness) = constness {
            return Err(Error::new_spanned(
                constness,
                "`#[trace]` does not support `const fn`: it may run at compile time",
            ));
        }
        if let Some(abi) = abi {
            return Err(Error::new_spanned(
                abi,
                "`#[trace]` does not support `extern` functions: trace the function that it calls",
            ));
        }
        if let Some(variadic) = variadic {
            return Err(Error::new_spanned(
                variadic,
                "`#[trace]` does not support variadic functions",
            ));
        }
        Ok(())
    }

    /// Returns the names that the arguments bind, except `self`, in order.
    pub(crate) fn arguments(&self) -> Vec<Ident> {
        let mut bindings = Bindings(Vec::new());
        for argument in &self.0.sig.inputs {
            if let FnArg::Typed(argument) = argument {
                bindings.visit_pat_mut(&mut argument.pat.clone());
            }
        }
        bindings.0.into_iter().map(|(_, name)| name).collect()
    }

    /// Returns statements that rebind all arguments in order, as the compiler does for an `async
    /// fn`. The arguments then drop before the span ends, in the same order as without the
    /// attribute. Moves `mut` and lint attributes to the new bindings.
    pub(crate) fn rebind(&mut self) -> Vec<TokenStream> {
        let mut statements = Vec::new();
        for (index, argument) in self.0.sig.inputs.iter_mut().enumerate() {
            let FnArg::Typed(argument) = argument else {
                continue;
            };
            if let Pat::Wild(_) = *argument.pat {
                let name = Ident::new(&format!("_argument_{index}"), Span::mixed_site());
                *argument.pat = parse_quote!(#name);
            }
            let mut bindings = Bindings(Vec::new());
            bindings.visit_pat_mut(&mut argument.pat);
            let attributes = argument.attrs.clone();
            argument.attrs.retain(is_condition);
            statements.extend(bindings.0.into_iter().map(|(mutable, name)| {
                quote! {
                    #[allow(clippy::no_effect_underscore_binding, clippy::shadow_same, clippy::used_underscore_binding)]
                    #(#attributes)*
                    let #mutable #name = #name;
                }
            }));
        }
        statements
    }

    pub(crate) fn receiver(&self) -> Option<&Receiver> {
        self.0.sig.receiver()
    }

    /// Returns a statement that makes a closure capture all of `self`.
    pub(crate) fn mention_self(&self) -> Option<TokenStream> {
        let token = self.receiver()?.self_token;
        Some(quote_spanned!(Span::mixed_site()=> let _ = &#token;))
    }

    pub(crate) fn track_caller(&self) -> Option<&Attribute> {
        self.0
            .attrs
            .iter()
            .find(|attribute| attribute.path().is_ident("track_caller"))
    }
}

/// Returns whether an attribute controls conditional compilation.
fn is_condition(attribute: &Attribute) -> bool {
    matches!(&attribute.meta, Meta::List(list) if list.path.is_ident("cfg") || list.path.is_ident("cfg_attr"))
}

/// Collects the names of a pattern, each once, and removes `mut` from them.
struct Bindings(Vec<(Option<Token![mut]>, Ident)>);

impl VisitMut for Bindings {
    fn visit_pat_ident_mut(&mut self, pattern: &mut PatIdent) {
        let mutable = if pattern.by_ref.is_none() {
            pattern.mutability.take()
        } else {
            None
        };
        if self.0.iter().all(|(_, name)| *name != pattern.ident) {
            self.0.push((mutable, pattern.ident.clone()));
        }
        visit_mut::visit_pat_ident_mut(self, pattern);
    }
}
