//! From a function to a memoised one and its companions.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{
    Attribute, Expr, FnArg, GenericParam, Generics, ItemFn, Pat, Result, ReturnType, Signature, Token,
    WherePredicate,
};

use crate::arguments::{Arguments, Kept};
use crate::function::Function;
use crate::tokens;

/// Lints of the author that are about the body.
const LINTS: [&str; 5] = ["allow", "expect", "warn", "deny", "forbid"];

pub(crate) fn cached(attribute: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let arguments = Arguments::parse(attribute)?;
    let item = syn::parse2::<ItemFn>(item).map_err(|error| {
        syn::Error::new(error.span(), "`#[cached]` stands before a function or a method with a body")
    })?;
    let function = Function::new(item, arguments.key.is_some())?;
    Ok(Expansion { arguments, function }.all())
}

struct Expansion {
    arguments: Arguments,
    function: Function,
}

impl Expansion {
    fn all(&self) -> TokenStream {
        let parts =
            [self.bounded(), self.memoised(), self.uncached(), self.prime(), self.invalidate(), self.clear()];
        parts.into_iter().collect()
    }

    /// Where the cache of this function alone is, if it has one.
    fn bounded(&self) -> TokenStream {
        let Some(max_size) = &self.arguments.max_size else { return TokenStream::new() };
        let (name, attributes) = (self.own_store(), self.attributes(|name| name == "cfg"));
        let cache = quote_spanned!(max_size.span()=> ::vitte_cache::memo::bounded(#max_size));
        quote! {
            #[doc(hidden)]
            #[allow(clippy::all, clippy::pedantic)]
            #(#attributes)*
            fn #name() -> &'static ::vitte_cache::Cache {
                static CACHE: ::std::sync::LazyLock<::vitte_cache::Cache> = ::std::sync::LazyLock::new(|| #cache);
                &CACHE
            }
        }
    }

    fn own_store(&self) -> Ident {
        format_ident!("__{}_store", self.function.item.sig.ident)
    }

    /// The function under its own name.
    fn memoised(&self) -> TokenStream {
        let attributes = self.attributes(|name| name == "allow" || !LINTS.contains(&name));
        let (visibility, signature) = (&self.function.item.vis, self.signature());
        let (call, run) = (self.call(), self.run());
        // `_name` may well be unused in the body; it is part of the key.
        quote! {
            #[allow(clippy::used_underscore_binding)]
            #(#attributes)*
            #visibility #signature {
                let __call = #call;
                #run
            }
        }
    }

    /// The body of the author.
    fn uncached(&self) -> TokenStream {
        let attributes = self.attributes(|name| name == "cfg" || LINTS.contains(&name));
        let doc = self.doc("Does what [`", "`] does, and neither looks into the cache nor stores anything.");
        let ItemFn { vis, sig, block, .. } = &self.function.item;
        let signature = Signature { ident: self.companion("uncached"), ..sig.clone() };
        quote! {
            #doc
            #[allow(dead_code)]
            #(#attributes)*
            #vis #signature #block
        }
    }

    fn prime(&self) -> TokenStream {
        let doc = self.doc("Calls [`", "`] even if its result is in the cache, and stores the new one.");
        let signature = Signature { ident: self.companion("prime"), ..self.signature() };
        let (call, run, head) = (self.call(), self.run(), self.head(&doc));
        quote! {
            #head #signature {
                let __call = #call.fresh();
                #run
            }
        }
    }

