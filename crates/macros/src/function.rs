//! The traced function: which ones are allowed, and the names of their arguments.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens as _, quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::visit_mut::{self, VisitMut};
use syn::{
    Attribute, Error, FnArg, Ident, Item, ItemFn, Meta, Pat, PatIdent, Receiver, Result, Signature, Token, TraitItemFn,
    parse_quote,
};

/// A function with a body: free, of a type, of a trait or of an implementation.
pub(crate) struct Function(pub(crate) ItemFn);

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let ahead = input.fork();
        match input.parse::<ItemFn>() {
            Ok(function) => Ok(Self(function)),
            Err(error) => Err(no_function(&ahead).unwrap_or(error)),
        }
    }
}

/// The error for an item that has no body of its own to trace.
fn no_function(input: ParseStream<'_>) -> Option<Error> {
    if let Ok(declared) = input.fork().parse::<TraitItemFn>()
        && declared.default.is_none()
    {
        return Some(Error::new_spanned(
            declared.sig,
            "`#[trace]` needs a body: put it on the functions of the implementations",
        ));
    }
    let item = input.fork().parse::<Item>().ok()?;
    let what = match &item {
        Item::Impl(_) => "`#[trace]` goes on functions: put it on those inside that are to be traced",
        Item::Fn(_) => return None,
        _ => "`#[trace]` goes on functions",
    };
    Some(Error::new(first_span(item.to_token_stream()), what))
}

fn first_span(tokens: TokenStream) -> Span {
    tokens
        .into_iter()
        .next()
        .map_or_else(Span::call_site, |token| token.span())
}

impl Function {
    /// Refuses what cannot be traced.
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
                "a `const fn` cannot be traced: it may run in the compiler",
            ));
        }
        if let Some(abi) = abi {
            return Err(Error::new_spanned(
                abi,
                "an `extern` function cannot be traced: a panic must not leave it; trace the function that it calls",
            ));
        }
        if let Some(variadic) = variadic {
            return Err(Error::new_spanned(
                variadic,
                "a function with variable arguments cannot be traced",
            ));
        }
        Ok(())
    }

    /// The names that its arguments bind, except `self`, in order.
    pub(crate) fn arguments(&self) -> Vec<Ident> {
        let mut bound = Bound(Vec::new());
        for argument in &self.0.sig.inputs {
            if let FnArg::Typed(argument) = argument {
                bound.visit_pat_mut(&mut argument.pat.clone());
            }
        }
        bound.0.into_iter().map(|(_, name)| name).collect()
    }

    /// Rebinds all arguments in the body, in their order, as the compiler does for an `async fn`. So they are dropped before the span ends, in the order
    /// that they have without the attribute. `mut` and lints move to the new bindings.
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
            let mut bound = Bound(Vec::new());
            bound.visit_pat_mut(&mut argument.pat);
            let attributes = argument.attrs.clone();
            argument.attrs.retain(is_condition);
            let bindings = bound.0.into_iter();
            statements.extend(bindings.map(|(mutable, name)| {
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

    /// A closure captures what it mentions: all of `self`.
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

/// Returns whether an attribute is a condition of compilation.
fn is_condition(attribute: &Attribute) -> bool {
    matches!(&attribute.meta, Meta::List(list) if list.path.is_ident("cfg") || list.path.is_ident("cfg_attr"))
}

/// The names of a pattern, each once, and the `mut` before them, which it removes.
struct Bound(Vec<(Option<Token![mut]>, Ident)>);

impl VisitMut for Bound {
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
