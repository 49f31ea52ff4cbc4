//! Values on their way into a statement, and rows on their way out.
//!
//! *Invariant:* what a row says is parsed here and nowhere else; what cannot be parsed is a
//! [`StoreError::CorruptRow`] that names table and column.

use argosy_domain::{
    digest::{Fingerprint, Sha256},
    id::{
        AccountId, AgentId, ApiKeyId, ApprovalId, BatchId, CommandId, EventId, FanOutId, JournalId,
        OrgId, ResourceRowId, SessionId, SyncJobId, TokenId, UserId, UserSessionId,
    },
    labels::Labels,
    package::{Architecture, PackageName, PackageVersion},
    review::{Appearance, Review},
    time::Timestamp,
    user::UserName,
};
use sqlx::{Decode, Postgres, Row as _, Sqlite, Type, postgres::PgRow, sqlite::SqliteRow};

use crate::error::StoreError;

/// A typed value; an absent one keeps its type, because PostgreSQL asks for it.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Text(Option<String>),
    Int(Option<i64>),
    Bytes(Option<Vec<u8>>),
    Bool(bool),
}

/// PostgreSQL cannot store U+0000 in text, so neither database does.
pub(crate) fn storable(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Some(storable(text)))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        Self::Text(text.map(|text| storable(text.to_owned())))
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(Some(number))
    }
}

impl From<Option<u32>> for Value {
    fn from(number: Option<u32>) -> Self {
        Self::Int(number.map(i64::from))
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Int(Some(number.into()))
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(Some(bytes.to_vec()))
    }
}

impl From<Option<&[u8]>> for Value {
    fn from(bytes: Option<&[u8]>) -> Self {
        Self::Bytes(bytes.map(<[u8]>::to_vec))
    }
}

impl From<Timestamp> for Value {
    fn from(at: Timestamp) -> Self {
        at.as_micros().into()
    }
}

impl From<Option<Timestamp>> for Value {
    fn from(at: Option<Timestamp>) -> Self {
        Self::Int(at.map(Timestamp::as_micros))
    }
}

impl From<Sha256> for Value {
    fn from(digest: Sha256) -> Self {
        digest.0.as_slice().into()
    }
}

impl From<AccountId> for Value {
    fn from(account: AccountId) -> Self {
        account.0.into()
    }
}

impl From<Option<AccountId>> for Value {
    fn from(account: Option<AccountId>) -> Self {
        Self::Int(account.map(|account| account.0))
    }
}

impl From<&Labels> for Value {
    fn from(labels: &Labels) -> Self {
        let pairs = labels.iter().map(|(key, value)| (key.to_owned(), value.into()));
        serde_json::Value::Object(pairs.collect()).to_string().into()
    }
}

/// A list of texts is kept as a JSON array.
impl<'a> FromIterator<&'a str> for Value {
    fn from_iter<I: IntoIterator<Item = &'a str>>(texts: I) -> Self {
        serde_json::Value::from_iter(texts).to_string().into()
    }
}

/// A database column's own types, and what is made of them.
pub(crate) trait Cell: Sized {
    type Raw: for<'r> Decode<'r, Sqlite>
        + Type<Sqlite>
        + for<'r> Decode<'r, Postgres>
        + Type<Postgres>;
    fn parse(raw: Self::Raw) -> Option<Self>;
}

macro_rules! plain_cell {
    ($($type:ty),*) => {$(
        impl Cell for $type {
            type Raw = Self;
            fn parse(raw: Self) -> Option<Self> {
                Some(raw)
            }
        }
    )*};
}
plain_cell!(String, i64, f64, bool, Vec<u8>);

macro_rules! text_cell {
    ($($type:ty),*) => {$(
        impl Cell for $type {
            type Raw = String;
            fn parse(raw: String) -> Option<Self> {
                raw.parse().ok()
            }
        }
    )*};
}
text_cell!(
    AgentId,
    ApiKeyId,
    ApprovalId,
    Architecture,
    CommandId,
    EventId,
    FanOutId,
    Fingerprint,
    JournalId,
    OrgId,
    PackageName,
    PackageVersion,
    ResourceRowId,
    SessionId,
    SyncJobId,
    TokenId,
    UserId,
    UserSessionId,
    UserName
);

