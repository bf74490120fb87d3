//! What the server says of itself.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use axum::response::Response;
use http::request::Parts;
use http::{Method, StatusCode};
use serde::Serialize;

use crate::Protocol;
use crate::app::App;
use crate::counters::{Count, Sums};
use crate::metrics;
use crate::reply::{Refusal, with_content};
use crate::rights::Grant;
use crate::target::Target;

/// What `/status` says to everybody.
#[derive(Serialize)]
struct Status<'a> {
    server: &'static str,
    version: &'static str,
    ready: bool,
    #[serde(flatten)]
    details: Option<Details<'a>>,
}

/// What `/status` says to those who may read.
#[derive(Serialize)]
struct Details<'a> {
    store: &'a str,
    store_failures: u64,
    store_timeouts: u64,
    uptime_seconds: u64,
    #[serde(flatten)]
    sums: Sums,
    requests_running: usize,
    spool_bytes: u64,
    protocols: BTreeMap<&'static str, Count>,
}

/// Returns whether a path as it was sent is one that is answered however busy the server is.
pub(crate) fn is_path(path: &str) -> bool {
    matches!(path, "/livez" | "/readyz" | "/status" | "/metrics")
}

/// Answers requests to the server itself; nothing if `target` is none.
pub(crate) fn answer(
    app: &App,
    parts: &Parts,
    target: &Target,
    admit: impl FnOnce() -> Result<Grant, Refusal>,
) -> Option<Result<Response, Refusal>> {
    let [path] = target.segments.as_slice() else { return None };
    let ready = !app.stopping.load(Ordering::Relaxed);
    let answer = match path.as_str() {
        "livez" => with_content(StatusCode::OK, "text/plain", "alive\n".to_owned()),
        "readyz" if ready => with_content(StatusCode::OK, "text/plain", "ready\n".to_owned()),
        "readyz" => with_content(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "stopping\n".to_owned()),
        "status" => status(app, ready, admit().is_ok()),
        "metrics" => match admit() {
            Ok(_) => metrics::answer(app),
            Err(refusal) => return Some(Err(refusal)),
        },
        _ => return None,
    };
    Some(match parts.method {
        Method::GET | Method::HEAD => Ok(answer),
        _ => Err(Refusal::method("GET, HEAD")),
    })
}

fn status(app: &App, ready: bool, details: bool) -> Response {
    let totals = &app.totals;
    let details = details.then(|| Details {
        store: app.vault.store().name(),
        store_failures: app.vault.troubles().failures.load(Ordering::Relaxed),
        store_timeouts: app.vault.troubles().timeouts.load(Ordering::Relaxed),
        uptime_seconds: app.started.elapsed().as_secs(),
        sums: totals.sums(),
        requests_running: app.gate.running(),
        spool_bytes: app.vault.spool.used(),
        protocols: Protocol::ALL.into_iter().map(|it| (it.name(), totals.of(it).count())).collect(),
    });
    let status = Status { server: "vitte-cache", version: env!("CARGO_PKG_VERSION"), ready, details };
    match serde_json::to_string(&status) {
        Ok(json) => with_content(StatusCode::OK, "application/json", json + "\n"),
        Err(error) => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
