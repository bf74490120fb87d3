//! Questions about tokens.

use proc_macro2::{Ident, TokenStream, TokenTree};

/// Returns a number that changes with the tokens: FNV-1a (Fowler, Noll, Vo) of their text in 128 bits. White space and
/// comments are not part of it.
pub(crate) fn hash(tokens: &TokenStream) -> u128 {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let text = tokens.to_string();
    text.bytes().fold(BASIS, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME))
}

/// Returns whether `name` is among the tokens, however deep in brackets.
pub(crate) fn mention(tokens: &TokenStream, name: &Ident) -> bool {
    tokens.clone().into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == *name,
        TokenTree::Group(group) => mention(&group.stream(), name),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use quote::{format_ident, quote};

    use super::*;

    #[test]
    fn the_hash_is_that_of_the_specification() {
        assert_eq!(hash(&TokenStream::new()), 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
        assert_eq!(hash(&quote!(a)), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
    }

    #[test]
    fn names_are_found_in_brackets_and_as_a_whole() {
        let tokens = quote!(a(&b[c.d], "e"));
        assert!(["a", "b", "c", "d"].iter().all(|name| mention(&tokens, &format_ident!("{name}"))));
        assert!(!mention(&tokens, &format_ident!("e")) && !mention(&quote!(abc), &format_ident!("a")));
    }
}
