//! Traces of what the server serves, told to an OpenTelemetry collector over OTLP/HTTP.
//!
//! *Invariant:* a span says what the log says: route, method, outcome, ids. No header, body or query goes
//! to a collector, and a collector that is slow or gone costs requests nothing: spans are sent in batches
//! from a bounded queue, and dropped where it is full.

use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource, runtime,
    trace::{Sampler, SdkTracerProvider, span_processor_with_async_runtime::BatchSpanProcessor},
};
use tracing_subscriber::{Layer, Registry};

use crate::config::Settings;

/// Where a collector takes traces.
const TRACES_PATH: &str = "/v1/traces";
/// How long one batch may take to be sent.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// Traces that are being told.
#[derive(Debug)]
pub struct Traces(SdkTracerProvider);

/// Begins to tell a collector, where one is configured. Needs a runtime.
pub fn start(settings: &Settings) -> Result<Option<Traces>, ExporterBuildError> {
    let Some(endpoint) = &settings.otlp_endpoint else { return Ok(None) };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{endpoint}{TRACES_PATH}"))
        .with_timeout(SEND_TIMEOUT)
        .build()?;
    let resource = Resource::builder()
        .with_service_name("argosyd")
        .with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let sampler = Sampler::TraceIdRatioBased(settings.otlp_sample);
    let provider = SdkTracerProvider::builder()
        .with_resource(resource)
        .with_sampler(Sampler::ParentBased(Box::new(sampler)))
        .with_span_processor(BatchSpanProcessor::builder(exporter, runtime::Tokio).build())
        .build();
    Ok(Some(Traces(provider)))
}

impl Traces {
    /// What hears of spans.
    pub fn layer(&self) -> Box<dyn Layer<Registry> + Send + Sync> {
        let tracer = self.0.tracer("argosyd");
        Box::new(tracing_opentelemetry::layer().with_tracer(tracer).with_location(false))
    }

    /// Sends what waits, and ends.
    pub async fn finish(self) {
        let ended = tokio::task::spawn_blocking(move || self.0.shutdown()).await;
        if !matches!(ended, Ok(Ok(()))) {
            tracing::warn!("the last traces could not be sent");
        }
    }
}
