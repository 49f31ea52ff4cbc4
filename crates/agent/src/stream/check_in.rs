//! Frames of the control stream as check-ins carry them.

use argosy_wire::{
    bytes::{decode, encode},
    rest::{
        check_in::{
            Acknowledgment, CertifiedJson, CheckIn, CheckedIn, CommandOutcome,
            ConfigurationInForce, HandedCommand,
        },
        enrolment::SignedJson,
    },
    rpc::gateway::{
        AckCode, Cancel, Command, Config, ControlStreamRequest, ResultAck, SignedStatement,
        control_stream_request::Frame as UpFrame, control_stream_response::Frame as DownFrame,
    },
    sign::Signed,
};

/// A signed statement as JSON has it.
pub(super) fn signed(signed: &Signed) -> SignedJson {
    SignedJson { payload: encode(&signed.payload), signature: signed.signature.to_string() }
}

fn statement_json(statement: &SignedStatement) -> SignedJson {
    SignedJson { payload: encode(&statement.payload), signature: encode(&statement.signature) }
}

/// Puts what a frame says into a check-in.
pub(super) fn say(check_in: &mut CheckIn, frame: &ControlStreamRequest) {
    match &frame.frame {
        Some(UpFrame::Ack(ack)) => check_in.pending_acknowledgments.push(Acknowledgment {
            command_id: ack.command_id.clone(),
            code: code(ack.code.as_known()).to_owned(),
            error: ack.error.clone(),
        }),
        Some(UpFrame::Result(result)) => check_in.results.push(CommandOutcome {
            command_id: result.command_id.clone(),
            outcome: result.outcome.clone(),
            payload: encode(&result.payload),
            receipt: result.receipt.as_option().map(statement_json),
        }),
        Some(UpFrame::State(state)) => match state.config.as_option() {
            Some(config) => {
                check_in.configuration = Some(ConfigurationInForce {
                    generation: config.generation,
                    error: Some(config.error.clone()).filter(|error| !error.is_empty()),
                });
            }
            None => check_in.started.push(state.command_id.clone()),
        },
        // A check-in is a heartbeat, says hello in its own words, and proves its session itself.
        Some(UpFrame::Hello(_) | UpFrame::Heartbeat(_) | UpFrame::Renew(_)) | None => {}
    }
}

fn code(code: Option<AckCode>) -> &'static str {
    match code {
        Some(AckCode::ACK_CODE_RECEIVED) => "received",
        Some(AckCode::ACK_CODE_BUSY) => "busy",
        Some(AckCode::ACK_CODE_REPLAYED) => "replayed",
        Some(AckCode::ACK_CODE_INVALID | AckCode::ACK_CODE_UNSPECIFIED) | None => "invalid",
    }
}

/// The frames of an answer, in the order in which a stream would bring them. What is no base64url is
/// left out, as a frame is whose parts are missing.
pub(super) fn frames(answer: CheckedIn) -> Vec<DownFrame> {
    let mut frames = Vec::new();
    for ack in &answer.result_acks {
        let Some((envelope, certificate)) = certified(ack) else { continue };
        let ack = ResultAck {
            envelope: Some(envelope).into(),
            certificate: Some(certificate).into(),
            ..Default::default()
        };
        frames.push(ack.into());
    }
    if let Some(config) = &answer.configuration
        && let Some((envelope, certificate)) = certified(&config.signed)
        && let Ok(document) = decode(&config.document)
    {
        let config = Config {
            envelope: Some(envelope).into(),
            document,
            certificate: Some(certificate).into(),
            ..Default::default()
        };
        frames.push(config.into());
    }
    frames.extend(answer.commands.iter().filter_map(command));
    frames
}

fn command(handed: &HandedCommand) -> Option<DownFrame> {
    let (envelope, certificate) = certified(&handed.signed)?;
    let (envelope, certificate) = (Some(envelope).into(), Some(certificate).into());
    if handed.withdrawn {
        return Some(Cancel { envelope, certificate, ..Default::default() }.into());
    }
    let params = decode(&handed.params).ok()?;
    Some(Command { envelope, params, certificate, ..Default::default() }.into())
}

fn certified(certified: &CertifiedJson) -> Option<(SignedStatement, SignedStatement)> {
    Some((statement(&certified.envelope)?, statement(&certified.certificate)?))
}

fn statement(signed: &SignedJson) -> Option<SignedStatement> {
    Some(SignedStatement {
        payload: decode(&signed.payload).ok()?,
        signature: decode(&signed.signature).ok()?,
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use argosy_domain::configuration::Generation;

    use crate::stream::frames as made;

    fn certified(text: &str) -> CertifiedJson {
        let signed = SignedJson { payload: text.to_owned(), signature: "AA".to_owned() };
        CertifiedJson { envelope: signed.clone(), certificate: signed }
    }

    #[test]
    fn a_check_in_says_what_frames_say() {
        let mut check_in = CheckIn::default();
        let id = "c1".parse().unwrap();
        say(&mut check_in, &made::started(&id));
        say(&mut check_in, &made::in_force(Generation(7), "no"));
        for answer in made::answers(crate::engine::Offered::Replayed(id)) {
            say(&mut check_in, &answer);
        }
        assert_eq!(check_in.started, ["c1"]);
        let held = check_in.configuration.unwrap();
        assert_eq!((held.generation, held.error.as_deref()), (7, Some("no")));
        assert_eq!(check_in.pending_acknowledgments[0].code, "replayed");
    }

    #[test]
    fn commands_and_withdrawals_keep_their_order() {
        let handed = |withdrawn, signed| HandedCommand {
            command_id: "c".to_owned(),
            kind: "subsystem.run".to_owned(),
            withdrawn,
            params: "e30".to_owned(),
            signed,
        };
        let commands = vec![
            handed(true, certified("AQ")),
            handed(false, certified("Ag")),
            handed(false, certified("not base64url!")),
        ];
        let frames = frames(CheckedIn { commands, ..CheckedIn::default() });
        assert!(matches!(&frames[0], DownFrame::Cancel(_)), "{frames:?}");
        let DownFrame::Command(command) = &frames[1] else { panic!("{frames:?}") };
        assert_eq!(command.params, b"{}");
        assert_eq!(frames.len(), 2);
    }
}
