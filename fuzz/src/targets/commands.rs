//! Commands as they reach an agent: envelope, certificate, parameters.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use argosy_agent::{
    boot::BootId,
    engine::{CommandRunner, Engine, EngineParts, Offered, Probed, RunOutcome},
    journal::Journal,
    keys::Keys,
    packages::Request,
    policy_file::PolicyFile,
};
use argosy_domain::{
    command::{CommandKind, CommandParams, CommandSeq},
    digest::Sha256,
    entropy::Entropy,
    id::{CommandId, IdSource},
    time::Timestamp,
};
use argosy_e2e::clock::ManualClock;
use argosy_wire::{
    bytes::Fixed,
    rpc::gateway::{Command, SignedStatement},
    sign::Signed,
    statement::{CommandStatement, digest},
};
use buffa::Message;
use tokio::runtime::Runtime;

use super::trust::{Cast, cast, now, travelling};

/// Bytes that are the same in every run.
struct Counting;

impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        (0u8..).zip(bytes).for_each(|(n, byte)| *byte = n);
    }
}

/// Nobody gets so far as to run anything.
struct Idle;

impl CommandRunner for Idle {
    fn run<'a>(
        &'a self,
        _: &'a CommandId,
        _: CommandParams,
        _: Option<Request>,
    ) -> std::pin::Pin<Box<dyn Future<Output = RunOutcome> + Send + 'a>> {
        Box::pin(std::future::pending())
    }

    fn timeout(&self, _: &CommandParams) -> Duration {
        Duration::from_secs(1)
    }

    fn probe(&self, _: &CommandId, _: CommandKind) -> Probed {
        Probed::Unknown
    }
}

const PARAMS: &[u8] = br#"{"subsystem":"system"}"#;

fn statement(cast: &Cast, params: &[u8]) -> CommandStatement {
    CommandStatement {
        server: *cast.server.thumbprint(),
        org: "default".parse().unwrap(),
        agent: cast.agent.clone(),
        command_id: "c-1".parse().unwrap(),
        kind: "subsystem.run".to_owned(),
        params_sha256: digest(Sha256::of(params)),
        sequence: CommandSeq(1),
        not_before: now(),
        expires_at: now().plus(Duration::from_secs(60)),
        server_time: now(),
    }
}

fn command(cast: &Cast, statement: &CommandStatement, params: &[u8], usage: &str) -> Command {
    Command {
        envelope: Some(travelling(Signed::new(&cast.command, statement))).into(),
        params: params.to_vec(),
        certificate: Some(travelling(cast.certificate(usage))).into(),
        ..Default::default()
    }
}

/// A good command, and commands that are signed and not to be obeyed.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let cast = cast();
    let good = statement(&cast, PARAMS);
    let elsewhere = CommandStatement { agent: "a-2".parse().unwrap(), ..good.clone() };
    let foreign = CommandStatement { org: "other".parse().unwrap(), ..good.clone() };
    let old = CommandStatement { server_time: Timestamp::from_seconds(1), ..good.clone() };
    let seeds = [
        command(&cast, &good, PARAMS, "command"),
        command(&cast, &good, br#"{"subsystem":"storage"}"#, "command"),
        command(&cast, &elsewhere, PARAMS, "command"),
        command(&cast, &foreign, PARAMS, "command"),
        command(&cast, &old, PARAMS, "command"),
        command(&cast, &good, PARAMS, "audit"),
    ];
    seeds.iter().map(Message::encode_to_vec).collect()
}

/// An agent whose journal is empty takes the one good command, byte for byte, and no other.
pub(super) fn check(input: &[u8]) {
    static STAGE: OnceLock<(Cast, Runtime)> = OnceLock::new();
    let (cast, runtime) = STAGE.get_or_init(|| {
        (cast(), tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap())
    });
    let Ok(command) = Command::decode_from_slice(input) else { return };
    let signed = |part: Option<&SignedStatement>| {
        let part = part?;
        let signature = Fixed::from_slice(&part.signature).ok()?;
        Some(Signed { payload: part.payload.clone(), signature })
    };
    let (Some(envelope), Some(certificate)) =
        (signed(command.envelope.as_option()), signed(command.certificate.as_option()))
    else {
        return;
    };
    let good = Signed::new(&cast.command, &statement(cast, PARAMS));
    let genuine =
        envelope == good && certificate == cast.certificate("command") && command.params == PARAMS;
    let offered = runtime.block_on(engine(cast).offer(envelope, command.params, certificate));
    let taken = match offered {
        Offered::Received(_) => true,
        Offered::Invalid { .. } => false,
        Offered::Finished(_)
        | Offered::Acknowledged { .. }
        | Offered::Busy { .. }
        | Offered::Replayed(_) => panic!("the journal was empty: {offered:?}"),
    };
    assert_eq!(taken, genuine, "{offered:?}");
}

fn engine(cast: &Cast) -> Engine {
    let clock = Arc::new(ManualClock::default());
    let ids = IdSource::new(Arc::clone(&clock) as _, Arc::new(Counting));
    let parts = EngineParts {
        journal: Arc::new(Journal::in_memory(&ids).unwrap()),
        policy: PolicyFile::defaults(),
        runner: Arc::new(Idle),
        clock,
        keys: Arc::new(Keys::generate(&Counting)),
        agent: cast.agent.clone(),
        org: Some("default".parse().unwrap()),
        server: cast.server,
        boot: BootId::new("boot-1"),
        capacity: 4,
        concurrency: 1,
    };
    Engine::new(parts).unwrap().0
}
