//! A certificate that the server makes for itself: its identity key vouches for it, so that whoever
//! pins that key needs no other authority (PROTOCOL, section 2; ADR 0005).
//!
//! *Invariant:* certificate and key live in memory only, and the identity key leaves the keyring as a
//! signature only.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use argosy_domain::time::Timestamp;
use argosy_wire::bytes::Bytes32;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::{
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer},
    sign::CertifiedKey,
};
use time::OffsetDateTime;

use super::TlsError;
use crate::app::keyring::{Keyring, TlsAuthority};

/// How long a certificate is good. Nobody can revoke it, so this is short.
const LIFE: Duration = Duration::from_secs(7 * 86_400);
/// When the next one is made.
const RENEW_AFTER: Duration = Duration::from_secs(86_400);
/// How far before its making it is good: clocks of hosts may be slow.
const BACKDATED: Duration = Duration::from_secs(3 * 86_400);

/// The certificate in force.
pub(super) struct Own {
    names: Vec<String>,
    identity: Bytes32,
    issued_at: Timestamp,
}

/// What the server may be called: the hosts of its public addresses, where it listens, and loopback.
pub(super) fn names(public_urls: &[String], address: SocketAddr) -> Vec<String> {
    let hosts = public_urls.iter().filter_map(|url| host(url)).map(str::to_owned);
    let listening = (!address.ip().is_unspecified()).then(|| address.ip().to_string());
    let loopback = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut names: Vec<String> = hosts.chain(listening).chain(loopback).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The host of an origin, without brackets.
fn host(origin: &str) -> Option<&str> {
    let (_, authority) = origin.split_once("://")?;
    match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map(|(host, _)| host),
        None => authority.split(':').next(),
    }
}

fn validity(params: &mut CertificateParams, now: Timestamp) {
    let moment = |at: Timestamp| {
        OffsetDateTime::from_unix_timestamp(at.as_seconds()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    };
    params.not_before = moment(now.minus(BACKDATED));
    params.not_after = moment(now.plus(LIFE));
}

fn made(names: &[String], keyring: Arc<Keyring>, now: Timestamp) -> Result<CertifiedKey, TlsError> {
    let mut authority = CertificateParams::default();
    validity(&mut authority, now);
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let identity = format!("Argosy server {}", keyring.thumbprint());
    authority.distinguished_name.push(DnType::CommonName, identity);
    let signer = TlsAuthority::new(keyring);
    let vouching = authority.self_signed(&signer)?;

    let mut params = CertificateParams::new(names.to_vec())?;
    validity(&mut params, now);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.distinguished_name.push(DnType::CommonName, "Argosy server");
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &Issuer::from_params(&authority, signer))?;
    let chain: Vec<CertificateDer<'static>> =
        vec![certificate.der().clone(), vouching.der().clone()];
    let key = PrivateKeyDer::try_from(key.serialize_der())
        .map_err(|why| rustls::Error::General(why.to_owned()))?;
    Ok(CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())?)
}

impl Own {
    /// The first certificate.
    pub(super) fn issue(
        names: Vec<String>,
        keyring: Arc<Keyring>,
        now: Timestamp,
    ) -> Result<(Self, CertifiedKey), TlsError> {
        let identity = keyring.thumbprint();
        let first = made(&names, keyring, now)?;
        Ok((Self { names, identity, issued_at: now }, first))
    }

    /// The next certificate, once it is time, the identity is another one, or the clock was set back.
    pub(super) fn renewed(
        &mut self,
        keyring: Arc<Keyring>,
        now: Timestamp,
    ) -> Result<Option<CertifiedKey>, TlsError> {
        let identity = keyring.thumbprint();
        let fresh = self.issued_at <= now && now.since(self.issued_at) < RENEW_AFTER;
        if fresh && self.identity == identity {
            return Ok(None);
        }
        let next = made(&self.names, keyring, now)?;
        (self.identity, self.issued_at) = (identity, now);
        Ok(Some(next))
    }
}

#[cfg(test)]
mod tests {
    use argosy_config::host::{OsEntropy, SystemClock};
    use argosy_domain::time::Clock as _;
    use argosy_store::{Options, Store, Target};
    use rustls::{
        RootCertStore,
        client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
        pki_types::{ServerName, UnixTime},
    };

    use super::*;
    use crate::app::seal::Sealer;

    async fn keyring(folder: &std::path::Path) -> Arc<Keyring> {
        let target = Target::Sqlite(folder.join("argosy.db"));
        let store = Store::open(target, Options::default()).await.unwrap();
        store.migrate().await.unwrap();
        let sealer = Sealer::open(&folder.join("master.key"), &OsEntropy).unwrap();
        let opened = Keyring::open(&store, &sealer, &OsEntropy, &SystemClock, None).await;
        Arc::new(opened.unwrap())
    }

    #[test]
    fn every_address_is_a_name() {
        let urls = ["https://fleet.example:8443", "https://[2001:db8::1]:1", "https://10.0.0.1"];
        let urls = urls.map(str::to_owned);
        let all = ["10.0.0.1", "127.0.0.1", "192.0.2.1", "2001:db8::1", "::1", "fleet.example"];
        let listening = "192.0.2.1:8080".parse().unwrap();
        assert_eq!(names(&urls, listening), [&all[..], &["localhost"]].concat());
        let anywhere = "0.0.0.0:8080".parse().unwrap();
        assert_eq!(names(&[], anywhere), ["127.0.0.1", "::1", "localhost"]);
    }

    #[tokio::test]
    async fn the_identity_vouches_for_days_and_a_day_later_there_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let keyring = keyring(folder.path()).await;
        let now = SystemClock.now();
        let names = vec!["fleet.example".to_owned()];
        let (mut own, first) = Own::issue(names, Arc::clone(&keyring), now).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(first.cert[1].clone()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let holds = |key: &CertifiedKey, at: Timestamp| {
            let seconds = u64::try_from(at.as_seconds()).unwrap();
            let at = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
            let name = ServerName::try_from("fleet.example").unwrap();
            verifier.verify_server_cert(&key.cert[0], &[], &name, &[], at).is_ok()
        };
        let days = |days: u64| Duration::from_secs(days * 86_400);
        assert!(holds(&first, now.minus(days(2))) && holds(&first, now.plus(days(6))));
        assert!(!holds(&first, now.minus(days(4))) && !holds(&first, now.plus(days(8))));
        let hour = Duration::from_secs(3_600);
        assert!(own.renewed(Arc::clone(&keyring), now.plus(hour)).unwrap().is_none());
        let later = now.plus(days(1));
        let next = own.renewed(Arc::clone(&keyring), later).unwrap().unwrap();
        assert!(holds(&next, later.plus(days(6))));
        assert!(own.renewed(Arc::clone(&keyring), later).unwrap().is_none());
        assert!(own.renewed(keyring, now).unwrap().is_some(), "the clock was set back");
    }
}
