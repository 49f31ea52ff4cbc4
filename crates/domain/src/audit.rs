//! Names of what is audited.

/// A security-relevant action. Its entry is written in the transaction that performs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditAction {
    /// The server made its keys and first API key.
    ServerInitialised,
    /// Keys of the server were rotated.
    ServerKeysRotated,
    /// An enrolment token was minted.
    TokenCreated,
    /// An enrolment token was revoked.
    TokenRevoked,
    /// A machine registered.
    AgentRegistered,
    /// A registration was refused.
    EnrolmentRefused,
    /// An agent was approved.
    AgentApproved,
    /// An approval was refused because the fingerprint differed.
    FingerprintMismatch,
    /// An agent was rejected.
    AgentRejected,
    /// A registration lapsed.
    AgentExpired,
    /// An agent was quarantined.
    AgentQuarantined,
    /// An agent left quarantine.
    AgentRestored,
    /// An agent was revoked.
    AgentRevoked,
    /// An agent was bound to another machine.
    AgentRebound,
    /// Another agent took over.
    AgentReplaced,
    /// An agent was deleted.
    AgentDeleted,
    /// Name or labels of an agent changed.
    AgentUpdated,
    /// A handshake failed.
    HandshakeRefused,
    /// A session call was refused.
    SessionRefused,
    /// A bare secret was presented where a proof is asked for.
    ProofRequired,
    /// The agent presented another machine id than the enrolled one.
    MachineMismatch,
    /// The agent came back with an older version than the recorded one.
    DowngradeRefused,
    /// An agent without keys was refused, because the installation forbids them.
    ApiKeyAgentRefused,
    /// Two bearers of one identity were seen.
    CloneDetected,
    /// The server's keys began anew; agents have to be told.
    ServerKeysReset,
    /// An agent replaced its identity key.
    AgentKeyRotated,
    /// A command was given.
    CommandCreated,
    /// A command was withdrawn.
    CommandCancelled,
    /// An order was given to many agents.
    FanOutCreated,
    /// An order to many agents was withdrawn.
    FanOutCancelled,
    /// Packages of operating systems were approved.
    UpdatesApproved,
    /// An approval of packages was taken back.
    UpdatesApprovalRevoked,
    /// Agents were asked to discover resources.
    SyncStarted,
    /// A receipt was refused.
    ReceiptRefused,
    /// An API key was minted.
    KeyCreated,
    /// An API key was revoked.
    KeyRevoked,
    /// An account was made.
    AccountCreated,
    /// An account was changed.
    AccountUpdated,
    /// An account was deleted.
    AccountDeleted,
    /// An organisation was made.
    OrganisationCreated,
    /// An organisation was renamed, shut out, or let in again.
    OrganisationUpdated,
    /// When a subsystem of an agent runs was changed.
    SubsystemUpdated,
    /// Settings of the installation changed.
    SettingsUpdated,
    /// A user was made.
    UserCreated,
    /// A code was made with which somebody becomes an administrator.
    SetupCodeMade,
    /// Name, role or access of a user changed.
    UserUpdated,
    /// A user was deleted.
    UserDeleted,
    /// An administrator reset a user's password.
    PasswordReset,
    /// A user chose a new password.
    PasswordChanged,
    /// A user logged in.
    LoggedIn,
    /// A login was refused.
    LoginRefused,
    /// Too many logins of one name failed.
    LoginBlocked,
    /// A user's session was ended.
    LoggedOut,
    /// A call with a user's session came without what shows that the user sent it.
    UserSessionRefused,
}

impl AuditAction {
    /// The stored and public name, `noun.verb`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ServerInitialised => "server.initialised",
            Self::ServerKeysRotated => "server.keys_rotated",
            Self::ServerKeysReset => "server.keys_reset",
            Self::AgentKeyRotated => "agent.key_rotated",
            Self::TokenCreated => "token.created",
            Self::TokenRevoked => "token.revoked",
            Self::AgentRegistered => "agent.registered",
            Self::EnrolmentRefused => "enrolment.refused",
            Self::AgentApproved => "agent.approved",
            Self::FingerprintMismatch => "agent.fingerprint_mismatch",
            Self::AgentRejected => "agent.rejected",
            Self::AgentExpired => "agent.expired",
            Self::AgentQuarantined => "agent.quarantined",
            Self::AgentRestored => "agent.restored",
            Self::AgentRevoked => "agent.revoked",
            Self::AgentRebound => "agent.rebound",
            Self::AgentReplaced => "agent.replaced",
            Self::AgentDeleted => "agent.deleted",
            Self::AgentUpdated => "agent.updated",
            Self::HandshakeRefused => "handshake.refused",
            Self::SessionRefused => "session.refused",
            Self::ProofRequired => "session.proof_required",
            Self::MachineMismatch => "agent.machine_mismatch",
            Self::DowngradeRefused => "agent.downgrade_refused",
            Self::ApiKeyAgentRefused => "agent.api_key_refused",
            Self::CloneDetected => "agent.clone_detected",
            Self::CommandCreated => "command.created",
            Self::CommandCancelled => "command.cancelled",
            Self::FanOutCreated => "fan_out.created",
            Self::FanOutCancelled => "fan_out.cancelled",
            Self::UpdatesApproved => "updates.approved",
            Self::UpdatesApprovalRevoked => "updates.approval_revoked",
            Self::SyncStarted => "sync.started",
            Self::ReceiptRefused => "command.receipt_refused",
            Self::KeyCreated => "key.created",
            Self::KeyRevoked => "key.revoked",
            Self::AccountCreated => "account.created",
            Self::AccountUpdated => "account.updated",
            Self::AccountDeleted => "account.deleted",
            Self::OrganisationCreated => "organisation.created",
            Self::OrganisationUpdated => "organisation.updated",
            Self::SubsystemUpdated => "subsystem.updated",
            Self::SettingsUpdated => "settings.updated",
            Self::UserCreated => "user.created",
            Self::SetupCodeMade => "user.setup_code_made",
            Self::UserUpdated => "user.updated",
            Self::UserDeleted => "user.deleted",
            Self::PasswordReset => "user.password_reset",
            Self::PasswordChanged => "user.password_changed",
            Self::LoggedIn => "login.succeeded",
            Self::LoginRefused => "login.refused",
            Self::LoginBlocked => "login.blocked",
            Self::LoggedOut => "login.ended",
            Self::UserSessionRefused => "login.session_refused",
        }
    }
}
