//! What can be named as the cache of a function.

use std::sync::{Arc, LazyLock, OnceLock};

#[cfg(feature = "tiers")]
use crate::AsyncCache;
use crate::Cache;

/// What `store = …` of [`#[cached]`](macro@crate::cached) takes: a [`Cache`], in async functions an `AsyncCache` as well, or
/// something that may lead to one. Where it does not, for example because the directory could not be used, functions are
/// called as if they were not memoised.
///
/// ```
/// use std::sync::LazyLock;
/// use vitte_cache::{AsCache, Cache, Error};
///
/// static CACHE: LazyLock<Result<Cache, Error>> = LazyLock::new(|| Ok(Cache::in_memory()));
/// assert!(CACHE.as_cache().is_some());
/// assert!(None::<Cache>.as_cache().is_none());
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no cache",
    label = "this has to be a `Cache` (or an `AsyncCache`), or an `Option`, a `Result`, a `LazyLock`, … of one"
)]
pub trait AsCache {
    /// [`Cache`], or `AsyncCache`.
    type Cache;

    /// Returns the cache, if there is one.
    fn as_cache(&self) -> Option<&Self::Cache>;
}

impl AsCache for Cache {
    type Cache = Self;

    fn as_cache(&self) -> Option<&Cache> {
        Some(self)
    }
}

#[cfg(feature = "tiers")]
impl AsCache for AsyncCache {
    type Cache = Self;

    fn as_cache(&self) -> Option<&AsyncCache> {
        Some(self)
    }
}

impl<C: AsCache> AsCache for Option<C> {
    type Cache = C::Cache;

    fn as_cache(&self) -> Option<&C::Cache> {
        self.as_ref().and_then(C::as_cache)
    }
}

impl<C: AsCache, E> AsCache for Result<C, E> {
    type Cache = C::Cache;

    fn as_cache(&self) -> Option<&C::Cache> {
        self.as_ref().ok().and_then(C::as_cache)
    }
}

impl<C: AsCache> AsCache for OnceLock<C> {
    type Cache = C::Cache;

    fn as_cache(&self) -> Option<&C::Cache> {
        self.get().and_then(C::as_cache)
    }
}

impl<C: AsCache, F: FnOnce() -> C> AsCache for LazyLock<C, F> {
    type Cache = C::Cache;

    fn as_cache(&self) -> Option<&C::Cache> {
        (**self).as_cache()
    }
}

impl<C: AsCache + ?Sized> AsCache for &C {
    type Cache = C::Cache;

    fn as_cache(&self) -> Option<&C::Cache> {
        (**self).as_cache()
    }
}

impl<C: AsCache + ?Sized> AsCache for Arc<C> {
    type Cache = C::Cache;

    fn as_cache(&self) -> Option<&C::Cache> {
        (**self).as_cache()
    }
}
