//! Which paths and methods there are. What routes a request also describes it.

use http::{Method, StatusCode};

use crate::reply::Refusal;

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Describe,
    OpenApi,
    List,
    GetEntry,
    PutEntry,
    RemoveEntry,
    GetBlob,
    PutBlob,
    DeleteBlob,
    BeginUpload,
    FindUpload,
    Append,
    GiveUp,
    Missing,
    Batch,
}

impl Action {
    /// Returns whether its answer says how blobs may be coded when they are sent.
    pub(super) fn is_about_blobs(self) -> bool {
        matches!(
            self,
            Self::Describe
                | Self::GetBlob
                | Self::PutBlob
                | Self::BeginUpload
                | Self::FindUpload
                | Self::Missing
        )
    }
}

/// A path below `/v1`, with what is in braces left open.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) path: &'static str,
    pub(super) operations: &'static [Operation],
    /// The methods, for a client that used another one.
    allow: &'static str,
}

/// A method of a path.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) method: Method,
    pub(super) action: Action,
    /// Its name in the description.
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    /// The type of its body, if it has one.
    pub(super) body: Option<&'static str>,
    /// The type of what it answers, if that has content.
    pub(super) content: Option<&'static str>,
    /// Status codes beside those that every request may be answered.
    pub(super) answers: &'static [u16],
}

const JSON: Option<&str> = Some(super::JSON);
const ENVELOPE: Option<&str> = Some(super::entries::ENVELOPE);
const OPAQUE: Option<&str> = Some("application/octet-stream");
const BATCH: Option<&str> = Some("application/vnd.vitte-cache.batch");

macro_rules! operation {
    ($method:ident, $action:ident, $id:literal, $body:expr, $content:expr, $answers:expr, $summary:literal) => {
        Operation {
            method: Method::$method,
            action: Action::$action,
            id: $id,
            summary: $summary,
            body: $body,
            content: $content,
            answers: &$answers,
        }
    };
}

pub(super) const ROUTES: &[Route] = &[
    Route {
        path: "",
        operations: &[operation!(
            GET,
            Describe,
            "describe",
            None,
            JSON,
            [200],
            "What the client can do here, and the limits."
        )],
        allow: "GET",
    },
    Route {
        path: "/openapi.json",
        operations: &[operation!(GET, OpenApi, "openapi", None, JSON, [200], "This description.")],
        allow: "GET",
    },
    Route {
        path: "/entries",
        operations: &[operation!(
            GET,
            List,
            "listEntries",
            None,
            JSON,
            [200, 501],
            "A page of the entries, in no particular order. It may have no items without being the last one."
        )],
        allow: "GET",
    },
    Route {
        path: "/entries/{key}",
        operations: &[
            operation!(
                GET,
                GetEntry,
                "getEntry",
                None,
                ENVELOPE,
                [200, 206, 304, 404, 416],
                "An entry, if each blob that it names is there."
            ),
            operation!(
                HEAD,
                GetEntry,
                "hasEntry",
                None,
                None,
                [200, 304, 404],
                "Whether there is an entry with all of its blobs."
            ),
            operation!(
                PUT,
                PutEntry,
                "putEntry",
                ENVELOPE,
                None,
                [204, 409, 412, 413, 422, 507],
                "Stores an entry whose blobs are there; with `If-None-Match: *` only where none is."
            ),
            operation!(
                DELETE,
                RemoveEntry,
                "removeEntry",
                None,
                None,
                [204, 404],
                "Removes an entry, not its blobs."
            ),
        ],
        allow: "GET, HEAD, PUT, DELETE",
    },
    Route {
        path: "/blobs/{function}/{digest}",
        operations: &[
            operation!(
                GET,
                GetBlob,
                "getBlob",
                None,
                OPAQUE,
                [200, 206, 304, 404, 416],
                "A blob, or a range of it."
            ),
            operation!(
                HEAD,
                GetBlob,
                "hasBlob",
                None,
                None,
                [200, 304, 404],
                "Whether a blob is there, and its length."
            ),
            operation!(
                PUT,
                PutBlob,
                "putBlob",
                OPAQUE,
                None,
                [204, 413, 415, 507],
                "Stores a blob if it has this digest."
            ),
            operation!(
                DELETE,
                DeleteBlob,
                "deleteBlob",
                None,
                None,
                [204, 404],
                "Removes a blob; entries that name it are gone with it."
            ),
        ],
        allow: "GET, HEAD, PUT, DELETE",
    },
    Route {
        path: "/uploads/{function}/{digest}",
        operations: &[operation!(
            POST,
            BeginUpload,
            "beginUpload",
            None,
            None,
            [201, 413],
            "Begins an upload of a blob in parts; `Location` is where they go."
        )],
        allow: "POST",
    },
    Route {
        path: "/uploads/{upload}",
        operations: &[
            operation!(
                HEAD,
                FindUpload,
                "findUpload",
                None,
                None,
                [204, 404],
                "How many bytes of an upload are there. A part that is still arriving ends with what has come."
            ),
            operation!(
                PATCH,
                Append,
                "appendToUpload",
                OPAQUE,
                None,
                [204, 404, 409, 415, 422, 423, 507],
                "Appends a part, of which stays what arrives. The last one stores the blob if it has its digest."
            ),
            operation!(DELETE, GiveUp, "giveUpUpload", None, None, [204, 404], "Gives an upload up."),
        ],
        allow: "HEAD, PATCH, DELETE",
    },
    Route {
        path: "/missing",
        operations: &[operation!(
            POST,
            Missing,
            "missingBlobs",
            JSON,
            JSON,
            [200, 413],
            "Which of these blobs are not there."
        )],
        allow: "POST",
    },
    Route {
        path: "/batch",
        operations: &[operation!(
            POST,
            Batch,
            "batch",
            JSON,
            BATCH,
            [200, 413],
            "Many small entries and blobs in one answer."
        )],
        allow: "POST",
    },
];

