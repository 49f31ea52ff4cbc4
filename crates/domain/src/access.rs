//! Who may do what: one function, [`decide`], for every transport.
//!
//! *Invariant:* ownership comes from the caller. Nothing that a request's body says can widen
//! what this module answers.

mod scopes;

use crate::{
    agent::{AgentStatus, Assurance, Reach},
    id::{AccountId, AgentId, ApiKeyId, OrgId, SessionId, UserId, UserSessionId},
    user::UserName,
};

pub use scopes::{Scopes, UnknownScope};

/// What a route asks for. A new route begins with naming its permission here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Permission {
    /// See accounts.
    AccountsRead,
    /// Make an account.
    AccountsCreate,
    /// Change an account.
    AccountsUpdate,
    /// Delete an account.
    AccountsDelete,
    /// See agents and their inventory.
    AgentsRead,
    /// Approve or reject a registration.
    AgentsApprove,
    /// Quarantine or restore.
    AgentsQuarantine,
    /// Change name and labels.
    AgentsUpdate,
    /// Revoke.
    AgentsRevoke,
    /// Delete.
    AgentsDelete,
    /// Read the audit log.
    AuditRead,
    /// See commands and receipts.
    CommandsRead,
    /// Give a command.
    CommandsCreate,
    /// Withdraw a command.
    CommandsCancel,
    /// Send discovered resources.
    DiscoveryCreate,
    /// See discovered resources.
    DiscoveryRead,
    /// Have agents discover resources.
    DiscoverySync,
    /// Watch what changes; of each sort what its own scope lets through.
    EventsRead,
    /// See inventory.
    InventoryRead,
    /// Mint an API key.
    KeysCreate,
    /// See API keys, never their secrets.
    KeysRead,
    /// Revoke an API key.
    KeysRevoke,
    /// See security events.
    SecurityRead,
    /// See organisations of the installation.
    OrganisationsRead,
    /// Make an organisation.
    OrganisationsCreate,
    /// Rename an organisation, shut it out, let it in again.
    OrganisationsUpdate,
    /// See the server's own keys: public parts, serials, validity.
    ServerRead,
    /// Rotate the server's own keys.
    ServerRotate,
    /// See the installation's settings.
    SettingsRead,
    /// Change the installation's settings.
    SettingsUpdate,
    /// Change when subsystems of agents run.
    SubsystemsUpdate,
    /// See enrolment tokens, never their secrets.
    TokensRead,
    /// Mint an enrolment token.
    TokensCreate,
    /// Revoke an enrolment token.
    TokensRevoke,
    /// See pending packages of operating systems, and what is approved of them.
    UpdatesRead,
    /// Approve packages of operating systems, and take that back.
    UpdatesApprove,
    /// Let agents install what is approved, or try it.
    UpdatesInstall,
    /// See users.
    UsersRead,
    /// Make a user.
    UsersCreate,
    /// Change, disable or rename a user, or reset a password.
    UsersUpdate,
    /// Delete a user.
    UsersDelete,
}

impl Permission {
    /// Every permission.
    pub const ALL: [Self; 41] = [
        Self::AccountsRead,
        Self::AccountsCreate,
        Self::AccountsUpdate,
        Self::AccountsDelete,
        Self::AgentsRead,
        Self::AgentsApprove,
        Self::AgentsQuarantine,
        Self::AgentsUpdate,
        Self::AgentsRevoke,
        Self::AgentsDelete,
        Self::AuditRead,
        Self::CommandsRead,
        Self::CommandsCreate,
        Self::CommandsCancel,
        Self::DiscoveryCreate,
        Self::DiscoveryRead,
        Self::DiscoverySync,
        Self::EventsRead,
        Self::InventoryRead,
        Self::KeysCreate,
        Self::KeysRead,
        Self::KeysRevoke,
        Self::SecurityRead,
        Self::OrganisationsRead,
        Self::OrganisationsCreate,
        Self::OrganisationsUpdate,
        Self::ServerRead,
        Self::ServerRotate,
        Self::SettingsRead,
        Self::SettingsUpdate,
        Self::SubsystemsUpdate,
        Self::TokensRead,
        Self::TokensCreate,
        Self::TokensRevoke,
        Self::UpdatesRead,
        Self::UpdatesApprove,
        Self::UpdatesInstall,
        Self::UsersRead,
        Self::UsersCreate,
        Self::UsersUpdate,
        Self::UsersDelete,
    ];

