//! The use cases: everything that Argosy does, whatever asked for it.
//!
//! Each function authorizes its caller, loads, calls the domain, saves, and writes its audit entry
//! in the same transaction. *Invariant:* nothing here names a web framework, an RPC library or
//! SQL; nothing in `http`, `rpc` or `console` names the store.

pub mod accounts;
pub mod agent_keys;
pub mod agents;
pub mod audit;
pub mod authn;
pub mod authorities;
pub mod check_in;
pub mod commands;
pub mod configuration;
pub mod delivery;
pub mod discovery;
pub mod enrolment;
pub mod error;
pub mod fan_outs;
pub mod feed;
mod groups;
pub mod guesses;
pub mod handshake;
pub mod hasher;
pub mod heartbeat;
pub mod idempotency;
pub mod inventory;
pub mod journals;
pub(crate) mod json;
pub mod keyring;
pub mod keys;
pub mod limits;
pub mod login;
pub mod organisations;
pub mod overview;
pub mod paging;
pub mod principals;
pub mod proofs;
pub mod records;
pub mod refusals;
pub mod replica;
pub mod results;
pub mod rotation;
pub mod seal;
pub mod security;
pub mod service_agents;
pub mod sessions;
pub mod settings;
pub mod setup;
pub mod sight;
pub mod status;
pub mod stream;
pub mod streams;
pub mod subsystems;
pub mod telemetry;
pub mod template;
pub mod tokens;
pub mod totals;
pub mod updates;
pub mod user_sessions;
pub mod users;
pub mod uses;
pub mod versions;

use std::{
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use argosy_domain::{
    access::{Caller, Decision, Permission, Target, decide},
    entropy::Entropy,
    id::{IdSource, OrgId, UserSessionId},
    time::{Clock, Timestamp},
};
use argosy_store::Store;
use argosy_wire::problem::Code;
use tokio::sync::{Notify, Semaphore};

use self::{
    authorities::Authorities,
    error::{AppError, AppResult},
    feed::Feed,
    groups::Groups,
    guesses::Guesses,
    hasher::TokenHasher,
    keyring::Keyring,
    limits::FailureLimiter,
    principals::Principals,
    proofs::ReplayGuard,
    refusals::RecentRefusals,
    replica::Replica,
    rotation::SharedKeyring,
    seal::Sealer,
    security::SecurityLog,
    settings::SharedSettings,
    sight::Sight,
    status::ShownCertificate,
    streams::Hub,
    totals::Counted,
    uses::Uses,
};

/// Finds a request in the log; transports hand it from the edge to [`Origin`].
#[derive(Debug, Clone)]
pub struct TraceId(pub String);

/// Where a request came from: for audit entries and rate limits, never for decisions.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// The source address.
    pub source: Option<IpAddr>,
    /// Finds the request in the log.
    pub trace_id: Option<String>,
}

/// What the operator of the installation decided.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Origins under which agents and proofs name this server; at least one.
    pub public_urls: Vec<String>,
    /// Approve every registration. Audited.
    pub auto_approve_agents: bool,
    /// Seconds between heartbeats that agents are asked for.
    pub heartbeat_interval_s: u32,
    /// How long a check-in waits for something to say at most.
    pub check_in_wait: Duration,
    /// Check-ins that wait at once.
    pub check_ins_waiting_max: u32,
    /// Who is believed about the addresses of others.
    pub trusted_proxies: Vec<ipnet::IpNet>,
}

/// The parts that every use case works with.
pub struct Parts {
    /// Durable state.
    pub store: Store,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// The server's keys.
    pub keyring: SharedKeyring,
    /// The master key.
    pub sealer: Sealer,
    /// Argon2id.
    pub hasher: TokenHasher,
    /// Failed attempts.
    pub failures: FailureLimiter,
    /// What the operator decided.
    pub rules: Rules,
}

/// The application. Cheap to clone; all clones are the same application.
#[derive(Clone)]
pub struct App {
    inner: Arc<Inner>,
}

struct Inner {
    parts: Parts,
    ids: IdSource,
    hub: Hub,
    check_ins: Arc<Semaphore>,
    proofs: ReplayGuard,
    mismatches: RecentRefusals,
    misuses: RecentRefusals,
    security: SecurityLog,
    authorities: Arc<Authorities>,
    sight: Sight,
    feed: Feed,
    replica: Replica,
    groups: Groups,
    settings: SharedSettings,
    guesses: Guesses,
    principals: Principals,
    blocked_names: RecentRefusals<String>,
    foreign_calls: RecentRefusals<UserSessionId>,
    uses: Uses,
    fan_outs: Notify,
    arrivals: Notify,
    counted: Counted,
    certificate: Mutex<Option<ShownCertificate>>,
    started_at: Timestamp,
}

