//! TLS towards the server: rustls with aws-lc, and whom it trusts.
//!
//! *Invariant:* certificates are always verified. With a `ca_file` only its authorities count, else
//! those of the host and the identity that the server is known by.

use std::{path::Path, path::PathBuf, sync::Arc};

use argosy_wire::identity_tls::{self, Expected};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read, or holds something else than PEM certificates.
    #[error("ca_file {} could not be read as PEM certificates", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// The file holds no certificate of an authority.
    #[error("ca_file {} holds no certificate that can be trusted", .0.display())]
    NoCa(PathBuf),
    /// The library refuses its own defaults.
    #[error("TLS could not be set up")]
    Setup(#[from] rustls::Error),
}

/// The configuration for a server that is vouched for by `ca_file`; else by the host's authorities or
/// by the identity that is expected.
pub(super) fn client_config(
    ca_file: Option<&Path>,
    expected: &Arc<Expected>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let Some(path) = ca_file else {
        return Ok(Arc::new(identity_tls::client_config(Arc::clone(expected), system_roots())?));
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots_of(path)?)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn roots_of(path: &Path) -> Result<RootCertStore, TlsError> {
    let unreadable = |source| TlsError::CaFile { path: path.to_owned(), source };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
        roots.add(certificate.map_err(unreadable)?)?;
    }
    if roots.is_empty() { Err(TlsError::NoCa(path.to_owned())) } else { Ok(roots) }
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    // A store with some unreadable entries still vouches with the others.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty.pem");
        std::fs::write(&empty, "").unwrap();
        let error = client_config(Some(&empty), &Arc::default()).unwrap_err().to_string();
        assert!(error.contains("empty.pem"), "{error}");
        let missing = folder.path().join("missing.pem");
        let error = client_config(Some(&missing), &Arc::default()).unwrap_err().to_string();
        assert!(error.contains("missing.pem"), "{error}");
    }
}
