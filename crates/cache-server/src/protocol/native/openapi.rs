//! The description of the protocol (`OpenAPI` 3.1), made from the routes.

use serde_json::{Map, Value, json};

use cache_core::coding::Coding;

use super::routes::{Operation, ROUTES, Route};

/// What every request may be answered besides.
const ALWAYS: [u16; 7] = [400, 401, 403, 405, 408, 429, 503];

/// Returns the description.
pub(super) fn document() -> Value {
    let paths: Map<String, Value> =
        ROUTES.iter().map(|route| (format!("/v1{}", route.path), described(route))).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "vitte-cache",
            "version": "1",
            "summary": "Entries and blobs of a build cache",
            "description": "All paths are below /ns/{namespace} as well. Envelopes and batches are described in \
                docs/protocols/native.md.",
            "license": { "name": "MIT", "identifier": "MIT" },
        },
        "servers": [{ "url": "/" }],
        "security": [{}, { "bearer": [] }, { "basic": [] }],
        "paths": paths,
        "components": { "securitySchemes": security(), "schemas": schemas() },
    })
}

fn security() -> Value {
    json!({
        "bearer": { "type": "http", "scheme": "bearer", "description": "The token." },
        "basic": { "type": "http", "scheme": "basic", "description": "The token as the password, with any name." },
    })
}

fn described(route: &Route) -> Value {
    let mut item: Map<String, Value> = route
        .operations
        .iter()
        .map(|operation| (operation.method.as_str().to_ascii_lowercase(), operation_of(operation)))
        .collect();
    let parameters = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let parameters: Vec<Value> = parameters.map(parameter).collect();
    if !parameters.is_empty() {
        item.insert("parameters".to_owned(), parameters.into());
    }
    item.into()
}

fn parameter(name: &str) -> Value {
    let schema = match name {
        "function" => json!({ "enum": ["blake3", "sha256"] }),
        _ => json!({ "type": "string", "pattern": "^[0-9a-f]{64}$" }),
    };
    json!({ "name": name, "in": "path", "required": true, "schema": schema })
}

fn operation_of(operation: &Operation) -> Value {
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "responses": responses(operation),
    });
    let mut parameters = Vec::new();
    if operation.id == "listEntries" {
        for name in ["namespace", "kind", "name_prefix", "after", "limit"] {
            parameters.push(json!({ "name": name, "in": "query", "schema": { "type": "string" } }));
        }
    }
    if operation.id == "putEntry" {
        parameters.push(json!({ "name": "If-None-Match", "in": "header", "schema": { "const": "*" } }));
    }
    let counted = match operation.id {
        "beginUpload" => Some("Upload-Length"),
        "appendToUpload" => Some("Upload-Offset"),
        _ => None,
    };
    if let Some(name) = counted {
        let schema = json!({ "type": "integer", "minimum": 0 });
        parameters.push(json!({ "name": name, "in": "header", "required": true, "schema": schema }));
    }
    if operation.answers.contains(&206) {
        parameters.push(json!({ "name": "Range", "in": "header", "schema": { "type": "string" } }));
    }
    let coded = match operation.id {
        "getBlob" => Some("Accept-Encoding"),
        "putBlob" | "appendToUpload" => Some("Content-Encoding"),
        _ => None,
    };
    if let Some(name) = coded {
        parameters.push(
            json!({ "name": name, "in": "header", "schema": { "examples": Coding::ALL.map(Coding::name) } }),
        );
    }
    if operation.id == "putBlob" {
        let description = "The length of the blob, if it comes coded.";
        let schema = json!({ "type": "integer", "minimum": 0 });
        parameters.push(json!({
            "name": "X-Digest-SizeBytes", "in": "header", "description": description, "schema": schema,
        }));
    }
    if !parameters.is_empty() {
        described["parameters"] = parameters.into();
    }
    if let Some(kind) = operation.body {
        let content = content(kind, &format!("{}Request", operation.id));
        described["requestBody"] = json!({ "required": true, "content": content });
    }
    described
}

fn content(kind: &str, schema: &str) -> Value {
    let is_known = kind == super::JSON && schemas().get(schema).is_some();
    let schema =
        if is_known { json!({ "$ref": format!("#/components/schemas/{schema}") }) } else { json!({}) };
    json!({ kind: { "schema": schema } })
}

fn responses(operation: &Operation) -> Value {
    let mut responses = Map::new();
    for status in operation.answers.iter().chain(&ALWAYS) {
        let reason = http::StatusCode::from_u16(*status).ok().and_then(|status| status.canonical_reason());
        let mut response = json!({ "description": reason.unwrap_or_default() });
        match (operation.content, *status) {
            (Some(kind), 200 | 206) => {
                response["content"] = content(kind, &format!("{}Response", operation.id));
            }
            (_, 400..) if *status != 404 => {
                let problem = json!({ "$ref": "#/components/schemas/problem" });
                response["content"] = json!({ "application/problem+json": { "schema": problem } });
            }
            _ => {}
        }
        responses.insert(status.to_string(), response);
    }
    responses.into()
}

fn schemas() -> Value {
    let digest = json!({ "type": "string", "pattern": "^(blake3|sha256):[0-9a-f]{64}$" });
    let list = |of: Value| json!({ "type": "array", "items": of, "maxItems": super::MAX_ITEMS });
    let number = json!({ "type": "integer", "minimum": 0 });
    let key = json!({ "type": "string", "pattern": "^[0-9a-f]{64}$" });
    json!({
        "problem": {
            "type": "object",
            "required": ["title", "status", "detail"],
            "properties": {
                "type": { "type": "string" },
                "title": { "type": "string" },
                "status": number,
                "detail": { "type": "string" },
                "missing": { "type": "array", "items": digest },
            },
        },
        "missingBlobsRequest": {
            "type": "object", "required": ["digests"], "additionalProperties": false,
            "properties": { "digests": list(digest.clone()) },
        },
        "missingBlobsResponse": {
            "type": "object", "required": ["missing"], "properties": { "missing": list(digest.clone()) },
        },
        "batchRequest": {
            "type": "object", "additionalProperties": false,
            "properties": { "entries": list(key.clone()), "blobs": list(digest) },
        },
        "describeResponse": {
            "type": "object",
            "required": ["protocol", "namespace", "write", "max_value", "max_entry", "max_blob", "max_items", "max_batched"],
            "properties": {
                "protocol": { "const": 1 }, "server": { "type": "string" }, "namespace": { "type": "string" },
                "write": { "type": "boolean" }, "max_value": number, "max_entry": number, "max_blob": number,
                "max_items": number, "max_batched": number,
            },
        },
        "listEntriesResponse": {
            "type": "object", "required": ["items", "next"],
            "properties": {
                "items": { "type": "array", "items": {
                    "type": "object",
                    "required": ["key", "namespace", "kind", "name", "size", "last_used", "signer", "facts"],
                    "properties": {
                        "key": key, "namespace": { "type": "string" }, "kind": { "type": "string" },
                        "name": { "type": "string" }, "created": number, "expires": { "type": ["integer", "null"] },
                        "writer": { "type": "string" }, "cost_ms": number,
                        "tags": { "type": "object", "additionalProperties": { "type": "string" } },
                        "size": number, "last_used": { "type": ["integer", "null"] },
                        "signer": { "type": ["string", "null"] },
                        "facts": { "type": "string", "contentEncoding": "base64" },
                    },
                } },
                "next": { "type": ["string", "null"], "description": "The next page's `after`; null if this is the last one." },
            },
        },
    })
}