impl App {
    /// Puts the parts together. Must be called inside a Tokio runtime: what is written in groups is
    /// written by tasks of their own.
    pub fn new(parts: Parts) -> Self {
        let ids = IdSource::new(Arc::clone(&parts.clock), Arc::clone(&parts.entropy));
        let groups = Groups::start(&parts.store);
        let started_at = parts.clock.now();
        let replica = Replica::new(ids.uuid().to_string());
        let authorities = Arc::<Authorities>::default();
        let heard = Arc::clone(&authorities);
        let places = usize::try_from(parts.rules.check_ins_waiting_max).unwrap_or(usize::MAX);
        parts.store.heard_by(move |changes| heard.forget(changes));
        let inner = Inner {
            ids,
            hub: Hub::default(),
            check_ins: Arc::new(Semaphore::new(places)),
            proofs: ReplayGuard::default(),
            mismatches: RecentRefusals::default(),
            misuses: RecentRefusals::default(),
            security: SecurityLog::default(),
            authorities,
            sight: Sight::new(parts.store.is_shared()),
            feed: Feed::default(),
            replica,
            groups,
            settings: SharedSettings::default(),
            guesses: Guesses::default(),
            principals: Principals::default(),
            blocked_names: RecentRefusals::default(),
            foreign_calls: RecentRefusals::default(),
            uses: Uses::default(),
            fan_outs: Notify::new(),
            arrivals: Notify::new(),
            counted: Counted::default(),
            certificate: Mutex::default(),
            started_at,
            parts,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Lets the store go, after everything else has ended.
    pub async fn close(&self) {
        self.store().close().await;
    }

    pub(crate) fn store(&self) -> &Store {
        &self.inner.parts.store
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.inner.parts.clock.now()
    }

    pub(crate) fn entropy(&self) -> &dyn Entropy {
        self.inner.parts.entropy.as_ref()
    }

    /// A fresh trace id.
    pub fn trace_id(&self) -> String {
        self.ids().uuid().simple().to_string()
    }

    pub(crate) fn ids(&self) -> &IdSource {
        &self.inner.ids
    }

    /// The server's keys in force now.
    pub fn keyring(&self) -> Arc<Keyring> {
        self.shared_keyring().get()
    }

    pub(crate) fn shared_keyring(&self) -> &SharedKeyring {
        &self.inner.parts.keyring
    }

    pub(crate) fn sealer(&self) -> &Sealer {
        &self.inner.parts.sealer
    }

    /// Argon2id.
    pub fn hasher(&self) -> &TokenHasher {
        &self.inner.parts.hasher
    }

    /// Failed attempts by source.
    pub fn failures(&self) -> &FailureLimiter {
        &self.inner.parts.failures
    }

    /// What the operator decided.
    pub fn rules(&self) -> &Rules {
        &self.inner.parts.rules
    }

    /// Open streams.
    pub fn hub(&self) -> &Hub {
        &self.inner.hub
    }

    /// Places of check-ins that wait.
    pub(crate) fn check_ins(&self) -> &Arc<Semaphore> {
        &self.inner.check_ins
    }

    pub(crate) fn replays(&self) -> &ReplayGuard {
        &self.inner.proofs
    }

    pub(crate) fn mismatches(&self) -> &RecentRefusals {
        &self.inner.mismatches
    }

    /// Refused proofs under genuine sessions that were recorded a moment ago.
    pub(crate) fn misuses(&self) -> &RecentRefusals {
        &self.inner.misuses
    }

    /// Calls by principal.
    pub fn principals(&self) -> &Principals {
        &self.inner.principals
    }

    /// Passwords that are being tried.
    pub(crate) fn guesses(&self) -> &Guesses {
        &self.inner.guesses
    }

    /// Names whose refusal for too many guesses was recorded a moment ago.
    pub(crate) fn blocked_names(&self) -> &RecentRefusals<String> {
        &self.inner.blocked_names
    }

    /// Sessions of users whose call from elsewhere was recorded a moment ago.
    pub(crate) fn foreign_calls(&self) -> &RecentRefusals<UserSessionId> {
        &self.inner.foreign_calls
    }

    /// When keys and sessions were used.
    pub fn uses(&self) -> &Uses {
        &self.inner.uses
    }

    pub(crate) fn shared_settings(&self) -> &SharedSettings {
        &self.inner.settings
    }

    /// Whether this server sees what others on its database change.
    pub fn sight(&self) -> &Sight {
        &self.inner.sight
    }

    /// The installation in numbers.
    pub fn totals(&self) -> &Counted {
        &self.inner.counted
    }

    /// Who watches what changes.
    pub fn feed(&self) -> &Feed {
        &self.inner.feed
    }

    /// What is written for many at once.
    fn groups(&self) -> &Groups {
        &self.inner.groups
    }

    pub(crate) fn started_at(&self) -> Timestamp {
        self.inner.started_at
    }

    /// Refuses what `decide` does not allow; a hidden target looks like one that is not there.
    pub(crate) fn authorize(
        caller: &Caller,
        permission: Permission,
        target: Target<'_>,
        what: &str,
    ) -> AppResult<()> {
        Self::authorize_by(caller, &[permission], target, what)
    }

    /// [`Self::authorize`] where any one of several permissions is enough.
    fn authorize_by(
        caller: &Caller,
        permissions: &[Permission],
        target: Target<'_>,
        what: &str,
    ) -> AppResult<()> {
        let decisions = || permissions.iter().map(|permission| decide(caller, *permission, target));
        if decisions().any(|decision| decision == Decision::Allow) {
            return Ok(());
        }
        if decisions().any(|decision| decision == Decision::Hide) {
            return Err(AppError::not_found(what));
        }
        if caller.owes_password() {
            return Err(AppError::new(Code::PasswordChangeRequired));
        }
        let scopes: Vec<&str> = permissions.iter().map(|permission| permission.scope()).collect();
        let detail = format!("this needs the scope {}", scopes.join(" or "));
        Err(AppError::because(Code::Forbidden, detail))
    }

    /// The caller's own organisation, after checking `permission` in it.
    pub(crate) fn own_org(caller: &Caller, permission: Permission) -> AppResult<&OrgId> {
        Self::own_org_by(caller, &[permission])
    }

    /// [`Self::own_org`] where any one of several permissions is enough.
    pub(crate) fn own_org_by<'c>(
        caller: &'c Caller,
        permissions: &[Permission],
    ) -> AppResult<&'c OrgId> {
        let org = caller.org().ok_or_else(|| AppError::new(Code::Forbidden))?;
        let target = Target { org, agent: None };
        Self::authorize_by(caller, permissions, target, "organisation")?;
        Ok(org)
    }
}
