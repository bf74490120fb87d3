//! Answers to many questions at once.

use std::collections::BTreeMap;

use super::hit::Hit;
use super::miss::Miss;
use crate::Origin;

/// One answer for each request of a batch, in their order, and totals.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct BatchReport {
    /// The answers.
    pub results: Vec<Result<Hit, Miss>>,
    /// How many are hits.
    pub hits: usize,
    /// How many of the hits have outputs that are not in the tree.
    pub misplaced: usize,
    /// How many of the hits were recorded where; see [`Hit::origin`] for each.
    pub origins: BTreeMap<Origin, usize>,
    /// How many are misses, by the [name](Miss::name) of the reason.
    pub misses: BTreeMap<&'static str, usize>,
    /// How many different paths the file system was asked about.
    pub paths: usize,
}

impl BatchReport {
    pub(crate) fn new(results: Vec<Result<Hit, Miss>>, paths: usize) -> Self {
        let mut report = Self { paths, ..Self::default() };
        for result in &results {
            match result {
                Ok(hit) => {
                    report.hits += 1;
                    *report.origins.entry(hit.origin()).or_default() += 1;
                    report.misplaced += usize::from(!hit.is_in_place());
                }
                Err(miss) => *report.misses.entry(miss.name()).or_default() += 1,
            }
        }
        report.results = results;
        report
    }
}
