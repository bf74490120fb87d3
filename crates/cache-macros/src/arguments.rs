//! What stands in the brackets of `#[cached(…)]`.

use proc_macro2::{Ident, TokenStream};
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Error, Expr, Result, Token};

/// What there is, for whoever asks for something else.
const KNOWN: &str = "`ttl = …`, `key = …`, `store = …`, `max_size = …`, `version = …`, `files = […]`, `result`, \
                     `option`, `stale_while_revalidate = …` and `on_error = stale`";

/// Which part of what the function returns is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kept {
    /// All of it.
    #[default]
    Whole,
    /// What is in `Ok`.
    Ok,
    /// What is in `Some`.
    Some,
}

/// The arguments, each at most once.
#[derive(Default)]
pub(crate) struct Arguments {
    pub(crate) ttl: Option<Expr>,
    pub(crate) key: Option<Expr>,
    pub(crate) store: Option<Expr>,
    pub(crate) max_size: Option<Expr>,
    pub(crate) version: Option<Expr>,
    pub(crate) files: Vec<Expr>,
    pub(crate) stale_while_revalidate: Option<Expr>,
    pub(crate) stale_on_error: bool,
    pub(crate) kept: Kept,
}

impl Arguments {
    pub(crate) fn parse(tokens: TokenStream) -> Result<Self> {
        let list = Punctuated::<Argument, Token![,]>::parse_terminated.parse2(tokens)?;
        let mut arguments = Self::default();
        for (index, argument) in list.iter().enumerate() {
            let name = &argument.name;
            if list.iter().take(index).any(|other| other.name == *name) {
                return Err(Error::new(name.span(), format!("there is another `{name}` before this one")));
            }
            arguments.take(argument)?;
        }
        let named = |wanted: &str| list.iter().find(|argument| argument.name == wanted);
        arguments.agree(&|wanted| named(wanted).map(|argument| &argument.name))?;
        Ok(arguments)
    }

    fn take(&mut self, argument: &Argument) -> Result<()> {
        let Argument { name, value } = argument;
        let value = || {
            let missing = || Error::new(name.span(), format!("give it a value: `{name} = …`"));
            value.clone().ok_or_else(missing)
        };
        match name.to_string().as_str() {
            "ttl" => self.ttl = Some(value()?),
            "key" => self.key = Some(value()?),
            "store" => self.store = Some(value()?),
            "max_size" => self.max_size = Some(value()?),
            "version" => self.version = Some(value()?),
            "stale_while_revalidate" => self.stale_while_revalidate = Some(value()?),
            "files" => self.files = files(value()?)?,
            "on_error" => {
                let value = value()?;
                if !matches!(&value, Expr::Path(path) if path.path.is_ident("stale")) {
                    return Err(Error::new(value.span(), "the only thing to do is `on_error = stale`"));
                }
                self.stale_on_error = true;
            }
            "result" => self.keep(Kept::Ok, argument)?,
            "option" => self.keep(Kept::Some, argument)?,
            _ => return Err(Error::new(name.span(), format!("there is no `{name}`, there are {KNOWN}"))),
        }
        Ok(())
    }

    fn keep(&mut self, kept: Kept, Argument { name, value }: &Argument) -> Result<()> {
        if let Some(value) = value {
            return Err(Error::new(value.span(), format!("`{name}` stands alone and has no value")));
        }
        if self.kept != Kept::Whole {
            return Err(Error::new(name.span(), "there is another `result` or `option` before this one"));
        }
        self.kept = kept;
        Ok(())
    }

    /// Refuses arguments that mean nothing together.
    fn agree<'a>(&self, named: &dyn Fn(&str) -> Option<&'a Ident>) -> Result<()> {
        let refused = |name: &Ident, what: &str| Err(Error::new(name.span(), what));
        if let (Some(name), Some(_)) = (named("max_size"), &self.store) {
            let message = "a cache has one limit for all that is in it; leave out `max_size`, and give the cache \
                           `max_entries` where it is built";
            return refused(name, message);
        }
        if let (Some(name), true) = (named("on_error"), self.kept != Kept::Ok) {
            return refused(name, "only a `Result` tells that something failed; add `result`");
        }
        if let (None, None, Some(name)) =
            (&self.ttl, &self.store, named("stale_while_revalidate").or_else(|| named("on_error")))
        {
            return refused(name, "nothing gets stale without an end; add `ttl = …`");
        }
        Ok(())
    }
}

/// Returns the paths in a list.
fn files(value: Expr) -> Result<Vec<Expr>> {
    match value {
        Expr::Array(list) if !list.elems.is_empty() => Ok(list.elems.into_iter().collect()),
        other => Err(Error::new(other.span(), "give it a list of paths: `files = [path, …]`")),
    }
}

struct Argument {
    name: Ident,
    value: Option<Expr>,
}

impl Parse for Argument {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let unknown = |error: Error| Error::new(error.span(), format!("there are {KNOWN}"));
        let name = input.parse().map_err(unknown)?;
        let value = input.parse::<Option<Token![=]>>()?.map(|_| input.parse()).transpose()?;
        Ok(Self { name, value })
    }
}
