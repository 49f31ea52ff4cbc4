//! The server's own keys. Private parts are sealed by the caller before they come here.

use argosy_domain::time::Timestamp;

use crate::{
    error::StoreError,
    handle::{ReadWrite, aggregate, selection},
    value::Row,
};

const TABLE: &str = "server_keys";

selection! {
    select = "server_keys",
    "key_use, serial, public_key, sealed_private, certificate, certificate_signature,
    not_before, not_after, created_at"
}

aggregate! {
    /// The server's keys.
    ServerKeys
}

/// The identity key's word for another key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyCertificate {
    /// The signed bytes.
    pub payload: Vec<u8>,
    /// The signature.
    pub signature: Vec<u8>,
}

/// A key of the server.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerKeyRow {
    /// What it is for, such as `identity`, `command`, `session`.
    pub key_use: String,
    /// Rises with every rotation of a use.
    pub serial: i64,
    /// Raw public key; empty for symmetric secrets.
    pub public_key: Vec<u8>,
    /// The private part, sealed; empty once it was erased.
    pub sealed_private: Vec<u8>,
    /// Its certificate, where it has one.
    pub certificate: Option<KeyCertificate>,
    /// Valid from.
    pub not_before: Timestamp,
    /// Valid until.
    pub not_after: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl std::fmt::Debug for ServerKeyRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ServerKeyRow({}-{})", self.key_use, self.serial)
    }
}

fn server_key(row: &Row) -> Result<ServerKeyRow, StoreError> {
    let certificate = match (row.optional("certificate")?, row.optional("certificate_signature")?) {
        (Some(payload), Some(signature)) => Some(KeyCertificate { payload, signature }),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            return Err(row.corrupt("certificate_signature"));
        }
    };
    Ok(ServerKeyRow {
        key_use: row.get("key_use")?,
        serial: row.get("serial")?,
        public_key: row.get("public_key")?,
        sealed_private: row.get("sealed_private")?,
        certificate,
        not_before: row.get("not_before")?,
        not_after: row.optional("not_after")?,
        created_at: row.get("created_at")?,
    })
}

impl<A> ServerKeys<'_, A> {
    /// Every key, by use and serial, retired ones included.
    pub async fn list(&mut self) -> Result<Vec<ServerKeyRow>, StoreError> {
        let sql = select!("ORDER BY key_use, serial");
        self.conn.query(TABLE, sql).fetch_all().await?.iter().map(server_key).collect()
    }
}

impl ServerKeys<'_, ReadWrite> {
    /// Keeps a new key. [`StoreError::Conflict`] `server_key` when the serial of this use is
    /// taken: another server was faster.
    pub async fn insert(&mut self, key: &ServerKeyRow) -> Result<(), StoreError> {
        let sql = "INSERT INTO server_keys (key_use, serial, public_key, sealed_private,
            certificate, certificate_signature, not_before, not_after, created_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        let certificate = key.certificate.as_ref();
        self.conn
            .query(TABLE, sql)
            .bind(key.key_use.as_str())
            .bind(key.serial)
            .bind(key.public_key.as_slice())
            .bind(key.sealed_private.as_slice())
            .bind(certificate.map(|certificate| certificate.payload.as_slice()))
            .bind(certificate.map(|certificate| certificate.signature.as_slice()))
            .bind(key.not_before)
            .bind(key.not_after)
            .bind(key.created_at)
            .execute()
            .await?;
        Ok(())
    }

    /// Ends every key of a use below `serial` that has no end yet. Returns how many.
    pub async fn end_below(
        &mut self,
        key_use: &str,
        serial: i64,
        not_after: Timestamp,
    ) -> Result<u64, StoreError> {
        let sql = "UPDATE server_keys SET not_after = $3
            WHERE key_use = $1 AND serial < $2 AND not_after IS NULL";
        self.conn.query(TABLE, sql).bind(key_use).bind(serial).bind(not_after).execute().await
    }

    /// Forgets the keys of a use whose end has come, but never the newest: serials rise for ever.
    /// Returns how many.
    pub async fn delete_ended(&mut self, key_use: &str, now: Timestamp) -> Result<u64, StoreError> {
        let sql = "DELETE FROM server_keys WHERE key_use = $1 AND not_after <= $2
            AND serial < (SELECT MAX(serial) FROM server_keys WHERE key_use = $1)";
        self.conn.query(TABLE, sql).bind(key_use).bind(now).execute().await
    }

    /// Forgets the keys of a use below `serial`. Returns how many.
    pub async fn delete_below(&mut self, key_use: &str, serial: i64) -> Result<u64, StoreError> {
        let sql = "DELETE FROM server_keys WHERE key_use = $1 AND serial < $2";
        self.conn.query(TABLE, sql).bind(key_use).bind(serial).execute().await
    }

    /// Forgets the private parts of a use's keys below `serial`; their certificates stay, for
    /// whoever verifies what they signed. Returns how many.
    pub async fn erase_below(&mut self, key_use: &str, serial: i64) -> Result<u64, StoreError> {
        let sql = "UPDATE server_keys SET sealed_private = $3
            WHERE key_use = $1 AND serial < $2 AND sealed_private <> $3";
        let nothing: &[u8] = &[];
        self.conn.query(TABLE, sql).bind(key_use).bind(serial).bind(nothing).execute().await
    }
}
