//! Every RPC, called over the Connect protocol with JSON, so that a caller is nothing but headers.

use argosy_e2e::{http::Answer, server::TestServer};
use argosy_wire::problem::Code;
use reqwest::Response;
use serde_json::{Value, json};

use crate::{routes::Need, targets::Noun};

/// When agents say that something was.
const AT: &str = "2026-11-22T08:00:00Z";

/// How an RPC is called.
pub(crate) struct Rpc {
    pub(crate) need: Need,
    /// What `id` in its message names.
    pub(crate) noun: Option<Noun>,
    /// Whether messages travel in envelopes.
    pub(crate) streams: bool,
    message: fn(id: &str, name: &str, token: &str) -> Value,
}

impl Rpc {
    /// Its message. `id` names its noun, `name` is fresh, `token` enrols.
    pub(crate) fn message(&self, id: &str, name: &str, token: &str) -> Value {
        (self.message)(id, name, token)
    }
}

/// The calls that look at no credentials: what they ask stands in their messages.
fn open(message: fn(&str, &str, &str) -> Value, streams: bool) -> Rpc {
    Rpc { need: Need::Nothing, noun: None, streams, message }
}

fn agents(message: fn(&str, &str, &str) -> Value, streams: bool) -> Rpc {
    Rpc { need: Need::Somebody, noun: None, streams, message }
}

fn admin(scopes: &[&str], noun: Option<Noun>, message: fn(&str, &str, &str) -> Value) -> Rpc {
    Rpc { need: Need::scopes(scopes), noun, streams: false, message }
}

/// How a procedure is called. A new one needs a line here and one in `docs/access.md`.
pub(crate) fn rpc(procedure: &str) -> Rpc {
    let (service, method) = procedure.rsplit_once('/').unwrap();
    let about_agent: fn(&str, &str, &str) -> Value = |id, _, _| json!({ "agentId": id });
    match (service.trim_start_matches('/'), method) {
        ("agentadmin.v1.AgentAdminService", "CreateEnrollmentCode") => {
            admin(&["tokens:create"], None, |_, name, _| json!({ "name": name }))
        }
        ("agentadmin.v1.AgentAdminService", "ListEnrollmentCodes") => {
            admin(&["tokens:read"], None, |_, _, _| json!({}))
        }
        ("agentadmin.v1.AgentAdminService", "RevokeEnrollmentCode") => {
            admin(&["tokens:revoke"], Some(Noun::Token), |id, _, _| json!({ "id": id }))
        }
        ("agentadmin.v1.AgentAdminService", "ListAgents") => {
            admin(&["agents:read", "discovery:read"], None, |_, _, _| json!({}))
        }
        ("agentadmin.v1.AgentAdminService", "ConfirmAgent" | "RejectAgent") => {
            admin(&["agents:approve"], Some(Noun::Agent), about_agent)
        }
        ("agentadmin.v1.AgentAdminService", "RevokeAgent") => {
            admin(&["agents:revoke"], Some(Noun::Agent), about_agent)
        }
        ("agentgateway.v1.AgentGatewayService", "Register") => {
            open(|_, name, token| json!({ "name": name, "enrollmentToken": token }), false)
        }
        ("agentgateway.v1.AgentGatewayService", "BeginAuthHandshake" | "CompleteAuthHandshake") => {
            open(|_, _, _| json!({}), false)
        }
        ("agentgateway.v1.AgentGatewayService", "UploadHeartbeat") => {
            admin(&["discovery:create"], None, |_, _, _| json!({ "sentAt": AT }))
        }
        ("agentgateway.v1.AgentGatewayService", "UploadInventory") => agents(
            |_, _, _| json!({ "subsystem": "storage", "capturedAt": AT, "error": "x", "breaker": "closed" }),
            true,
        ),
        // Behind the gate: nothing was signed.
        ("agentgateway.v1.AgentGatewayService", "RotateIdentityKey") => {
            agents(|_, _, _| json!({}), false)
        }
        // Behind the gate a stream begins with a hello, which this is not.
        ("agentgateway.v1.AgentGatewayService", "UploadTelemetry") => agents(
            |_, _, _| {
                let values = json!([{ "metric": "load_1m", "value": 0.5 }]);
                json!({ "batchId": "b1", "capturedAt": AT, "measurements": values })
            },
            true,
        ),
        ("agentgateway.v1.AgentGatewayService", "UploadEvents") => agents(
            |_, _, _| {
                let event = json!({ "eventId": "e1", "at": AT, "kind": "agent.started",
                    "severity": "info", "message": "version 0.1.0" });
                json!({ "batchId": "b2", "capturedAt": AT, "events": [event] })
            },
            true,
        ),
        ("agentgateway.v1.AgentGatewayService", "ControlStream") => {
            agents(|_, _, _| json!({ "heartbeat": {} }), true)
        }
        ("grpc.health.v1.Health", "Check") => open(|_, _, _| json!({}), false),
        ("grpc.health.v1.Health", "Watch") => open(|_, _, _| json!({}), true),
        (
            "grpc.reflection.v1.ServerReflection" | "grpc.reflection.v1alpha.ServerReflection",
            "ServerReflectionInfo",
        ) => open(|_, _, _| json!({ "listServices": "" }), true),
        _ => panic!("teach the tests to call {procedure}"),
    }
}

