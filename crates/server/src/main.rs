//! `argosyd`: the command line of the server.

use std::{path::PathBuf, process::ExitCode};

use argosy_config::{host, load, logging};
use argosy_server::{
    combined,
    config::{LogFormat, Mode, Settings, Tls},
    doctor, otlp, rotate,
    start::{Server, StartError, open_store},
    tls,
};
use clap::{Parser, Subcommand};
use tokio_util::sync::CancellationToken;

/// The C library's allocator leaves holes where thousands of connections come and go.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Control plane for fleets of remote agents.
#[derive(Debug, Parser)]
#[command(name = "argosyd", version, about)]
struct Arguments {
    /// Configuration file (TOML or YAML).
    #[arg(long, global = true, value_name = "FILE", env = "ARGOSY_CONFIG")]
    config: Option<PathBuf>,
    /// What this process is [default: combined].
    #[arg(long, global = true)]
    mode: Option<Mode>,
    /// Address and port [default: 127.0.0.1:8080].
    #[arg(long, global = true, value_name = "ADDR")]
    listen: Option<String>,
    /// Keys, SQLite and the local agent's state [default: argosy-data].
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<String>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve (the default).
    Serve,
    /// Look at the configuration.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Look at or bring forward the database's schema.
    Migrate {
        #[command(subcommand)]
        command: MigrateCommand,
    },
    /// Look after the server's own keys.
    Keys {
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// Make a link with which somebody becomes an administrator, once, within an hour.
    UserLink,
    /// Look whether this host and its database are fit to serve: disk, limits, clock, settings. It changes
    /// nothing, and may run beside the server.
    Doctor {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write a copy of the running SQLite store.
    Backup {
        /// A file that does not exist yet.
        to: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Validate, and print what is in force with secrets masked.
    Check,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Print the pin: the thumbprint of the identity key, by which agents know this server.
    Show,
    /// Replace keys. A running server takes the new ones up within seconds; what the old ones
    /// signed holds until its own end.
    Rotate {
        /// Which ones [default: session and command].
        #[arg(long = "use", value_name = "USE", value_delimiter = ',', default_values = rotate::USES)]
        uses: Vec<String>,
    },
    /// Begin anew with keys for which nothing vouches: the master key is lost, or the identity key was
    /// stolen. No server may run. Every agent then refuses this server until `argosy-agent repin` was
    /// run on its host, every session ends, and enrolment tokens are worth nothing.
    Reset {
        /// That is understood.
        #[arg(long)]
        agents_must_repin: bool,
    },
}

#[derive(Debug, Subcommand)]
enum MigrateCommand {
    /// Which migrations are applied.
    Status,
    /// Apply those that are missing.
    Up,
}

/// Anything that ends the program, with what to do about it.
type Failure = Box<dyn std::error::Error>;

fn settings(arguments: &Arguments) -> Result<Settings, Failure> {
    let mut flags = Vec::new();
    if let Some(mode) = arguments.mode {
        let name = clap::ValueEnum::to_possible_value(&mode).map(|v| v.get_name().to_owned());
        flags.extend(name.map(|name| ("mode", name)));
    }
    flags.extend(arguments.listen.clone().map(|listen| ("listen", listen)));
    flags.extend(arguments.data_dir.clone().map(|folder| ("data_dir", folder)));
    let file = arguments.config.as_deref();
    let loaded = load::load::<Settings>(file, std::env::vars(), &flags, combined::AGENT_KEYS)?;
    for variable in &loaded.unknown_variables {
        eprintln!("argosyd: {variable} is no setting of this version");
    }
    Ok(loaded.settings.checked()?)
}

/// An error with everything beneath it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let beneath = std::iter::successors(error.source(), |error| error.source());
    beneath.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("argosyd: {}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    host::forbid_core_files()?;
    host::raise_file_limit()?;
    let settings = settings(&arguments)?;
    // Fails only where a provider is installed already, which is then in force.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match arguments.command.unwrap_or(Command::Serve) {
            Command::Serve => Box::pin(serve(settings)).await,
            Command::Config { command: ConfigCommand::Check } => {
                print!("{}", settings.masked());
                tls::check(&settings)?;
                Ok(())
            }
            Command::Migrate { command } => migrate(&settings, command).await,
            Command::Keys { command: KeysCommand::Show } => {
                println!("{}", rotate::pin(&settings).await?);
                Ok(())
            }
            Command::Keys { command: KeysCommand::Rotate { uses } } => {
                for key in rotate::rotate(&settings, &uses).await? {
                    println!("{:12} {:9} from {}", key.id, key.status.as_str(), key.not_before);
                }
                Ok(())
            }
            Command::Keys { command: KeysCommand::Reset { agents_must_repin: false } } => {
                Err("nothing was changed: with new keys every agent refuses this server until \
                     `argosy-agent repin` was run on its host; say --agents-must-repin to go on"
                    .into())
            }
            Command::Keys { command: KeysCommand::Reset { agents_must_repin: true } } => {
                for id in rotate::reset(&settings).await? {
                    println!("{id:12} new");
                }
                Ok(())
            }
            Command::UserLink => {
                let (url, code) = rotate::user_link(&settings).await?;
                println!("{url}/setup#{code}");
                println!("good once, within an hour; whoever has it becomes an administrator");
                Ok(())
            }
            Command::Doctor { json } => examine(&settings, json).await,
            Command::Backup { to } => {
                let store = open_store(&settings).await?;
                store.backup(&to).await?;
                println!("wrote {}", to.display());
                Ok(())
            }
        }
    })
}

