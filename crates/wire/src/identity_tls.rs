//! TLS towards a server whose certificate its own identity key vouches for (`tls = self`,
//! PROTOCOL, section 2).
//!
//! ```text
//! pin = SHA-256(identity key) → certificate of that key → certificate for this host, at this time
//! ```
//! *Invariant:* chain, name and times are always verified, by webpki. What is decided here is only
//! whose key may stand at the beginning of the chain.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore,
    SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{
        WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};

use crate::{
    bytes::{Bytes32, Fixed},
    sign::thumbprint,
};

/// What stands before the 32 bytes of an Ed25519 key in a SubjectPublicKeyInfo (RFC 8410, section 4).
const ED25519_SPKI: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Why a certificate is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It holds, and the identity that vouches for it is another one.
    #[error("the certificate is of the identity {shown}, and {pinned} is pinned")]
    OtherIdentity {
        /// Thumbprint of the key that vouches for it.
        shown: Bytes32,
        /// Thumbprint that is expected.
        pinned: Bytes32,
    },
    /// No identity vouches for it, and there is no other authority.
    #[error("no identity key and no authority of this host vouches for the certificate")]
    Unvouched,
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Other(OtherError(Arc::new(refusal)))
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    pin: Option<Bytes32>,
    met: Option<Bytes32>,
    refused: Option<Bytes32>,
}

/// The identity that a server must have, for all connections to it. Without a pin the first one that
/// is met is the one from then on (trust at first contact).
#[derive(Debug, Default)]
pub struct Expected {
    seen: RwLock<Seen>,
}

impl Expected {
    /// One identity; whoever comes first where there is no pin.
    pub fn new(pin: Option<Bytes32>) -> Self {
        Self { seen: RwLock::new(Seen { pin, ..Seen::default() }) }
    }

    /// From now on this identity and no other, because something else than TLS proved it.
    pub fn trust(&self, pin: Bytes32) {
        *self.seen.write().unwrap_or_else(PoisonError::into_inner) =
            Seen { pin: Some(pin), ..Seen::default() };
    }

    /// The identity that vouched for the connection that was opened last; none where an authority did.
    pub fn met(&self) -> Option<Bytes32> {
        self.seen().met
    }

    /// Another identity than the expected one, where one was shown since the last [`Self::trust`].
    pub fn refused(&self) -> Option<Bytes32> {
        self.seen().refused
    }

    fn seen(&self) -> Seen {
        *self.seen.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(&self, shown: Bytes32) -> Result<(), Refusal> {
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        let pinned = *seen.pin.get_or_insert(shown);
        if pinned == shown {
            seen.met = Some(shown);
            return Ok(());
        }
        seen.refused = Some(shown);
        Err(Refusal::OtherIdentity { shown, pinned })
    }

    fn met_an_authority(&self) {
        self.seen.write().unwrap_or_else(PoisonError::into_inner).met = None;
    }
}

/// How to speak TLS with a server of this identity. Where `authorities` are given, one of them may
/// vouch in its place.
pub fn client_config(
    expected: Arc<Expected>,
    authorities: RootCertStore,
) -> Result<ClientConfig, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let supported = provider.signature_verification_algorithms;
    let authorities = if authorities.is_empty() {
        None
    } else {
        let roots = Arc::new(authorities);
        let builder = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
        Some(builder.build().map_err(|error| Error::General(error.to_string()))?)
    };
    let at_first_contact = expected.seen().pin.is_none();
    let verifier = Verifier { expected, authorities, supported };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    if at_first_contact {
        // A resumed connection is not verified again, and what is expected is not settled yet.
        config.resumption = Resumption::disabled();
    }
    Ok(config)
}

#[derive(Debug)]
struct Verifier {
    expected: Arc<Expected>,
    authorities: Option<Arc<WebPkiServerVerifier>>,
    supported: WebPkiSupportedAlgorithms,
}

