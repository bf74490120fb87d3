//! Tells a collector of traces about each request, by OpenTelemetry's own protocol over HTTP.
//!
//! A span is made of what the access log says of a request when it is over, so that nothing has to be kept meanwhile. Attributes
//! have the names of the semantic conventions: <https://opentelemetry.io/docs/specs/semconv/http/http-spans/>.

use std::collections::HashMap;
use std::env;
use std::fmt::Debug;
use std::time::{Duration, SystemTime};

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{Span as _, SpanKind, Status, Tracer as _, TracerProvider as _};
use opentelemetry::{Context, Key, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{self, Layer};
use tracing_subscriber::registry::LookupSpan;

/// Either of these turns it on, as everywhere.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
/// The first that is set counts.
const PROTOCOLS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
/// What is spoken.
const PROTOCOL: &str = "http/protobuf";
/// Where a request is told of when it is over.
const SOURCE: &str = "vitte_cache::access";
/// Characters of a text that are kept: clients choose the paths, and thousands of spans may wait.
const MAX_TEXT: usize = 512;
/// How long the end of the process waits for a collector.
const FLUSH: Duration = Duration::from_secs(1);

/// What goes to the collector.
#[derive(Clone, Debug)]
pub(super) struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl Traces {
    /// Begins to export if the environment asks for it; what is wrong with what it asks for is returned as a sentence.
    ///
    /// Spans wait in a queue of bounded length for a thread that sends them. Those that do not fit are lost.
    pub(super) fn start() -> Result<Option<Self>, String> {
        let is = |name, word| variable(name).is_some_and(|value| value.eq_ignore_ascii_case(word));
        if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
            return Ok(None);
        }
        if !ENDPOINTS.into_iter().any(|name| variable(name).is_some()) {
            return Ok(None);
        }
        if let Some((name, value)) = PROTOCOLS.into_iter().find_map(|name| Some((name, variable(name)?)))
            && value != PROTOCOL
        {
            return Err(format!("{name}: `{value}` is not spoken: write {PROTOCOL}"));
        }
        let exporter = SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary).build();
        let exporter =
            exporter.map_err(|error| format!("{error}; check the variables OTEL_EXPORTER_OTLP_*"))?;
        let provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource()).build();
        let tracer = provider.tracer(env!("CARGO_PKG_NAME"));
        Ok(Some(Self { provider, tracer }))
    }

    /// Returns what takes the requests. It does so however little is logged.
    pub(super) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        Requests(self.tracer.clone()).with_filter(Targets::new().with_target(SOURCE, LevelFilter::INFO))
    }

    /// Sends what waits, but does not wait long for a collector that does not answer.
    pub(super) fn finish(&self) {
        // The exporter logs what went wrong.
        let _ = self.provider.shutdown_with_timeout(FLUSH);
    }
}

/// Returns a variable; an empty one is none.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// Returns who sends.
fn resource() -> Resource {
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let named = Resource::builder().with_attribute(version.clone()).build();
    // What the environment does not name is called `unknown_service`.
    let name = named.get(&Key::from_static_str("service.name"));
    if name.is_some_and(|name| !name.as_str().starts_with("unknown_service")) {
        return named;
    }
    Resource::builder().with_attribute(version).with_service_name("vitte-cache").build()
}

/// Makes a span of each request.
struct Requests(SdkTracer);

impl<S: Subscriber> Layer<S> for Requests {
    fn on_event(&self, event: &Event<'_>, _context: layer::Context<'_, S>) {
        let mut request = Request::default();
        event.record(&mut request);
        request.tell(&self.0);
    }
}

/// What the access log says of a request.
#[derive(Default)]
struct Request {
    method: &'static str,
    protocol: Option<String>,
    status: Option<u64>,
    duration: Duration,
    traceparent: Option<String>,
    attributes: Vec<KeyValue>,
}

impl Request {
    fn tell(self, tracer: &SdkTracer) {
        let end = SystemTime::now();
        let name = match self.protocol {
            Some(protocol) => format!("{} {protocol}", self.method),
            None => self.method.to_owned(),
        };
        let builder = tracer
            .span_builder(name)
            .with_kind(SpanKind::Server)
            .with_start_time(end.checked_sub(self.duration).unwrap_or(end))
            .with_attributes(self.attributes);
        let mut span = tracer.build_with_context(builder, &parent(self.traceparent));
        if self.status.is_some_and(|status| status >= 500) {
            span.set_status(Status::error(""));
        }
        span.end_with_timestamp(end);
    }

    fn add(&mut self, field: &Field, value: impl Into<opentelemetry::Value>) {
        let key = match field.name() {
            "id" => "vitte_cache.request.id",
            "peer" => "client.address",
            "method" => "http.request.method",
            "path" => "url.path",
            "protocol" => "vitte_cache.protocol",
            "namespace" => "vitte_cache.namespace",
            "status" => "http.response.status_code",
            "bytes" => "http.response.body.size",
            "complete" => "vitte_cache.complete",
            _ => return,
        };
        self.attributes.push(KeyValue::new(key, value));
    }
}

impl Visit for Request {
    fn record_str(&mut self, field: &Field, value: &str) {
        let value: String = value.chars().take(MAX_TEXT).collect();
        match field.name() {
            "method" => self.method = known_method(&value),
            "protocol" => self.protocol = Some(value.clone()),
            "traceparent" => self.traceparent = Some(value.clone()),
            _ => {}
        }
        self.add(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "status" => self.status = Some(value),
            "micros" => self.duration = Duration::from_micros(value),
            _ => {}
        }
        self.add(field, i64::try_from(value).unwrap_or(i64::MAX));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// Returns the method as it may be part of a span's name: clients can send any word, and there must not be a name for each.
fn known_method(method: &str) -> &'static str {
    ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"]
        .into_iter()
        .find(|known| *known == method)
        .unwrap_or("HTTP")
}

/// Returns what a request is a part of, as its client says; it is a trace of its own if that is nothing or is not understood.
fn parent(traceparent: Option<String>) -> Context {
    let headers: HashMap<String, String> =
        traceparent.map(|value| ("traceparent".to_owned(), value)).into_iter().collect();
    TraceContextPropagator::new().extract_with_context(&Context::new(), &headers)
}
