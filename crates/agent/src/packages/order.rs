//! Whether a request is the pinned server's word to this host's agent.
//!
//! *Invariant:* everything is verified anew; nothing is believed because the agent says so.

use argosy_domain::{
    command::{CommandKind, CommandParams},
    digest::Sha256,
    id::CommandId,
    limits::COMMAND_PARAMS_BYTES_MAX,
    package::PackageStep,
    time::Timestamp,
};
use argosy_wire::statement::{CommandStatement, digest};

use super::{Answer, Refusal, Request, ledger::Seen, settings::HelperSettings};
use crate::engine::{ServerIdentity, good_at};

/// A request that is the server's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order {
    /// The command.
    pub(super) id: CommandId,
    /// Only say what would happen.
    pub(super) dry_run: bool,
    /// What to install.
    pub(super) steps: Vec<PackageStep>,
    /// Not to be begun at or after.
    pub(super) expires_at: Timestamp,
    /// What the server showed with it.
    pub(super) shown: Seen,
}

impl Order {
    /// What the policy is asked about.
    pub(super) fn params(&self) -> CommandParams {
        CommandParams::UpdatesInstall { dry_run: self.dry_run, packages: self.steps.clone() }
    }
}

fn untrusted(why: impl std::fmt::Display) -> Answer {
    Answer::Refused(Refusal::Untrusted, why.to_string())
}

/// Verifies a request; `seen` is what the server showed before.
pub(super) fn verify(
    settings: &HelperSettings,
    request: &Request,
    seen: Seen,
) -> Result<Order, Answer> {
    let server =
        ServerIdentity::new(request.order.server_key).with_command_serial(seen.command_serial);
    if *server.thumbprint() != settings.server_pin {
        return Err(untrusted("it is not from the server that package-helper.toml pins"));
    }
    let (statement, certificate) = server
        .certified::<CommandStatement>(&request.order.envelope, &request.order.certificate)
        .map_err(untrusted)?;
    good_at(&certificate, statement.server_time).map_err(untrusted)?;
    let params = request.params.as_bytes();
    if statement.server != settings.server_pin {
        return Err(untrusted("it is from another server"));
    }
    if statement.agent != settings.agent_id {
        return Err(untrusted("it is for another agent"));
    }
    if params.len() > COMMAND_PARAMS_BYTES_MAX
        || statement.params_sha256 != digest(Sha256::of(params))
    {
        return Err(untrusted("the parameters are not those that were signed"));
    }
    if CommandKind::parse(&statement.kind) != Ok(CommandKind::UpdatesInstall) {
        return Err(untrusted("it is a command of another kind"));
    }
    let params = CommandParams::parse(CommandKind::UpdatesInstall, params);
    match params {
        Ok(CommandParams::UpdatesInstall { dry_run, packages }) => Ok(Order {
            id: statement.command_id,
            dry_run,
            steps: packages,
            expires_at: statement.expires_at,
            shown: Seen { server_time: statement.server_time, command_serial: certificate.serial },
        }),
        Ok(_) => Err(untrusted("it is a command of another kind")),
        Err(error) => Err(Answer::Refused(Refusal::InvalidRequest, error.to_string())),
    }
}
