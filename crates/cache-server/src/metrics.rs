//! The counters as Prometheus reads them.
//!
//! Source: the text format 0.0.4, <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::fmt::{Display, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};

use axum::response::Response;
use http::StatusCode;

use crate::Protocol;
use crate::app::App;
use crate::counters::Counters;
use crate::reply::with_content;

/// Type of the text.
const KIND: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Returns the answer to `/metrics`.
pub(crate) fn answer(app: &App) -> Response {
    with_content(StatusCode::OK, KIND, text(app))
}

fn text(app: &App) -> String {
    let (sums, troubles) = (app.totals.sums(), app.vault.troubles());
    let mut text = Text::default();
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    text.family("build_info", "gauge", "The version that runs.").sample("", &version, 1);
    let store = [("store", app.vault.store().name())];
    text.family("store_info", "gauge", "The store that is shared.").sample("", &store, 1);
    for (name, kind, help, value) in [
        ("uptime_seconds", "gauge", "Seconds since the server began.", app.started.elapsed().as_secs()),
        ("connections", "gauge", "Connections that are open.", sums.connections as u64),
        ("connections_total", "counter", "Connections that were accepted.", sums.connections_total),
        ("connections_refused_total", "counter", "Connections beyond the limit.", sums.connections_refused),
        ("tls_failures_total", "counter", "TLS handshakes that failed.", sums.tls_failures),
        ("requests_total", "counter", "Requests of all kinds.", sums.requests),
        ("requests_running", "gauge", "Requests under way.", app.gate.running() as u64),
        (
            "requests_shed_total",
            "counter",
            "Requests refused because of too many others.",
            sums.requests_shed,
        ),
        (
            "slow_readers_total",
            "counter",
            "Answers that were cut off because they were read too slowly.",
            sums.slow_readers,
        ),
        ("spool_bytes", "gauge", "Bytes of uploads under way that are in files.", app.vault.spool.used()),
        (
            "store_failures_total",
            "counter",
            "Calls that the store could not do.",
            troubles.failures.load(Ordering::Relaxed),
        ),
        (
            "store_timeouts_total",
            "counter",
            "Calls that the store did not do in time.",
            troubles.timeouts.load(Ordering::Relaxed),
        ),
    ] {
        text.family(name, kind, help).sample("", &[], value);
    }
    for (name, help, get) in [
        ("hits_total", "Values that were there.", (|it| &it.hits) as fn(&Counters) -> &AtomicU64),
        ("misses_total", "Values that were not there.", |it| &it.misses),
        ("stored_total", "Values that were stored.", |it| &it.stored),
        ("deleted_total", "Values that were deleted.", |it| &it.deleted),
        ("refused_total", "Requests that were refused or failed.", |it| &it.refused),
        ("read_bytes_total", "Bytes of values that were there.", |it| &it.bytes_read),
        ("stored_bytes_total", "Bytes of values that were stored.", |it| &it.bytes_stored),
    ] {
        text.family(name, "counter", help);
        for protocol in Protocol::ALL {
            let value = get(app.totals.of(protocol)).load(Ordering::Relaxed);
            text.sample("", &[("protocol", protocol.name())], value);
        }
    }
    durations(app, &mut text);
    text.out
}

fn durations(app: &App, text: &mut Text) {
    let help = "Seconds from a request's header to the last byte of its answer.";
    text.family("request_duration_seconds", "histogram", help);
    for protocol in Protocol::ALL {
        for (method, histogram) in app.totals.of(protocol).durations.all() {
            let found = histogram.distribution();
            // Most protocols are used by nobody, and each would be 17 lines for each kind of method.
            if found.count == 0 {
                continue;
            }
            let labels = [("protocol", protocol.name()), ("method", method)];
            for (end, count) in found.buckets {
                let end = end.to_string();
                text.sample("_bucket", &[labels[0], labels[1], ("le", &end)], count);
            }
            text.sample("_bucket", &[labels[0], labels[1], ("le", "+Inf")], found.count);
            text.sample("_sum", &labels, found.sum);
            text.sample("_count", &labels, found.count);
        }
    }
}

/// A text that grows by families of samples.
#[derive(Default)]
struct Text {
    out: String,
    family: &'static str,
}

impl Text {
    fn family(&mut self, name: &'static str, kind: &str, help: &str) -> &mut Self {
        self.family = name;
        // Writing to a text cannot fail.
        let _ = writeln!(self.out, "# HELP vitte_cache_{name} {help}\n# TYPE vitte_cache_{name} {kind}");
        self
    }

    fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        let _ = write!(self.out, "vitte_cache_{}{suffix}", self.family);
        for (at, (name, value)) in labels.iter().enumerate() {
            let _ = write!(self.out, "{}{name}=\"", if at == 0 { '{' } else { ',' });
            escape(value, &mut self.out);
            self.out.push('"');
        }
        let _ = writeln!(self.out, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }
}

fn escape(value: &str, out: &mut String) {
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_labels_are_escaped() {
        let mut text = Text::default();
        text.family("x", "gauge", "Help.").sample("", &[("a", "1\\2\"3\n4"), ("b", "")], 5);
        let expected = "# HELP vitte_cache_x Help.\n# TYPE vitte_cache_x gauge\n\
                        vitte_cache_x{a=\"1\\\\2\\\"3\\n4\",b=\"\"} 5\n";
        assert_eq!(text.out, expected);
    }
}
