//! One cache under every build: a typed, persistent, bounded cache for any Rust program.
//!
//! ```no_run
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Symbols(Vec<String>);
//!
//! # fn parse() -> Symbols { Symbols(Vec::new()) }
//! # #[cfg(feature = "fs")]
//! # fn main() -> Result<(), vitte_cache::Error> {
//! let cache = vitte_cache::Cache::new("target/.vitte-cache")?;
//! if let Some(v) = cache.get::<Symbols>("parser::symbols")? {
//!     println!("found {} symbols", v.0.len());
//! } else {
//!     let symbols = parse();
//!     cache.put("parser::symbols", &symbols)?;
//! }
//! # Ok(()) }
//! # #[cfg(not(feature = "fs"))]
//! # fn main() {}
//! ```
//!
//! # What it promises
//! - **Never a wrong value.** What is damaged, expired, or was stored by a type that has changed since is a miss.
//! - **Never in the way.** No runtime for a [`Cache`], no daemon; any number of threads and processes share a directory.
//! - **Bounded.** By default it takes the smaller of 20 GB and a tenth of the disk, and keeps nothing for more than 30
//!   days after its last use. See [`CacheBuilder`].
//!
//! # Features
//! - `fs` (default): a [`Cache`] in a directory.
//! - `memory` (default): a [`Cache`] in memory, or with copies in memory of what is on the disk.
//! - `macros`: the attribute `#[cached]`.
//! - `tiers`: an `AsyncCache` over memory, a directory, and any further stores. It needs a tokio runtime.
//!
//! Without any of them there is only [`core`], the vocabulary of all the crates.

#[cfg(feature = "macros")]
mod as_cache;
#[cfg(feature = "tiers")]
mod async_cache;
#[cfg(any(feature = "macros", feature = "tiers"))]
mod async_flight;
#[cfg(any(feature = "macros", feature = "tiers"))]
mod async_making;
#[cfg(any(feature = "fs", feature = "memory"))]
mod builder;
#[cfg(any(feature = "fs", feature = "memory"))]
mod cache;
#[cfg(feature = "tiers")]
mod chain;
#[cfg(feature = "tiers")]
mod chain_builder;
#[cfg(all(feature = "fs", feature = "memory"))]
mod copied;
#[cfg(feature = "fs")]
mod disk;
#[cfg(any(feature = "fs", feature = "memory"))]
mod encoding;
#[cfg(any(feature = "fs", feature = "memory"))]
mod error;
#[cfg(any(feature = "fs", feature = "memory"))]
#[cfg_attr(not(feature = "macros"), expect(dead_code, reason = "only memoised functions name files"))]
mod files;
#[cfg(any(feature = "fs", feature = "memory"))]
mod flight;
#[cfg(feature = "memory")]
mod in_memory;
#[cfg(any(feature = "fs", feature = "memory"))]
mod inner;
#[cfg(any(feature = "fs", feature = "tiers"))]
mod layout;
#[cfg(feature = "macros")]
#[doc(hidden)]
pub mod memo;
#[cfg(any(feature = "fs", feature = "memory"))]
mod place;
pub mod prelude;
#[cfg(feature = "macros")]
mod results;
#[cfg(feature = "fs")]
mod seal;
#[cfg(any(feature = "fs", feature = "memory"))]
mod terms;
#[cfg(any(feature = "fs", feature = "memory"))]
mod tier;

#[cfg(feature = "tiers")]
pub use cache_coordinator as tiers;
pub use cache_core as core;
#[cfg(feature = "fs")]
pub use cache_fs as fs;
#[cfg(feature = "memory")]
pub use cache_memory as memory;

#[cfg(feature = "macros")]
pub use as_cache::AsCache;
#[cfg(feature = "tiers")]
pub use async_cache::AsyncCache;
#[cfg(any(feature = "fs", feature = "memory"))]
pub use builder::CacheBuilder;
#[cfg(any(feature = "fs", feature = "memory"))]
pub use cache::Cache;
#[cfg(any(feature = "fs", feature = "memory"))]
pub use error::{Error, Result};
#[cfg(any(feature = "fs", feature = "memory"))]
pub use inner::MAX_VALUE_BYTES;

