//! One channel to an agent, from its hello to its end, whatever carries its frames.

use std::{collections::HashSet, sync::Arc};

use argosy_domain::{
    agent::Agent,
    configuration::Generation,
    digest::Sha256,
    id::{AgentId, CommandId, SessionId},
    limits::ERROR_TEXT_CHARS_MAX,
    text::clip,
    time::Timestamp,
};
use argosy_wire::{
    bytes::Fixed,
    problem::{Code, RpcStatus},
    sign::Signed,
    statement::{HelloStatement, digest},
};

use super::{
    App, Origin,
    configuration::OutgoingConfig,
    delivery::{OnTheWay, Outgoing, OutgoingCommand},
    error::{AppError, AppResult},
    keyring::Certified,
    results::IncomingResult,
    sessions::{ProvedSession, SessionCall},
    streams::{Held, Ticket},
};

/// The path whose proof opens and renews a stream.
pub const STREAM_PATH: &str = "/agentgateway.v1.AgentGatewayService/ControlStream";

/// What an agent says about a command that it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckCode {
    /// It has it durably.
    Received,
    /// It is at capacity and took nothing.
    Busy,
    /// The sequence is not above its high-water mark.
    Replayed,
    /// Signature or names do not fit.
    Invalid,
}

/// A frame from the agent.
#[derive(Debug, Clone)]
pub enum Up {
    /// First frame.
    Hello {
        /// Of the agent.
        version: String,
        /// The signed state of its journal.
        statement: Signed,
        /// The configuration that is in force there.
        configuration: Generation,
    },
    /// Still there.
    Heartbeat,
    /// About a command that was sent.
    Ack {
        /// Which.
        command: CommandId,
        /// What about it.
        code: AckCode,
        /// Why.
        error: String,
    },
    /// A command was started.
    State {
        /// Which.
        command: CommandId,
    },
    /// A configuration was looked at.
    Configuration {
        /// The one that is in force.
        held: Generation,
        /// Why the one that was sent was not taken; empty where it was.
        error: String,
    },
    /// A command ended.
    Result(IncomingResult),
    /// The next session.
    Renew {
        /// Its token.
        session_token: String,
        /// A proof with it.
        proof: String,
    },
}

/// A frame to the agent.
#[derive(Debug, Clone)]
pub enum Down {
    /// The stream is open.
    Accepted {
        /// Server time.
        server_time: Timestamp,
        /// Asked for.
        heartbeat_interval_s: u32,
    },
    /// A heartbeat is durable.
    HeartbeatAck {
        /// Server time.
        received_at: Timestamp,
    },
    /// An instruction.
    Command(OutgoingCommand),
    /// An instruction is no longer wanted.
    Cancel(Certified),
    /// The configuration that is wanted.
    Config(OutgoingConfig),
    /// A result is durable.
    ResultAck(Certified),
    /// A renewal was accepted.
    Renewed {
        /// For the next proof.
        dpop_nonce: String,
    },
}

/// Whether a refusal of one frame ends what carried it.
///
/// A frame that was refused for good is the agent's loss alone. One that could not be taken now
/// (but for a heartbeat, which comes again by itself) must come again, and agents send results
/// again only on another stream or with another check-in.
pub fn ends_channel(error: &AppError, heartbeat: bool) -> bool {
    match error.code.rpc() {
        RpcStatus::Unauthenticated | RpcStatus::InvalidArgument => true,
        RpcStatus::Unavailable => !heartbeat,
        RpcStatus::NotFound
        | RpcStatus::PermissionDenied
        | RpcStatus::ResourceExhausted
        | RpcStatus::FailedPrecondition
        | RpcStatus::Unimplemented
        | RpcStatus::Internal => false,
    }
}

/// Whose channel is opened.
pub(super) struct Bearer {
    /// The agent.
    pub(super) agent: Arc<Agent>,
    /// Its session; none where it has no keys.
    pub(super) session: Option<SessionId>,
    /// The channel ends then at the latest.
    pub(super) ends: Timestamp,
}

/// A stream that said hello, or a check-in.
pub struct AgentStream {
    app: App,
    origin: Origin,
    agent: Arc<Agent>,
    session: Option<SessionId>,
    session_ends: Timestamp,
    on_the_way: OnTheWay,
    renumbered: HashSet<CommandId>,
    /// The configuration that the agent said to have.
    said: Generation,
    /// The configuration that it was sent on this stream.
    sent: Generation,
    busy: bool,
    /// Nothing is due before a wake-up: everything that waited was written, or the agent was heard while
    /// none of its commands was open.
    nothing_due: bool,
    held: Held,
    ticket: Ticket,
}

