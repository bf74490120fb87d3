//! One request, from its header to its answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use cache_core::{Digest, Namespace};
use http::header::{CONTENT_LENGTH, EXPECT, ORIGIN};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use tracing::Instrument as _;

use crate::answers::Answers;
use crate::counters::{Counters, Totals, add};
use crate::framing;
use crate::gate::Gate;
use crate::health;
use crate::protocol::native;
use crate::record::Record;
use crate::reply::Refusal;
use crate::rights::{Grant, Right, Throttle};
use crate::settings::{Current, Settings};
use crate::slots::Slots;
use crate::target::Target;
use crate::vault::{Expected, Place, Vault};
use crate::{Protocol, ServerOptions};

/// Names a request in the log and to the client.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Bytes of a refused upload that are read, so that a client which sends first and reads then gets its answer and can go on
/// with the connection. Larger ones lose the connection.
const DRAIN: u64 = 1 << 20;
/// How long that may take.
const DRAIN_TIME: Duration = Duration::from_secs(2);
/// Seconds after which a client that was sent away may come back.
const RETRY: u64 = 1;

/// What all requests share.
#[derive(Debug)]
pub(crate) struct App {
    current: Current,
    pub(crate) vault: Vault,
    pub(crate) gate: Gate,
    pub(crate) connections: Slots,
    pub(crate) totals: Totals,
    pub(crate) started: Instant,
    /// Whether the server was told to stop.
    pub(crate) stopping: AtomicBool,
    pub(crate) native: native::State,
    throttle: Throttle,
    /// Tells the requests of this start from those of all others.
    run: u32,
    next: AtomicU64,
}

/// Where a request came from.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    /// What is being sent there over the same connection.
    pub(crate) answers: Answers,
}

/// A request to a protocol, by somebody who may make it.
pub(crate) struct Call<'a> {
    pub(crate) app: &'a Arc<App>,
    pub(crate) parts: &'a Parts,
    pub(crate) target: &'a Target,
    settings: &'a Settings,
    protocol: Protocol,
    pub(crate) namespace: Namespace,
    grant: Grant,
}

impl App {
    pub(crate) fn new(settings: Settings, vault: Vault) -> Self {
        let mut run = [0; 4];
        // Without random numbers, ids are only less distinct.
        if getrandom::fill(&mut run).is_err() {
            run = std::process::id().to_le_bytes();
        }
        Self {
            vault,
            gate: Gate::new(settings.options.limits.requests),
            connections: Slots::new(settings.options.limits.connections),
            totals: Totals::new(),
            started: Instant::now(),
            stopping: AtomicBool::new(false),
            native: native::State::default(),
            throttle: Throttle::default(),
            run: u32::from_le_bytes(run),
            next: AtomicU64::new(0),
            current: Current::new(settings),
        }
    }

