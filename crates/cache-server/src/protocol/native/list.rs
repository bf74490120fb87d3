//! Lists of entries.

use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cache_core::envelope::encode_entry_facts;
use cache_core::{Entry, Error, ListFilter, Listed, Namespace, Timestamp};
use http::StatusCode;
use serde_json::json;

use super::{JSON, facts, query};
use crate::app::Call;
use crate::reply::{Refusal, with_content};

/// Entries on a page, if the client does not say how many.
const USUAL: usize = 100;
/// Most entries on a page. They are in memory together, and facts of real ones have some kilobytes.
const MOST: usize = 200;

pub(super) async fn list(call: &Call<'_>) -> Result<Response, Refusal> {
    let bad = |why: String| Refusal::new(StatusCode::BAD_REQUEST, why);
    let known = ["namespace", "kind", "name_prefix", "after", "limit"];
    let mut wanted = query::parameters(call.parts.uri.query(), &known)?;
    let namespace = wanted.remove("namespace").map(Namespace::new).transpose();
    let limit = wanted.remove("limit").map_or(Ok(USUAL), |limit| limit.parse::<usize>());
    let limit = limit.ok().filter(|limit| *limit > 0);
    let limit = limit.ok_or_else(|| bad("the limit is no number from 1".to_owned()))?.min(MOST);
    let after = wanted.remove("after");
    // What the client calls a namespace and a kind are facts about its entry; those of the store are ours.
    let filter = ListFilter {
        namespace: namespace.map_err(|error| bad(error.to_string()))?,
        kind: wanted.remove("kind"),
        name_prefix: wanted.remove("name_prefix"),
    };
    let stored = ListFilter {
        namespace: Some(call.namespace.clone()),
        kind: Some(call.place("").kind()),
        name_prefix: Some(facts::prefix().to_owned()),
    };
    let store = call.app.vault.store();
    if !store.capabilities().list {
        return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, "what is behind this server cannot list"));
    }
    let page = store.list(&stored, after.as_deref(), limit).await.map_err(|error| {
        tracing::warn!(%error, "a list failed");
        match error {
            Error::Invalid(_) => bad("the cursor is none that this server gave".to_owned()),
            _ => Refusal::later(StatusCode::SERVICE_UNAVAILABLE, "the cache cannot list right now", 1),
        }
    })?;
    let passing = page.items.into_iter().filter_map(facts::unwrap).filter(|item| filter.passes(&item.meta));
    let items: Vec<_> = passing.filter_map(|item| shown(&item)).collect();
    Ok(with_content(StatusCode::OK, JSON, json!({ "items": items, "next": page.next }).to_string()))
}

/// Returns what a list says of an entry: what people look for, and all of its facts, exactly, in the form of the envelope.
fn shown(item: &Listed) -> Option<serde_json::Value> {
    let Listed { key, meta, size, last_used, signer } = item;
    let facts = encode_entry_facts(key, &Entry { meta: meta.clone(), ..Entry::default() }).ok()?;
    Some(json!({
        "key": key.to_hex(),
        "namespace": meta.namespace.as_str(),
        "kind": meta.kind,
        "name": meta.name,
        "created": meta.created.as_millis(),
        "expires": meta.expires.map(Timestamp::as_millis),
        "writer": meta.writer,
        "cost_ms": meta.cost_ms,
        "tags": meta.tags,
        "size": size,
        "last_used": last_used.map(Timestamp::as_millis),
        "signer": signer.map(|signer| signer.to_string()),
        "facts": STANDARD.encode(facts),
    }))
}
