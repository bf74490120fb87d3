//! `stats`: how much the cache helped, from the journal.

mod store;
mod summary;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use cache_run::human;
use cache_run::journal::{Outcome, Record};
use serde::Serialize;

use super::{Context, now};
use crate::args::StatsArgs;
use crate::ci::Job;
use crate::failure::Result;
use crate::output::{self, Column};
use crate::{place, session};
use store::StoreStats;

/// Labels in the table; a project has fewer, and a table that scrolls away helps nobody.
const MAX_LABELS: usize = 20;

pub(super) fn run(context: &Context, args: &StatsArgs) -> Result {
    let store = place::open(&context.config)?;
    let records = cache_run::journal(&store)?.read_all();
    let session = (args.session || args.summary).then(|| session::current(&context.config));
    let from = args.since.map(|since| now().minus(since));
    let namespace = context.config.namespace_filter();
    let passes = |record: &&Record| {
        args.label.as_ref().is_none_or(|label| *label == record.label)
            && session.as_ref().is_none_or(|session| *session == record.session)
            && from.is_none_or(|from| record.at >= from)
            && namespace.as_ref().is_none_or(|namespace| namespace.as_str() == record.namespace)
    };
    let mut chosen: Vec<&Record> = records.iter().filter(passes).collect();
    if args.last {
        chosen.drain(..chosen.len().saturating_sub(1));
    }
    if args.summary {
        return summary::write(&Stats::of(&chosen), Job::current().as_ref());
    }
    let stats = Stats { store: Some(StoreStats::of(&store)?), ..Stats::of(&chosen) };
    let mut out = output::stdout();
    if args.json {
        output::json_line(&mut out, &stats)?;
    } else {
        out.write_all(stats.show(context).as_bytes())?;
        if let Some(store) = &stats.store {
            write!(out, "\n{}", store.show())?;
        }
    }
    Ok(out.flush()?)
}

/// Sums over runs.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Stats {
    #[serde(flatten)]
    total: Sums,
    /// Milliseconds since the epoch when the first of the runs ended.
    first_ms: Option<u64>,
    labels: BTreeMap<String, Sums>,
    not_deterministic: BTreeSet<String>,
    /// How the cache is doing now, whoever uses it.
    #[serde(flatten)]
    store: Option<StoreStats>,
}

#[derive(Debug, Default, PartialEq, Serialize)]
struct Sums {
    runs: u64,
    hits: u64,
    misses: u64,
    not_stored: u64,
    /// Hits among all runs, from 0 to 1.
    hit_ratio: Option<f64>,
    restored_bytes: u64,
    stored_bytes: u64,
    saved_ms: u64,
    /// Hits whose results came from the remote cache, and how many bytes came from there.
    remote_hits: u64,
    fetched_bytes: u64,
    /// Entries that arrived in the remote cache.
    uploads: u64,
}

impl Sums {
    fn add(&mut self, record: &Record) {
        self.runs += 1;
        if let Some(remote) = &record.remote {
            self.remote_hits += u64::from(remote.hit);
            self.fetched_bytes = self.fetched_bytes.saturating_add(remote.fetched_bytes);
            self.uploads = self.uploads.saturating_add(remote.uploaded);
        }
        match record.outcome {
            Outcome::Hit | Outcome::Stale => {
                self.hits += 1;
                self.restored_bytes = self.restored_bytes.saturating_add(record.bytes);
                let saved = record.command_ms.saturating_sub(record.wall_ms);
                self.saved_ms = self.saved_ms.saturating_add(saved);
            }
            Outcome::Miss => {
                self.misses += 1;
                self.stored_bytes = self.stored_bytes.saturating_add(record.bytes);
            }
            Outcome::NotStored => self.not_stored += 1,
            // Such runs have no cache whose journal they could be in.
            Outcome::Bypass => {}
        }
        self.hit_ratio = Some(self.hits as f64 / self.runs as f64);
    }

    fn ratio(&self) -> String {
        self.hit_ratio.map_or_else(String::new, |ratio| format!("{:.0} %", ratio * 100.0))
    }

    fn saved(&self) -> String {
        human::duration(Duration::from_millis(self.saved_ms))
    }
}