impl AgentStream {
    /// Opens a stream with its first frame, which must be a hello signed for this session.
    pub async fn open(
        app: &App,
        origin: Origin,
        proved: ProvedSession,
        session_token: &str,
        first: Up,
    ) -> AppResult<(Self, Vec<Down>)> {
        let Up::Hello { version, statement, configuration } = first else {
            return Err(AppError::field("frame", "must be hello: it is the first of a stream"));
        };
        let agent = proved.agent;
        let refused = |why: &str| AppError::because(Code::Unauthenticated, why);
        let identity = agent.identity.as_ref().ok_or_else(|| refused("the agent has no keys"))?;
        let hello: HelloStatement = statement
            .verify(&Fixed(identity.identity_key))
            .map_err(|error| refused(&error.to_string()))?;
        let session_sha256 = digest(Sha256::of(session_token.as_bytes()));
        if hello.agent != agent.id || hello.session_sha256 != session_sha256 {
            return Err(refused("the hello is for another agent or session"));
        }
        app.meet_journal(&origin, &agent, &hello).await?;
        tracing::info!(agent = %agent.id, %version, "stream opened");
        let bearer = Bearer { agent, session: Some(proved.session), ends: proved.expires_at };
        let stream = Self::enter(app, origin, bearer, configuration).await?;
        let accepted = Down::Accepted {
            server_time: app.now(),
            heartbeat_interval_s: app.rules().heartbeat_interval_s,
        };
        Ok((stream, vec![accepted]))
    }

    /// Takes the agent's one place, here and among all servers. `said` is the configuration that it
    /// says to have.
    pub(super) async fn enter(
        app: &App,
        origin: Origin,
        bearer: Bearer,
        said: Generation,
    ) -> AppResult<Self> {
        let Bearer { agent, session, ends } = bearer;
        let ticket = app.hub().enter(&agent.id, agent.epoch);
        let held = match note_opened(app, &agent).await {
            Ok(stream) => Held { epoch: agent.epoch, stream: Some(stream) },
            Err(error) => {
                app.hub().leave(&ticket);
                return Err(error);
            }
        };
        app.hub().hold(&ticket, held);
        if app.store().is_shared() {
            // A newer one may have been opened elsewhere before this one had its number.
            app.recheck_stream(&agent.id).await;
        }
        Ok(Self {
            app: app.clone(),
            origin,
            agent,
            session,
            session_ends: ends,
            on_the_way: OnTheWay::default(),
            renumbered: HashSet::new(),
            said,
            sent: said,
            busy: false,
            nothing_due: false,
            held,
            ticket,
        })
    }

    /// When the session ends unless it is renewed.
    pub fn session_ends(&self) -> Timestamp {
        self.session_ends
    }

    /// Wake-ups and the end that the server may put.
    pub fn ticket(&mut self) -> &mut Ticket {
        &mut self.ticket
    }

    /// Whether nothing is due before a wake-up.
    pub fn has_nothing_due(&self) -> bool {
        self.nothing_due
    }

    /// What is due for the agent now. Where `woken` does not say that something may have changed, no
    /// configuration is looked for, and no command where none can have come.
    pub async fn due(&mut self, woken: bool) -> AppResult<Vec<Down>> {
        let mut due = Vec::new();
        if self.nothing_due && !woken {
            return Ok(due);
        }
        // What an agent without keys holds, nobody can be sure of.
        if woken
            && self.agent.identity.is_some()
            && let Some(config) =
                self.app.due_configuration(&self.agent, self.said, self.sent).await?
        {
            self.sent = config.generation;
            due.push(Down::Config(config));
        }
        if self.busy {
            return Ok(due);
        }
        let commands = self.app.due_commands(&self.agent, &mut self.on_the_way).await?;
        self.nothing_due = commands.is_all;
        due.extend(commands.outgoing.into_iter().map(|outgoing| match outgoing {
            Outgoing::Command(command) => Down::Command(command),
            Outgoing::Cancel(cancel) => Down::Cancel(cancel),
        }));
        Ok(due)
    }

