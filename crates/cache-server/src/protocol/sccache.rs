//! The part of WebDAV that sccache uses: before each write it asks for the directory and would create it if there were none.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::SystemTime;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderName, HeaderValue, StatusCode};

use super::value;
use crate::app::Call;
use crate::reply::{Refusal, empty, with_content};

const ALLOWED: &str = "OPTIONS, GET, HEAD, PUT, DELETE, PROPFIND, MKCOL";

pub(super) async fn answer(call: &Call<'_>, path: &[String], body: &mut Body) -> Result<Response, Refusal> {
    let name = path.join("/");
    let directory = path.is_empty() || call.target.directory;
    match call.parts.method.as_str() {
        "OPTIONS" => {
            let mut response = empty(StatusCode::OK);
            response.headers_mut().insert(HeaderName::from_static("dav"), HeaderValue::from_static("1"));
            response.headers_mut().insert(http::header::ALLOW, HeaderValue::from_static(ALLOWED));
            Ok(response)
        }
        // Every directory is there, so that no client has to create any.
        "PROPFIND" if directory => Ok(properties(call.parts.uri.path(), SystemTime::now(), None)),
        "PROPFIND" => {
            let found = call.app.vault.find(&call.place(&name)).await.ok_or_else(Refusal::miss)?;
            Ok(properties(call.parts.uri.path(), found.created, Some(found.len)))
        }
        "MKCOL" => call.may_write().map(|()| empty(StatusCode::CREATED)),
        "GET" | "HEAD" if directory => Err(Refusal::miss()),
        "GET" | "HEAD" => value::get(call, &name).await,
        "PUT" | "DELETE" if directory => {
            Err(Refusal::new(StatusCode::CONFLICT, "this is a directory; values are below it"))
        }
        "PUT" => {
            value::put(call, &name, body, &call.expected(None), BTreeMap::new()).await?;
            Ok(empty(StatusCode::CREATED))
        }
        "DELETE" if value::remove(call, &name).await? => Ok(empty(StatusCode::NO_CONTENT)),
        "DELETE" => Err(Refusal::miss()),
        _ => Err(Refusal::method(ALLOWED)),
    }
}

/// Returns what WebDAV says of a file of `len` bytes, or of a directory.
fn properties(path: &str, modified: SystemTime, len: Option<u64>) -> Response {
    let mut xml = String::from(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<D:multistatus xmlns:D=\"DAV:\"><D:response><D:href>",
    );
    escape(path, &mut xml);
    xml.push_str("</D:href><D:propstat><D:prop><D:getlastmodified>");
    xml.push_str(&httpdate::fmt_http_date(modified));
    xml.push_str("</D:getlastmodified>");
    match len {
        None => xml.push_str("<D:resourcetype><D:collection/></D:resourcetype>"),
        Some(len) => {
            // Writing to a text cannot fail.
            let _ = write!(xml, "<D:resourcetype/><D:getcontentlength>{len}</D:getcontentlength>");
        }
    }
    xml.push_str("</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response></D:multistatus>\n");
    with_content(StatusCode::MULTI_STATUS, "application/xml; charset=utf-8", xml)
}

fn escape(text: &str, xml: &mut String) {
    for c in text.chars() {
        match c {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            c => xml.push(c),
        }
    }
}
