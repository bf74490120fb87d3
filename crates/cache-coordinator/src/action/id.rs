//! The identity of an action, and its text form.

use std::fmt;
use std::str::FromStr;

use cache_core::{Digest, Key, KeyBuilder, Namespace};

use super::kind::ActionKind;

/// Longest target or sub-id, in bytes; as long as a path.
pub(crate) const MAX_NAME: usize = 4096;
/// Kind of entries that hold an action.
pub(crate) const KIND: &str = "action";

/// The identity of an action: what it is for, what it does, and from what.
///
/// Its text form is `target,kind,inputs` or `target,kind,inputs,sub-id`, where commas, `%`, white space and control
/// characters of a name are written as `%2c` and so on. There is one text for each id, and it parses back.
///
/// ```
/// use cache_coordinator::action::{ActionId, ActionKind};
/// use cache_core::Digest;
///
/// let id = ActionId::new("//app:main", ActionKind::Compile, Digest::blake3(b"cc -c main.c"))?.with_sub_id("fn parse")?;
/// assert!(id.to_string().starts_with("//app:main,compile,blake3:"));
/// assert!(id.to_string().ends_with(",fn%20parse"));
/// assert_eq!(id.to_string().parse(), Ok(id));
/// # Ok::<_, cache_coordinator::action::ActionIdError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ActionId {
    target: String,
    kind: ActionKind,
    inputs: Digest,
    sub_id: Option<String>,
}

/// Says why something is no [`ActionId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ActionIdError {
    /// The name of a target or unit is unusable.
    #[error("the {what} of an action has {len} bytes: it needs 1 to {MAX_NAME}")]
    Name {
        /// What it is the name of.
        what: &'static str,
        /// How long it is.
        len: usize,
    },
    /// There is no such kind.
    #[error(
        "`{0}` is no kind of action: use compile, link, codegen, test, package, transform, lint, type-check, or custom: with 1 to 100 characters of A-Z a-z 0-9 . _ - behind it"
    )]
    Kind(String),
    /// The text has another form.
    #[error("`{0}` is no action: write target,kind,digest or target,kind,digest,sub-id")]
    Text(String),
}

impl ActionIdError {
    pub(crate) fn kind(text: &str) -> Self {
        Self::Kind(text.chars().take(80).collect())
    }

    fn text(text: &str) -> Self {
        Self::Text(text.chars().take(160).collect())
    }
}

impl ActionId {
    /// Returns the id of the action of `kind` that makes `target`.
    ///
    /// `inputs` tells actions of one target apart, in the way that suits the caller: the digest of the command line and
    /// of the names of the inputs for one entry that follows the tree, or the digest of their content as well for one
    /// entry for each state of the tree. The inputs themselves are checked in either case.
    ///
    /// # Errors
    /// If `target` is empty or longer than 4096 bytes.
    pub fn new(target: impl Into<String>, kind: ActionKind, inputs: Digest) -> Result<Self, ActionIdError> {
        let target = checked("target", target.into())?;
        Ok(Self { target, kind, inputs, sub_id: None })
    }

    /// Returns the id of one unit of the target: a module, a function.
    ///
    /// # Errors
    /// If `sub_id` is empty or longer than 4096 bytes.
    pub fn with_sub_id(self, sub_id: impl Into<String>) -> Result<Self, ActionIdError> {
        Ok(Self { sub_id: Some(checked("sub-id", sub_id.into())?), ..self })
    }

    /// Returns what the action is for.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Returns what the action does.
    pub fn kind(&self) -> &ActionKind {
        &self.kind
    }

    /// Returns the digest that tells it from other actions of the target.
    pub fn inputs(&self) -> &Digest {
        &self.inputs
    }

    /// Returns the unit of the target, if it is for one.
    pub fn sub_id(&self) -> Option<&str> {
        self.sub_id.as_deref()
    }

    /// Returns where the entry of the action is.
    pub fn key(&self, namespace: &Namespace) -> Key {
        let key = KeyBuilder::new(namespace, KIND).text(&self.target).text(&self.kind.to_string());
        let key = key.digest(&self.inputs);
        match &self.sub_id {
            Some(sub_id) => key.text(sub_id),
            None => key.absent(),
        }
        .finish()
    }

    /// Returns what the text forms of all actions of `target` start with, and no others.
    pub(crate) fn prefix(target: &str) -> String {
        format!("{},", Escaped(target))
    }
}

/// Returns `name` if it has a length that can be used.
pub(crate) fn checked(what: &'static str, name: String) -> Result<String, ActionIdError> {
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(ActionIdError::Name { what, len: name.len() });
    }
    Ok(name)
}

/// Shows a name so that it has no comma and nothing that a terminal or a splitter of words would act on.
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if c == ',' || c == '%' || c.is_whitespace() || c.is_control() {
                c.encode_utf8(&mut [0; 4]).bytes().try_for_each(|byte| write!(f, "%{byte:02x}"))?;
            } else {
                fmt::Write::write_char(f, c)?;
            }
        }
        Ok(())
    }
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

impl fmt::Display for ActionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{},{}", Self::prefix(&self.target), self.kind, self.inputs)?;
        self.sub_id.as_ref().map_or(Ok(()), |sub_id| write!(f, ",{}", Escaped(sub_id)))
    }
}

