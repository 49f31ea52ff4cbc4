//! A whole server behind a socket: raw HTTP, and session tokens.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    sync::OnceLock,
    time::Duration,
};

use argosy_domain::time::Clock as _;
use argosy_e2e::{agent::TestAgent, database::Place, server::TestServer};
use argosy_server::app::{Origin, sessions::SessionCall};
use argosy_wire::problem::Code;
use tokio::runtime::Runtime;

/// How long an answer is waited for before our half of the connection is closed. What arrives
/// later is not looked at; what a request did to the server is.
const ANSWER_WITHIN: Duration = Duration::from_millis(60);
/// A connection whose other half is closed must end within this time.
const END_WITHIN: Duration = Duration::from_secs(20);
/// Stands in inputs for the administrator's key, which differs from run to run.
const ADMIN: &[u8] = b"{ADMIN}";

/// A server with one agent in session.
pub(super) struct World {
    pub(super) runtime: Runtime,
    pub(super) server: TestServer,
    pub(super) agent: TestAgent,
    _folder: tempfile::TempDir,
}

pub(super) fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let runtime = Runtime::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let place = Place { data_dir: folder.path().join("data"), database_url: None };
        let (server, agent) = runtime.block_on(async {
            let server = TestServer::start(&place).await;
            let agent = TestAgent::in_session(&server, "web-1").await;
            (server, agent)
        });
        World { runtime, server, agent, _folder: folder }
    })
}

impl World {
    /// The server still serves, and its agent still stands.
    pub(super) fn is_whole(&self) {
        let agent = self.runtime.block_on(self.server.agent(&self.agent.agent_id));
        assert_eq!(agent["status"], "approved", "{agent}");
        assert_eq!(agent["name"], "web-1", "{agent}");
    }
}

fn request(method: &str, path: &str, headers: &[&str], body: &str) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    for header in headers {
        text.push_str(&format!("{header}\r\n"));
    }
    text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    text.into_bytes()
}

