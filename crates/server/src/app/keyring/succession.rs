//! The succession of the identity key: how agents that pinned an old one are led to the new.
//!
//! The row of an identity key that succeeded another holds the statement that both signed: the
//! payload, and behind each other the old key's and the new key's signature. An identity without one
//! begins anew: the first, or one that was made because the old was lost or stolen.

use argosy_domain::{limits::SUCCESSIONS_MAX, time::Timestamp};
use argosy_store::{KeyCertificate as StoredCertificate, ServerKeyRow};
use argosy_wire::{
    bytes::{Bytes32, Fixed},
    sign::thumbprint,
    statement::Successor,
    succession::Cosigned,
};
use ed25519_dalek::SigningKey;

use super::{KeyUse, KeyringError, corrupt, key_id, newest, signing_key, vault};
use crate::app::seal::Sealer;

const SIGNATURE_BYTES: usize = 64;

/// The new identity `row`, signed over to by the newest of `rows` and by itself.
pub(super) fn succeed(
    sealer: &Sealer,
    rows: &[ServerKeyRow],
    row: ServerKeyRow,
    now: Timestamp,
) -> Result<ServerKeyRow, KeyringError> {
    if chain(rows)?.0.len() >= SUCCESSIONS_MAX {
        return Err(KeyringError::TooManySuccessions);
    }
    let old = signing_key(newest(rows, KeyUse::Identity)?, sealer, KeyUse::Identity)?;
    let new = SigningKey::from_bytes(vault::open_row(sealer, KeyUse::Identity, &row)?.expose());
    let identity_key = Fixed(old.verifying_key().to_bytes());
    let statement = Successor {
        server: thumbprint(&identity_key),
        identity_key,
        successor: Fixed(new.verifying_key().to_bytes()),
        serial: row.serial,
        time: now,
    };
    let Cosigned { payload, signature, successor_signature } =
        Cosigned::new(&old, &new, &statement);
    let signature = [signature.0, successor_signature.0].concat();
    Ok(ServerKeyRow { certificate: Some(StoredCertificate { payload, signature }), ..row })
}

/// The statement by which an identity took over; none where it began anew.
pub(super) fn succession_of(row: &ServerKeyRow) -> Result<Option<Cosigned>, KeyringError> {
    let Some(stored) = &row.certificate else { return Ok(None) };
    let damaged = || corrupt(format!("succession of {}", key_id(row)));
    let (old, new) = stored.signature.split_at_checked(SIGNATURE_BYTES).ok_or_else(damaged)?;
    Ok(Some(Cosigned {
        payload: stored.payload.clone(),
        signature: Fixed::from_slice(old).map_err(|_| damaged())?,
        successor_signature: Fixed::from_slice(new).map_err(|_| damaged())?,
    }))
}

/// The unbroken chain to the newest identity, oldest link first, and the thumbprints that it leads
/// away from.
pub(super) fn chain(rows: &[ServerKeyRow]) -> Result<(Vec<Cosigned>, Vec<Bytes32>), KeyringError> {
    let (mut links, mut left) = (Vec::new(), Vec::new());
    for row in rows.iter().filter(|row| row.key_use == KeyUse::Identity.as_str()) {
        let Some(link) = succession_of(row)? else {
            (links, left) = (Vec::new(), Vec::new());
            continue;
        };
        let statement: Successor =
            link.verify().map_err(|_| corrupt(format!("succession of {}", key_id(row))))?;
        left.push(statement.server);
        links.push(link);
    }
    Ok((links, left))
}
