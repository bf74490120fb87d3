//! Requests that a proxy in front could read differently.
//!
//! Source: RFC 9112, sections 3.2 and 6.1. Nearly all of it is refused by hyper before it comes here.

use http::header::{CONNECTION, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderValue, StatusCode, Version};

use crate::reply::Refusal;

/// Refuses what hyper lets through, and ends the connection: somebody else may see other requests on it.
pub(crate) fn check(parts: &Parts) -> Result<(), Refusal> {
    let mut codings = parts.headers.get_all(TRANSFER_ENCODING).iter();
    // Other codings would have to be undone before the content is what the client means.
    if codings.next().is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
        || codings.next().is_some()
    {
        let message = "the only transfer coding that is known here is chunked, once";
        return Err(last(Refusal::new(StatusCode::NOT_IMPLEMENTED, message)));
    }
    if parts.version == Version::HTTP_11 && parts.headers.get_all(HOST).iter().count() != 1 {
        return Err(last(Refusal::new(StatusCode::BAD_REQUEST, "there has to be one Host")));
    }
    Ok(())
}

fn last(refusal: Refusal) -> Refusal {
    refusal.with(CONNECTION, HeaderValue::from_static("close"))
}
