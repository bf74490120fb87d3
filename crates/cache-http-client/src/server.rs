//! The server: one request at a time, again where that is safe.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use cache_core::coding::Coding;
use cache_core::{Error, Result};
use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderValue, LOCATION,
};
use reqwest::{Client, Method, Request, Response, StatusCode, Url};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout_at};

use crate::budget::Budget;
use crate::clock::Clock;
use crate::coded;
use crate::failure::Failure;
use crate::hedge::Hedge;
use crate::options::HttpOptions;

/// An idle connection is closed after this time, before most servers close it and a request is lost on the way.
const IDLE: Duration = Duration::from_secs(50);
/// How long a name's look-up and a handshake may take; a server in reach needs much less.
const CONNECT: Duration = Duration::from_secs(5);
/// How often a question is sent somewhere else before it goes round in circles.
const REDIRECTS: usize = 5;

/// A server that is not ours: what it sends is doubted, what it may cost is bounded.
pub(crate) struct Server {
    client: Client,
    base: Url,
    authorization: Option<HeaderValue>,
    pub(crate) options: HttpOptions,
    pub(crate) budget: Budget,
    hedge: Hedge,
    places: Arc<Semaphore>,
    /// How blobs are coded on their way, if they are.
    pub(crate) coding: Option<Coding>,
    /// Whether the server said that it takes what is coded like that.
    pub(crate) takes_coded: AtomicBool,
    /// Answers that should have been an entry and were something else.
    pub(crate) unsound: AtomicU64,
    pub(crate) clock: Clock,
}

/// A question that can be asked again.
pub(crate) struct Question<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Bytes>,
}

impl<'a> Question<'a> {
    pub(crate) fn new(method: Method, path: &'a str) -> Self {
        Self { method, path, headers: HeaderMap::new(), body: None }
    }
}

/// An answer, and the place among the connections that it takes until it is read.
pub(crate) struct Answer {
    pub(crate) response: Response,
    /// How its content is coded, if it is.
    pub(crate) coding: Option<Coding>,
    _place: OwnedSemaphorePermit,
}

impl Answer {
    /// Returns whether there is nothing there.
    pub(crate) fn is_absence(&self) -> bool {
        matches!(self.response.status(), StatusCode::NOT_FOUND | StatusCode::GONE)
    }

    /// Returns the length of the content that a `HEAD` or `GET` announces, as it is when it is not coded.
    pub(crate) fn len(&self) -> Option<u64> {
        let name = if self.coding.is_some() { coded::SIZE } else { CONTENT_LENGTH };
        self.response.headers().get(name)?.to_str().ok()?.parse().ok()
    }
}

impl Server {
    /// Returns the server that `options` describe. Nothing is sent yet.
    pub(crate) fn new(options: HttpOptions) -> Result<Self> {
        let base = options.base()?;
        if options.timeout.is_zero() || options.stall.is_zero() || options.connections == 0 {
            let what = "`timeout`, `stall` and `connections` of the remote cache must be more than nothing";
            return Err(Error::Invalid(what.to_owned()));
        }
        let invalid = |what: &str, error: &dyn fmt::Display| {
            Error::Invalid(format!("{what} of the remote cache cannot be used: {error}"))
        };
        let mut builder = Client::builder()
            .user_agent(concat!("vitte-cache/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(options.connections)
            .pool_idle_timeout(IDLE)
            .connect_timeout(CONNECT.min(options.timeout))
            .referer(false);
        if let Some(pem) = &options.extra_ca {
            let certificates = reqwest::Certificate::from_pem_bundle(pem)
                .map_err(|error| invalid("the extra CA", &error))?;
            if certificates.is_empty() {
                return Err(invalid("the extra CA", &"there is no certificate in it"));
            }
            builder = builder.tls_certs_merge(certificates);
        }
        let client = builder.build().map_err(|error| invalid("the TLS configuration", &error))?;
        let authorization = authorization(&client, &base, &options)?;
        let places = Arc::new(Semaphore::new(options.connections.min(Semaphore::MAX_PERMITS)));
        let budget = Budget::of_repetitions();
        let (hedge, unsound) = (Hedge::new(), AtomicU64::new(0));
        let (coding, takes_coded) = (coded::coding(options.compression, &base), AtomicBool::new(false));
        let clock = Clock::default();
        Ok(Self {
            client,
            base,
            authorization,
            options,
            budget,
            hedge,
            places,
            coding,
            takes_coded,
            unsound,
            clock,
        })
    }

    /// Returns how messages call the server.
    pub(crate) fn place(&self) -> String {
        format!("the cache at {}", self.base)
    }

    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.options.timeout
    }

    /// Returns what `future` does until `deadline`, and no later than after a stall.
    pub(crate) async fn within<T>(
        &self,
        deadline: Instant,
        future: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        let stalled = Instant::now() + self.options.stall;
        timeout_at(deadline.min(stalled), future)
            .await
            .map_err(|_| self.passing("it does not answer in time"))
    }

    /// Returns a request for `path` below the server's address.
    pub(crate) fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<reqwest::Body>,
    ) -> Result<Request, Failure> {
        let url = self.base.join(path);
        let url =
            url.map_err(|error| Failure::lasting(Error::Invalid(format!("{path} is no path: {error}"))))?;
        let mut request = Request::new(method, url);
        // Entries are compressed already where that pays; whoever can read a blob that is says so instead.
        request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        *request.body_mut() = body;
        Ok(request)
    }

