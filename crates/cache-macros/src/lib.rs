//! The attribute `#[cached]` of [vitte-cache](https://docs.rs/vitte-cache), which says what it does and has examples.
//!
//! Use it through `vitte_cache::cached`: what it expands to needs that crate.

mod arguments;
mod expand;
mod function;
#[cfg(test)]
mod tests;
mod tokens;

use proc_macro::TokenStream;

/// Keeps what a function returns. See `vitte_cache::cached`.
#[proc_macro_attribute]
pub fn cached(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let refused = |error: syn::Error| {
        // The function stays, so that those who call it are not blamed as well.
        let mut tokens = TokenStream::from(error.into_compile_error());
        tokens.extend(item.clone());
        tokens
    };
    expand::cached(attribute.into(), item.clone().into()).map_or_else(refused, TokenStream::from)
}
