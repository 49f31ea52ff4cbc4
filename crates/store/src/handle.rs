//! A reader or a transaction, and the aggregates that are reached through it.
//!
//! *Invariant:* what writes exists only on [`Tx`]; the compiler refuses it on [`Reader`].

use std::marker::PhantomData;

use crate::{
    accounts::Accounts,
    agent_events::AgentEvents,
    agent_keys::AgentKeys,
    agents::Agents,
    api_keys::ApiKeys,
    approvals::UpdateApprovals,
    audit::Audit,
    authorities::{self, Authorities, Heard},
    commands::Commands,
    configurations::Configurations,
    conn::Conn,
    counters::Counters,
    error::{Cause, StoreError},
    fan_outs::FanOuts,
    feed::Feed,
    handshakes::Handshakes,
    idempotency::{self, IdempotentWrites},
    inventory::Inventory,
    orgs::Orgs,
    packages::PendingPackages,
    presence::Presence,
    replicas::Replicas,
    resources::Resources,
    security::SecurityEvents,
    server_keys::ServerKeys,
    service_agents::ServiceAgents,
    sessions::Sessions,
    settings::Settings,
    subsystems::Subsystems,
    sync_jobs::SyncJobs,
    telemetry::Telemetry,
    tokens::Tokens,
    uploads::Uploads,
    user_sessions::UserSessions,
    users::Users,
};

/// Reads.
#[derive(Debug)]
pub enum ReadOnly {}

/// Reads and writes, until committed or dropped.
#[derive(Debug)]
pub enum ReadWrite {}

/// A connection with the aggregates; see [`Reader`] and [`Tx`].
#[derive(Debug)]
pub struct Handle<A> {
    conn: Conn,
    counters: std::sync::Arc<Counters>,
    heard: Heard,
    access: PhantomData<A>,
}

/// Reads what is committed. Each call sees the newest state; two calls may see different ones.
pub type Reader = Handle<ReadOnly>;

/// A transaction as a value. Dropped without [`Tx::commit`], it leaves no trace.
///
/// Once a statement of it has failed, whatever follows answers [`StoreError::Aborted`]: begin
/// another one. On SQLite it may read what transactions of its own group have written and not yet
/// committed; so whoever answers success for what it read calls `commit` first, even when it wrote
/// nothing. Hold it only for as long as the store's own calls take: nobody else writes meanwhile.
pub type Tx = Handle<ReadWrite>;

macro_rules! aggregate_accessors {
    ($($(#[$doc:meta])* $method:ident: $aggregate:ident),* $(,)?) => {
        impl<A> Handle<A> {
            $($(#[$doc])*
            pub fn $method(&mut self) -> $aggregate<'_, A> {
                $aggregate::new(&mut self.conn)
            })*
        }
    };
}

aggregate_accessors! {
    /// Organisations.
    orgs: Orgs,
    /// Accounts.
    accounts: Accounts,
    /// API keys of users, services and agents.
    api_keys: ApiKeys,
    /// Enrolment tokens.
    tokens: Tokens,
    /// Agents.
    agents: Agents,
    /// Replaced identity keys of agents.
    agent_keys: AgentKeys,
    /// Who was seen when, and who is connected.
    presence: Presence,
    /// Challenges and continuations.
    handshakes: Handshakes,
    /// Sessions and remembered proofs.
    sessions: Sessions,
    /// Commands.
    commands: Commands,
    /// Writes with an idempotency key.
    idempotent_writes: IdempotentWrites,
    /// The newest report of each subsystem.
    inventory: Inventory,
    /// Packages that agents have pending.
    pending_packages: PendingPackages,
    /// Approvals of packages.
    update_approvals: UpdateApprovals,
    /// Schedules and breakers of subsystems.
    subsystems: Subsystems,
    /// Which batches of agents are here already.
    uploads: Uploads,
    /// Measured values of agents.
    telemetry: Telemetry,
    /// What agents tell of.
    agent_events: AgentEvents,
    /// Sync jobs of discovery.
    sync_jobs: SyncJobs,
    /// Discovered resources.
    resources: Resources,
    /// The audit log.
    audit: Audit,
    /// Changes of authority.
    authorities: Authorities,
    /// Servers on this database.
    replicas: Replicas,
    /// Configurations of agents.
    configurations: Configurations,
    /// Orders to many agents.
    fan_outs: FanOuts,
    /// What changed lately.
    feed: Feed,
    /// Security events.
    security: SecurityEvents,
    /// Agents of service keys.
    service_agents: ServiceAgents,
    /// The server's own keys.
    server_keys: ServerKeys,
    /// Settings.
    settings: Settings,
    /// Users.
    users: Users,
    /// Logins of users.
    user_sessions: UserSessions,
}

impl<A> Handle<A> {
    pub(crate) fn new(conn: Conn, counters: std::sync::Arc<Counters>, heard: Heard) -> Self {
        Self { conn, counters, heard, access: PhantomData }
    }

    pub(crate) fn conn(&mut self) -> &mut Conn {
        &mut self.conn
    }
}

impl Handle<ReadWrite> {
    /// Makes every write of the transaction durable together. Answers only once that is so, and
    /// once this process has heard of the authorities that changed.
    pub async fn commit(mut self) -> Result<(), StoreError> {
        idempotency::mark(&mut self.conn).await?;
        let changes = self.conn.take_authority_changes();
        if changes.is_empty() {
            return self.commit_quietly().await;
        }
        // Whoever asked may go away meanwhile; what is committed must be heard of all the same.
        let told = tokio::spawn(async move {
            let heard = self.heard.clone();
            let committed = match authorities::write(&mut self.conn, &changes).await {
                Ok(()) => self.commit_quietly().await,
                Err(error) => Err(error),
            };
            // Also after a failure: nobody can say whether it was one.
            heard.tell(&changes);
            committed
        });
        told.await.unwrap_or_else(|error| Err(StoreError::Unavailable(Cause::new(error))))
    }

    async fn commit_quietly(self) -> Result<(), StoreError> {
        let alone = self.conn.commits_alone();
        self.conn.commit().await?;
        if alone {
            self.counters.committed(1);
        }
        Ok(())
    }
}

/// Declares how all columns of a table are selected, by name: a later version may add columns while this
/// one runs, and PostgreSQL refuses a prepared statement whose columns have become others.
///
/// `selection! { select = "table", "columns" }` makes `select!("WHERE …")`, `select!(returning "UPDATE …")`
/// and `select!(columns)`.
macro_rules! selection {
    ($name:ident = $table:literal, $columns:literal) => {
        crate::handle::selection! { @ ($) $name, $table, $columns }
    };
    (@ ($dollar:tt) $name:ident, $table:literal, $columns:literal) => {
        macro_rules! $name {
            ($dollar rest:literal) => {
                concat!("SELECT ", $columns, " FROM ", $table, " ", $dollar rest)
            };
            (returning $dollar statement:literal) => {
                concat!($dollar statement, " RETURNING ", $columns)
            };
            (columns) => {
                $columns
            };
        }
    };
}
pub(crate) use selection;

/// Declares an aggregate: a view of a connection, generic over what it may do.
macro_rules! aggregate {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name<'c, A> {
            conn: &'c mut $crate::conn::Conn,
            access: std::marker::PhantomData<A>,
        }

        impl<'c, A> $name<'c, A> {
            pub(crate) fn new(conn: &'c mut $crate::conn::Conn) -> Self {
                Self { conn, access: std::marker::PhantomData }
            }
        }
    };
}
pub(crate) use aggregate;