    /// The scope that grants it, `noun:verb`.
    pub fn scope(self) -> &'static str {
        match self {
            Self::AccountsRead => "accounts:read",
            Self::AccountsCreate => "accounts:create",
            Self::AccountsUpdate => "accounts:update",
            Self::AccountsDelete => "accounts:delete",
            Self::AgentsRead => "agents:read",
            Self::AgentsApprove => "agents:approve",
            Self::AgentsQuarantine => "agents:quarantine",
            Self::AgentsUpdate => "agents:update",
            Self::AgentsRevoke => "agents:revoke",
            Self::AgentsDelete => "agents:delete",
            Self::AuditRead => "audit:read",
            Self::CommandsRead => "commands:read",
            Self::CommandsCreate => "commands:create",
            Self::CommandsCancel => "commands:cancel",
            Self::DiscoveryCreate => "discovery:create",
            Self::DiscoveryRead => "discovery:read",
            Self::DiscoverySync => "discovery:sync",
            Self::EventsRead => "events:read",
            Self::InventoryRead => "inventory:read",
            Self::KeysCreate => "keys:create",
            Self::KeysRead => "keys:read",
            Self::KeysRevoke => "keys:revoke",
            Self::SecurityRead => "security:read",
            Self::OrganisationsRead => "organisations:read",
            Self::OrganisationsCreate => "organisations:create",
            Self::OrganisationsUpdate => "organisations:update",
            Self::ServerRead => "server:read",
            Self::ServerRotate => "server:rotate",
            Self::SettingsRead => "settings:read",
            Self::SettingsUpdate => "settings:update",
            Self::SubsystemsUpdate => "subsystems:update",
            Self::TokensRead => "tokens:read",
            Self::TokensCreate => "tokens:create",
            Self::TokensRevoke => "tokens:revoke",
            Self::UpdatesRead => "updates:read",
            Self::UpdatesApprove => "updates:approve",
            Self::UpdatesInstall => "updates:install",
            Self::UsersRead => "users:read",
            Self::UsersCreate => "users:create",
            Self::UsersUpdate => "users:update",
            Self::UsersDelete => "users:delete",
        }
    }

    /// Whether an agent has it for itself, by being that agent.
    fn agent_has(self) -> bool {
        matches!(self, Self::DiscoveryCreate)
    }
}

/// A role, which is nothing but a set of scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Admin,
    /// Reads everything but keys; approves, quarantines, commands.
    Operator,
    /// Reads everything but tokens and keys.
    Viewer,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Admin, Self::Operator, Self::Viewer];

    /// The public and stored name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Viewer => "viewer",
        }
    }

    /// The role of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }

    /// The scopes of the role.
    pub fn scopes(self) -> Scopes {
        let viewer = [
            "accounts:read",
            "agents:read",
            "audit:read",
            "commands:read",
            "discovery:read",
            "events:read",
            "inventory:read",
            "organisations:read",
            "security:read",
            "server:read",
            "settings:read",
            "updates:read",
            "users:read",
        ];
        let operator = [
            "agents:approve",
            "agents:quarantine",
            "agents:update",
            "commands:create",
            "commands:cancel",
            "discovery:sync",
            "subsystems:update",
            "tokens:read",
            "updates:approve",
            "updates:install",
        ];
        let names: Vec<&str> = match self {
            Self::Admin => vec!["*"],
            Self::Operator => viewer.into_iter().chain(operator).collect(),
            Self::Viewer => viewer.to_vec(),
        };
        Scopes(names.into_iter().map(str::to_owned).collect())
    }
}

