//! Maven's build cache extension: files under paths, read and written as in a repository.
//!
//! The extension writes its `buildinfo.xml` last and overwrites it. Directories need not be made: the absence of a `DAV` header
//! in the answer to OPTIONS keeps older transports from trying.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::response::Response;
use http::header::ALLOW;
use http::{HeaderValue, Method, StatusCode};

use super::value;
use crate::app::Call;
use crate::reply::{Refusal, empty};

const ALLOWED: &str = "OPTIONS, GET, HEAD, PUT";

pub(super) async fn answer(call: &Call<'_>, path: &[String], body: &mut Body) -> Result<Response, Refusal> {
    let directory = path.is_empty() || call.target.directory;
    match call.parts.method {
        Method::OPTIONS => {
            let mut response = empty(StatusCode::OK);
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(ALLOWED));
            Ok(response)
        }
        Method::GET | Method::HEAD if directory => Err(Refusal::miss()),
        Method::GET | Method::HEAD => value::get(call, &path.join("/")).await,
        Method::PUT if directory => {
            Err(Refusal::new(StatusCode::CONFLICT, "this is a directory; files are below it"))
        }
        Method::PUT => {
            value::put(call, &path.join("/"), body, &call.expected(None), BTreeMap::new()).await?;
            Ok(empty(StatusCode::CREATED))
        }
        _ => Err(Refusal::method(ALLOWED)),
    }
}