/// Keeps what a function returns, so that the next call with the same arguments finds it.
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use vitte_cache::cached;
///
/// static CALLS: AtomicU32 = AtomicU32::new(0);
///
/// #[cached]
/// fn length(text: &str) -> usize {
///     CALLS.fetch_add(1, Ordering::Relaxed);
///     text.len()
/// }
///
/// assert_eq!((length("cache"), length("cache"), length("entry")), (5, 5, 5));
/// assert_eq!(CALLS.load(Ordering::Relaxed), 2);
/// ```
///
/// The key is made from the path of the function, its version, and its arguments, of any types that serde writes. The
/// result is of any type that a [`Cache`] keeps. Of all callers that ask for one result at a time, one makes it: the
/// others wait, threads in a sync function and tasks in an async one, on any runtime. Trouble with the cache, and arguments
/// that cannot be written, mean that the function is called.
///
/// # Arguments
/// All of them are Rust expressions, and see the arguments of the function.
///
/// | | |
/// |---|---|
/// | `ttl = Duration::from_secs(60)` | results end after so long; without it by the limits of the cache |
/// | `key = (self.id, name)` | what decides the result, in place of all arguments; for methods, which have `self`, and generic functions it is required |
/// | `store = CACHE` | the cache, in async functions an `AsyncCache` as well, or what [leads to one](AsCache); without it, one in the memory of the process, which all such functions share |
/// | `max_size = 1000` | at most so many results, a `u64`, in a cache in memory of this function alone; with `store`, the limit is that of the whole cache, and is given where it is built |
/// | `files = [path, …]` | files whose content decides the result: once one of them has changed, the result is a miss |
/// | `result` | only what is in `Ok` is kept, an `Err` never |
/// | `option` | only what is in `Some` is kept, `None` never |
/// | `stale_while_revalidate = Duration::from_secs(5)` | for so long after its end, a result is still given while one caller makes it anew |
/// | `on_error = stale` | with `result`: if the function fails, a result that has ended is given, as long as it was not evicted |
/// | `version = 2` | part of the key, in place of a hash of the function's own tokens |
///
/// By that hash, an edited body never serves an old result. It does not know what the functions that it calls do, what is
/// in constants, or which features the program was built with: give a `version` if they decide the result. A field that
/// serde skips is not part of the key.
///
/// # After the end of a result
/// A result has ended when its `ttl` is over, or the time that the cache gives. Nobody gets it any more, but for these two:
///
/// - `stale_while_revalidate`: the first caller makes it anew, in its own thread or task, and waits for that; all others get the
///   old one meanwhile and do not wait. No thread is started. If the first one fails or panics, that is what it gets, and the
///   next caller tries.
/// - `on_error = stale`: all callers who wait for the one that failed get the old result as well. Each later call tries again.
///   Such results stay until they are evicted, so give the cache a limit. Panics are no errors.
///
/// ```
/// use std::time::Duration;
/// use vitte_cache::cached;
///
/// #[cached(ttl = Duration::from_secs(60), stale_while_revalidate = Duration::from_secs(10), on_error = stale, result)]
/// fn exchange_rate(currency: &str) -> Result<f64, String> {
///     // Imagine that this asks a server.
///     if currency == "EUR" { Ok(1.17) } else { Err(format!("no rate for {currency}")) }
/// }
///
/// assert_eq!(exchange_rate("EUR"), Ok(1.17));
/// ```
///
/// # Files
/// The paths are expressions, such as `files = [path, self.dir.join("settings.toml")]`; relative ones count from the current
/// directory. A file that is not there is a content as well, so one that appears is a change. A hit costs one stat for each file;
/// it is read again if it was touched since, and as long as it was touched less than two seconds before. What was made while a
/// file changed is given to its caller and not kept. With a directory in the list, or a file that cannot be read, nothing is
/// kept.
///
/// ```
/// use std::path::Path;
/// use vitte_cache::cached;
///
/// #[cached(files = [path])]
/// fn lines(path: &Path) -> usize {
///     std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
/// }
///
/// # let dir = tempfile::tempdir()?;
/// let path = dir.path().join("text");
/// std::fs::write(&path, "one\ntwo\n")?;
/// assert_eq!((lines(&path), lines(&path)), (2, 2));
/// std::fs::write(&path, "one\n")?;
/// assert_eq!(lines(&path), 1);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Results in a chain of tiers
/// With an `AsyncCache` (feature `tiers`) as the `store` of an async function, its results are in all tiers of that cache, so
/// that other machines find what one has made. All of the above holds there as well. A tier that is slow or fails, be the
/// chain strict or not, never fails a call.
///
/// ```
/// # #[cfg(all(feature = "fs", feature = "tiers"))] {
/// use std::sync::LazyLock;
/// # use std::sync::Arc;
/// # use vitte_cache::{memory::MemoryStore, tiers::Tier};
/// use vitte_cache::{AsyncCache, Cache, Error, cached};
///
/// # fn server() -> Tier { Tier::new(Arc::new(MemoryStore::default())).write_back(true) }
/// # static DIR: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().expect("there is room"));
/// # fn directory() -> std::path::PathBuf { DIR.path().join("cache") }
/// static CACHE: LazyLock<Result<AsyncCache, Error>> =
///     LazyLock::new(|| Cache::builder(directory()).tier(server()).open_async());
///
/// #[cached(store = CACHE, version = 1)]
/// async fn render(page: &str) -> String {
///     format!("<p>{page}</p>")
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// assert_eq!(render("one").await, "<p>one</p>");
/// assert!(render_invalidate("one").await);
/// # }
/// # main()
/// # }
/// ```
///
/// # Companions
/// For a function `parse` there are also, with the same visibility, and async if it is:
///
/// | | |
/// |---|---|
/// | `parse_uncached(…)` | calls the body; the cache is neither asked nor changed |
/// | `parse_prime(…)` | calls the body in any case, stores the result and returns it |
/// | `parse_invalidate(…)` | removes the result for these arguments and returns whether a call would have got one |
/// | `parse_clear()` | removes all results, whatever their arguments and versions, and returns how many; it takes those arguments that `store` mentions. In a chain of tiers with one that could not be asked, or cannot list what it has, it removes what the others have and returns 0 |
///
/// ```
/// use std::time::Duration;
/// use vitte_cache::{Cache, cached};
///
/// struct Parser {
///     dialect: String,
///     cache: Cache,
/// }
///
/// impl Parser {
///     #[cached(ttl = Duration::from_secs(60), key = (&self.dialect, text), store = self.cache, result)]
///     fn parse(&self, text: &str) -> Result<u32, std::num::ParseIntError> {
///         u32::from_str_radix(text, if self.dialect == "hex" { 16 } else { 10 })
///     }
/// }
///
/// let parser = Parser { dialect: "hex".to_owned(), cache: Cache::in_memory() };
/// assert!(parser.parse("xyz").is_err());
/// assert!(!parser.parse_invalidate("xyz"), "an error is not kept");
/// assert_eq!((parser.parse("ff"), parser.parse("ff")), (Ok(255), Ok(255)));
/// assert_eq!(parser.parse_clear(), 1);
/// ```
///
/// # What cannot be memoised
/// Functions that write through `&mut`, return nothing or an `impl` type, or are `const`, `unsafe` or for other languages;
/// methods of a trait's implementation, which have no room for companions; and functions in an `impl` without `self`.
/// A function that is not async cannot await an `AsyncCache`.
///
/// A look-up of a [`Cache`] on a disk blocks the thread for some microseconds, also in an async function, and reading a changed
/// file of `files` for as long as that takes.
#[cfg(feature = "macros")]
pub use cache_macros::cached;

/// Compiles and runs the Rust examples of the README.
#[cfg(all(doctest, feature = "fs"))]
#[doc = include_str!("../../../README.md")]
mod readme {}