    /// Returns the answer to one request, whatever it is.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection, or the stream of HTTP/2.
    pub(crate) async fn exchange(&self, request: Request) -> Result<Answer, Failure> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.map_err(|_| self.passing("it is closed"))?;
        let asked =
            request.headers().get(ACCEPT_ENCODING).and_then(|name| Coding::named(name.to_str().ok()?));
        let response = self.client.execute(request).await.map_err(|error| self.broken(error))?;
        self.learn(&response);
        self.clock.read(response.headers(), SystemTime::now());
        let found = response.headers().get(CONTENT_ENCODING).filter(|encoding| *encoding != "identity");
        let coding = found.and_then(|name| Coding::named(name.to_str().ok()?));
        if found.is_some() && (coding.is_none() || coding != asked) {
            let why = "it, or a proxy before it, compresses what it should send as it is; switch that off for the cache";
            return Err(Failure::lasting(self.unavailable(why)));
        }
        Ok(Answer { response, coding, _place: place })
    }

    /// Returns the answer to `question` if it is success, absence, a conflict or a range that is not there; asked once.
    ///
    /// # Cancel safety
    /// As [`exchange`](Self::exchange).
    pub(crate) async fn ask_once(
        &self,
        question: &Question<'_>,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        let size = question.body.as_ref().map_or(0, |body| body.len() as u64);
        let reads = matches!(question.method, Method::GET | Method::HEAD);
        let body = || question.body.clone().map(Into::into);
        let mut request = self.request(question.method.clone(), question.path, body())?;
        request.headers_mut().extend(question.headers.clone());
        for _ in 0..=REDIRECTS {
            let at = request.url().clone();
            let answer = self.within(deadline, self.exchange(request)).await??;
            let status = answer.response.status();
            if !(reads && status.is_redirection() && status != StatusCode::NOT_MODIFIED) {
                return self.expected(answer, &question.method, size);
            }
            // What changes something is never sent on: most redirects turn it into a `GET`, which then "succeeds".
            request = self.redirected(question, &at, &answer)?;
        }
        Err(Failure::lasting(self.unavailable("it sends the question round in circles")))
    }

    /// Returns `answer` if it is one that callers know.
    pub(crate) fn expected(&self, answer: Answer, method: &Method, size: u64) -> Result<Answer, Failure> {
        let status = answer.response.status();
        let known = status.is_success()
            || answer.is_absence()
            || matches!(
                status,
                StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED | StatusCode::RANGE_NOT_SATISFIABLE
            );
        if known { Ok(answer) } else { Err(self.refused(&answer.response, method.as_str(), size)) }
    }

    fn redirected(&self, question: &Question<'_>, at: &Url, answer: &Answer) -> Result<Request, Failure> {
        let nowhere =
            || Failure::lasting(self.unavailable("it sends the question somewhere without saying where"));
        let location = answer.response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        let to = at.join(location.ok_or_else(nowhere)?).map_err(|_| nowhere())?;
        let is_safe = to.scheme() == "https" || (to.scheme() == "http" && at.scheme() == "http");
        if !is_safe {
            let why = "it sends the question from https to something less safe";
            return Err(Failure::lasting(self.unavailable(why)));
        }
        let mut request = self.request(question.method.clone(), "", None)?;
        request.headers_mut().extend(question.headers.clone());
        if to.origin() != self.base.origin() {
            // The token is for the server that it was given to.
            request.headers_mut().remove(AUTHORIZATION);
        }
        *request.url_mut() = to;
        Ok(request)
    }

    /// Returns the answer to `question`, asked again as often as is sensible.
    ///
    /// # Cancel safety
    /// As [`exchange`](Self::exchange).
    pub(crate) async fn ask(&self, question: &Question<'_>) -> Result<Answer> {
        let mut attempts = self.attempts();
        loop {
            let attempt = || self.ask_once(question, attempts.deadline);
            match self.hedged(question, attempt).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => attempts.again(failure).await?,
            }
        }
    }

    /// Returns the whole content at `path`, or nothing if there is none. It has no more than `limit` bytes.
    ///
    /// # Cancel safety
    /// As [`exchange`](Self::exchange).
    pub(crate) async fn fetch(&self, path: &str, limit: u64) -> Result<Option<Bytes>> {
        self.fetch_question(&Question::new(Method::GET, path), limit).await
    }

    /// Returns the whole answer to `question`, or nothing if there is nothing. It has no more than `limit` bytes.
    ///
    /// # Cancel safety
    /// As [`exchange`](Self::exchange).
    pub(crate) async fn fetch_question(&self, question: &Question<'_>, limit: u64) -> Result<Option<Bytes>> {
        let mut attempts = self.attempts();
        loop {
            let attempt = || self.fetch_once(question, limit, attempts.deadline);
            match self.hedged(question, attempt).await {
                Ok(content) => return Ok(content),
                Err(failure) => attempts.again(failure).await?,
            }
        }
    }

    /// Returns what `attempt` at `question` comes to. A read that is late is attempted a second time beside that: whatever is
    /// small as a whole, and of what is larger the beginning of the answer.
    async fn hedged<T, F>(&self, question: &Question<'_>, attempt: impl Fn() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let reads = matches!(question.method, Method::GET | Method::HEAD);
        if !(reads && self.options.hedge) {
            return attempt().await;
        }
        self.hedge.first_of(attempt, || self.places.available_permits() > 0).await
    }

    async fn fetch_once(
        &self,
        question: &Question<'_>,
        limit: u64,
        deadline: Instant,
    ) -> Result<Option<Bytes>, Failure> {
        let mut answer = self.ask_once(question, deadline).await?;
        if answer.is_absence() {
            return Ok(None);
        }
        if answer.response.status() != StatusCode::OK {
            return Err(self.refused(&answer.response, question.method.as_str(), 0));
        }
        self.content(&mut answer, limit, deadline).await.map(Some)
    }

    /// Returns all that an answer has, which is no more than `limit` bytes.
    ///
    /// # Cancel safety
    /// As [`exchange`](Self::exchange).
    pub(crate) async fn content(
        &self,
        answer: &mut Answer,
        limit: u64,
        deadline: Instant,
    ) -> Result<Bytes, Failure> {
        let too_large = |size| {
            let what = format!("what {} answers", self.place());
            Failure::lasting(Error::TooLarge { what, size, limit })
        };
        let announced = answer.len();
        if let Some(size) = announced.filter(|size| *size > limit) {
            return Err(too_large(size));
        }
        let mut content = Vec::new();
        loop {
            let piece = self.within(deadline, answer.response.chunk()).await?;
            let Some(piece) = piece.map_err(|error| self.broken(error))? else { break };
            let size = (content.len() + piece.len()) as u64;
            if size > limit {
                return Err(too_large(size));
            }
            content.extend_from_slice(&piece);
        }
        if announced.is_some_and(|announced| announced != content.len() as u64) {
            return Err(self.passing("its answer ends early"));
        }
        Ok(content.into())
    }

    /// Removes what is at `path` and returns whether there was something. Not repeated: the second answer would be about
    /// what the first attempt left.
    ///
    /// # Cancel safety
    /// As [`exchange`](Self::exchange).
    pub(crate) async fn remove(&self, path: &str) -> Result<bool> {
        let answer = self.ask_once(&Question::new(Method::DELETE, path), self.deadline()).await;
        Ok(answer.map_err(|failure| failure.error)?.response.status().is_success())
    }

    /// Returns whether there is something of `len` bytes at `path`.
    ///
    /// # Cancel safety
    /// As [`exchange`](Self::exchange).
    pub(crate) async fn has_blob(&self, path: &str, len: u64) -> Result<bool> {
        let there = self.ask(&Question::new(Method::HEAD, path)).await?;
        Ok(there.response.status().is_success() && there.len() == Some(len))
    }

    /// Begins an operation.
    pub(crate) fn attempts(&self) -> Attempts<'_> {
        self.budget.earn();
        Attempts { server: self, deadline: self.deadline(), made: 0 }
    }
}