macro_rules! id_value {
    ($($type:ty),*) => {$(
        impl From<&$type> for Value {
            fn from(id: &$type) -> Self {
                id.as_str().into()
            }
        }
        impl From<Option<&$type>> for Value {
            fn from(id: Option<&$type>) -> Self {
                id.map(|id| id.as_str()).into()
            }
        }
    )*};
}
id_value!(
    AgentId,
    ApiKeyId,
    ApprovalId,
    BatchId,
    CommandId,
    EventId,
    FanOutId,
    JournalId,
    OrgId,
    ResourceRowId,
    SessionId,
    SyncJobId,
    TokenId,
    UserId,
    UserName,
    UserSessionId
);

macro_rules! package_value {
    ($($type:ty),*) => {$(
        impl From<&$type> for Value {
            fn from(text: &$type) -> Self {
                text.as_str().into()
            }
        }
        impl From<Option<&$type>> for Value {
            fn from(text: Option<&$type>) -> Self {
                text.map(|text| text.as_str()).into()
            }
        }
    )*};
}
package_value!(PackageName, PackageVersion, Architecture);

impl Cell for Timestamp {
    type Raw = i64;
    fn parse(raw: i64) -> Option<Self> {
        let at = Self::from_micros(raw);
        (at.as_micros() == raw).then_some(at)
    }
}

impl Cell for AccountId {
    type Raw = i64;
    fn parse(raw: i64) -> Option<Self> {
        Some(Self(raw))
    }
}

impl Cell for u32 {
    type Raw = i64;
    fn parse(raw: i64) -> Option<Self> {
        raw.try_into().ok()
    }
}

impl Cell for u64 {
    type Raw = i64;
    fn parse(raw: i64) -> Option<Self> {
        raw.try_into().ok()
    }
}

impl Cell for [u8; 32] {
    type Raw = Vec<u8>;
    fn parse(raw: Vec<u8>) -> Option<Self> {
        raw.try_into().ok()
    }
}

impl Cell for Sha256 {
    type Raw = Vec<u8>;
    fn parse(raw: Vec<u8>) -> Option<Self> {
        raw.try_into().ok().map(Self)
    }
}

impl Cell for Labels {
    type Raw = String;
    fn parse(raw: String) -> Option<Self> {
        serde_json::from_str(&raw).ok()
    }
}

/// Documents of ours that are kept as JSON.
macro_rules! json_cell {
    ($($type:ty),*) => {$(
        impl Cell for $type {
            type Raw = String;
            fn parse(raw: String) -> Option<Self> {
                serde_json::from_str(&raw).ok()
            }
        }

        impl From<Option<&$type>> for Value {
            fn from(document: Option<&$type>) -> Self {
                Self::Text(document.and_then(|document| serde_json::to_string(document).ok()))
            }
        }
    )*};
}
json_cell!(Review, Appearance);

impl Cell for Vec<String> {
    type Raw = String;
    fn parse(raw: String) -> Option<Self> {
        serde_json::from_str(&raw).ok()
    }
}

/// A row of either database, and the table that is blamed for what cannot be read.
pub(crate) struct Row {
    pub(crate) table: &'static str,
    pub(crate) cells: Cells,
}

pub(crate) enum Cells {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    /// The value of a column that is never null.
    pub(crate) fn get<T: Cell>(&self, column: &'static str) -> Result<T, StoreError> {
        self.optional(column)?.ok_or_else(|| self.corrupt(column))
    }

    /// The value of a column that may be null.
    pub(crate) fn optional<T: Cell>(&self, column: &'static str) -> Result<Option<T>, StoreError> {
        let raw: Option<T::Raw> = match &self.cells {
            Cells::Sqlite(row) => row.try_get(column),
            Cells::Postgres(row) => row.try_get(column),
        }
        .map_err(|_| self.corrupt(column))?;
        raw.map(|raw| T::parse(raw).ok_or_else(|| self.corrupt(column))).transpose()
    }

    /// The value of a text column, read by a function of the domain.
    pub(crate) fn parsed<T>(
        &self,
        column: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, StoreError> {
        parse(&self.get::<String>(column)?).ok_or_else(|| self.corrupt(column))
    }

    /// The error that blames this row.
    pub(crate) fn corrupt(&self, column: &'static str) -> StoreError {
        StoreError::CorruptRow { table: self.table, column }
    }
}
