//! Plain values under any path: Rush, metro, vcpkg, Nix binary caches, Conan backup sources.

use axum::body::Body;
use axum::response::Response;
use http::{Method, StatusCode};

use super::value;
use crate::app::Call;
use crate::reply::{Refusal, empty};

pub(super) async fn answer(call: &Call<'_>, path: &[String], body: &mut Body) -> Result<Response, Refusal> {
    if path.is_empty() {
        return Err(Refusal::miss());
    }
    let name = path.join("/");
    match call.parts.method {
        Method::GET | Method::HEAD => value::get(call, &name).await,
        Method::PUT => {
            let facts = value::described(&call.parts.headers);
            value::put(call, &name, body, &call.expected(None), facts).await?;
            Ok(empty(StatusCode::OK))
        }
        Method::DELETE if value::remove(call, &name).await? => Ok(empty(StatusCode::NO_CONTENT)),
        Method::DELETE => Err(Refusal::miss()),
        _ => Err(Refusal::method("GET, HEAD, PUT, DELETE")),
    }
}
