//! How much of a cache is kept, as the environment says.

use std::env;
use std::ffi::OsString;
use std::time::Duration;

use cache_core::{Policy, human};

const DAY: Duration = Duration::from_hours(24);

/// Limits of a cache. The default has none: only those of the store hold.
///
/// | variable, with the prefix `VITTE_ACTION_CACHE` | what |
/// |---|---|
/// | `VITTE_ACTION_CACHE_MAX_SIZE` | bytes: `500MB`, `1.5GiB`, a number, `none` |
/// | `VITTE_ACTION_CACHE_MAX_ENTRIES` | a number from 1, `none` |
/// | `VITTE_ACTION_CACHE_MAX_AGE_DAYS` | what was not used for so many days goes: a number from 1, `none` |
///
/// ```
/// use cache_coordinator::Limits;
///
/// let variable = |name: &str| (name == "VITTE_ACTION_CACHE_MAX_SIZE").then(|| "2 GB".into());
/// let limits = Limits::default().with_variables("VITTE_ACTION_CACHE", variable)?;
/// assert_eq!((limits.max_bytes, limits.max_entries), (Some(2_000_000_000), None));
/// # Ok::<(), cache_coordinator::LimitsError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of entries and of the content that they name.
    pub max_bytes: Option<u64>,
    /// Number of entries.
    pub max_entries: Option<u64>,
    /// What was not used for this long goes.
    pub max_age: Option<Duration>,
}

/// Says that a variable of the environment is no limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable} is `{text}`, which is no {what}: set it to {example} or `none`, or unset it")]
pub struct LimitsError {
    variable: String,
    text: String,
    what: &'static str,
    example: &'static str,
}

impl Limits {
    /// Returns the limits of `policy`.
    pub fn of(policy: &Policy) -> Self {
        Self { max_bytes: policy.max_bytes, max_entries: policy.max_entries, max_age: policy.max_age }
    }

    /// Returns `policy` with these limits in the place of its own. For a store that one cache has for itself; limits of
    /// one cache among several are kept by [`ActionCache::trim`](crate::action::ActionCache::trim) and its like.
    #[must_use]
    pub fn apply(&self, policy: Policy) -> Policy {
        let Self { max_bytes, max_entries, max_age } = *self;
        Policy { max_bytes, max_entries, max_age, ..policy }
    }

    /// Returns these limits, with those in their place that variables of the environment name: `<prefix>_MAX_SIZE` and so
    /// on, with a prefix such as `VITTE_CACHE` or `VITTE_ACTION_CACHE`. A variable that is empty counts as unset.
    ///
    /// # Errors
    /// If a variable is no limit. A tool tells the user, and goes on with limits of its own.
    pub fn with_env(self, prefix: &str) -> Result<Self, LimitsError> {
        self.with_variables(prefix, |name| env::var_os(name))
    }

    /// As [`with_env`](Self::with_env), with the variables that `variable` knows.
    ///
    /// # Errors
    /// As [`with_env`](Self::with_env).
    pub fn with_variables(
        self,
        prefix: &str,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, LimitsError> {
        let variables = Variables { prefix, variable };
        let size = |text: &str| human::parse_size(text).ok();
        let count = |text: &str| text.parse::<u64>().ok().filter(|number| *number > 0);
        let days = |text: &str| Some(Duration::from_secs(count(text)?.checked_mul(DAY.as_secs())?));
        Ok(Self {
            max_bytes: variables.limit(
                "MAX_SIZE",
                self.max_bytes,
                ("size", "500MB, 1.5GiB, a number of bytes"),
                size,
            )?,
            max_entries: variables.limit(
                "MAX_ENTRIES",
                self.max_entries,
                ("number of entries", "a number from 1"),
                count,
            )?,
            max_age: variables.limit(
                "MAX_AGE_DAYS",
                self.max_age,
                ("number of days", "a number from 1"),
                days,
            )?,
        })
    }
}

struct Variables<'a, F> {
    prefix: &'a str,
    variable: F,
}

impl<F: Fn(&str) -> Option<OsString>> Variables<'_, F> {
    /// Returns the limit that the variable `name` says, or `current` if it says nothing.
    fn limit<T>(
        &self,
        name: &str,
        current: Option<T>,
        (what, example): (&'static str, &'static str),
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, LimitsError> {
        let variable = format!("{}_{name}", self.prefix);
        let text = (self.variable)(&variable).unwrap_or_default().to_string_lossy().into_owned();
        match text.trim() {
            "" => Ok(current),
            "none" => Ok(None),
            limit => match parse(limit) {
                Some(limit) => Ok(Some(limit)),
                None => Err(LimitsError { variable, text, what, example }),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Limits =
        Limits { max_bytes: Some(1), max_entries: Some(2), max_age: Some(Duration::from_secs(3)) };

    fn with(variables: &[(&str, &str)]) -> Result<Limits, String> {
        let value =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, text)| text.into());
        BASE.with_variables("V", value).map_err(|error| error.to_string())
    }

    #[test]
    fn the_environment_overrides_what_it_names() {
        assert_eq!(with(&[("MAX_SIZE", "5"), ("V_MAX_SIZE", "")]), Ok(BASE));
        let size = with(&[("V_MAX_SIZE", " 1.5 GiB ")]);
        assert_eq!(size, Ok(Limits { max_bytes: Some(3 << 29), ..BASE }));
        let all = [("V_MAX_SIZE", "none"), ("V_MAX_ENTRIES", "7"), ("V_MAX_AGE_DAYS", "2")];
        let limits = Limits { max_bytes: None, max_entries: Some(7), max_age: Some(2 * DAY) };
        assert_eq!(with(&all), Ok(limits));
        assert_eq!(with(&[("V_MAX_AGE_DAYS", "none")]), Ok(Limits { max_age: None, ..BASE }));
    }

    #[test]
    fn what_is_no_limit_is_an_error_that_says_what_to_do() {
        let error = with(&[("V_MAX_SIZE", "much")]).unwrap_err();
        assert_eq!(
            error,
            "V_MAX_SIZE is `much`, which is no size: set it to 500MB, 1.5GiB, a number of bytes or `none`, or unset it"
        );
        for (name, text) in [
            ("ENTRIES", "0"),
            ("ENTRIES", "-1"),
            ("ENTRIES", "1.5"),
            ("AGE_DAYS", "x"),
            ("AGE_DAYS", "18446744073709551615"),
        ] {
            let name = format!("V_MAX_{name}");
            assert!(with(&[(&name, text)]).unwrap_err().starts_with(&name), "{name}={text}");
        }
    }

    #[test]
    fn limits_become_a_policy_and_come_from_one() {
        let policy = BASE.apply(Policy::default());
        assert_eq!(
            (Limits::of(&policy), policy.free_space_floor),
            (BASE, Policy::default().free_space_floor)
        );
    }
}
