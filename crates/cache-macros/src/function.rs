//! The function under the attribute, and why one may not be memoised.

use syn::spanned::Spanned;
use syn::{Error, FnArg, GenericParam, Ident, ItemFn, Pat, Receiver, Result, ReturnType, Signature, Type};

use crate::tokens;

/// A function that can be memoised.
pub(crate) struct Function {
    pub(crate) item: ItemFn,
    /// The names of its arguments but for `self`.
    pub(crate) names: Vec<Ident>,
}

impl Function {
    /// Returns the function, if a result of it can stand for another call. With `has_key`, the author says what it
    /// depends on.
    pub(crate) fn new(item: ItemFn, has_key: bool) -> Result<Self> {
        let signature = &item.sig;
        kind(signature)?;
        if !has_key {
            dependencies(&item)?;
        }
        match &signature.output {
            ReturnType::Default => {
                return Err(Error::new(signature.ident.span(), "it returns nothing to keep"));
            }
            ReturnType::Type(_, kind) if matches!(**kind, Type::ImplTrait(_)) => {
                return Err(Error::new(kind.span(), "name the type: an `impl` type cannot be read back"));
            }
            ReturnType::Type(..) => {}
        }
        let names =
            signature.inputs.iter().filter_map(|input| name(input).transpose()).collect::<Result<_>>()?;
        Ok(Self { item, names })
    }

    pub(crate) fn is_async(&self) -> bool {
        self.item.sig.asyncness.is_some()
    }

    pub(crate) fn receiver(&self) -> Option<&Receiver> {
        self.item.sig.receiver()
    }
}

fn kind(signature: &Signature) -> Result<()> {
    let refused = |span, what| Err(Error::new(span, what));
    if let Some(token) = &signature.constness {
        return refused(token.span(), "a `const` function cannot ask a cache; leave out `const`");
    }
    if let Some(token) = &signature.unsafety {
        return refused(
            token.span(),
            "an `unsafe` function cannot be memoised: on a hit nobody checks what it asks for",
        );
    }
    if let Some(token) = &signature.abi {
        return refused(
            token.span(),
            "a function for other languages cannot be memoised; memoise one that it calls",
        );
    }
    if let Some(token) = &signature.variadic {
        return refused(token.span(), "a function of any number of arguments cannot be memoised");
    }
    Ok(())
}

/// Refuses what the result may depend on without being in the arguments.
fn dependencies(item: &ItemFn) -> Result<()> {
    let signature = &item.sig;
    if let Some(receiver) = signature.receiver() {
        let message = "`self` is not part of the key by itself; add `key = …` with what of it decides the result, such \
                       as `key = (self.id, &name)`";
        return Err(Error::new(receiver.self_token.span(), message));
    }
    let message =
        "the result may depend on this type and the key does not; add `key = …` with what decides the result";
    for parameter in &signature.generics.params {
        if let GenericParam::Type(parameter) = parameter {
            return Err(Error::new(parameter.ident.span(), message));
        }
    }
    for input in &signature.inputs {
        if let FnArg::Typed(input) = input
            && let Some(token) = implied(&input.ty)
        {
            return Err(Error::new(token, message));
        }
    }
    Ok(())
}

/// Returns where a type of an argument says `impl`.
fn implied(kind: &Type) -> Option<proc_macro2::Span> {
    match kind {
        Type::ImplTrait(kind) => Some(kind.impl_token.span()),
        other => {
            let name = Ident::new("impl", proc_macro2::Span::call_site());
            tokens::mention(&quote::ToTokens::to_token_stream(other), &name).then(|| other.span())
        }
    }
}

/// Returns the name of an argument, or nothing for `self`.
fn name(input: &FnArg) -> Result<Option<Ident>> {
    let lost = "what is written through `&mut` would be lost on a hit; return it instead";
    match input {
        FnArg::Receiver(receiver) => match (&receiver.reference, &receiver.mutability) {
            (Some(_), Some(token)) => Err(Error::new(token.span(), lost)),
            _ => Ok(None),
        },
        FnArg::Typed(input) => {
            if let Type::Reference(kind) = &*input.ty
                && let Some(token) = &kind.mutability
            {
                return Err(Error::new(token.span(), lost));
            }
            match &*input.pat {
                Pat::Ident(pattern) if pattern.by_ref.is_none() && pattern.subpat.is_none() => {
                    Ok(Some(pattern.ident.clone()))
                }
                other => Err(Error::new(other.span(), "give the argument a name, it is part of the key")),
            }
        }
    }
}
