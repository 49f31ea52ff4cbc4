//! Traces: what a collector hears of a server, and that it hears no secret.

use std::sync::{Arc, Mutex};

use argosy_e2e::{database::Place, on_both, process::until};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value as Any},
    trace::v1::Span,
};
use prost::Message as _;
use reqwest::Method;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

use crate::fleet::Fleet;

/// A collector that keeps what it was told.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Vec<u8>>>>);

impl Collector {
    async fn start() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let collector = Self::default();
        let taker = collector.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let taker = taker.clone();
                tokio::spawn(async move { taker.serve(stream).await });
            }
        });
        (collector, url)
    }

    /// Takes the requests of one connection.
    async fn serve(&self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        loop {
            let (mut length, mut first) = (0, String::new());
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                    return;
                }
                let line = line.trim_end().to_ascii_lowercase();
                if let Some(told) = line.strip_prefix("content-length:") {
                    length = told.trim().parse().unwrap();
                }
                if line.is_empty() {
                    break;
                }
                if first.is_empty() {
                    first = line;
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await.unwrap();
            assert_eq!(first, "post /v1/traces http/1.1");
            self.0.lock().unwrap().push(body);
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            stream.get_mut().write_all(answer).await.unwrap();
        }
    }

    fn told(&self) -> Vec<Vec<u8>> {
        self.0.lock().unwrap().clone()
    }

    /// The first span of this name, and the service that told it.
    fn span(&self, name: &str) -> Option<(String, Span)> {
        for body in self.told() {
            let request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
            for resource in request.resource_spans {
                let service = text(&resource.resource.unwrap().attributes, "service.name");
                let mut spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
                if let Some(span) = spans.find(|span| span.name == name) {
                    return Some((service, span));
                }
            }
        }
        None
    }
}

fn value(attributes: &[KeyValue], key: &str) -> Any {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    let told = found.unwrap_or_else(|| panic!("no {key}: {attributes:?}"));
    let Some(AnyValue { value: Some(value) }) = &told.value else { panic!("{told:?}") };
    value.clone()
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    let told = value(attributes, key);
    let Any::StringValue(text) = told else { panic!("{key} is no text: {told:?}") };
    text
}

fn variables(endpoint: &str) -> &'static [(&'static str, &'static str)] {
    let endpoint: &'static str = Box::leak(endpoint.to_owned().into_boxed_str());
    Box::leak(Box::new([("ARGOSY_OTLP_ENDPOINT", endpoint)]))
}

async fn a_collector_hears_of_requests_and_of_no_secret(place: Place) {
    let (collector, endpoint) = Collector::start().await;
    let fleet = Fleet::start_with(&place, "server", variables(&endpoint)).await;
    let key = std::fs::read_to_string(place.data_dir.join("admin.key")).unwrap();
    let listed = fleet.client.get("/api/v1/agents?q=words-of-a-query", key.trim()).await;
    assert_eq!(listed.status, 200, "{}", listed.page);
    let missing = fleet.client.get("/api/v1/agents/nobody", key.trim()).await;
    assert_eq!(missing.status, 404);

    let heard = async |name: &str| until(name, async || collector.span(name)).await;
    let (service, span) = heard("GET /api/v1/agents").await;
    assert_eq!(service, "argosyd");
    assert_eq!(text(&span.attributes, "http.route"), "/api/v1/agents");
    assert_eq!(text(&span.attributes, "http.request.method"), "GET");
    assert_eq!(value(&span.attributes, "http.response.status_code"), Any::IntValue(200));
    let answered = listed.headers["x-trace-id"].to_str().unwrap();
    assert_eq!(text(&span.attributes, "trace_id"), answered, "the id of log, answer and problem");
    let (_, span) = heard("GET /api/v1/agents/{id}").await;
    assert_eq!(value(&span.attributes, "http.response.status_code"), Any::IntValue(404));

    let secret = key.trim().rsplit('_').next().unwrap();
    for body in collector.told() {
        let body = String::from_utf8_lossy(&body);
        assert!(!body.contains(secret) && !body.contains("words-of-a-query"), "{body}");
    }
}

async fn a_server_whose_collector_is_gone_serves(place: Place) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let fleet = Fleet::start_with(&place, "server", variables(&gone)).await;
    for _ in 0..64 {
        let answer = fleet.client.send(Method::GET, "/health", &[], None).await;
        assert_eq!(answer.status, 200);
    }
}

on_both!(a_collector_hears_of_requests_and_of_no_secret, a_server_whose_collector_is_gone_serves,);
