//! One module per phase. Each takes turns between the peers and fills their results.

pub(crate) mod blob;
pub(crate) mod duplicates;
pub(crate) mod fill;
pub(crate) mod hits;
pub(crate) mod million;
pub(crate) mod mixed;
pub(crate) mod open;
pub(crate) mod reads;

pub(crate) use hits::Hits;
pub(crate) use million::Million;

/// Says what is wrong with a value that is not the right one.
fn wrong(found: Option<&[u8]>) -> &'static str {
    found.map_or("nothing", |_| "a wrong value")
}