impl FromStr for ActionId {
    type Err = ActionIdError;
    fn from_str(text: &str) -> Result<Self, ActionIdError> {
        let fail = || ActionIdError::text(text);
        let mut parts = text.split(',');
        let (Some(target), Some(kind), Some(inputs)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(fail());
        };
        let target = unescape(target).ok_or_else(fail)?;
        let mut id = Self::new(target, kind.parse()?, inputs.parse().map_err(|_| fail())?)?;
        if let Some(sub_id) = parts.next() {
            id = id.with_sub_id(unescape(sub_id).ok_or_else(fail)?)?;
        }
        // Another spelling of the same id (`%2C`, `%61`) would be a second name for one thing.
        if parts.next().is_some() || id.to_string() != text {
            return Err(fail());
        }
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cache_core::HashFunction;
    use proptest::prelude::*;

    fn kind() -> impl Strategy<Value = ActionKind> {
        let custom = "[A-Za-z0-9._-]{1,100}|compile|test";
        prop_oneof![
            proptest::sample::select(&ActionKind::BUILT_IN[..]),
            custom.prop_map(|name| ActionKind::custom(name).unwrap()),
        ]
    }

    fn name() -> impl Strategy<Value = String> {
        // Names that could be mistaken for parts of the form, and any others.
        prop_oneof!["[a,% :\u{0}\n\u{2028}é]{1,8}", "\\PC{1,20}", "%[0-9a-f]{2},?"]
    }

    fn id() -> impl Strategy<Value = ActionId> {
        let digest = (any::<[u8; 32]>(), any::<bool>()).prop_map(|(bytes, blake3)| {
            Digest::new(if blake3 { HashFunction::Blake3 } else { HashFunction::Sha256 }, bytes)
        });
        (name(), kind(), digest, proptest::option::of(name())).prop_map(|(target, kind, inputs, sub_id)| {
            let id = ActionId::new(target, kind, inputs).unwrap();
            match sub_id {
                Some(sub_id) => id.with_sub_id(sub_id).unwrap(),
                None => id,
            }
        })
    }

    proptest! {
        #[test]
        fn the_text_form_parses_back(id in id()) {
            let text = id.to_string();
            prop_assert!(!text.chars().any(|c| c.is_whitespace() || c.is_control()), "{}", text);
            prop_assert_eq!(text.split(',').count(), 3 + usize::from(id.sub_id().is_some()));
            prop_assert!(text.starts_with(&ActionId::prefix(id.target())));
            prop_assert_eq!(text.parse(), Ok(id));
        }

        #[test]
        fn what_parses_is_the_text_form(text in "[a%0-9cC,]{0,6},(custom:)?(compile|lint|x),blake3:[0-9a]{63,64}(,[a%2Cc,]{0,4})?") {
            if let Ok(id) = text.parse::<ActionId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }

        #[test]
        fn different_ids_have_different_keys(a in id(), b in id()) {
            let key = |id: &ActionId| id.key(&Namespace::default());
            prop_assert_eq!(key(&a) == key(&b), a == b);
            let mut unit = a.clone();
            unit.sub_id = if a.sub_id.is_some() { None } else { Some(a.target.clone()) };
            prop_assert_ne!(key(&unit), key(&a));
            prop_assert_ne!(key(&ActionId { inputs: b.inputs, ..a.clone() }) == key(&a), a.inputs != b.inputs);
            prop_assert_ne!(key(&ActionId { kind: b.kind.clone(), ..a.clone() }) == key(&a), a.kind != b.kind);
        }
    }

    #[test]
    fn what_is_no_action() {
        let digest = Digest::blake3(b"");
        for bad in [
            String::new(),
            "compile".to_owned(),
            "a,compile".to_owned(),
            format!(",compile,{digest}"),
            format!("a,build,{digest}"),
            format!("a,custom:,{digest}"),
            format!("a,custom:a b,{digest}"),
            format!("a,compile,{digest},"),
            format!("a,compile,{digest},b,c"),
            format!("a b,compile,{digest}"),
            format!("%61,compile,{digest}"),
            format!("%2C,compile,{digest}"),
            format!("%ff,compile,{digest}"),
            format!("%+1,compile,{digest}"),
            format!("%2,compile,{digest}"),
            format!("a,compile,{digest}0"),
            format!("{},compile,{digest}", "x".repeat(MAX_NAME + 1)),
        ] {
            assert!(bad.parse::<ActionId>().is_err(), "{bad}");
        }
        assert!(ActionId::new("x".repeat(MAX_NAME), ActionKind::Test, digest).is_ok());
        assert!(ActionKind::custom("x".repeat(101)).is_err());
    }

    #[test]
    fn the_address_is_fixed() {
        // A change here makes every stored action unreachable: it needs a line in the changelog.
        let id = ActionId::new("//app:main", ActionKind::TypeCheck, Digest::blake3(b"x")).unwrap();
        assert_eq!(
            id.key(&Namespace::default()).to_hex(),
            "b58dc64dca5dbf3b75a190d9712df42bb8019facc23d46fa8f770e1d60dc78ed"
        );
        assert_ne!(
            id.key(&Namespace::default()),
            id.key(&Namespace::new("other").unwrap()),
            "namespaces isolate"
        );
    }
}