    /// Takes one frame and answers what follows from it.
    pub async fn take(&mut self, frame: Up) -> AppResult<Vec<Down>> {
        self.app.sight().clear().await?;
        // What is rare beside heartbeats is boxed: a stream that waits is not to have room for it.
        match frame {
            Up::Heartbeat => {
                let received_at = self.app.now();
                let seen = self.app.seen(&self.agent.id, received_at, false).await?;
                // Where a wake-up was lost, this is when it is made up for.
                self.nothing_due = seen.commands_open == 0;
                self.busy = false;
                Ok(vec![Down::HeartbeatAck { received_at }])
            }
            Up::Hello { .. } => Err(AppError::field("frame", "must not be hello: said already")),
            Up::Ack { command, code, error } => {
                Box::pin(self.take_ack(&command, code, &error)).await?;
                Ok(Vec::new())
            }
            Up::State { command } => {
                Box::pin(self.app.advance_command(&self.agent, &command, true)).await?;
                Ok(Vec::new())
            }
            Up::Configuration { held, error } => {
                self.said = held;
                Box::pin(self.app.note_configuration(&self.agent, held, &error)).await?;
                Ok(Vec::new())
            }
            Up::Result(result) => {
                self.on_the_way.forget(&result.command);
                self.busy = false;
                let taken = self.app.take_result(&self.origin, &self.agent, result);
                let ack = Box::pin(taken).await?;
                Ok(ack.into_iter().map(Down::ResultAck).collect())
            }
            Up::Renew { session_token, proof } => {
                Box::pin(self.renew(&session_token, &proof)).await
            }
        }
    }

    async fn take_ack(&mut self, id: &CommandId, code: AckCode, error: &str) -> AppResult<()> {
        match code {
            AckCode::Received => self.app.advance_command(&self.agent, id, false).await?,
            AckCode::Busy => {
                self.on_the_way.forget(id);
                (self.busy, self.nothing_due) = (true, false);
            }
            AckCode::Replayed => {
                if self.on_the_way.contains(id) && self.renumbered.insert(id.clone()) {
                    self.app.renumber_command(&self.agent, id).await?;
                    self.on_the_way.forget(id);
                    self.nothing_due = false;
                }
            }
            AckCode::Invalid => {
                let error = clip(error, ERROR_TEXT_CHARS_MAX);
                tracing::warn!(agent = %self.agent.id, command = %id, %error, "command not taken");
            }
        }
        Ok(())
    }

    async fn renew(&mut self, token: &str, proof: &str) -> AppResult<Vec<Down>> {
        let call = SessionCall {
            token,
            proof,
            method: "POST",
            path: STREAM_PATH,
            // The handshake of the new session has just shown it, and the stream is the same.
            machine_id: self.agent.identity.as_ref().and_then(|i| i.machine_id.as_deref()),
            version: None,
            opens_stream: true,
        };
        let proved = self.app.prove_session(&self.origin, call).await?;
        if proved.agent.id != self.agent.id {
            return Err(AppError::because(Code::InvalidSession, "the session is another agent's"));
        }
        self.held.epoch = proved.agent.epoch;
        self.app.hub().hold(&self.ticket, self.held);
        self.agent = proved.agent;
        self.session = Some(proved.session);
        self.session_ends = proved.expires_at;
        Ok(vec![Down::Renewed { dpop_nonce: self.app.dpop_nonce() }])
    }

    /// Ends the stream's bookkeeping. Must be called once, whatever ended the stream.
    pub async fn close(self) {
        self.app.hub().leave(&self.ticket);
        if let Some(stream) = self.held.stream {
            note_left(&self.app, &self.agent.id, stream).await;
        }
        tracing::debug!(agent = %self.agent.id, session = ?self.session, "channel closed");
    }
}

/// Records that a stream of the agent is open, and answers its number. Whoever lost the credentials
/// since the session was proved is refused; whoever loses them from here on has the stream in the
/// hub, where it is ended.
async fn note_opened(app: &App, proved: &Agent) -> AppResult<i64> {
    let invalid = || AppError::new(Code::InvalidSession);
    let mut tx = app.store().write("stream.open").await?;
    let standing = tx.agents().find(&proved.id).await?;
    if standing.is_none_or(|agent| agent.epoch != proved.epoch) {
        return Err(invalid());
    }
    let replica = app.replica().id();
    let stream = tx.presence().open_stream(&proved.id, replica, app.now()).await?;
    tx.commit().await?;
    stream.ok_or_else(invalid)
}

/// Records the end of a stream, unless a newer one was opened.
async fn note_left(app: &App, agent: &AgentId, stream: i64) {
    let written = async {
        let mut tx = app.store().write("stream.close").await?;
        tx.presence().close_stream(agent, stream, app.now()).await?;
        tx.commit().await
    };
    if let Err(error) = written.await {
        tracing::warn!(%agent, %error, "could not record the end of a stream");
    }
}
