//! Frames of an agent's control stream, as a server reads them from the socket.

use std::{sync::OnceLock, time::Duration};

use argosy_domain::{command::CommandSeq, digest::Sha256};
use argosy_e2e::http::raw_http2;
use argosy_wire::{
    bytes::Fixed,
    rpc::gateway::{ControlStreamRequest, Hello},
    sign::Signed,
    statement::HelloStatement,
};
use buffa::Message;

use super::{http::world, messages::one_of_each, trust::travelling};

const PATH: &str = "/agentgateway.v1.AgentGatewayService/ControlStream";
/// A stream whose sender has ended must end within this time.
const END_WITHIN: Duration = Duration::from_secs(20);
/// Flag of the last envelope of an answer (Connect protocol).
const LAST: u8 = 2;

/// A message in the envelope of the Connect protocol: flags, length, bytes.
fn framed(message: &impl Message) -> Vec<u8> {
    let bytes = message.encode_to_vec();
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    [&[0], length.as_slice(), &bytes].concat()
}

/// One frame of each kind, and all of them in a row, after a hello and without one.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let frames: Vec<Vec<u8>> = one_of_each().iter().map(framed).collect();
    let mut seeds: Vec<Vec<u8>> =
        frames.iter().map(|frame| [&[0], frame.as_slice()].concat()).collect();
    seeds.push([vec![0], frames.concat()].concat());
    seeds.push([vec![1], frames.concat()].concat());
    seeds
}

fn hello() -> Vec<u8> {
    let agent = &world().agent;
    let statement = HelloStatement {
        agent: agent.id(),
        session_sha256: Fixed(Sha256::of(agent.session.as_bytes()).0),
        journal_id: "j-1".parse().unwrap(),
        high_water: CommandSeq(0),
    };
    let hello = Hello {
        version: "1.0.0".to_owned(),
        statement: Some(travelling(Signed::new(&agent.key, &statement))).into(),
        ..Default::default()
    };
    framed(&ControlStreamRequest { frame: Some(hello.into()), ..Default::default() })
}

/// Any frames after an honest hello, or in place of it: the stream ends, the server does not fail,
/// and the agent is no other than before.
pub(super) fn check(input: &[u8]) {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    let Some((selector, frames)) = input.split_first() else { return };
    let world = world();
    let greeting = if selector % 2 == 0 { hello() } else { Vec::new() };
    let authorization = format!("DPoP {}", world.agent.session);
    let request = CLIENT
        .get_or_init(raw_http2)
        .post(format!("{}{PATH}", world.server.url))
        .header("content-type", "application/connect+proto")
        .header("authorization", authorization)
        .header("dpop", world.agent.proof(&world.server, "POST", PATH))
        .body([greeting.as_slice(), frames].concat());
    let answer = world.runtime.block_on(async {
        let whole = async {
            let answer = request.send().await?;
            let status = answer.status().as_u16();
            // A stream that is cut ends in an error, and that is an end.
            Ok::<_, reqwest::Error>((status, answer.bytes().await.unwrap_or_default()))
        };
        tokio::time::timeout(END_WITHIN, whole).await.expect("the stream ends")
    });
    if let Ok((status, body)) = answer {
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        honest(&body);
    }
    world.is_whole();
}

/// The answer is made of whole envelopes, and its last one tells of no fault of the server.
fn honest(mut body: &[u8]) {
    while let Some((head, rest)) = body.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let Some((message, rest)) = rest.split_at_checked(usize::try_from(length).unwrap()) else {
            return;
        };
        if head[0] & LAST != 0 {
            let end: serde_json::Value = serde_json::from_slice(message).unwrap();
            let code = end["error"]["code"].as_str().unwrap_or_default();
            assert!(!["internal", "unknown", "data_loss"].contains(&code), "{end}");
        }
        body = rest;
    }
}