    /// Returns what the server goes by right now.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.current.get()
    }

    /// Goes by other settings from now on.
    pub(crate) fn apply(&self, settings: Settings) {
        let ServerOptions { limits, timeouts, .. } = &settings.options;
        self.gate.resize(limits.requests);
        self.connections.resize(limits.connections);
        self.vault.set(limits, timeouts);
        self.current.set(settings);
    }

    async fn dispatch(
        self: &Arc<Self>,
        settings: &Settings,
        parts: &Parts,
        peer: IpAddr,
        body: &mut Body,
        record: &mut Record,
    ) -> Result<Response, Refusal> {
        framing::check(parts)?;
        let mut target = Target::parse(parts.uri.path())?;
        let namespace = take_namespace(&mut target)?;
        if let Some(response) = health::answer(self, parts, &target, || self.admit(settings, parts, peer)) {
            return response;
        }
        let Some((protocol, path)) = Protocol::of(&target) else {
            return Err(Refusal::new(StatusCode::NOT_FOUND, "no protocol has this path"));
        };
        record.protocol = Some(protocol);
        if !settings.options.protocol(protocol).enabled {
            return Err(Refusal::new(StatusCode::NOT_FOUND, "this protocol is switched off here"));
        }
        let refused = |refusal: Refusal| {
            add(&self.totals.of(protocol).refused, u64::from(refusal.status() != StatusCode::NOT_FOUND));
            refusal
        };
        let grant = self.admit(settings, parts, peer).map_err(refused)?;
        let namespace = grant.namespace(namespace).map_err(refused)?;
        record.namespace = Some(namespace.clone());
        let call = Call { app: self, parts, target: &target, settings, protocol, namespace, grant };
        protocol.answer(&call, path, body).await.map_err(refused)
    }

    fn admit(&self, settings: &Settings, parts: &Parts, peer: IpAddr) -> Result<Grant, Refusal> {
        // A page in somebody's browser can reach a server that asks for no token, build tools never say that they are one.
        let changes = !matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
        if settings.options.rights.is_open() && changes && parts.headers.contains_key(ORIGIN) {
            return Err(Refusal::new(StatusCode::FORBIDDEN, "web pages may not change the cache"));
        }
        settings.options.rights.admit(&parts.headers, peer, &self.throttle)
    }

    fn request_id(&self) -> String {
        format!("{:08x}-{:x}", self.run, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// Answers a request. What its path means is read by [`Protocol::of`]: the paths of the protocols begin with any instance and
/// namespace, and may have slashes too many, so that no router could tell them apart.
pub(crate) async fn answer(app: Arc<App>, peer: Peer, request: Request<Body>) -> Response {
    let (parts, mut body) = request.into_parts();
    let address = peer.address;
    let mut record = Record::new(Arc::clone(&app), app.request_id(), peer, &parts);
    let settings = app.settings();
    let patience = settings.options.timeouts.body;
    add(&app.totals.requests, 1);
    // Whether the server lives must be known most of all when it is busy.
    if !health::is_path(parts.uri.path()) {
        record.slot = app.gate.enter(settings.options.timeouts.turn).await;
        if record.slot.is_none() {
            add(&app.totals.shed, 1);
            let message = "the server has too much to do";
            let refusal = Refusal::later(StatusCode::SERVICE_UNAVAILABLE, message, RETRY);
            let response = refuse(&parts, refusal);
            return finish(record, &parts, body, response, patience).await;
        }
    }
    let span = record.span();
    let answer = app.dispatch(&settings, &parts, address, &mut body, &mut record).instrument(span).await;
    let response = answer.unwrap_or_else(|refusal| refuse(&parts, refusal));
    finish(record, &parts, body, response, patience).await
}

async fn finish(
    record: Record,
    parts: &Parts,
    body: Body,
    mut response: Response,
    patience: Duration,
) -> Response {
    drain(parts, body).await;
    if let Ok(value) = HeaderValue::from_str(record.id()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    // Every answer has a length, those to HEAD too: it is the one that a GET would have.
    let len = response.body().size_hint().exact();
    if let Some(len) = len.filter(|_| !response.headers().contains_key(CONTENT_LENGTH)) {
        response.headers_mut().insert(CONTENT_LENGTH, len.into());
    }
    if parts.method == Method::HEAD {
        *response.body_mut() = Body::empty();
    }
    record.follow(response, patience)
}

/// Returns a refusal as the clients of the protocol that was asked take it.
fn refuse(parts: &Parts, refusal: Refusal) -> Response {
    // A miss is the same for all, and there are many.
    if refusal.message().is_empty() {
        return refusal.into_response();
    }
    match protocol_of(parts.uri.path()) {
        Some(protocol) => protocol.refuse(&parts.method, refusal),
        None => refusal.into_response(),
    }
}

fn protocol_of(path: &str) -> Option<Protocol> {
    let mut target = Target::parse(path).ok()?;
    take_namespace(&mut target).ok()?;
    Protocol::of(&target).map(|(protocol, _)| protocol)
}

/// Reads what is left of a body, within limits. Who asked whether to send it has not sent it.
async fn drain(parts: &Parts, mut body: Body) {
    if body.is_end_stream()
        || parts.headers.contains_key(EXPECT)
        || announced(parts).is_some_and(|len| len > DRAIN)
    {
        return;
    }
    let reading = async {
        let mut left = DRAIN;
        while let Some(Ok(frame)) = body.frame().await {
            let len = frame.data_ref().map_or(0, |data| data.len() as u64);
            match left.checked_sub(len) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // Too late is the client's loss.
    let _ = tokio::time::timeout(DRAIN_TIME, reading).await;
}

fn announced(parts: &Parts) -> Option<u64> {
    parts.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Takes `/ns/<name>` off the front of a path.
fn take_namespace(target: &mut Target) -> Result<Option<Namespace>, Refusal> {
    if target.segments.first().is_none_or(|first| first != "ns") {
        return Ok(None);
    }
    let name = target.segments.get(1).cloned().unwrap_or_default();
    let namespace =
        Namespace::new(name).map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.to_string()))?;
    target.segments.drain(..2);
    Ok(Some(namespace))
}

impl Grant {
    /// Returns the namespace that a request uses which asks for `wanted`.
    fn namespace(&self, wanted: Option<Namespace>) -> Result<Namespace, Refusal> {
        match (&self.only, wanted) {
            (None, wanted) => Ok(wanted.unwrap_or_default()),
            (Some(only), None) => Ok(only.clone()),
            (Some(only), Some(wanted)) if *only == wanted => Ok(wanted),
            (Some(_), Some(_)) if self.anonymous => {
                Err(Refusal::unauthorized("a token is needed for this namespace"))
            }
            (Some(_), Some(_)) => {
                Err(Refusal::new(StatusCode::FORBIDDEN, "the token is for another namespace"))
            }
        }
    }
}

impl Call<'_> {
    /// Refuses what changes something if the request may only read.
    pub(crate) fn may_write(&self) -> Result<(), Refusal> {
        match (self.grant.right, self.grant.anonymous) {
            (Right::ReadWrite, _) => Ok(()),
            (Right::Read, true) => Err(Refusal::unauthorized("a token is needed for writing")),
            (Right::Read, false) => Err(Refusal::new(StatusCode::FORBIDDEN, "the token is for reading only")),
        }
    }

    pub(crate) fn place<'b>(&'b self, name: &'b str) -> Place<'b> {
        Place { namespace: &self.namespace, protocol: self.protocol, name }
    }

    pub(crate) fn counters(&self) -> &Counters {
        self.app.totals.of(self.protocol)
    }

    /// Returns the options that the request goes by.
    pub(crate) fn options(&self) -> &ServerOptions {
        &self.settings.options
    }

    /// Returns whether what names other values is a miss while one of them is not there.
    pub(crate) fn checks_references(&self) -> bool {
        self.options().protocol(self.protocol).check_references
    }

    /// Returns how many bytes the largest value of any protocol may have.
    pub(crate) fn max_value(&self) -> u64 {
        self.options().limits.max_value
    }

    /// Returns what the body has to be.
    pub(crate) fn expected(&self, sha256: Option<Digest>) -> Expected {
        let limit = self.max_value();
        let own = self.options().protocol(self.protocol).max_value.unwrap_or(limit);
        Expected { len: announced(self.parts), sha256, limit: limit.min(own) }
    }
}