impl Stats {
    fn of(records: &[&Record]) -> Self {
        let mut stats =
            Self { first_ms: records.first().map(|record| record.at.as_millis()), ..Self::default() };
        for record in records {
            stats.total.add(record);
            stats.labels.entry(record.label.clone()).or_default().add(record);
            if record.differing.is_some_and(|count| count > 0) {
                stats.not_deterministic.insert(record.label.clone());
            }
        }
        stats
    }

    fn show(&self, context: &Context) -> String {
        let total = &self.total;
        let Some(first) = self.first_ms else {
            return "no run is recorded that fits; run something with `vitte-cache run` first\n".to_owned();
        };
        let since = super::ago(cache_core::Timestamp::from_millis(first));
        let painter = context.color.stdout();
        let runs = painter.heading(&human::count(total.runs as usize, "run"));
        let mut text = format!("{runs} in the last {since}\n\n");
        let mut line = |name: &str, value: &str, more: &str| {
            let _ =
                writeln!(text, "{}", format_args!("{name:<11} {value:>8}   {more}").to_string().trim_end());
        };
        line("hits", &total.hits.to_string(), &total.ratio());
        if total.remote_hits > 0 {
            line("from remote", &total.remote_hits.to_string(), &human::size(total.fetched_bytes));
        }
        if total.uploads > 0 {
            line("uploaded", &total.uploads.to_string(), "");
        }
        line("misses", &total.misses.to_string(), "");
        line("not stored", &total.not_stored.to_string(), "");
        line("restored", &human::size(total.restored_bytes), "");
        line("stored", &human::size(total.stored_bytes), "");
        line("time saved", &total.saved(), "");
        text.push('\n');
        let mut labels: Vec<(&String, &Sums)> = self.labels.iter().collect();
        labels.sort_by(|(a, x), (b, y)| y.saved_ms.cmp(&x.saved_ms).then(y.runs.cmp(&x.runs)).then(a.cmp(b)));
        let rows = labels.iter().take(MAX_LABELS).map(|(label, sums)| {
            vec![
                output::visible(label),
                sums.runs.to_string(),
                sums.hits.to_string(),
                sums.ratio(),
                sums.saved(),
            ]
        });
        let columns = [
            Column::Left("label"),
            Column::Right("runs"),
            Column::Right("hits"),
            Column::Right("ratio"),
            Column::Right("time saved"),
        ];
        text.push_str(&output::table(&columns, rows.collect(), painter));
        if labels.len() > MAX_LABELS {
            let _ = writeln!(text, "… and {} more; --json has all", labels.len() - MAX_LABELS);
        }
        if !self.not_deterministic.is_empty() {
            let names: Vec<String> =
                self.not_deterministic.iter().map(|label| output::visible(label)).collect();
            let what = format!("not deterministic, as --verify found: {}", names.join(", "));
            let _ = writeln!(text, "\n{}", painter.bad(&what));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cache_core::{Key, Timestamp};

    fn record(label: &str, outcome: Outcome) -> Record {
        Record {
            at: Timestamp::from_millis(1),
            label: label.to_owned(),
            namespace: "default".to_owned(),
            key: Key::from_bytes([1; 32]),
            manifest: None,
            outcome,
            reasons: Vec::new(),
            command_ms: 1000,
            wall_ms: 10,
            bytes: 7,
            code: 0,
            base: "/".to_owned(),
            session: String::new(),
            signer: None,
            differing: None,
            remote: None,
            not_stored: None,
        }
    }

    #[test]
    fn sums_are_by_label_and_in_all() {
        let mut records = [
            record("a", Outcome::Miss),
            record("a", Outcome::Hit),
            record("a", Outcome::Stale),
            record("b", Outcome::NotStored),
        ];
        records[1].differing = Some(2);
        records[2].differing = Some(0);
        // A hit that took longer than the command saved nothing; it does not take away what others saved.
        records[2].wall_ms = 5000;
        let stats = Stats::of(&records.iter().collect::<Vec<_>>());
        let total = &stats.total;
        assert_eq!((total.runs, total.hits, total.misses, total.not_stored), (4, 2, 1, 1));
        assert_eq!((total.hit_ratio, total.saved_ms), (Some(0.5), 990));
        assert_eq!((total.restored_bytes, total.stored_bytes), (14, 7));
        assert_eq!((stats.labels["a"].hits, stats.labels["b"].hit_ratio), (2, Some(0.0)));
        assert_eq!(stats.not_deterministic.iter().collect::<Vec<_>>(), ["a"]);
        assert_eq!(Stats::of(&[]), Stats::default());
    }
}
