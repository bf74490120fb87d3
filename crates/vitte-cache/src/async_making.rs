//! Single flight around values that futures make: the async counterpart of `Cache::make_once`.

use std::time::Instant;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Result;
use crate::async_flight::{self, Boarding};
use crate::encoding;
use crate::inner::Slot;
use crate::place::Place;
use crate::terms::{Made, Standing, Terms};
use crate::tier::Look;

/// How such a value is looked up and stored.
pub(crate) trait Reach {
    fn place(&self) -> &Place;

    /// Returns a value in bytes as it is stored.
    fn encode<T: Serialize + DeserializeOwned>(&self, value: &T) -> Result<Bytes>;

    /// Returns the value in `slot` and what it is good for, but for one that was made from other files.
    async fn judged<T: DeserializeOwned>(
        &self,
        slot: &Slot,
        terms: &Terms,
        look: Look,
    ) -> Option<(Standing, T)>;

    /// Stores a value, if that can be.
    async fn keep(&self, slot: &Slot, bytes: Bytes, terms: &Terms, made: Made);
}

/// Returns the value in `slot`, or makes it, in one task of all that ask for it at a time.
pub(crate) async fn make_once<R, T, E>(
    cache: &R,
    slot: &Slot,
    terms: &Terms,
    make: impl Future<Output = Result<T, E>>,
) -> Result<T, E>
where
    R: Reach,
    T: Serialize + DeserializeOwned,
{
    let route = || (cache.place().clone(), slot.key);
    let ticket = match cache.judged(slot, terms, Look::Use).await {
        Some((Standing::Fresh, value)) => return Ok(value),
        // One makes it anew, and nobody waits for that.
        Some((Standing::Stale, value)) => match async_flight::board(route()) {
            Boarding::Owner(ticket) => ticket,
            Boarding::Waiting(_) => return Ok(value),
        },
        _ => loop {
            match async_flight::board(route()) {
                Boarding::Owner(ticket) => break ticket,
                Boarding::Waiting(waiting) => {
                    if let Some(value) = waiting.await.and_then(|bytes| encoding::decode(&bytes)) {
                        return Ok(value);
                    }
                }
            }
        },
    };
    // Somebody may have landed between the first look and the boarding. That was no second miss.
    if let Some((Standing::Fresh, value)) = cache.judged(slot, terms, Look::Peek).await {
        return Ok(value);
    }
    let (value, bytes) = match self::make(cache, slot, terms, make).await {
        Ok(both) => both,
        Err(error) if terms.fallback => match cache.judged(slot, terms, Look::Peek).await {
            Some((_, value)) => {
                let bytes = cache.encode(&value).ok();
                (value, bytes)
            }
            None => return Err(error),
        },
        Err(error) => return Err(error),
    };
    if let Some(bytes) = bytes {
        ticket.land(bytes);
    }
    Ok(value)
}

/// Makes the value in `slot` and stores it. Returns its bytes as well if it may be given to others.
pub(crate) async fn make<R, T, E>(
    cache: &R,
    slot: &Slot,
    terms: &Terms,
    make: impl Future<Output = Result<T, E>>,
) -> Result<(T, Option<Bytes>), E>
where
    R: Reach,
    T: Serialize + DeserializeOwned,
{
    let (started, before) = (Instant::now(), terms.before());
    let value = make.await?;
    let Some(files) = terms.after(before) else { return Ok((value, None)) };
    let Ok(bytes) = cache.encode(&value) else { return Ok((value, None)) };
    // What cannot be stored is still of use to whoever waits.
    cache.keep(slot, bytes.clone(), terms, Made { cost: started.elapsed(), files }).await;
    Ok((value, Some(bytes)))
}
