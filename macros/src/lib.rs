//! The home of `#[trace]`, the attribute macro of `tracer-registry`, which re-exports it.
//!
//! A crate of its own because the compiler wants procedural macros so.

mod expand;
mod function;
mod options;
mod returns;

use function::Function;
use options::Options;
use proc_macro::TokenStream;

/// doc
#[proc_macro_attribute]
pub fn trace(options: TokenStream, item: TokenStream) -> TokenStream {
    let untouched = proc_macro2::TokenStream::from(item.clone());
    let expanded = syn::parse::<Options>(options).and_then(|options| {
        let function = syn::parse::<Function>(item)?;
        expand::expand(&options, function)
    });
    // The function stays, so that one wrong option is not an error at each of its callers too.
    expanded
        .unwrap_or_else(|error| {
            let error = error.into_compile_error();
            quote::quote!(#error #untouched)
        })
        .into()
}
