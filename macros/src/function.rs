//! The function that is traced: what it may be, and the names of its arguments.

use proc_macro2::{Span, TokenStream};
use quote::ToTokens as _;
use syn::parse::{Parse, ParseStream};
use syn::visit_mut::{self, VisitMut};
use syn::{Error, FnArg, Ident, Item, ItemFn, PatIdent, Result, Signature, TraitItemFn};

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

/// What it is, where it is something that has no body of its own to trace.
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

    /// What its arguments bind, but for `self`, in the order in which it is written.
    pub(crate) fn arguments(&self) -> Vec<Ident> {
        let mut bound = Bound(Vec::new());
        for argument in &self.0.sig.inputs {
            if let FnArg::Typed(argument) = argument {
                bound.visit_pat_mut(&mut argument.pat.clone());
            }
        }
        bound.0
    }
}

struct Bound(Vec<Ident>);

impl VisitMut for Bound {
    fn visit_pat_ident_mut(&mut self, pattern: &mut PatIdent) {
        self.0.push(pattern.ident.clone());
        visit_mut::visit_pat_ident_mut(self, pattern);
    }
}
