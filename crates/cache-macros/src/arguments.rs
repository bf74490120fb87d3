//! What stands in the brackets of `#[cached(…)]`.

use proc_macro2::{Ident, TokenStream};
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Error, Expr, Result, Token};

/// What there is, for whoever asks for something else.
const KNOWN: &str = "`ttl = …`, `key = …`, `store = …`, `version = …`, `result` and `option`";

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
    pub(crate) version: Option<Expr>,
    pub(crate) kept: Kept,
}

impl Arguments {
    pub(crate) fn parse(tokens: TokenStream) -> Result<Self> {
        let list = Punctuated::<Argument, Token![,]>::parse_terminated.parse2(tokens)?;
        let mut arguments = Self::default();
        for Argument { name, value } in list {
            let slot = match name.to_string().as_str() {
                "ttl" => &mut arguments.ttl,
                "key" => &mut arguments.key,
                "store" => &mut arguments.store,
                "version" => &mut arguments.version,
                "result" => {
                    arguments.keep(Kept::Ok, &name, value.as_ref())?;
                    continue;
                }
                "option" => {
                    arguments.keep(Kept::Some, &name, value.as_ref())?;
                    continue;
                }
                _ => return Err(Error::new(name.span(), format!("there is no `{name}`, there are {KNOWN}"))),
            };
            let Some(value) = value else {
                return Err(Error::new(name.span(), format!("give it a value: `{name} = …`")));
            };
            if slot.replace(value).is_some() {
                return Err(Error::new(name.span(), format!("there is another `{name}` before this one")));
            }
        }
        Ok(arguments)
    }

    fn keep(&mut self, kept: Kept, name: &Ident, value: Option<&Expr>) -> Result<()> {
        if let Some(value) = value {
            return Err(Error::new_spanned(value, format!("`{name}` stands alone and has no value")));
        }
        if self.kept != Kept::Whole {
            return Err(Error::new(name.span(), "there is another `result` or `option` before this one"));
        }
        self.kept = kept;
        Ok(())
    }
}

struct Argument {
    name: Ident,
    value: Option<Expr>,
}

impl Parse for Argument {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let name = input.parse()?;
        let value = input.parse::<Option<Token![=]>>()?.map(|_| input.parse()).transpose()?;
        Ok(Self { name, value })
    }
}
