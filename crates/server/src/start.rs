//! Start and end of the server: from settings to a port that answers, and back.

use std::{
    fs::{File, TryLockError},
    io,
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use argosy_config::host::{OsEntropy, SystemClock};
use argosy_domain::{entropy::Entropy, time::Clock};
use argosy_store::{Options, Store, StoreError, Target};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    app::{
        App, Parts, Rules,
        error::AppError,
        hasher::TokenHasher,
        keyring::{Keyring, KeyringError},
        limits::FailureLimiter,
        seal::{SealError, Sealer},
    },
    combined::local_origin,
    config::{Mode, Settings},
    console, http, rpc, serve, task,
    tls::{Endpoint, TlsError},
};

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory.
    #[error("data directory {path}: {source}")]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Another server has the SQLite database.
    #[error("another server runs on {0}: one process at a time, or PostgreSQL for several")]
    Taken(PathBuf),
    /// The port.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The store.
    #[error("store: {0}")]
    Store(#[from] StoreError),
    /// The server's keys.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The master key.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The first start.
    #[error("first start: {0}")]
    App(#[from] AppError),
}

/// A server that listens.
pub struct Server {
    app: App,
    address: SocketAddr,
    admin_key: PathBuf,
    listener: TcpListener,
    tls: Option<Endpoint>,
    /// Held for as long as it is open (flock(2)).
    _lock: Option<File>,
}

/// Makes the data directory, for its owner alone.
fn make_data_dir(path: &Path) -> Result<(), StartError> {
    let failed = |source| StartError::DataDir { path: path.to_owned(), source };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
    let mode = std::fs::metadata(path).map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        let owner_only = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(path, owner_only).map_err(failed)?;
    }
    Ok(())
}

/// Takes a SQLite database for this process alone. Several servers may share PostgreSQL.
pub(crate) fn lock(settings: &Settings) -> Result<Option<File>, StartError> {
    if settings.database_url.is_some() {
        return Ok(None);
    }
    let path = settings.data_dir.join("server.lock");
    let failed = |source| StartError::DataDir { path: path.clone(), source };
    let mut options = File::options();
    options.create(true).truncate(false).write(true).mode(0o600);
    let file = options.open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(StartError::Taken(settings.data_dir.clone())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Where the settings put the database.
pub fn target(settings: &Settings) -> Target {
    match &settings.database_url {
        Some(url) => Target::Postgres(url.clone()),
        None => Target::Sqlite(settings.data_dir.join("argosy.db")),
    }
}

/// What the settings decide for the use cases.
pub(crate) fn rules(settings: &Settings, public_urls: Vec<String>) -> Rules {
    Rules {
        public_urls,
        auto_approve_agents: settings.auto_approve_agents,
        heartbeat_interval_s: settings.heartbeat_interval_s,
        check_in_wait: Duration::from_secs(settings.check_in_wait_s.into()),
        check_ins_waiting_max: settings.check_ins_waiting_max,
        trusted_proxies: settings.trusted_proxies.clone(),
    }
}

/// Opens the store of the settings.
pub async fn open_store(settings: &Settings) -> Result<Store, StartError> {
    make_data_dir(&settings.data_dir)?;
    Ok(Store::open(target(settings), Options::default()).await?)
}

/// The master key. A store that holds keys has one already: another would open nothing.
async fn master_key(
    settings: &Settings,
    store: &Store,
    entropy: &dyn Entropy,
) -> Result<Sealer, StartError> {
    let path = settings.master_key();
    let sealed = !store.read("server_keys.any").await?.server_keys().list().await?.is_empty();
    Ok(if sealed { Sealer::load(&path)? } else { Sealer::open(&path, entropy)? })
}

impl Server {
    /// Starts with the host's clock and randomness.
    pub async fn start(settings: &Settings) -> Result<Self, StartError> {
        Self::start_with(settings, Arc::new(SystemClock), Arc::new(OsEntropy)).await
    }

    /// Opens store and keys, migrates, makes what a new store needs, and binds the port.
    pub async fn start_with(
        settings: &Settings,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, StartError> {
        make_data_dir(&settings.data_dir)?;
        let lock = lock(settings)?;
        let store = open_store(settings).await?;
        store.migrate().await?;
        let sealer = master_key(settings, &store, entropy.as_ref()).await?;
        let given = settings.configured_session_secret();
        let keyring =
            Keyring::open(&store, &sealer, entropy.as_ref(), clock.as_ref(), given.as_ref())
                .await?;
        let listen = settings.listen;
        let failed = |source| StartError::Listen { address: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let mut public_urls = settings.public_urls(address);
        let local = local_origin(settings.tls, address);
        if settings.mode == Mode::Combined && !public_urls.contains(&local) {
            public_urls.push(local);
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let app = App::new(Parts {
            store,
            clock,
            entropy,
            keyring: keyring.into(),
            sealer,
            hasher: TokenHasher::new(cores),
            failures: FailureLimiter::new(settings.failures_per_minute),
            rules: rules(settings, public_urls),
        });
        let tls = Endpoint::open(settings, &app, address)?;
        let admin_key = settings.data_dir.join("admin.key");
        app.initialise(&admin_key).await?;
        app.forget_connections().await?;
        app.refresh_settings().await?;
        Ok(Self { app, address, admin_key, listener, tls, _lock: lock })
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The file that holds the first administrator's key.
    pub fn admin_key(&self) -> &Path {
        &self.admin_key
    }

    /// The use cases.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// Serves until `shutdown`; then streams are told to come back and requests end.
    pub async fn run(self, shutdown: CancellationToken) {
        let beside = rpc::router(&self.app).merge(console::router(&self.app));
        let routes = http::router(&self.app, beside);
        let mut tasks = JoinSet::new();
        tasks.spawn(task::run(self.app.clone(), shutdown.clone()));
        let app = self.app.clone();
        let drain = shutdown.clone();
        tasks.spawn(async move {
            drain.cancelled().await;
            app.hub().drain();
            app.feed().close();
        });
        let acceptor = self.tls.as_ref().map(Endpoint::acceptor);
        if let Some(tls) = self.tls {
            tasks.spawn(tls.keep(self.app.clone(), shutdown.clone()));
        }
        let let_go = self.app.replica().let_go();
        serve::serve(self.listener, acceptor, routes, let_go, shutdown).await;
        tasks.join_all().await;
        self.app.close().await;
    }
}
