//! Answers.

use std::borrow::Cow;

use axum::body::Body;
use axum::response::Response;
use cache_core::Error;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};

/// Why a request is not done, as the client will read it.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    message: Cow<'static, str>,
    header: Option<(HeaderName, HeaderValue)>,
    /// On the heap: few have one, and results with a large error are slow.
    problem: Option<Box<Problem>>,
}

/// What a refusal says to a program (RFC 9457).
#[derive(Debug, Default)]
struct Problem {
    /// Which of the problems that the documentation lists it is, if it is more than its status.
    code: Option<&'static str>,
    /// What exactly it is about.
    about: Option<(&'static str, serde_json::Value)>,
}

/// Where problems are explained, each under its name.
const PROBLEMS: &str = "https://github.com/vitte-cache/vitte-cache/blob/main/docs/protocols/native.md#";

impl Refusal {
    pub(crate) fn new(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, message: message.into(), header: None, problem: None }
    }

    /// A miss. It has no text: clients read none, and there are many.
    pub(crate) fn miss() -> Self {
        Self::new(StatusCode::NOT_FOUND, "")
    }

    /// A method that the path does not have; `allow` names those that it has.
    pub(crate) fn method(allow: &'static str) -> Self {
        let refusal = Self::new(StatusCode::METHOD_NOT_ALLOWED, format!("use one of {allow} here"));
        refusal.with(ALLOW, HeaderValue::from_static(allow))
    }

    /// Too much is going on; it is worth trying again after some `seconds`.
    pub(crate) fn later(status: StatusCode, message: impl Into<Cow<'static, str>>, seconds: u64) -> Self {
        Self::new(status, message).with(RETRY_AFTER, seconds.into())
    }

    /// A credential is needed. The challenge is Basic because some clients send nothing before they are asked for that.
    pub(crate) fn unauthorized(message: &'static str) -> Self {
        let challenge = HeaderValue::from_static("Basic realm=\"vitte-cache\", charset=\"UTF-8\"");
        Self::new(StatusCode::UNAUTHORIZED, message).with(WWW_AUTHENTICATE, challenge)
    }

    /// A value that is larger than `limit`.
    pub(crate) fn too_large(limit: u64) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the value is larger than {limit} bytes, the limit here"),
        )
    }

    /// An upload of which only some bytes came.
    pub(crate) fn cut_off(received: u64) -> Self {
        let message = format!("{received} bytes arrived, not as many as announced; nothing was stored");
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// What a store could not do for a write.
    pub(crate) fn from_write(error: &Error) -> Self {
        match error {
            Error::Full { .. } => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "there is no room left in the cache")
            }
            Error::TooLarge { limit, .. } => Self::too_large(*limit),
            Error::Unavailable { .. } | Error::Incomplete { .. } => {
                Self::later(StatusCode::SERVICE_UNAVAILABLE, "the cache cannot store anything right now", 1)
            }
            // The rest names paths of this machine: it is in the log, not in the answer.
            _ => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the cache could not store the value; see the server's log",
            ),
        }
    }

    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some((name, value));
        self
    }

    /// Returns the refusal as a problem.
    pub(crate) fn into_problem(mut self) -> Self {
        self.problem.get_or_insert_default();
        self
    }

    /// Returns the refusal as the problem called `code`, about something if it has more to say.
    pub(crate) fn coded(
        mut self,
        code: &'static str,
        about: Option<(&'static str, serde_json::Value)>,
    ) -> Self {
        self.problem = Some(Box::new(Problem { code: Some(code), about }));
        self
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns what went wrong, for the client to read; nothing for a miss.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn into_response(self) -> Response {
        let mut response = empty(self.status);
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, value);
        }
        if self.message.is_empty() {
            return response;
        }
        if let Some(problem) = self.problem {
            let mut content = serde_json::json!({
                "title": self.status.canonical_reason().unwrap_or_default(),
                "status": self.status.as_u16(),
                "detail": self.message,
            });
            if let Some(code) = problem.code {
                content["type"] = format!("{PROBLEMS}{code}").into();
            }
            if let Some((name, value)) = problem.about {
                content[name] = value;
            }
            let kind = HeaderValue::from_static("application/problem+json");
            response.headers_mut().insert(CONTENT_TYPE, kind);
            *response.body_mut() = Body::from(content.to_string());
        } else {
            // Nx takes a 401 only with exactly this type, without a charset.
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
            *response.body_mut() = Body::from(self.message.into_owned() + "\n");
        }
        response
    }
}

/// Returns an answer without content.
pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// Returns an answer of `content`.
pub(crate) fn with_content(status: StatusCode, kind: &'static str, content: String) -> Response {
    let mut response = Response::new(Body::from(content));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
