//! The commands of `argosy-agent`: what happens after its arguments were read.
//!
//! What people read goes to standard output, errors and what to do about them to standard error.

mod enroll;
mod policy;
mod refresh;
mod repin;
mod rotate_key;

use std::{
    env,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{self, ExitCode},
    sync::Arc,
};

use argosy_config::{
    host::{OsEntropy, SystemClock, forbid_core_files},
    load::load,
    logging,
};
use argosy_domain::time::Clock as _;
use sd_notify::NotifyState;
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::{
    cli::{Cli, Command, PolicyCommand},
    config::{AgentSettings, CONFIG_FILE_DEFAULT},
    deps::Deps,
    error::AgentError,
    packages::helper,
    run::{Ended, chain, run_and_tell},
    status::report::StatusReport,
};

/// The agent mostly waits; two threads keep a slow step from delaying the heartbeat.
const WORKERS: usize = 2;
/// Threads for disk and collectors.
const BLOCKING_THREADS_MAX: usize = 8;
/// A thread ends after being idle for this long.
const BLOCKING_KEEP_ALIVE: std::time::Duration = std::time::Duration::from_secs(5);
/// Variables that are no settings of the agent and are known all the same.
const OTHER_VARIABLES: &[&str] = &["config", "failpoint"];

/// Does what the arguments say.
pub fn execute(cli: &Cli) -> ExitCode {
    match dispatch(cli) {
        Ok(code) => code,
        Err(error) => {
            // Where standard error is closed there is nobody to tell.
            let _ = writeln!(io::stderr(), "error: {}\n{}", chain(&error), error.advice());
            ExitCode::from(error.exit_status())
        }
    }
}

fn dispatch(cli: &Cli) -> Result<ExitCode, AgentError> {
    // The helper is root, and the agent's settings may be somebody else's.
    let (settings, unknown) = if matches!(cli.command, Command::PackageHelper(_)) {
        (AgentSettings::default(), Vec::new())
    } else {
        settings_of(cli)?
    };
    let deps = Deps { clock: Arc::new(SystemClock), entropy: Arc::new(OsEntropy) };
    match &cli.command {
        Command::Run => {
            keep_secrets_in_memory()?;
            start_logging(&settings, &settings.log_level);
            for name in unknown {
                tracing::warn!("{name} is no setting of the agent; is it misspelt?");
            }
            match runtime()?.block_on(serve(settings, deps))? {
                Ended::Stopped => Ok(ExitCode::SUCCESS),
                Ended::ToRestart => Err(begin_anew()),
            }
        }
        Command::Enroll(arguments) => {
            keep_secrets_in_memory()?;
            // The command speaks for itself; the log is for what it does not say.
            let level = cli.settings.log_level.as_deref().unwrap_or("error");
            start_logging(&settings, level);
            runtime()?.block_on(enroll::enroll(settings, deps, arguments))
        }
        Command::Refresh(arguments) => {
            keep_secrets_in_memory()?;
            let level = cli.settings.log_level.as_deref().unwrap_or("error");
            start_logging(&settings, level);
            runtime()?.block_on(refresh::refresh(settings, deps, arguments))
        }
        Command::RotateKey => {
            let level = cli.settings.log_level.as_deref().unwrap_or("error");
            start_logging(&settings, level);
            runtime()?.block_on(rotate_key::rotate_key(settings, deps))
        }
        Command::Repin(arguments) => {
            let level = cli.settings.log_level.as_deref().unwrap_or("error");
            start_logging(&settings, level);
            runtime()?.block_on(repin::repin(settings, deps, arguments))
        }
        Command::Status(arguments) => {
            let report = StatusReport::gather(&settings.state_dir()?)?;
            if arguments.json {
                say(&serde_json::to_string_pretty(&report).unwrap_or_default());
            } else {
                say(report.to_text(SystemClock.now()).trim_end());
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::PackageHelper(arguments) => Ok(helper::serve(&arguments.settings)),
        Command::Policy(PolicyCommand::Check { file }) => {
            policy::check(file.as_deref(), &settings.policy_file)
        }
    }
}

/// Puts a new start of this program in the place of this process, under the same id. Returns only
/// where that failed.
fn begin_anew() -> AgentError {
    use std::os::unix::process::CommandExt as _;
    let program = env::current_exe();
    let failed =
        |source| AgentError::Host { action: "the agent could not be started anew", source };
    match program {
        Ok(program) => failed(process::Command::new(program).args(env::args_os().skip(1)).exec()),
        Err(source) => failed(source),
    }
}

/// A process that holds keys leaves no copy of its memory behind.
fn keep_secrets_in_memory() -> Result<(), AgentError> {
    forbid_core_files()
        .map_err(|source| AgentError::Host { action: "core files could not be forbidden", source })
}

/// The settings, and variables that nobody reads.
fn settings_of(cli: &Cli) -> Result<(AgentSettings, Vec<String>), AgentError> {
    let default = Path::new(CONFIG_FILE_DEFAULT);
    let file = cli.settings.config.clone().or_else(|| default.exists().then(|| default.into()));
    let variables = env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let file: Option<&PathBuf> = file.as_ref();
    let loaded = load(file.map(PathBuf::as_path), variables, &cli.flags(), OTHER_VARIABLES)?;
    Ok((loaded.settings, loaded.unknown_variables))
}

fn start_logging(settings: &AgentSettings, level: &str) {
    logging::start(level, settings.log_format == "json");
}

fn runtime() -> Result<Runtime, AgentError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_keep_alive(BLOCKING_KEEP_ALIVE)
        .enable_all()
        .build()
        .map_err(|source| AgentError::Host { action: "threads could not be started", source })
}

/// `run`, until a signal asks to stop.
async fn serve(settings: AgentSettings, deps: Deps) -> Result<Ended, AgentError> {
    let shutdown = CancellationToken::new();
    let watched = watch_signals(shutdown.clone())?;
    let outcome = run_and_tell(settings, deps, shutdown, || notify(NotifyState::Ready)).await;
    watched.abort();
    notify(NotifyState::Stopping);
    outcome
}

fn watch_signals(shutdown: CancellationToken) -> Result<tokio::task::JoinHandle<()>, AgentError> {
    let listen = |kind| {
        signal(kind).map_err(|source| AgentError::Host {
            action: "signals could not be listened to",
            source,
        })
    };
    let (mut terminate, mut interrupt) =
        (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    Ok(tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        notify(NotifyState::Stopping);
        shutdown.cancel();
    }))
}

/// Tells systemd, where it started this process.
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(error = &error as &dyn std::error::Error, "systemd could not be told");
    }
}

/// Says something to the person at the terminal.
fn say(text: &str) {
    // Where standard output is closed there is nobody to tell.
    let _ = writeln!(io::stdout(), "{text}");
}
