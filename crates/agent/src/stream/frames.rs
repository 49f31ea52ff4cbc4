//! Frames of the control stream: domain values into wire shapes and back.

use argosy_domain::{
    configuration::Generation, id::CommandId, limits::ERROR_TEXT_CHARS_MAX, text::clip,
    time::Timestamp,
};
use argosy_wire::{
    rpc::gateway::{
        Ack, AckCode, Cancel, Command, CommandResult, Config, ConfigInForce, ControlStreamRequest,
        Heartbeat, Hello, Renew, ResultAck, SignedStatement, State, control_stream_request::Frame,
    },
    sign::Signed,
};

use crate::{
    engine::{FinishedCommand, Offered},
    host,
    trust::signed,
};

/// The contract's shape of a signed statement.
pub fn statement(signed: Signed) -> SignedStatement {
    SignedStatement {
        payload: signed.payload,
        signature: signed.signature.0.to_vec(),
        ..Default::default()
    }
}

fn up(frame: impl Into<Frame>) -> ControlStreamRequest {
    ControlStreamRequest { frame: Some(frame.into()), ..Default::default() }
}

/// First frame of a stream.
pub fn hello(
    hello: Signed,
    running: &[CommandId],
    policy_sha256: [u8; 32],
    configuration: Generation,
) -> ControlStreamRequest {
    up(Hello {
        version: host::VERSION.to_owned(),
        statement: Some(statement(hello)).into(),
        running: running.iter().map(ToString::to_string).collect(),
        policy_sha256: policy_sha256.to_vec(),
        config_generation: configuration.0,
        ..Default::default()
    })
}

/// A sign of life.
pub fn heartbeat(now: Timestamp) -> ControlStreamRequest {
    up(Heartbeat { sent_at: now.to_string(), ..Default::default() })
}

/// A command was started.
pub fn started(id: &CommandId) -> ControlStreamRequest {
    up(State { command_id: id.to_string(), ..Default::default() })
}

/// The configuration that is in force, and why another was not taken.
pub fn in_force(held: Generation, error: &str) -> ControlStreamRequest {
    let error = clip(error, ERROR_TEXT_CHARS_MAX);
    let config = ConfigInForce { generation: held.0, error, ..Default::default() };
    up(State { config: Some(config).into(), ..Default::default() })
}

/// The next session, proved.
pub fn renew(session_token: &str, proof: String) -> ControlStreamRequest {
    up(Renew { session_token: session_token.to_owned(), proof, ..Default::default() })
}

/// How a command ended.
pub fn result(finished: FinishedCommand) -> ControlStreamRequest {
    up(CommandResult {
        command_id: finished.command_id.to_string(),
        outcome: finished.outcome.as_str().to_owned(),
        payload: finished.payload,
        receipt: Some(statement(finished.receipt)).into(),
        ..Default::default()
    })
}

/// What to answer to an offered command.
pub fn answers(offered: Offered) -> Vec<ControlStreamRequest> {
    match offered {
        Offered::Received(id) => vec![ack(&id, AckCode::ACK_CODE_RECEIVED, "")],
        Offered::Finished(finished) => {
            vec![ack(&finished.command_id, AckCode::ACK_CODE_RECEIVED, ""), result(finished)]
        }
        Offered::Acknowledged { id, outcome, receipt } => {
            let payload = Vec::new();
            let over = FinishedCommand { command_id: id.clone(), outcome, payload, receipt };
            vec![ack(&id, AckCode::ACK_CODE_RECEIVED, ""), result(over)]
        }
        Offered::Busy { id, error } => vec![ack(&id, AckCode::ACK_CODE_BUSY, &error)],
        Offered::Replayed(id) => vec![ack(&id, AckCode::ACK_CODE_REPLAYED, "")],
        Offered::Invalid { id: Some(id), why } => {
            vec![ack(&id, AckCode::ACK_CODE_INVALID, &why.to_string())]
        }
        // Nobody can say what the answer would be about.
        Offered::Invalid { id: None, .. } => Vec::new(),
    }
}

fn ack(id: &CommandId, code: AckCode, error: &str) -> ControlStreamRequest {
    up(Ack {
        command_id: id.to_string(),
        code: code.into(),
        error: clip(error, ERROR_TEXT_CHARS_MAX),
        ..Default::default()
    })
}

/// Envelope, parameters and certificate of a command; none where a part is missing.
pub fn command(command: Command) -> Option<(Signed, Vec<u8>, Signed)> {
    let envelope = signed(command.envelope.as_option()?)?;
    let certificate = signed(command.certificate.as_option()?)?;
    Some((envelope, command.params, certificate))
}

/// Envelope and certificate of a withdrawal; none where a part is missing.
pub fn cancel(cancel: &Cancel) -> Option<(Signed, Signed)> {
    Some((signed(cancel.envelope.as_option()?)?, signed(cancel.certificate.as_option()?)?))
}

/// Envelope, document and certificate of a configuration; none where a part is missing.
pub fn config(config: Config) -> Option<(Signed, Vec<u8>, Signed)> {
    let envelope = signed(config.envelope.as_option()?)?;
    let certificate = signed(config.certificate.as_option()?)?;
    Some((envelope, config.document, certificate))
}

/// Envelope and certificate of an acknowledgment; none where a part is missing.
pub fn result_ack(ack: &ResultAck) -> Option<(Signed, Signed)> {
    Some((signed(ack.envelope.as_option()?)?, signed(ack.certificate.as_option()?)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Untrusted;

    fn codes(offered: Offered) -> Vec<Option<AckCode>> {
        let code = |frame: &ControlStreamRequest| match &frame.frame {
            Some(Frame::Ack(ack)) => ack.code.as_known(),
            _ => None,
        };
        answers(offered).iter().map(code).collect()
    }

    #[test]
    fn every_offer_has_its_answer() {
        let id = || "c1".parse().unwrap();
        assert_eq!(codes(Offered::Received(id())), [Some(AckCode::ACK_CODE_RECEIVED)]);
        assert_eq!(codes(Offered::Replayed(id())), [Some(AckCode::ACK_CODE_REPLAYED)]);
        let busy = Offered::Busy { id: id(), error: "x".repeat(5_000) };
        let Some(Frame::Ack(ack)) = answers(busy).remove(0).frame else { panic!("no ack") };
        assert_eq!(ack.error.len(), ERROR_TEXT_CHARS_MAX);
        let invalid = |id| Offered::Invalid { id, why: Untrusted::Agent };
        assert_eq!(codes(invalid(Some(id()))), [Some(AckCode::ACK_CODE_INVALID)]);
        assert!(codes(invalid(None)).is_empty());
    }

    #[test]
    fn half_a_command_is_none() {
        assert!(command(Command::default()).is_none());
        assert!(result_ack(&ResultAck::default()).is_none());
        assert!(cancel(&Cancel::default()).is_none());
    }
}
