//! What came out of a simulation.

use serde::Serialize;

use super::catalog::Catalog;
use super::{Cell, Counts};
use crate::access::AccessError;

/// What came out of a simulation.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// Look-ups, puts and removals.
    pub accesses: u64,
    /// Look-ups.
    pub gets: u64,
    /// Puts.
    pub puts: u64,
    /// Removals.
    pub removes: u64,
    /// Different keys.
    pub keys: u64,
    /// Bytes of all entries, each counted once.
    pub unique_bytes: u64,
    /// When the first access was.
    pub first_ms: Option<u64>,
    /// When the last access was.
    pub last_ms: Option<u64>,
    /// Accesses that were left out because there were too many keys.
    pub left_out: u64,
    /// Lines that were not understood.
    pub bad_lines: u64,
    /// The number of the first of them, from 1.
    pub first_bad_line: Option<u64>,
    /// What is wrong with it.
    #[serde(skip)]
    pub first_bad: Option<AccessError>,
    /// By size, in the order of the sizes, and by policy; the cache without a limit comes last.
    pub results: Vec<Outcome>,
}

/// What one policy would have given at one size.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Outcome {
    /// `segments`, `files` or `unlimited`.
    pub policy: &'static str,
    /// Bytes of the cache; nothing if it has no limit.
    pub size: Option<u64>,
    /// Look-ups that found something.
    pub hits: u64,
    /// Bytes of what they found.
    pub hit_bytes: u64,
    /// Hits among all look-ups, from 0 to 1.
    pub hit_ratio: Option<f64>,
    /// Bytes found among all that were asked for, from 0 to 1.
    pub byte_hit_ratio: Option<f64>,
}

impl Summary {
    pub(super) fn new(counts: &Counts, catalog: &Catalog, cells: &[Cell]) -> Self {
        let ratio = |of: u64, all: u64| (all > 0).then(|| of as f64 / all as f64);
        let outcome = |cell: &Cell| Outcome {
            policy: cell.name,
            size: cell.size,
            hits: cell.hits,
            hit_bytes: cell.hit_bytes,
            hit_ratio: ratio(cell.hits, counts.gets),
            byte_hit_ratio: ratio(cell.hit_bytes, counts.get_bytes),
        };
        Self {
            accesses: counts.gets + counts.puts + counts.removes,
            gets: counts.gets,
            puts: counts.puts,
            removes: counts.removes,
            keys: catalog.len() as u64,
            unique_bytes: catalog.bytes(),
            first_ms: counts.span.map(|(first, _)| first.as_millis()),
            last_ms: counts.span.map(|(_, last)| last.as_millis()),
            left_out: counts.left_out,
            bad_lines: counts.bad_lines,
            first_bad_line: counts.first_bad.as_ref().map(|(number, _)| *number),
            first_bad: counts.first_bad.as_ref().map(|(_, error)| error.clone()),
            results: cells.iter().map(outcome).collect(),
        }
    }
}