impl Route {
    /// Returns the first part of the path below `/v1/`, which is nothing for `/v1` itself.
    pub(super) fn root(&self) -> &'static str {
        self.path.split('/').nth(1).unwrap_or_default()
    }

    /// Returns what `path` has for each part that is left open, if it is this one.
    fn names<'a>(&self, path: &'a [String]) -> Option<Vec<&'a str>> {
        let mut parts = self.path.split('/').skip(1);
        let mut names = Vec::new();
        for part in path {
            match parts.next()? {
                open if open.starts_with('{') => names.push(part.as_str()),
                known if known == part => {}
                _ => return None,
            }
        }
        parts.next().is_none().then_some(names)
    }
}

/// Returns what a request does, and what its path has where it is left open.
pub(super) fn find<'a>(method: &Method, path: &'a [String]) -> Result<(Action, Vec<&'a str>), Refusal> {
    let Some((route, names)) = ROUTES.iter().find_map(|route| Some((route, route.names(path)?))) else {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "there is no such path; see /v1/openapi.json"));
    };
    let operation = route.operations.iter().find(|operation| operation.method == *method);
    operation.map(|operation| (operation.action, names)).ok_or_else(|| Refusal::method(route.allow))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_found_and_allowed() {
        for route in ROUTES {
            let path: Vec<String> = route.path.split('/').skip(1).map(str::to_owned).collect();
            let open = path.iter().filter(|part| part.starts_with('{')).count();
            let methods: Vec<_> =
                route.operations.iter().map(|operation| operation.method.as_str()).collect();
            assert_eq!(methods.join(", "), route.allow, "{}", route.path);
            for operation in route.operations {
                let (action, names) = find(&operation.method, &path).unwrap();
                assert_eq!((action, names.len()), (operation.action, open), "{}", operation.id);
            }
            let refusal = find(&Method::TRACE, &path).unwrap_err();
            assert_eq!(refusal.status(), StatusCode::METHOD_NOT_ALLOWED);
            let longer = [path, vec!["x".to_owned(), "y".to_owned(), "z".to_owned()]].concat();
            assert_eq!(find(&Method::GET, &longer).unwrap_err().status(), StatusCode::NOT_FOUND);
        }
    }
}
