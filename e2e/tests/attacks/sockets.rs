//! Attacks 24 and 40 below the requests: connections that say nothing, too slowly or too much, that are
//! dead without saying so, and requests whose end is a matter of opinion.

use std::time::Duration;

use argosy_agent::{server_url::ServerUrl, transport::Link};
use argosy_e2e::{
    agent::TestAgent,
    database::{Place, on_sqlite},
    http::plain,
    process::until,
    proxy::Proxy,
    server::TestServer,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::gateway;

/// Upper bound of what the server waits for: thirty seconds for a head or a body, a ping and its answer.
const ENDS_WITHIN: Duration = Duration::from_secs(85);
/// One byte in this time.
const DRIP: Duration = Duration::from_millis(500);
/// The HTTP/2 connection preface with an empty SETTINGS frame (RFC 9113, section 3.4).
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

fn address(server: &TestServer) -> &str {
    server.url.strip_prefix("http://").unwrap()
}

async fn connect(server: &TestServer) -> TcpStream {
    TcpStream::connect(address(server)).await.unwrap()
}

/// All that the server says until it ends the connection.
async fn said(mut stream: TcpStream, what: &str) -> String {
    let mut bytes = Vec::new();
    let read = timeout(ENDS_WITHIN, stream.read_to_end(&mut bytes)).await;
    // A reset is an end as well.
    let _ended = read.unwrap_or_else(|_| panic!("{what}: the connection stays"));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Says something, and then nothing.
async fn falls_silent(server: &TestServer, first: &[u8], what: &str) -> String {
    let mut stream = connect(server).await;
    stream.write_all(first).await.unwrap();
    said(stream, what).await
}

/// Says something, and then one byte after another for as long as somebody listens.
async fn drips(server: &TestServer, first: &[u8], what: &str) -> String {
    let (mut from, mut to) = connect(server).await.into_split();
    to.write_all(first).await.unwrap();
    let dripping = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(DRIP);
        while to.write_all(b"a").await.is_ok() {
            ticks.tick().await;
        }
    });
    let mut bytes = Vec::new();
    let read = timeout(ENDS_WITHIN, from.read_to_end(&mut bytes)).await;
    let _ended = read.unwrap_or_else(|_| panic!("{what}: the connection stays"));
    dripping.abort();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The network under an open stream stops without a word.
async fn half_open(server: &TestServer) {
    let agent = TestAgent::in_session(server, "half-open").await;
    let proxy = Proxy::start(vec![address(server).parse().unwrap()]).await;
    let url: ServerUrl = format!("http://{}", proxy.address).parse().unwrap();
    let link = Link::new(url, None, None).unwrap();
    let options = gateway::session(&agent, server, gateway::STREAM);
    let stream = gateway::open(link.rpc(), options, gateway::hello(&agent)).await.unwrap();
    assert_eq!(server.agent(&agent.agent_id).await["connected"], true);
    proxy.stop();
    let noticed =
        async || (server.agent(&agent.agent_id).await["connected"] == false).then_some(());
    until("the dead stream to be noticed", noticed).await;
    assert!(!server.app.hub().has(&agent.id()));
    let options = gateway::session(&agent, server, gateway::STREAM);
    let again = gateway::open(&gateway::rpc(server), options, gateway::hello(&agent)).await;
    assert!(again.is_ok(), "{:?}", again.map(drop));
    drop(stream);
}

async fn slow_and_dead_connections_end(place: Place) {
    let server = TestServer::start(&place).await;
    let head = b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";
    let body = b"POST /api/v1/agents/register HTTP/1.1\r\nHost: localhost\r\n\
        Content-Length: 100000\r\n\r\n";
    let (silent, half, slow_head, no_body, slow_body, http2, ()) = tokio::join!(
        falls_silent(&server, b"", "nothing"),
        falls_silent(&server, head, "half a head"),
        drips(&server, head, "a slow head"),
        falls_silent(&server, body, "no body"),
        drips(&server, body, "a slow body"),
        falls_silent(&server, HTTP2, "HTTP/2 without an answer to a ping"),
        half_open(&server),
    );
    for nothing in [silent, half, slow_head] {
        assert!(!nothing.contains("200 OK"), "{nothing}");
    }
    for late in [no_body, slow_body] {
        assert!(late.starts_with("HTTP/1.1 400"), "{late}");
        assert!(late.contains("did not arrive in time"), "{late}");
    }
    assert!(!http2.contains("HTTP/1.1 200"));
    assert_eq!(server.agents().await.len(), 1);
}

/// Bodies that end at different places for whoever believes the length, and whoever believes the coding.
const TWO_MINDS: [&str; 13] = [
    "Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Content-Length: 5\r\nContent-Length: {length}\r\n",
    "Content-Length: 5, {length}\r\n",
    "Content-Length: +5\r\n",
    "Content-Length: 0x5\r\n",
    "Content-Length: 5\r\nTransfer-Encoding: identity\r\n",
    "Transfer-Encoding: chunked, identity\r\n",
    "Transfer-Encoding: xchunked\r\n",
    "Transfer-Encoding : chunked\r\n",
    "Transfer-Encoding:\r\n chunked\r\n",
    "Content-Length: 18446744073709551617\r\n",
];

async fn no_request_hides_behind_another(place: Place) {
    let server = TestServer::start(&place).await;
    let list = "/api/v1/bootstrap-tokens";
    let smuggled = format!(
        "POST {list} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
         Content-Length: 19\r\n\r\n{{\"name\":\"smuggled\"}}",
        server.admin_key
    );
    assert_eq!(r#"{"name":"smuggled"}"#.len(), 19);
    for version in ["1.1", "1.0"] {
        for framing in TWO_MINDS {
            let body = format!("0\r\n\r\n{smuggled}");
            let framing = framing.replace("{length}", &body.len().to_string());
            let what = format!("HTTP/{version} {framing:?}");
            let request = format!(
                "POST /api/v1/agents/register HTTP/{version}\r\nHost: localhost\r\n{framing}\r\n{body}"
            );
            let answer = falls_silent(&server, request.as_bytes(), &what).await;
            assert_eq!(answer.matches("HTTP/1.").count(), 1, "{what}: {answer}");
            assert!(!answer.starts_with("HTTP/1.1 2"), "{what}: {answer}");
        }
    }
    // The same request by itself is one that the server carries out.
    let listed = async || {
        let page = server.client.get(list, &server.admin_key).await.expect(200);
        page["items"].as_array().unwrap().len()
    };
    assert_eq!(listed().await, 0, "something was smuggled in");
    let alone = smuggled.replace("Content-Length", "Connection: close\r\nContent-Length");
    let answer = falls_silent(&server, alone.as_bytes(), "alone").await;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert_eq!(listed().await, 1);
}

async fn floods_of_headers_are_refused(place: Place) {
    let server = TestServer::start(&place).await;
    let many: String = (0..5_000).map(|n| format!("x-{n}: {n}\r\n")).collect();
    let large = format!("x-large: {}\r\n", "a".repeat(512 * 1024));
    let path = "a".repeat(256 * 1024);
    let floods = [
        ("many headers", format!("GET /health HTTP/1.1\r\nHost: localhost\r\n{many}\r\n")),
        ("a large header", format!("GET /health HTTP/1.1\r\nHost: localhost\r\n{large}\r\n")),
        ("a long path", format!("GET /{path} HTTP/1.1\r\nHost: localhost\r\n\r\n")),
        ("a head without an end", format!("GET /health HTTP/1.1\r\n{}", many.repeat(20))),
    ];
    for (what, flood) in floods {
        let (from, mut to) = connect(&server).await.into_split();
        // The server may have hung up before all of it was said.
        let sending = tokio::spawn(async move {
            let _ = to.write_all(flood.as_bytes()).await;
            to
        });
        let mut from = from;
        let mut bytes = Vec::new();
        let read = timeout(ENDS_WITHIN, from.read_to_end(&mut bytes)).await;
        let _ended = read.unwrap_or_else(|_| panic!("{what}: the connection stays"));
        sending.abort();
        let answer = String::from_utf8_lossy(&bytes);
        let refused = ["HTTP/1.1 431", "HTTP/1.1 414", "HTTP/1.1 400"];
        let refused = answer.is_empty() || refused.iter().any(|line| answer.starts_with(line));
        assert!(refused, "{what}: {answer}");
    }
    let http2 = argosy_e2e::http::raw_http2();
    let flood =
        http2.get(format!("{}/health", server.url)).header("x-large", "a".repeat(64 * 1024));
    let refused = flood.send().await.map_or(true, |answer| answer.status() == 431);
    assert!(refused, "64 KiB of headers over HTTP/2");
    let after = plain().get(format!("{}/health", server.url)).send().await.unwrap();
    assert!(after.status().is_success());
}

/// What is compressed counts as what it becomes.
async fn what_is_compressed_does_not_grow_without_bound(place: Place) {
    let server = TestServer::start(&place).await;
    let agent = TestAgent::in_session(&server, "bomber").await;
    let bomb = bomb();
    let head = [1_u8].into_iter().chain(u32::try_from(bomb.len()).unwrap().to_be_bytes());
    let message: Vec<u8> = head.chain(bomb.iter().copied()).collect();
    let before = server.agent(&agent.agent_id).await;
    let proof = agent.proof(&server, "POST", gateway::HEARTBEAT);
    let answer = argosy_e2e::http::raw_http2()
        .post(format!("{}{}", server.url, gateway::HEARTBEAT))
        .header("content-type", "application/grpc+proto")
        .header("grpc-encoding", "gzip")
        .header("te", "trailers")
        .header("authorization", format!("DPoP {}", agent.session))
        .header("dpop", proof)
        .body(message)
        .send()
        .await
        .unwrap();
    // RESOURCE_EXHAUSTED, before the message is read.
    assert_eq!(answer.headers()["grpc-status"], "8", "{answer:?}");
    assert_eq!(server.agent(&agent.agent_id).await, before);

    // REST takes no compressed bodies: they are bytes that are not JSON.
    let ingest = plain()
        .post(format!("{}/api/v1/discovery/ingest", server.url))
        .bearer_auth(&server.admin_key)
        .header("content-encoding", "gzip")
        .body(bomb)
        .send()
        .await
        .unwrap();
    assert!([400, 415].contains(&ingest.status().as_u16()), "{ingest:?}");
}

/// A hundred mebibytes of zeros, as less than one of gzip (RFC 1952, RFC 1951 section 3.2.6): a zero, and
/// then matches of 258 bytes at distance one with fixed codes. Each is thirteen bits: eight for the length
/// (11000101), five for the distance (00000).
fn bomb() -> Vec<u8> {
    const MATCHES: usize = (100 << 20) / 258;
    let mut bits = Bits::default();
    // The last block, with fixed codes; the literal zero.
    bits.put(&[1, 1, 0]);
    bits.put(&[0, 0, 1, 1, 0, 0, 0, 0]);
    for _ in 0..MATCHES {
        bits.put(&[1, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0]);
    }
    bits.put(&[0; 7]);
    let mut gzip = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    gzip.extend(bits.bytes);
    // The checksum is wrong; nobody comes so far.
    gzip.extend([0; 8]);
    gzip
}

/// Bits from the least significant of each byte on.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: usize,
}

impl Bits {
    fn put(&mut self, bits: &[u8]) {
        for bit in bits {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }
            *self.bytes.last_mut().unwrap() |= bit << (self.used % 8);
            self.used += 1;
        }
    }
}

// What happens below a request is the same on both databases.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_and_dead_connections() {
    on_sqlite(slow_and_dead_connections_end).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn smuggling() {
    on_sqlite(no_request_hides_behind_another).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods() {
    on_sqlite(floods_of_headers_are_refused).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs() {
    on_sqlite(what_is_compressed_does_not_grow_without_bound).await;
}
