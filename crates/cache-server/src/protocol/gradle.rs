//! Gradle's HTTP build cache: one opaque key, GET and PUT.
//!
//! Any answer but success and a miss makes Gradle do without the cache for the rest of the build, so a read that the server
//! cannot do is a miss.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::response::Response;
use http::{Method, StatusCode};

use super::{is_trouble, value};
use crate::app::Call;
use crate::reply::{Refusal, empty};

pub(super) async fn answer(call: &Call<'_>, path: &[String], body: &mut Body) -> Result<Response, Refusal> {
    let [key] = path else { return Err(Refusal::miss()) };
    match call.parts.method {
        Method::GET | Method::HEAD => value::get(call, key).await,
        Method::PUT => {
            let stored = value::put(call, key, body, &call.expected(None), BTreeMap::new()).await;
            if stored.is_err() {
                value::discard(call, body).await;
            }
            stored.map(|()| empty(StatusCode::OK))
        }
        _ => Err(Refusal::method("GET, HEAD, PUT")),
    }
}

/// Returns what Gradle reads instead of `refusal`.
pub(super) fn refuse(method: &Method, refusal: Refusal) -> Refusal {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    if reads && is_trouble(refusal.status()) { Refusal::miss() } else { refusal }
}