fn authorization(client: &Client, base: &Url, options: &HttpOptions) -> Result<Option<HeaderValue>> {
    let Some(token) = &options.token else {
        return match options.user {
            Some(_) => Err(Error::Invalid("the remote cache has a `user` but no `token`".to_owned())),
            None => Ok(None),
        };
    };
    let request = client.get(base.clone());
    let request = match &options.user {
        Some(user) => request.basic_auth(user, Some(token.secret())),
        None => request.bearer_auth(token.secret()),
    };
    let invalid = |_| Error::Invalid("the token of the remote cache cannot be sent in a header".to_owned());
    let mut value = request.build().map_err(invalid)?.headers().get(AUTHORIZATION).cloned();
    if let Some(value) = &mut value {
        value.set_sensitive(true);
    }
    Ok(value)
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("options", &self.options).finish_non_exhaustive()
    }
}

/// The attempts of one operation.
pub(crate) struct Attempts<'a> {
    server: &'a Server,
    /// When the operation is over, whatever came of it.
    pub(crate) deadline: Instant,
    made: u32,
}

impl Attempts<'_> {
    /// Waits for the time of another attempt after `failure`, or returns its error if there is none.
    ///
    /// # Cancel safety
    /// A repetition that was counted is lost.
    pub(crate) async fn again(&mut self, failure: Failure) -> Result<()> {
        let Some(pause) = failure.again.pause(self.made) else { return Err(failure.error) };
        let is_last = self.made >= self.server.options.retries || Instant::now() + pause >= self.deadline;
        if is_last || !self.server.budget.spend() {
            return Err(failure.error);
        }
        self.made += 1;
        sleep(pause).await;
        Ok(())
    }
}
