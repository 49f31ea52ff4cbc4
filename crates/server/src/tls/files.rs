//! A certificate and its key in files, which somebody else renews.

use std::path::{Path, PathBuf};

use argosy_domain::digest::Sha256;
use rustls::{
    crypto::aws_lc_rs,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
    sign::CertifiedKey,
};

use super::TlsError;
use crate::config::Settings;

/// Where chain and key are, and which ones are in force.
#[derive(Clone)]
pub(super) struct Files {
    chain: PathBuf,
    key: PathBuf,
    in_force: Option<[Sha256; 2]>,
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path)
        .map_err(|source| TlsError::File { path: path.to_owned(), source: pem::Error::Io(source) })
}

impl Files {
    /// Those of the settings; nothing is read yet.
    pub(super) fn of(settings: &Settings) -> Result<Self, TlsError> {
        let chain = settings.tls_cert_file.clone().ok_or(TlsError::Missing)?;
        let key = settings.tls_key_file.clone().ok_or(TlsError::Missing)?;
        Ok(Self { chain, key, in_force: None })
    }

    /// What they hold.
    pub(super) fn load(&mut self) -> Result<CertifiedKey, TlsError> {
        let (chain, key) = (read(&self.chain)?, read(&self.key)?);
        self.parse(&chain, &key)
    }

    /// What they hold where that is not what is in force. While somebody replaces them they may not
    /// fit each other, or hold half of themselves: then the next look decides.
    pub(super) async fn changed(&mut self) -> Result<Option<CertifiedKey>, TlsError> {
        let mut files = self.clone();
        let looked = tokio::task::spawn_blocking(move || -> Result<_, TlsError> {
            let (chain, key) = (read(&files.chain)?, read(&files.key)?);
            if files.in_force == Some([Sha256::of(&chain), Sha256::of(&key)]) {
                return Ok(None);
            }
            let next = files.parse(&chain, &key)?;
            Ok(Some((files, next)))
        });
        // A look that was interrupted saw nothing.
        let Ok(looked) = looked.await else { return Ok(None) };
        Ok(looked?.map(|(files, next)| {
            *self = files;
            next
        }))
    }

    fn parse(&mut self, chain: &[u8], key: &[u8]) -> Result<CertifiedKey, TlsError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| TlsError::File { path, source }
        };
        let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(failed(&self.chain))?;
        if certificates.is_empty() {
            return Err(failed(&self.chain)(pem::Error::NoItemsFound));
        }
        let private = PrivateKeyDer::from_pem_slice(key).map_err(failed(&self.key))?;
        let certified =
            CertifiedKey::from_der(certificates, private, &aws_lc_rs::default_provider())?;
        self.in_force = Some([Sha256::of(chain), Sha256::of(key)]);
        Ok(certified)
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn made() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[tokio::test]
    async fn what_fits_is_taken_once_and_what_does_not_fit_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (chain, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        let settings = Settings {
            tls_cert_file: Some(chain.clone()),
            tls_key_file: Some(key.clone()),
            ..Settings::default()
        };
        let mut files = Files::of(&settings).unwrap();
        assert!(matches!(files.load(), Err(TlsError::File { .. })), "they are not there yet");
        let (one, other) = (made(), made());
        std::fs::write(&chain, &one.0).unwrap();
        std::fs::write(&key, &one.1).unwrap();
        let first = files.load().unwrap();
        assert!(files.changed().await.unwrap().is_none());
        // Half of the change.
        std::fs::write(&chain, &other.0).unwrap();
        assert!(matches!(files.changed().await, Err(TlsError::Config(_))));
        std::fs::write(&key, &other.1).unwrap();
        let next = files.changed().await.unwrap().unwrap();
        assert_ne!(first.cert, next.cert);
        assert!(files.changed().await.unwrap().is_none());
        std::fs::write(&chain, "").unwrap();
        assert!(matches!(files.changed().await, Err(TlsError::File { .. })));
    }
}
