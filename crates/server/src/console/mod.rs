//! The console: pages for people, drawn here and sent whole.
//!
//! Every page is read with the cookie of a signed-in user and calls the same use cases as the
//! interfaces for programs; forms are plain, and each carries its session's token. One small script
//! keeps lists current and is not needed for anything else. *Invariant:* nothing is decided here,
//! the store is not named here, no page asks another host for anything, and no page holds a script
//! or a style of its own.

mod accounts;
mod agent;
mod agents;
mod answer;
mod approvals;
mod assets;
mod audit;
mod bulk;
mod chart;
mod commands;
mod compose;
mod confirm;
mod diagram;
mod discovery;
mod docs;
mod enrol;
mod entry;
mod fan_outs;
mod fields;
mod frame;
mod keys;
mod notice;
mod organisations;
mod overview;
mod packages;
mod rulings;
mod security;
mod sessions;
mod settings;
mod show;
mod tokens;
mod users;
mod visit;

use argosy_domain::access::Permission;
use argosy_wire::problem::Code;
use axum::{
    Router, middleware,
    routing::{any, get, post},
};

use self::{answer::Refused, visit::Visit};
use crate::app::{App, error::AppError};

/// What a route of the console asks of its visitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Nothing,
    /// Somebody who is signed in.
    User,
    /// Somebody whose role grants this.
    Scope(Permission),
}

/// A route of the console. The table of them is in `docs/access.md`.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// `get` or `post`.
    pub method: &'static str,
    /// With its parameters in braces.
    pub path: &'static str,
    /// What it asks of its visitor.
    pub need: Need,
    /// What it shows or does.
    pub what: &'static str,
}

macro_rules! routes {
    ($($method:ident $path:literal $need:expr, $handler:expr, $what:literal;)*) => {
        /// Every route of the console, files apart.
        pub const ROUTES: &[Route] = &[
            $(Route { method: stringify!($method), path: $path, need: $need, what: $what },)*
        ];

        fn routed() -> Router<App> {
            Router::new()$(.route($path, $method($handler)))*
        }
    };
}

use Need::{Nothing, Scope, User};
use Permission as P;

