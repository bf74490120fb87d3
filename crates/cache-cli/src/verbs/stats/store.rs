//! How the cache itself is doing: its layout, and how its segments are filled.

use std::fmt::Write as _;

use cache_fs::{FsStore, Layout};
use cache_run::human;
use serde::Serialize;

use crate::failure::Result;

#[derive(Debug, PartialEq, Serialize)]
pub(super) struct StoreStats {
    layout: &'static str,
    /// Nothing for one file per entry.
    segments: Option<Segments>,
}

/// How the segments are filled, and what happened since the cache was made.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Segments {
    segment_bytes: u64,
    probation: u64,
    main: u64,
    large_bytes: u64,
    live_slots: u64,
    ghost_slots: u64,
    /// Slots that lead to a record among those in use, from 0 to 1.
    live_ratio: Option<f64>,
    /// Hits in each log among all look-ups, from 0 to 1.
    probation_hit_ratio: Option<f64>,
    main_hit_ratio: Option<f64>,
    ghost_hits: u64,
    duplicates: u64,
    index_bytes: u64,
    index_bytes_per_entry: Option<f64>,
}

impl StoreStats {
    pub(super) fn of(store: &FsStore) -> Result<Self> {
        let layout = if store.layout() == Layout::Segments { "segments" } else { "files" };
        Ok(Self { layout, segments: segments(store)? })
    }

    pub(super) fn show(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "{name:<11} {value}");
        };
        line("layout", self.layout.to_owned());
        let Some(segments) = &self.segments else { return text };
        let percent = |ratio: Option<f64>| {
            ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{:.0} %", ratio * 100.0))
        };
        line(
            "probation",
            format!("{}, hits {} of look-ups", segments.probation, percent(segments.probation_hit_ratio)),
        );
        line(
            "main",
            format!(
                "{}, hits {} of look-ups",
                human::count(segments.main as usize, "segment"),
                percent(segments.main_hit_ratio)
            ),
        );
        line(
            "live",
            format!(
                "{} of {} slots",
                percent(segments.live_ratio),
                segments.live_slots + segments.ghost_slots
            ),
        );
        let per_entry =
            segments.index_bytes_per_entry.map_or_else(|| "–".to_owned(), |bytes| format!("{bytes:.1}"));
        line("index", format!("{per_entry} bytes per entry"));
        line("ghost hits", segments.ghost_hits.to_string());
        line("duplicates", segments.duplicates.to_string());
        text
    }
}

#[cfg(unix)]
fn segments(store: &FsStore) -> Result<Option<Segments>> {
    let Some(stats) = store.segment_stats()? else { return Ok(None) };
    let counters = stats.counters;
    let looked_up = counters.probation_hits + counters.main_hits + counters.misses;
    Ok(Some(Segments {
        segment_bytes: stats.segment_bytes,
        probation: stats.probation_segments,
        main: stats.main_segments,
        large_bytes: stats.large_bytes,
        live_slots: stats.live_slots,
        ghost_slots: stats.ghost_slots,
        live_ratio: ratio(stats.live_slots, stats.live_slots + stats.ghost_slots),
        probation_hit_ratio: ratio(counters.probation_hits, looked_up),
        main_hit_ratio: ratio(counters.main_hits, looked_up),
        ghost_hits: counters.ghost_hits,
        duplicates: counters.duplicates,
        index_bytes: stats.index_bytes,
        index_bytes_per_entry: ratio(stats.index_bytes, stats.live_slots),
    }))
}

#[cfg(unix)]
fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// There are none.
#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
fn segments(_: &FsStore) -> Result<Option<Segments>> {
    Ok(None)
}
