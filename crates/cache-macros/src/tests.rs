//! What is refused, and where the message points.

use proc_macro2::TokenStream;

use crate::expand::cached;

/// Returns the message, and the tokens that it points at.
fn refused(attribute: &str, item: &str) -> (String, String) {
    let parse = |text: &str| text.parse::<TokenStream>().expect("it is made of tokens");
    let error = cached(parse(attribute), parse(item)).expect_err("it is refused");
    (error.to_string(), error.span().source_text().unwrap_or_default())
}

#[test]
fn what_is_refused_is_pointed_at() {
    let plain = "fn f(a: u8) -> u8 { a }";
    for (attribute, item, message, place) in [
        ("tll = 1", plain, "there is no `tll`", "tll"),
        ("ttl", plain, "`ttl = …`", "ttl"),
        ("ttl = a, ttl = b", plain, "another `ttl`", "ttl"),
        ("result, option", plain, "another", "option"),
        ("result = true", plain, "stands alone", "true"),
        ("max_size = 1, store = S", plain, "one limit for all", "max_size"),
        ("ttl = a, on_error = retry, result", plain, "`on_error = stale`", "retry"),
        ("ttl = a, on_error, result", plain, "`on_error = …`", "on_error"),
        ("ttl = a, on_error = stale", plain, "add `result`", "on_error"),
        ("ttl = a, on_error = stale, option", plain, "add `result`", "on_error"),
        ("on_error = stale, result", plain, "add `ttl = …`", "on_error"),
        ("stale_while_revalidate = a", plain, "add `ttl = …`", "stale_while_revalidate"),
        ("files = path", plain, "`files = [path, …]`", "path"),
        ("files = []", plain, "`files = [path, …]`", "[]"),
        ("", "struct S;", "before a function", "struct"),
        ("", "const fn f() -> u8 { 1 }", "leave out `const`", "const"),
        ("", "unsafe fn f() -> u8 { 1 }", "unsafe", "unsafe"),
        ("", "extern \"C\" fn f() -> u8 { 1 }", "other languages", "extern"),
        ("", "fn f(&self) -> u8 { 1 }", "add `key = …`", "self"),
        ("key = 1", "fn f(&mut self) -> u8 { 1 }", "lost on a hit", "mut"),
        ("", "fn f(a: &mut u8) -> u8 { 1 }", "lost on a hit", "mut"),
        ("", "fn f<T>(a: u8) -> u8 { 1 }", "depend on this type", "T"),
        ("", "fn f(a: impl Copy) -> u8 { 1 }", "depend on this type", "impl"),
        ("", "fn f((a, b): (u8, u8)) -> u8 { a }", "give the argument a name", "(a, b)"),
        ("", "fn f(a: u8) { }", "nothing to keep", "f"),
        ("", "fn f(a: u8) -> impl Copy { a }", "name the type", "impl"),
    ] {
        let (said, at) = refused(attribute, item);
        assert!(said.contains(message), "{item}: {said}");
        assert!(at.starts_with(place), "{item}: {at} instead of {place}");
    }
}

#[test]
fn what_a_key_names_is_allowed() {
    for item in
        ["fn f(&self, a: u8) -> u8 { 1 }", "fn f<T: Id>(a: T) -> u8 { 1 }", "fn f(a: impl Id) -> u8 { 1 }"]
    {
        let tokens = cached("key = a".parse().unwrap(), item.parse().unwrap());
        assert!(tokens.is_ok(), "{item}");
    }
}
