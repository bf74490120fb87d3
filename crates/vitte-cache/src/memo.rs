//! What `#[cached]` expands to. It changes with the macro and is not for use by hand.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use cache_core::KeyBuilder;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::files::Files;
use crate::inner::{CALL, Slot, shown};
use crate::results::{Blocking, Results};
use crate::terms::{Standing, Terms};
use crate::tier::Look;
use crate::{AsCache, Cache, CacheBuilder, async_making, encoding};

/// Returns the cache of functions that name no other.
pub fn in_memory() -> &'static Cache {
    static CACHE: LazyLock<Cache> = LazyLock::new(Cache::in_memory);
    &CACHE
}

/// Returns a cache for the results of one function, at most so many.
pub fn bounded(max_size: u64) -> Cache {
    CacheBuilder::in_memory().max_entries(max_size).in_memory_of(cache_core::Namespace::default())
}

/// Returns a path that the author names.
pub fn file(path: &(impl AsRef<Path> + ?Sized)) -> PathBuf {
    path.as_ref().to_owned()
}

/// Returns the cache that the author of a blocking function names, if it is there.
#[expect(private_bounds, reason = "the only one is a cache of this crate")]
pub fn store<C: AsCache<Cache: Blocking> + ?Sized>(cache: &C) -> Option<&Cache> {
    cache.as_cache().map(Blocking::blocking)
}

/// Returns the cache that the author of an async function names, if it is there.
#[expect(private_bounds, reason = "those are the caches of this crate")]
pub fn store_async<C: AsCache<Cache: Results> + ?Sized>(cache: &C) -> Option<&C::Cache> {
    cache.as_cache()
}

/// Returns a part of the key, having checked that it can be one.
pub fn part<T: Serialize + ?Sized>(part: &T) -> &T {
    part
}

/// Returns the path of a method.
pub fn method<T: ?Sized>(name: &str) -> String {
    joined(std::any::type_name::<T>(), name)
}

/// Returns the path of a function: `H` is a type in the body of it or of a companion.
pub fn function<H>(name: &str) -> String {
    let mut body = outer(std::any::type_name::<H>());
    // The body of an async function is a closure.
    while let Some(around) = body.strip_suffix("::{{closure}}") {
        body = around;
    }
    joined(outer(body), name)
}