routes! {
    get "/" Nothing, entry::root, "Leads to the console";
    get "/setup" Nothing, entry::setup_form, "The first administrator, with a link of `argosyd user-link`";
    post "/setup" Nothing, entry::setup, "Makes the first administrator and signs in";
    get "/console/sign-in" Nothing, entry::sign_in_form, "Name and password";
    post "/console/sign-in" Nothing, entry::sign_in, "Signs in";
    post "/console/sign-out" User, entry::sign_out, "Signs out";
    post "/console/theme" User, entry::theme, "Light or dark";
    get "/console/password" User, entry::password_form, "The own password";
    post "/console/password" User, entry::password, "Replaces the own password";
    get "/console" Scope(P::AgentsRead), overview::show, "Overview: what wants attention, and how the fleet is";
    get "/console/agents" Scope(P::AgentsRead), agents::list, "Agents, with search and filters";
    post "/console/agents/bulk" User, bulk::preview, "Whom a decision about several agents would touch";
    post "/console/agents/bulk/apply" User, bulk::apply, "The decision, by what it takes for one agent";
    get "/console/agents/{id}" Scope(P::AgentsRead), agent::show, "One agent";
    get "/console/agents/{id}/edit" Scope(P::AgentsUpdate), agent::edit_form, "Name and labels of an agent";
    post "/console/agents/{id}/edit" Scope(P::AgentsUpdate), agent::edit, "Changes name and labels";
    get "/console/approvals" Scope(P::AgentsRead), approvals::list, "Registrations that wait, with their fingerprints";
    get "/console/agents/{id}/approve" Scope(P::AgentsApprove), rulings::approve_form, "The fingerprint, to compare";
    post "/console/agents/{id}/approve" Scope(P::AgentsApprove), rulings::approve, "Approves what was compared";
    get "/console/agents/{id}/reject" Scope(P::AgentsApprove), rulings::reject_form, "What follows from rejecting";
    post "/console/agents/{id}/reject" Scope(P::AgentsApprove), rulings::reject, "Rejects a registration";
    get "/console/agents/{id}/quarantine" Scope(P::AgentsQuarantine), rulings::quarantine_form, "What follows from a quarantine";
    post "/console/agents/{id}/quarantine" Scope(P::AgentsQuarantine), rulings::quarantine, "Quarantines an agent";
    get "/console/agents/{id}/restore" Scope(P::AgentsQuarantine), rulings::restore_form, "What follows from restoring";
    post "/console/agents/{id}/restore" Scope(P::AgentsQuarantine), rulings::restore, "Ends a quarantine, or confirms an agent under review";
    get "/console/agents/{id}/revoke" Scope(P::AgentsRevoke), rulings::revoke_form, "What follows from revoking";
    post "/console/agents/{id}/revoke" Scope(P::AgentsRevoke), rulings::revoke, "Revokes an agent";
    get "/console/agents/{id}/rebind" Scope(P::AgentsApprove), rulings::rebind_form, "What follows from rebinding";
    post "/console/agents/{id}/rebind" Scope(P::AgentsApprove), rulings::rebind, "Binds an agent to the machine that last showed its identity";
    get "/console/agents/{id}/replace" Scope(P::AgentsRevoke), rulings::replace_form, "What follows from replacing";
    post "/console/agents/{id}/replace" Scope(P::AgentsRevoke), rulings::replace, "Lets another agent take over";
    get "/console/agents/{id}/delete" Scope(P::AgentsDelete), rulings::delete_form, "What follows from deleting";
    post "/console/agents/{id}/delete" Scope(P::AgentsDelete), rulings::delete, "Deletes an agent";
    get "/console/agents/{id}/schedule" Scope(P::SubsystemsUpdate), agent::schedule_form, "When the subsystems of an agent run";
    post "/console/agents/{id}/schedule" Scope(P::SubsystemsUpdate), agent::change_schedule, "Changes when a subsystem of an agent runs";
    post "/console/agents/{id}/commands" Scope(P::CommandsCreate), commands::create, "Gives an agent a command";
    get "/console/commands" Scope(P::CommandsRead), commands::list, "Commands";
    get "/console/commands/new" Scope(P::CommandsCreate), compose::form, "A command to many: what it says, and whom it would reach";
    post "/console/commands/new" Scope(P::CommandsCreate), compose::start, "Gives a command to many";
    get "/console/commands/{id}" Scope(P::CommandsRead), commands::show, "One command, with result and receipt";
    post "/console/commands/{id}/cancel" Scope(P::CommandsCancel), commands::cancel, "Withdraws a command";
    get "/console/fan-outs" Scope(P::CommandsRead), fan_outs::list, "Commands to many";
    get "/console/fan-outs/{id}" Scope(P::CommandsRead), fan_outs::show, "One command to many, with its progress and its agents";
    get "/console/fan-outs/{id}/cancel" Scope(P::CommandsCancel), fan_outs::cancel_form, "What follows from withdrawing a command to many";
    post "/console/fan-outs/{id}/cancel" Scope(P::CommandsCancel), fan_outs::cancel, "Withdraws a command to many";
    get "/console/packages" Scope(P::UpdatesRead), packages::list, "Pending packages over the fleet";
    get "/console/packages/approve" Scope(P::UpdatesApprove), packages::approve_form, "Which pending packages shall be approved, and for whom";
    post "/console/packages/approve" Scope(P::UpdatesApprove), packages::approve, "Approves packages in the versions that are pending";
    get "/console/packages/approvals" Scope(P::UpdatesRead), packages::approvals, "Approvals of packages";
    post "/console/packages/approvals/{id}/revoke" Scope(P::UpdatesApprove), packages::take_back, "Takes an approval back";
    get "/console/packages/install" Scope(P::UpdatesInstall), packages::install_form, "On which hosts approved packages shall be tried or installed";
    post "/console/packages/install" Scope(P::UpdatesInstall), packages::install, "Tries or installs what is approved";
    get "/console/discovery" Scope(P::DiscoveryRead), discovery::list, "Discovered resources: a table, the tree of networks, and what stands out";
    get "/console/discovery/resources/{id}" Scope(P::DiscoveryRead), discovery::resource, "One resource, with what happened to it";
    get "/console/discovery/sync" Scope(P::DiscoveryRead), discovery::syncs, "Runs of discovery";
    get "/console/discovery/sync/new" Scope(P::DiscoverySync), discovery::start_form, "Who shall discover, and what follows from it";
    post "/console/discovery/sync/new" Scope(P::DiscoverySync), discovery::start, "Has agents discover";
    get "/console/discovery/sync/{id}" Scope(P::DiscoveryRead), discovery::sync, "One run of discovery, with what became of each region";
    get "/console/discovery/agents" Scope(P::DiscoveryRead), discovery::agents, "The agents that discover";
    get "/console/enrol" Scope(P::TokensCreate), enrol::form, "What a new enrolment token shall be good for";
    post "/console/enrol" Scope(P::TokensCreate), enrol::create, "Makes a token, shows it once, and waits for the machine";
    get "/console/tokens" Scope(P::TokensRead), tokens::list, "Enrolment tokens";
    get "/console/tokens/{id}" Scope(P::TokensRead), tokens::show, "One token, and the agents that used it";
    get "/console/tokens/{id}/revoke" Scope(P::TokensRevoke), tokens::revoke_form, "What follows from revoking a token";
    post "/console/tokens/{id}/revoke" Scope(P::TokensRevoke), tokens::revoke, "Revokes a token";
    get "/console/keys" Scope(P::KeysRead), keys::list, "API keys of users and services";
    get "/console/keys/new" Scope(P::KeysCreate), keys::form, "What a new key shall be good for";
    post "/console/keys/new" Scope(P::KeysCreate), keys::create, "Makes a key and shows it once";
    get "/console/keys/{id}/revoke" Scope(P::KeysRevoke), keys::revoke_form, "What follows from revoking a key";
    post "/console/keys/{id}/revoke" Scope(P::KeysRevoke), keys::revoke, "Revokes a key, and what was made with it";
    get "/console/accounts" Scope(P::AccountsRead), accounts::list, "Accounts";
    get "/console/accounts/new" Scope(P::AccountsCreate), accounts::form, "What a new account is called";
    post "/console/accounts/new" Scope(P::AccountsCreate), accounts::create, "Makes an account";
    get "/console/accounts/{id}" Scope(P::AccountsRead), accounts::show, "One account";
    post "/console/accounts/{id}" Scope(P::AccountsUpdate), accounts::update, "Changes an account";
    get "/console/accounts/{id}/delete" Scope(P::AccountsDelete), accounts::delete_form, "What follows from deleting an account";
    post "/console/accounts/{id}/delete" Scope(P::AccountsDelete), accounts::delete, "Deletes an account that nothing belongs to";
    get "/console/organisations" Scope(P::OrganisationsRead), organisations::list, "Organisations. Organisation `default` only";
    get "/console/organisations/new" Scope(P::OrganisationsCreate), organisations::form, "Id, name and first administrator of a new organisation. Organisation `default` only";
    post "/console/organisations/new" Scope(P::OrganisationsCreate), organisations::create, "Makes an organisation and shows the password of its administrator once. Organisation `default` only";
    get "/console/organisations/{id}" Scope(P::OrganisationsRead), organisations::show, "One organisation. Organisation `default` only";
    post "/console/organisations/{id}" Scope(P::OrganisationsUpdate), organisations::update, "Renames an organisation, shuts everybody of it out, or lets them in again. Organisation `default` only";
    get "/console/users" Scope(P::UsersRead), users::list, "Users";
    get "/console/users/new" Scope(P::UsersCreate), users::form, "Name and role of a new user";
    post "/console/users/new" Scope(P::UsersCreate), users::create, "Makes a user and shows the password once";
    get "/console/users/{id}" Scope(P::UsersRead), users::show, "One user";
    post "/console/users/{id}" Scope(P::UsersUpdate), users::update, "Changes role or access, or resets the password";
    get "/console/users/{id}/delete" Scope(P::UsersDelete), users::delete_form, "What follows from deleting a user";
    post "/console/users/{id}/delete" Scope(P::UsersDelete), users::delete, "Deletes a user";
    get "/console/sessions" User, sessions::list, "The own sessions";
    post "/console/sessions/{id}/end" User, sessions::end, "Ends one of the own sessions";
    get "/console/security" Scope(P::SecurityRead), security::list, "Security events";
    get "/console/settings" Scope(P::SettingsRead), settings::show, "Settings, and the server's own keys. Organisation `default` only";
    post "/console/settings" Scope(P::SettingsUpdate), settings::update, "Changes settings. Organisation `default` only";
    get "/docs/" Nothing, docs::index, "The documentation";
    get "/docs/{*page}" Nothing, docs::show, "A page of it";
    get "/console/audit" Scope(P::AuditRead), audit::list, "The audit log";
    get "/console/audit/verify" Scope(P::AuditRead), audit::verify, "Verifies the audit log, and says in words what came of it";
}

/// An address below the console that is none.
async fn unknown(_: Visit) -> Refused {
    Refused(AppError::because(Code::NotFound, "no page has this address"))
}

/// The console, to be served beside the interfaces for programs.
pub fn router(app: &App) -> Router {
    routed()
        .route("/console/assets/{name}", get(assets::file))
        .route("/console/{*rest}", any(unknown))
        .layer(middleware::from_fn_with_state(app.clone(), answer::dress))
        .with_state(app.clone())
}