    fn invalidate(&self) -> TokenStream {
        let doc = self.doc(
            "Removes what [`",
            "`] returned for these arguments from the cache, and returns whether it was there.",
        );
        let mut signature = Signature { ident: self.companion("invalidate"), ..self.signature() };
        signature.output = syn::parse_quote!(-> bool);
        let (call, head) = (self.call(), self.head(&doc));
        let invalidate =
            if self.function.is_async() { quote!(invalidate_async().await) } else { quote!(invalidate()) };
        quote! {
            #head #signature {
                #call.#invalidate
            }
        }
    }

    /// Takes only those arguments that say where the store is.
    fn clear(&self) -> TokenStream {
        let doc = self.doc("Removes all that [`", "`] returned from the cache, and returns how much it was.");
        let mut signature = Signature { ident: self.companion("clear"), ..self.signature() };
        signature.output = syn::parse_quote!(-> u64);
        let store = self.arguments.store.to_token_stream();
        let inputs: Punctuated<FnArg, Token![,]> = signature
            .inputs
            .iter()
            .filter(|input| match input {
                FnArg::Receiver(receiver) => tokens::mention(&store, &receiver.self_token.into()),
                FnArg::Typed(input) => {
                    matches!(&*input.pat, Pat::Ident(name) if tokens::mention(&store, &name.ident))
                }
            })
            .cloned()
            .collect();
        signature.generics = of_inputs(signature.generics, &inputs);
        signature.inputs = inputs;
        let (head, path, store) = (self.head(&doc), self.path(), self.store());
        let clear = quote!((#store, &#path));
        let clear =
            if self.function.is_async() { quote!(clear_async #clear.await) } else { quote!(clear #clear) };
        quote! {
            #head #signature {
                ::vitte_cache::memo::#clear
            }
        }
    }

    /// What stands before a companion.
    fn head(&self, doc: &TokenStream) -> TokenStream {
        let attributes = self.attributes(|name| name == "cfg");
        let visibility = &self.function.item.vis;
        quote! {
            #doc
            #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
            #(#attributes)*
            #visibility
        }
    }

    fn attributes(&self, wanted: impl Fn(&str) -> bool) -> Vec<&Attribute> {
        let name = |attribute: &Attribute| attribute.path().get_ident().map(ToString::to_string);
        let wanted = |attribute: &&Attribute| wanted(&name(attribute).unwrap_or_default());
        self.function.item.attrs.iter().filter(wanted).collect()
    }

    fn doc(&self, before: &str, after: &str) -> TokenStream {
        let name = self.name();
        // The link of a method has to name its type.
        let link = if self.function.receiver().is_some() { format!("(Self::{name})") } else { String::new() };
        let text = format!("{before}{name}{}{link}{}", &after[..2], &after[2..]);
        quote!(#[doc = #text])
    }

    fn name(&self) -> String {
        self.function.item.sig.ident.unraw().to_string()
    }

    fn companion(&self, what: &str) -> Ident {
        format_ident!("{}_{what}", self.function.item.sig.ident)
    }

    /// The signature of the author, whose `mut` before a name is about the body.
    fn signature(&self) -> Signature {
        let mut signature = self.function.item.sig.clone();
        for input in &mut signature.inputs {
            match input {
                FnArg::Receiver(receiver) if receiver.reference.is_none() => receiver.mutability = None,
                FnArg::Receiver(_) => {}
                FnArg::Typed(input) => {
                    if let Pat::Ident(name) = &mut *input.pat {
                        name.mutability = None;
                    }
                }
            }
        }
        signature
    }

    /// The path under which the results are kept. By its end, none is the beginning of another one: what a chain of tiers
    /// clears, it finds by that.
    fn path(&self) -> TokenStream {
        let name = format!("{}()", self.name());
        if self.function.receiver().is_some() {
            quote!(::vitte_cache::memo::method::<Self>(#name))
        } else {
            // The module alone would not tell apart functions that are in functions.
            quote!({
                struct __Here;
                ::vitte_cache::memo::function::<__Here>(#name)
            })
        }
    }

    fn store(&self) -> TokenStream {
        let function = if self.function.is_async() { "store_async" } else { "store" };
        let function = |span: Span| Ident::new(function, span.resolved_at(Span::call_site()));
        if let Some(store) = &self.arguments.store {
            let function = function(store.span());
            quote_spanned!(store.span()=> ::vitte_cache::memo::#function(&(#store)))
        } else if self.arguments.max_size.is_some() {
            let name = self.own_store();
            let own = if self.function.receiver().is_some() { quote!(Self::#name) } else { quote!(#name) };
            let function = function(Span::call_site());
            quote!(::vitte_cache::memo::#function(#own()))
        } else {
            let function = function(Span::call_site());
            quote!(::vitte_cache::memo::#function(::vitte_cache::memo::in_memory()))
        }
    }

    fn call(&self) -> TokenStream {
        let (store, path) = (self.store(), self.path());
        let part = |expr: &dyn ToTokens| quote_spanned!(expr.to_token_stream().span()=> ::vitte_cache::memo::part(&(#expr)));
        let version = if let Some(version) = &self.arguments.version {
            part(version)
        } else {
            let ItemFn { sig, block, .. } = &self.function.item;
            let key = &self.arguments.key;
            let hash = tokens::hash(&quote!(#sig #block #key));
            quote!(&#hash)
        };
        let key = if let Some(key) = &self.arguments.key {
            part(key)
        } else {
            let parts = self.function.names.iter().map(|name| part(name));
            quote!(&(#(#parts,)*))
        };
        let further = self.further();
        quote!(::vitte_cache::memo::Call::new(#store, &#path, #version, #key) #further)
    }

    /// What is said about a call besides its key and time.
    fn further(&self) -> TokenStream {
        let Arguments { ttl, stale_while_revalidate, stale_on_error, files, .. } = &self.arguments;
        let ttl = ttl.as_ref().map(|ttl| quote_spanned!(ttl.span()=> .ttl(#ttl)));
        let stale = stale_while_revalidate
            .as_ref()
            .map(|stale| quote_spanned!(stale.span()=> .stale_while_revalidate(#stale)));
        let on_error = stale_on_error.then(|| quote!(.stale_on_error()));
        let file = |file: &Expr| quote_spanned!(file.span()=> ::vitte_cache::memo::file(&(#file)));
        let files = files.iter().map(file).reduce(|all, next| quote!(#all, #next));
        let files = files.map(|files| quote!(.files(&[#files])));
        quote!(#ttl #stale #on_error #files)
    }

    /// Asks the cache, and calls the body of the author on a miss.
    fn run(&self) -> TokenStream {
        let sig = &self.function.item.sig;
        let name = self.companion("uncached");
        let names = &self.function.names;
        // What is wrong with the type is said where it stands.
        let span = match &sig.output {
            ReturnType::Type(_, kind) => kind.span(),
            ReturnType::Default => sig.ident.span(),
        };
        let span = span.resolved_at(Span::call_site());
        let callee = if let Some(receiver) = self.function.receiver() {
            let this = receiver.self_token;
            quote_spanned!(span=> Self::#name(#this, #(#names),*))
        } else {
            quote_spanned!(span=> #name(#(#names),*))
        };
        let method = match (self.arguments.kept, self.function.is_async()) {
            (Kept::Whole, false) => "run",
            (Kept::Whole, true) => "run_async",
            (Kept::Ok, false) => "run_result",
            (Kept::Ok, true) => "run_result_async",
            (Kept::Some, false) => "run_option",
            (Kept::Some, true) => "run_option_async",
        };
        let (call, method) = (Ident::new("__call", span), Ident::new(method, span));
        if self.function.is_async() {
            // Each function that it is moved through would make the future larger by as much.
            quote_spanned! {span=>
                let __make = ::std::pin::pin!(#callee);
                #call.#method(__make).await
            }
        } else {
            quote_spanned!(span=> #call.#method(move || #callee))
        }
    }
}

/// Returns those generic parameters that `inputs` mention, because nobody could infer the others.
fn of_inputs(generics: Generics, inputs: &Punctuated<FnArg, Token![,]>) -> Generics {
    let inputs = inputs.to_token_stream();
    let name = |parameter: &GenericParam| match parameter {
        GenericParam::Type(parameter) => Some(parameter.ident.clone()),
        GenericParam::Const(parameter) => Some(parameter.ident.clone()),
        GenericParam::Lifetime(_) => None,
    };
    let mut kept: Vec<GenericParam> = Vec::new();
    let mut left: Vec<GenericParam> = generics.params.into_iter().collect();
    // A bound of one that is kept may mention another one.
    loop {
        let bounds = quote!(#inputs #(#kept)*);
        let is_kept =
            |parameter: &GenericParam| name(parameter).is_none_or(|name| tokens::mention(&bounds, &name));
        let (new, others): (Vec<_>, Vec<_>) = left.into_iter().partition(is_kept);
        left = others;
        if new.is_empty() {
            break;
        }
        kept.extend(new);
    }
    let gone: Vec<Ident> = left.iter().filter_map(name).collect();
    let mut where_clause = generics.where_clause;
    if let Some(clause) = &mut where_clause {
        let holds = |predicate: &WherePredicate| {
            let predicate = predicate.to_token_stream();
            !gone.iter().any(|name| tokens::mention(&predicate, name))
        };
        clause.predicates = clause.predicates.iter().filter(|predicate| holds(predicate)).cloned().collect();
    }
    let order = |parameter: &GenericParam| !matches!(parameter, GenericParam::Lifetime(_));
    kept.sort_by_key(order);
    Generics { params: kept.into_iter().collect(), where_clause, ..generics }
}