/// The raw key of a certificate, where it is an Ed25519 key.
fn ed25519_key(certificate: &CertificateDer<'_>) -> Option<Bytes32> {
    let info = ParsedCertificate::try_from(certificate).ok()?.subject_public_key_info();
    Fixed::from_slice(info.strip_prefix(&ED25519_SPKI)?).ok()
}

/// The certificate in a chain that may be one of an identity key, and that identity.
fn identity_in<'c, 'd>(
    chain: &'c [CertificateDer<'d>],
) -> Option<(Bytes32, &'c CertificateDer<'d>)> {
    chain.iter().find_map(|certificate| Some((thumbprint(&ed25519_key(certificate)?), certificate)))
}

impl Verifier {
    fn by_identity(
        &self,
        (identity, authority): (Bytes32, &CertificateDer<'_>),
        end_entity: &CertificateDer<'_>,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut anchor = RootCertStore::empty();
        anchor.add(authority.clone())?;
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let supported = self.supported.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, &anchor, &[], now, supported)?;
        verify_server_name(&certificate, name)?;
        self.expected.admit(identity)?;
        Ok(ServerCertVerified::assertion())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let own = identity_in(intermediates);
        let is_pinned = own.is_some_and(|(identity, _)| self.expected.seen().pin == Some(identity));
        let by_authority = match &self.authorities {
            Some(authorities) if !is_pinned => authorities
                .verify_server_cert(end_entity, intermediates, name, ocsp_response, now)
                .inspect(|_| self.expected.met_an_authority()),
            Some(_) | None => Err(Refusal::Unvouched.into()),
        };
        match (by_authority, own) {
            (Ok(verified), _) => Ok(verified),
            (Err(_), Some(own)) => self.by_identity(own, end_entity, name, now),
            (Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)), None) => {
                Err(Refusal::Unvouched.into())
            }
            (Err(error), None) => Err(error),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.supported)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.supported)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.supported.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair,
        PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData as _, SignatureAlgorithm,
        date_time_ymd,
    };

    use super::*;

    type Authority = CertifiedIssuer<'static, KeyPair>;

    fn authority(algorithm: &'static SignatureAlgorithm, name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let key = KeyPair::generate_for(algorithm).unwrap();
        CertifiedIssuer::self_signed(params, key).unwrap()
    }

    fn identity() -> (Authority, Bytes32) {
        let authority = authority(&PKCS_ED25519, "identity");
        let pin = thumbprint(&Fixed::from_slice(authority.key().der_bytes()).unwrap());
        (authority, pin)
    }

    /// A chain for `localhost` that is good from 2026 to 2027.
    fn chain(authority: &Authority) -> Vec<CertificateDer<'static>> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (params.not_before, params.not_after) =
            (date_time_ymd(2026, 1, 1), date_time_ymd(2027, 1, 1));
        let key = KeyPair::generate().unwrap();
        let own = params.signed_by(&key, authority).unwrap();
        vec![own.der().clone(), authority.der().clone()]
    }

    fn roots(authorities: &[&Authority]) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority.der().clone()).unwrap();
        }
        roots
    }

    fn verifier(pin: Option<Bytes32>, authorities: &[&Authority]) -> Verifier {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let roots = Arc::new(roots(authorities));
        let build = |roots| {
            WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build()
        };
        Verifier {
            expected: Arc::new(Expected::new(pin)),
            authorities: (!roots.is_empty()).then(|| build(roots).unwrap()),
            supported: provider.signature_verification_algorithms,
        }
    }

    /// Seconds since 1970 in the middle of 2026.
    const SUMMER: u64 = 1_782_000_000;

    fn at(
        verifier: &Verifier,
        chain: &[CertificateDer<'_>],
        name: &'static str,
        seconds: u64,
    ) -> Result<(), Error> {
        let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let name = ServerName::try_from(name).unwrap();
        verifier.verify_server_cert(&chain[0], &chain[1..], &name, &[], now).map(drop)
    }

    fn refusal(outcome: Result<(), Error>) -> Refusal {
        match outcome {
            Err(Error::Other(OtherError(error))) => *error.downcast_ref().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_pinned_identity_vouches_for_its_host_and_its_time_only() {
        let (authority, pin) = identity();
        let (verifier, chain) = (verifier(Some(pin), &[]), chain(&authority));
        at(&verifier, &chain, "localhost", SUMMER).unwrap();
        assert_eq!(verifier.expected.met(), Some(pin));
        let invalid = |outcome| match outcome {
            Err(Error::InvalidCertificate(why)) => why,
            other => panic!("{other:?}"),
        };
        let late = invalid(at(&verifier, &chain, "localhost", SUMMER + 40_000_000));
        assert!(matches!(late, CertificateError::ExpiredContext { .. }), "{late:?}");
        let early = invalid(at(&verifier, &chain, "localhost", SUMMER - 40_000_000));
        assert!(matches!(early, CertificateError::NotValidYetContext { .. }), "{early:?}");
        let elsewhere = invalid(at(&verifier, &chain, "fleet.example", SUMMER));
        assert!(matches!(elsewhere, CertificateError::NotValidForNameContext { .. }));
    }

    #[test]
    fn another_identity_is_refused_and_named() {
        let ((_, pinned), (stranger, shown)) = (identity(), identity());
        let verifier = verifier(Some(pinned), &[]);
        let refused = refusal(at(&verifier, &chain(&stranger), "localhost", SUMMER));
        assert_eq!(refused, Refusal::OtherIdentity { shown, pinned });
        assert_eq!(verifier.expected.refused(), Some(shown));
        verifier.expected.trust(shown);
        assert_eq!(verifier.expected.refused(), None);
        at(&verifier, &chain(&stranger), "localhost", SUMMER).unwrap();
    }

    #[test]
    fn the_pinned_identitys_certificate_vouches_for_nothing_that_it_did_not_sign() {
        let ((known, pin), (stranger, _)) = (identity(), identity());
        let verifier = verifier(Some(pin), &[]);
        let mut forged = chain(&stranger);
        forged[1] = known.der().clone();
        assert!(at(&verifier, &forged, "localhost", SUMMER).is_err());
        // A certificate may not vouch for itself, whatever stands beside it.
        let bare = [forged[0].clone()];
        assert_eq!(refusal(at(&verifier, &bare, "localhost", SUMMER)), Refusal::Unvouched);
        assert_eq!(verifier.expected.met(), None);
    }

    #[test]
    fn first_contact_is_once() {
        let ((first, pin), (second, shown)) = (identity(), identity());
        let verifier = verifier(None, &[]);
        assert!(at(&verifier, &chain(&first), "fleet.example", SUMMER).is_err());
        at(&verifier, &chain(&first), "localhost", SUMMER).unwrap();
        let refused = refusal(at(&verifier, &chain(&second), "localhost", SUMMER));
        assert_eq!(refused, Refusal::OtherIdentity { shown, pinned: pin });
    }

    #[test]
    fn an_authority_may_vouch_in_place_of_the_identity_and_a_stranger_may_not() {
        let usual = |name| authority(&PKCS_ECDSA_P256_SHA256, name);
        let (known, stranger, namesake) = (usual("known"), usual("stranger"), usual("known"));
        let (own, pin) = identity();
        let verifier = verifier(Some(pin), &[&known]);
        at(&verifier, &chain(&known), "localhost", SUMMER).unwrap();
        assert_eq!(verifier.expected.met(), None);
        at(&verifier, &chain(&own), "localhost", SUMMER).unwrap();
        let refused = refusal(at(&verifier, &chain(&stranger), "localhost", SUMMER));
        assert_eq!(refused, Refusal::Unvouched);
        assert!(at(&verifier, &chain(&namesake), "localhost", SUMMER).is_err());
    }
}