/// Whoever is behind a request, as authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A user's or a service's API key.
    Key {
        /// The key.
        key: ApiKeyId,
        /// Whose it is, for records: `user:<name>` or `service:<name>`.
        owner: String,
        /// Its tenant.
        org: OrgId,
        /// What it may do.
        scopes: Scopes,
    },
    /// A user who has logged in.
    User {
        /// Who.
        user: UserId,
        /// The name at login.
        name: UserName,
        /// The tenant.
        org: OrgId,
        /// What the user may do.
        role: Role,
        /// The login.
        session: UserSessionId,
        /// Nothing but a new password is accepted until there is one.
        must_change_password: bool,
    },
    /// An agent.
    Agent {
        /// Which one.
        agent: AgentId,
        /// Its tenant.
        org: OrgId,
        /// Its account.
        account: AccountId,
        /// What it has proved.
        assurance: Assurance,
        /// Approved or quarantined; nobody else is a caller.
        status: AgentStatus,
        /// The session, where it has keys.
        session: Option<SessionId>,
        /// How far its calls reach.
        reach: Reach,
    },
    /// The server itself: start-up and background tasks.
    Server,
}

impl Caller {
    /// The name that audit entries carry.
    pub fn actor(&self) -> String {
        match self {
            Self::Key { owner, .. } => owner.clone(),
            Self::User { name, .. } => format!("user:{name}"),
            Self::Agent { agent, .. } => format!("agent:{agent}"),
            Self::Server => "server".to_owned(),
        }
    }

    /// The tenant that the caller belongs to; the server belongs to none.
    pub fn org(&self) -> Option<&OrgId> {
        match self {
            Self::Key { org, .. } | Self::User { org, .. } | Self::Agent { org, .. } => Some(org),
            Self::Server => None,
        }
    }

    /// Whether the caller is a user who must choose a new password first.
    pub fn owes_password(&self) -> bool {
        matches!(self, Self::User { must_change_password: true, .. })
    }

    /// What the caller has been granted. An agent acts for itself and has no scopes; nor has a user
    /// who owes a new password.
    pub fn scopes(&self) -> Scopes {
        match self {
            Self::Key { scopes, .. } => scopes.clone(),
            Self::User { role, must_change_password: false, .. } => role.scopes(),
            Self::User { .. } | Self::Agent { .. } | Self::Server => Scopes::default(),
        }
    }
}

/// What a request touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'a> {
    /// The tenant that owns it.
    pub org: &'a OrgId,
    /// The agent that it belongs to, where it belongs to one.
    pub agent: Option<&'a AgentId>,
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Go on.
    Allow,
    /// The caller may know of the target, but may not do this: 403.
    Forbid,
    /// The caller may not even know of the target: 404.
    Hide,
}

/// Decides whether `caller` may do `permission` to `target`.
pub fn decide(caller: &Caller, permission: Permission, target: Target<'_>) -> Decision {
    match caller {
        Caller::Server => Decision::Allow,
        Caller::Key { org, .. } if org != target.org => Decision::Hide,
        Caller::Key { scopes, .. } => {
            if scopes.grant(permission) {
                Decision::Allow
            } else {
                Decision::Forbid
            }
        }
        Caller::User { org, .. } if org != target.org => Decision::Hide,
        Caller::User { .. } => {
            if caller.scopes().grant(permission) {
                Decision::Allow
            } else {
                Decision::Forbid
            }
        }
        Caller::Agent { org, .. } if org != target.org => Decision::Hide,
        Caller::Agent { agent, status, reach, .. } => {
            let own = target.agent.is_none_or(|owner| owner == agent);
            let admitted = (*status, *reach) == (AgentStatus::Approved, Reach::Full);
            if own && permission.agent_has() && admitted {
                Decision::Allow
            } else {
                Decision::Forbid
            }
        }
    }
}

#[cfg(test)]
mod tests;