/// Returns what is before the last `::`. It is looked for with each call, and a search for any text is slower to begin.
fn outer(path: &'static str) -> &'static str {
    let last = path.as_bytes().windows(2).rposition(|colons| colons == b"::");
    path.get(..last.unwrap_or(0)).unwrap_or_default()
}

fn joined(outer: &str, name: &str) -> String {
    let mut path = String::with_capacity(outer.len() + "::".len() + name.len());
    path.push_str(outer);
    path.push_str("::");
    path.push_str(name);
    path
}

/// Removes what a function returned, and returns how much there was.
pub fn clear(cache: Option<&Cache>, path: &(impl AsRef<str> + ?Sized)) -> u64 {
    cache.and_then(|cache| cache.clear_kind(CALL, Some(path.as_ref())).ok()).unwrap_or(0)
}

/// Removes what an async function returned, and returns how much there was.
///
/// # Cancel safety
/// What was removed stays removed.
#[expect(private_bounds, reason = "those are the caches of this crate")]
pub async fn clear_async<C: Results>(cache: Option<&C>, path: &(impl AsRef<str> + ?Sized)) -> u64 {
    match cache {
        Some(cache) => cache.clear(path.as_ref()).await,
        None => 0,
    }
}

/// A call of a memoised function whose results are in a `C`.
#[must_use]
pub struct Call<C> {
    /// Nothing if there is no cache, or no key for it.
    place: Option<(C, Slot)>,
    terms: Terms,
    fresh: bool,
}

#[expect(private_bounds, reason = "those are the caches of this crate")]
impl<C: Results> Call<C> {
    /// Returns the call of the function at `path` with `arguments`.
    pub fn new(
        cache: Option<&C>,
        path: &(impl AsRef<str> + ?Sized),
        version: &(impl Serialize + ?Sized),
        arguments: &(impl Serialize + ?Sized),
    ) -> Self {
        let place = cache.and_then(|cache| {
            let (path, version) = (path.as_ref(), encoding::of_key(version)?);
            let key = KeyBuilder::new(cache.namespace(), CALL)
                .text(path)
                .bytes(&version)
                .bytes(&encoding::of_key(arguments)?)
                .finish();
            Some((cache.clone(), Slot { key, kind: CALL, name: shown(path.as_bytes()) }))
        });
        Self { place, terms: Terms::default(), fresh: false }
    }

    /// Returns the call whose result ends after so long.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.terms.ttl = Some(ttl);
        self
    }

    /// Returns the call that gives what is over for so long while one caller makes it anew.
    pub fn stale_while_revalidate(mut self, stale: Duration) -> Self {
        self.terms.stale = Some(stale);
        self
    }

    /// Returns the call that gives what is over if it cannot be made anew.
    pub fn stale_on_error(mut self) -> Self {
        self.terms.fallback = true;
        self
    }

    /// Returns the call whose result holds as long as the content of these files.
    pub fn files(mut self, paths: &[PathBuf]) -> Self {
        self.terms.files = Files::new(paths);
        if self.terms.files.is_none() {
            // What cannot be watched cannot be kept.
            self.place = None;
        }
        self
    }

    /// Returns the call that does not ask the cache.
    pub fn fresh(self) -> Self {
        Self { fresh: true, ..self }
    }

    /// Removes what is stored, and returns whether there was something that a call would have got.
    ///
    /// # Cancel safety
    /// Either it is there or not.
    #[must_use = "without `let _`, nobody sees whether there was something"]
    pub async fn invalidate_async(self) -> bool {
        let Some((cache, slot)) = &self.place else { return false };
        let standing = cache.standing(slot, &self.terms).await;
        cache.remove(&slot.key).await && is_given(standing)
    }

    /// Returns the result, which is kept.
    ///
    /// # Cancel safety
    /// If it is dropped, the next one that waits for the same result makes it.
    pub async fn run_async<T: Serialize + DeserializeOwned>(self, make: impl Future<Output = T>) -> T {
        let Ok(value) = self.run_result_async(async { Ok::<_, Infallible>(make.await) }).await;
        value
    }

    /// Returns the result, which is kept if it is `Some`.
    ///
    /// # Cancel safety
    /// As [`run_async`](Self::run_async).
    pub async fn run_option_async<T>(self, make: impl Future<Output = Option<T>>) -> Option<T>
    where
        T: Serialize + DeserializeOwned,
    {
        self.run_result_async(async { make.await.ok_or(()) }).await.ok()
    }

    /// Returns the result, which is kept if it is `Ok`.
    ///
    /// # Errors
    /// What `make` returns.
    ///
    /// # Cancel safety
    /// As [`run_async`](Self::run_async).
    pub async fn run_result_async<T, E>(self, make: impl Future<Output = Result<T, E>>) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
    {
        match &self.place {
            None => make.await,
            Some((cache, slot)) if self.fresh => {
                async_making::make(cache, slot, &self.terms, make).await.map(|(value, _)| value)
            }
            Some((cache, slot)) => async_making::make_once(cache, slot, &self.terms, make).await,
        }
    }
}

impl Call<Cache> {
    /// As [`invalidate_async`](Self::invalidate_async), in a thread.
    #[must_use = "without `let _`, nobody sees whether there was something"]
    pub fn invalidate(self) -> bool {
        let Some((cache, slot)) = &self.place else { return false };
        let standing = cache.standing(slot, &self.terms, Look::Peek);
        cache.remove(&slot.key) && is_given(standing)
    }

    /// Returns the result, which is kept.
    pub fn run<T: Serialize + DeserializeOwned>(self, make: impl FnOnce() -> T) -> T {
        let Ok(value) = self.run_result(|| Ok::<_, Infallible>(make()));
        value
    }

    /// Returns the result, which is kept if it is `Some`.
    pub fn run_option<T>(self, make: impl FnOnce() -> Option<T>) -> Option<T>
    where
        T: Serialize + DeserializeOwned,
    {
        self.run_result(|| make().ok_or(())).ok()
    }

    /// Returns the result, which is kept if it is `Ok`.
    ///
    /// # Errors
    /// What `make` returns.
    pub fn run_result<T, E>(self, make: impl FnOnce() -> Result<T, E>) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
    {
        match &self.place {
            None => make(),
            Some((cache, slot)) if self.fresh => cache.make(slot, &self.terms, make).map(|(value, _)| value),
            Some((cache, slot)) => cache.make_once(slot, &self.terms, make),
        }
    }
}

/// Returns whether callers get a result of this standing.
fn is_given(standing: Option<Standing>) -> bool {
    matches!(standing, Some(Standing::Fresh | Standing::Stale))
}