/// A client of the RPC port: HTTP/2 without TLS.
pub(crate) struct RpcClient(reqwest::Client);

impl RpcClient {
    pub(crate) fn new() -> Self {
        let builder = reqwest::Client::builder().no_proxy().http2_prior_knowledge();
        Self(builder.build().unwrap())
    }

    /// One call with one message; the answer in the terms of REST. Of a stream only the first
    /// frame is read.
    pub(crate) async fn call(
        &self,
        server: &TestServer,
        procedure: &str,
        headers: &[(&'static str, String)],
        message: &Value,
        streams: bool,
    ) -> Answer {
        let (media_type, body) = if streams {
            ("application/connect+json", envelope(message))
        } else {
            ("application/json", message.to_string().into_bytes())
        };
        let mut request = self.0.post(format!("{}{procedure}", server.url));
        request = request.header("content-type", media_type);
        request = request.header("connect-protocol-version", "1");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let mut response = request.body(body).send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let (ended, body) =
            if streams { first_frame(&mut response).await } else { (true, whole(response).await) };
        let told = headers.get("argosy-code").map(|code| code.to_str().unwrap().to_owned());
        let told = told.or_else(|| Some(body["metadata"]["argosy-code"][0].as_str()?.to_owned()));
        let failed = if streams { ended && !body["error"].is_null() } else { status != 200 };
        assert_eq!(told.is_some(), failed, "{procedure}: {status} {body}");
        let status = told.as_deref().map_or(status, http_status);
        Answer { status, headers, body, page: String::new() }
    }
}

fn http_status(name: &str) -> u16 {
    let code = Code::ALL.iter().find(|code| code.as_str() == name);
    code.unwrap_or_else(|| panic!("no such code: {name}")).http()
}

async fn whole(response: Response) -> Value {
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

/// An envelope of the Connect protocol: flags, length, message.
fn envelope(message: &Value) -> Vec<u8> {
    let message = message.to_string().into_bytes();
    let mut envelope = vec![0];
    envelope.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    envelope.extend(message);
    envelope
}

/// The first frame of an answer, and whether it is the one that ends the stream.
async fn first_frame(response: &mut Response) -> (bool, Value) {
    let mut read = Vec::new();
    loop {
        if let Some((head, rest)) = read.split_first_chunk::<5>() {
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
            if let Some(message) = rest.get(..length.try_into().unwrap()) {
                return (head[0] & 2 != 0, serde_json::from_slice(message).unwrap());
            }
        }
        let chunk = response.chunk().await.unwrap().expect("a whole frame");
        read.extend_from_slice(&chunk);
    }
}
