//! The server's TLS: a certificate from files, or one that the identity key vouches for.
//!
//! TLS protects what is said from onlookers. Who is who does not rest on it: server and agents
//! prove that with their own keys in every handshake. *Invariant:* another certificate takes the place
//! of the present one without a restart, and no connection that is open ends with it.

mod files;
mod own;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use argosy_domain::time::Timestamp;
use rustls::{
    ServerConfig,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use self::{files::Files, own::Own};
use crate::{
    app::{App, status::ShownCertificate},
    config::{Settings, Tls},
    task::Ticks,
};

/// How often another certificate is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that cannot be read or holds no PEM of its kind.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate and key do not make a TLS server.
    #[error("certificate and key do not fit: {0}")]
    Config(#[from] rustls::Error),
    /// The settings name no file.
    #[error("tls = files needs tls_cert_file and tls_key_file")]
    Missing,
    /// No certificate could be made.
    #[error("no certificate could be made: {0}")]
    Make(#[from] rcgen::Error),
}

/// The certificate that new connections see.
#[derive(Debug)]
struct InForce(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for InForce {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

enum Source {
    Files(Files),
    Own(Own),
}

/// What accepts TLS connections, and looks after its certificate.
pub struct Endpoint {
    source: Source,
    in_force: Arc<InForce>,
    acceptor: TlsAcceptor,
}

/// Whether the certificate of the settings can be used, where they name one. Answers when it ends, as far
/// as it says so.
pub fn check(settings: &Settings) -> Result<Option<Timestamp>, TlsError> {
    match settings.tls {
        Tls::Off | Tls::Own => Ok(None),
        Tls::Files => Ok(ends_at(&Files::of(settings)?.load()?)),
    }
}

/// When the server's own certificate ends: clients look no further than its chain's first one for that.
fn ends_at(key: &CertifiedKey) -> Option<Timestamp> {
    let (_, certificate) = x509_parser::parse_x509_certificate(key.cert.first()?).ok()?;
    Some(Timestamp::from_seconds(certificate.validity().not_after.timestamp()))
}

impl Endpoint {
    /// The endpoint of the settings on an address; none where they say plain HTTP.
    pub fn open(
        settings: &Settings,
        app: &App,
        address: SocketAddr,
    ) -> Result<Option<Self>, TlsError> {
        let (source, first) = match settings.tls {
            Tls::Off => return Ok(None),
            Tls::Files => {
                let mut files = Files::of(settings)?;
                let first = files.load()?;
                (Source::Files(files), first)
            }
            Tls::Own => {
                let names = own::names(&app.rules().public_urls, address);
                let (own, first) = Own::issue(names, app.keyring(), app.now())?;
                (Source::Own(own), first)
            }
        };
        let in_force = Arc::new(InForce(RwLock::new(Arc::new(first))));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&in_force) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Some(Self { source, in_force, acceptor: TlsAcceptor::from(Arc::new(config)) }))
    }

    /// What accepts connections.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }

    /// Puts another certificate in the place of the present one whenever there is one, until
    /// `shutdown`. One that cannot be used is said once, and the present one stays.
    pub async fn keep(mut self, app: App, shutdown: CancellationToken) {
        let mut ticks = Ticks::every(LOOK_EVERY, shutdown);
        let mut said = String::new();
        self.tell(&app);
        while ticks.next().await {
            match self.next(&app).await {
                Ok(Some(next)) => {
                    said.clear();
                    tracing::info!("new connections see another certificate");
                    let mut present =
                        self.in_force.0.write().unwrap_or_else(PoisonError::into_inner);
                    *present = Arc::new(next);
                    drop(present);
                    self.tell(&app);
                }
                Ok(None) => said.clear(),
                Err(error) if error.to_string() == said => {}
                Err(error) => {
                    tracing::error!(%error, "the certificate stays what it is");
                    said = error.to_string();
                }
            }
        }
    }

    /// Says until when what new connections see is good.
    fn tell(&self, app: &App) {
        let source = match &self.source {
            Source::Files(_) => "files",
            Source::Own(_) => "self",
        };
        let present = Arc::clone(&self.in_force.0.read().unwrap_or_else(PoisonError::into_inner));
        let ends_at = ends_at(&present);
        app.shows_certificate(ends_at.map(|ends_at| ShownCertificate { source, ends_at }));
    }

    async fn next(&mut self, app: &App) -> Result<Option<CertifiedKey>, TlsError> {
        match &mut self.source {
            Source::Files(files) => files.changed().await,
            Source::Own(own) => own.renewed(app.keyring(), app.now()),
        }
    }
}
