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
/// Bytes of items after which a page ends, so that entries with very many facts do not add up.
const MOST_BYTES: usize = 8 << 20;
/// Entries that the store is asked for at a time: a page ends after the one of these steps that fills it.
const STEP: usize = 20;

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
    let (mut items, mut seen, mut next) = (String::new(), 0, after);
    loop {
        let page = store.list(&stored, next.as_deref(), STEP.min(limit - seen)).await.map_err(|error| {
            tracing::warn!(%error, "a list failed");
            match error {
                Error::Invalid(_) => bad("the cursor is none that this server gave".to_owned()),
                _ => Refusal::later(StatusCode::SERVICE_UNAVAILABLE, "the cache cannot list right now", 1),
            }
        })?;
        // A step may be empty without being the last, and counts all the same: a request is no endless search.
        seen += STEP.min(limit - seen);
        let found = page.items.into_iter().filter_map(facts::unwrap);
        for item in found.filter(|item| filter.passes(&item.meta)).filter_map(|item| shown(&item)) {
            if !items.is_empty() {
                items.push(',');
            }
            items.push_str(&item.to_string());
        }
        next = page.next;
        if next.is_none() || seen >= limit || items.len() >= MOST_BYTES {
            let content = format!("{{\"items\":[{items}],\"next\":{}}}", json!(next));
            return Ok(with_content(StatusCode::OK, JSON, content));
        }
    }
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