async fn examine(settings: &Settings, json: bool) -> Result<(), Failure> {
    let found = doctor::examine(settings).await;
    if json {
        println!("{}", serde_json::to_string_pretty(&found)?);
    } else {
        found.iter().for_each(|finding| println!("{finding}"));
    }
    match found.iter().filter(|finding| finding.state == doctor::State::Fail).count() {
        0 => Ok(()),
        1 => Err("one thing must be put right".into()),
        count => Err(format!("{count} things must be put right").into()),
    }
}

async fn migrate(settings: &Settings, command: MigrateCommand) -> Result<(), Failure> {
    let store = open_store(settings).await?;
    if matches!(command, MigrateCommand::Up) {
        store.migrate().await.map_err(StartError::from)?;
    }
    for migration in store.migration_status().await? {
        let state = if migration.applied { "applied" } else { "pending" };
        println!("{:04}  {state:8}  {}", migration.number, migration.name);
    }
    Ok(())
}

/// Cancelled by SIGTERM or Ctrl-C.
fn on_signal() -> Result<CancellationToken, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let token = CancellationToken::new();
    let shutdown = token.clone();
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        shutdown.cancel();
    });
    Ok(token)
}

async fn serve(settings: Settings) -> Result<(), Failure> {
    let traces = otlp::start(&settings)?;
    let json = settings.log_format == LogFormat::Json;
    logging::start_with(&settings.log_level, json, traces.as_ref().map(otlp::Traces::layer));
    let shutdown = on_signal()?;
    let served = serve_until(shutdown, &settings).await;
    if let Some(traces) = traces {
        traces.finish().await;
    }
    served
}

async fn serve_until(shutdown: CancellationToken, settings: &Settings) -> Result<(), Failure> {
    if settings.mode == Mode::Agent {
        return combined::run_agent_alone(shutdown).await;
    }
    let server = Server::start(settings).await?;
    let urls = settings.public_urls(server.address());
    let url = urls.first().cloned().unwrap_or_default();
    println!("argosyd {} serves {url}", env!("CARGO_PKG_VERSION"));
    println!("administrator's key: {}", server.admin_key().display());
    let pin = match settings.tls {
        Tls::Off | Tls::Files => String::new(),
        Tls::Own => format!(" --pin {}", server.app().keyring().thumbprint()),
    };
    println!("argosy login --server {url}{pin} --key-file {}", server.admin_key().display());
    let local = match settings.mode {
        Mode::Combined => Some(combined::start(&server, settings, shutdown.clone()).await?),
        Mode::Server | Mode::Agent => None,
    };
    server.run(shutdown).await;
    if let Some(local) = local {
        local.await?;
    }
    Ok(())
}
