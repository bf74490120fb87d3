//! What `#[cached]` expands to. It changes with the macro and is not for use by hand.

use std::convert::Infallible;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cache_core::KeyBuilder;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::async_flight::{self, Boarding};
use crate::cache::{CALL, Slot, shown};
use crate::tier::Look;
use crate::{AsCache, Cache, encoding};

/// Returns the cache of functions that name no other.
pub fn in_memory() -> &'static Cache {
    static CACHE: LazyLock<Cache> = LazyLock::new(Cache::in_memory);
    &CACHE
}

/// Returns the cache that the author names, if it is there.
pub fn store<C: AsCache + ?Sized>(cache: &C) -> Option<&Cache> {
    cache.as_cache()
}

/// Returns a part of the key, having checked that it can be one.
pub fn part<T: Serialize + ?Sized>(part: &T) -> &T {
    part
}

/// Returns the path of a method.
pub fn method<T: ?Sized>(name: &str) -> String {
    format!("{}::{name}", std::any::type_name::<T>())
}

/// Returns the path of a function: `H` is a type in the body of it or of a companion.
pub fn function<H>(name: &str) -> String {
    let outer = |path: &'static str| path.rsplit_once("::").map_or("", |(outer, _)| outer);
    let mut body = outer(std::any::type_name::<H>());
    // The body of an async function is a closure.
    while let Some(around) = body.strip_suffix("::{{closure}}") {
        body = around;
    }
    format!("{}::{name}", outer(body))
}

/// Removes what a function returned, and returns how much there was.
pub fn clear(cache: Option<&Cache>, path: &(impl AsRef<str> + ?Sized)) -> u64 {
    cache.and_then(|cache| cache.clear_kind(CALL, Some(path.as_ref())).ok()).unwrap_or(0)
}

/// A call of a memoised function.
#[must_use]
pub struct Call {
    /// Nothing if there is no cache, or no key for it.
    place: Option<(Cache, Slot)>,
    ttl: Option<Duration>,
    fresh: bool,
}

impl Call {
    /// Returns the call of the function at `path` with `arguments`.
    pub fn new(
        cache: Option<&Cache>,
        path: &(impl AsRef<str> + ?Sized),
        version: &(impl Serialize + ?Sized),
        arguments: &(impl Serialize + ?Sized),
        ttl: Option<Duration>,
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
        Self { place, ttl, fresh: false }
    }

    /// Returns the call that does not ask the cache.
    pub fn fresh(self) -> Self {
        Self { fresh: true, ..self }
    }

    /// Removes what is stored, and returns whether there was something.
    #[must_use = "without `let _`, nobody sees whether there was something"]
    pub fn invalidate(self) -> bool {
        self.place.is_some_and(|(cache, slot)| {
            cache.tier().and_then(|tier| tier.remove(&slot.key)).unwrap_or(false)
        })
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
            Some((cache, slot)) if !self.fresh => cache.make_once(slot, self.ttl, make),
            _ => {
                let started = Instant::now();
                let value = make()?;
                self.keep(&value, started);
                Ok(value)
            }
        }
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
        let ticket = match &self.place {
            Some((cache, slot)) if !self.fresh => {
                if let Ok(Some(found)) = cache.read(&slot.key, Look::Use) {
                    return Ok(found);
                }
                let ticket = loop {
                    match async_flight::board((cache.place().clone(), slot.key)) {
                        Boarding::Owner(ticket) => break ticket,
                        Boarding::Waiting(waiting) => {
                            if let Some(value) = waiting.await.and_then(|bytes| encoding::decode(&bytes)) {
                                return Ok(value);
                            }
                        }
                    }
                };
                // Somebody may have landed between the first look and the boarding. That was no second miss.
                if let Ok(Some(found)) = cache.read(&slot.key, Look::Peek) {
                    return Ok(found);
                }
                Some(ticket)
            }
            _ => None,
        };
        let started = Instant::now();
        let value = make.await?;
        if let (Some(bytes), Some(ticket)) = (self.keep(&value, started), ticket) {
            ticket.land(bytes);
        }
        Ok(value)
    }

    /// Stores a result, and returns its bytes if it has some. What cannot be stored is of use all the same.
    fn keep<T: Serialize + DeserializeOwned>(&self, value: &T, started: Instant) -> Option<Bytes> {
        let (cache, slot) = self.place.as_ref()?;
        let bytes = Bytes::from(encoding::encode(value).ok()?);
        let _ = cache.write(slot, bytes.clone(), self.ttl, started.elapsed());
        Some(bytes)
    }
}