/// Requests of every kind, each whole, and the smallest talk of HTTP/2.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let admin = "Authorization: Bearer {ADMIN}";
    let json = "Content-Type: application/json";
    let rpc = "/agentgateway.v1.AgentGatewayService/Register";
    let register = r#"{"name":"n","bootstrap_token":"boot_x_y","keys":[]}"#;
    let ingest = r#"{"resources":[{"provider":"aws","resource_type":"vpc","resource_id":"v"}]}"#;
    let connect =
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice();
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0].as_slice();
    let headers = [0, 0, 6, 1, 5, 0, 0, 0, 1, 0x82, 0x86, 0x84, 0x41, 1, b'x'].as_slice();
    vec![
        request("GET", "/health", &[], ""),
        request("GET", "/api/v1/agents?limit=2&cursor=MTIuYQ", &[admin], ""),
        request("GET", "/api/v1/agents?limit=0&cursor=_w", &[admin], ""),
        request("GET", "/api/v1/audit?action=key.created&limit=500", &[admin], ""),
        request("GET", "/api/v1/discovery/resources?q=%25&provider=aws", &[admin], ""),
        request("POST", "/api/v1/agents/register", &[json], register),
        request("POST", "/api/v1/agents/heartbeat", &[admin, json], r#"{"agent_id":"a"}"#),
        request("POST", "/api/v1/agents/handshake/begin", &[], r#"{"api_key":"agent_x"}"#),
        request("POST", "/api/v1/discovery/ingest", &[admin, json], ingest),
        request("POST", "/api/v1/bootstrap-tokens", &[admin], r#"{"name":"t","max_uses":2}"#),
        request("POST", "/api/v1/auth/keys", &[admin], r#"{"name":"k","scopes":["agents:read"]}"#),
        request("DELETE", "/api/v1/agents/nobody", &[admin], ""),
        request("PATCH", "/api/v1/agents/nobody", &[admin, json], r#"{"labels":{"a":"b"}}"#),
        request("GET", "/api/v1/auth/me", &["Authorization: DPoP a.b.c", "DPoP: d.e.f"], ""),
        request("POST", rpc, &["Content-Type: application/proto"], "\n\u{3}boo"),
        request("POST", rpc, &[json, "Connect-Protocol-Version: 1"], r#"{"name":"n"}"#),
        request("POST", rpc, &["Content-Type: application/grpc"], "\0\0\0\0\u{2}\n\0"),
        connect.as_bytes().to_vec(),
        [preface, settings, headers].concat(),
    ]
}

fn with_key(input: &[u8], key: &str) -> Vec<u8> {
    let mut text = input.to_vec();
    if let Some(at) = input.windows(ADMIN.len()).position(|window| window == ADMIN) {
        text.splice(at..at + ADMIN.len(), key.bytes());
    }
    text
}

fn exchange(address: &str, request: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(address).unwrap();
    let mut answer = Vec::new();
    // The server may hang up while it is still being told.
    let _ = socket.write_all(request);
    socket.set_read_timeout(Some(ANSWER_WITHIN)).unwrap();
    let ended = socket.read_to_end(&mut answer);
    if let Err(error) = ended
        && matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
    {
        let _ = socket.shutdown(Shutdown::Write);
        socket.set_read_timeout(Some(END_WITHIN)).unwrap();
        let rest = socket.read_to_end(&mut answer);
        let hung = rest.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!hung, "the connection was not ended");
    }
    answer
}

/// Any bytes on a connection: no fault of the server, and nothing is lost by it.
pub(super) fn check(input: &[u8]) {
    let world = world();
    let address = world.server.url.trim_start_matches("http://");
    let answer = exchange(address, &with_key(input, &world.server.admin_key));
    for line in answer.split(|byte| *byte == b'\n') {
        let faulty = line.starts_with(b"HTTP/1.1 5") || line.starts_with(b"HTTP/1.0 5");
        assert!(!faulty, "{}", String::from_utf8_lossy(&answer));
    }
    world.is_whole();
}

/// Places and bytes of a few changes.
pub(super) fn token_seeds() -> Vec<Vec<u8>> {
    vec![
        vec![0, 0, 3, 1],
        vec![0, 1, 44, 2, 0, 200, 1],
        vec![1, 0, 9, 7],
        vec![1, 1, 90, 1],
        vec![2, 0, 1, 1, 1, 1, 1],
    ]
}

/// Which text is changed, then triples of a place and what is mixed into the byte there.
fn changed(text: &str, triples: &[u8]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for triple in triples.chunks_exact(3) {
        let at = usize::from(u16::from_be_bytes([triple[0], triple[1]])) % bytes.len();
        bytes[at] ^= triple[2] % 128;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// No session that was changed, and no proof that was, opens anything.
pub(super) fn token(input: &[u8]) {
    let Some((selector, triples)) = input.split_first() else { return };
    let world = world();
    let path = "/api/v1/agents/heartbeat";
    let session = world.agent.session.clone();
    let token = if selector % 3 == 1 { session.clone() } else { changed(&session, triples) };
    // The agent may want to be more than it is: its proof is for the token that it shows.
    let url = format!("{}{path}", world.server.url);
    let (nonce, now) = (Some(world.agent.nonce.as_str()), world.server.clock.now());
    let proof = world.agent.proof_for(&url, "POST", &token, nonce, now);
    let shown = if selector % 3 == 0 { proof.clone() } else { changed(&proof, triples) };
    let call = SessionCall {
        token: &token,
        proof: &shown,
        method: "POST",
        path,
        machine_id: None,
        version: None,
        opens_stream: false,
    };
    let app = &world.server.app;
    let outcome = world.runtime.block_on(app.prove_session(&Origin::default(), call));
    match outcome {
        Ok(_) => assert!(token == session && shown == proof, "a changed session was accepted"),
        Err(error) => {
            let honest = [Code::InvalidSession, Code::InvalidProof, Code::UseDpopNonce];
            assert!(honest.contains(&error.code), "{error:?}");
            assert!(token != session || shown != proof, "the session itself was refused");
        }
    }
}
