//! The server's TLS: a certificate and a key from files.
//!
//! TLS protects what is said from onlookers. Who is who does not rest on it: server and agents
//! prove that with their own keys in every handshake.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio_rustls::TlsAcceptor;

use crate::config::{Settings, Tls};

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
}

fn file<T>(
    path: Option<&Path>,
    read: impl FnOnce(&Path) -> Result<T, rustls::pki_types::pem::Error>,
) -> Result<T, TlsError> {
    let path = path.ok_or(TlsError::Missing)?;
    read(path).map_err(|source| TlsError::File { path: path.to_owned(), source })
}

/// What accepts TLS connections; none where the settings say plain HTTP.
pub fn acceptor(settings: &Settings) -> Result<Option<TlsAcceptor>, TlsError> {
    if settings.tls == Tls::Off {
        return Ok(None);
    }
    let chain: Vec<CertificateDer<'static>> = file(settings.tls_cert_file.as_deref(), |path| {
        CertificateDer::pem_file_iter(path)?.collect()
    })?;
    let key = file(settings.tls_key_file.as_deref(), |path| PrivateKeyDer::from_pem_file(path))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}
