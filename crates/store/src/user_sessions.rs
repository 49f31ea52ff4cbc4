//! Logins of users. Of a session's secret a digest is kept.

use argosy_domain::{
    digest::Sha256,
    id::{OrgId, UserId, UserSessionId},
    time::Timestamp,
};

use crate::{
    authorities::AuthorityChange,
    error::StoreError,
    handle::{ReadWrite, aggregate, selection},
    page::Select,
    times::{TIMES, newest_times},
    value::Row,
};

const TABLE: &str = "user_sessions";

selection! {
    select = "user_sessions",
    "id, org_id, user_id, secret_sha256, epoch, created_at, seen_at, expires_at, ended_at,
    source"
}

aggregate! {
    /// Logins of users.
    UserSessions
}

/// A login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserSession {
    /// The public part of the cookie.
    pub id: UserSessionId,
    /// The tenant.
    pub org: OrgId,
    /// Whose it is.
    pub user: UserId,
    /// Digest of the secret part (32 random bytes, so no slow hash is needed).
    pub secret_sha256: Sha256,
    /// The user's epoch at that time.
    pub epoch: i64,
    /// When the user logged in.
    pub created_at: Timestamp,
    /// The last call, give or take the interval at which uses are written.
    pub seen_at: Timestamp,
    /// When it ends, used or not.
    pub expires_at: Timestamp,
    /// When it was ended before that.
    pub ended_at: Option<Timestamp>,
    /// Where the user logged in from.
    pub source: Option<String>,
}

fn session(row: &Row) -> Result<UserSession, StoreError> {
    Ok(UserSession {
        id: row.get("id")?,
        org: row.get("org_id")?,
        user: row.get("user_id")?,
        secret_sha256: row.get("secret_sha256")?,
        epoch: row.get("epoch")?,
        created_at: row.get("created_at")?,
        seen_at: row.get("seen_at")?,
        expires_at: row.get("expires_at")?,
        ended_at: row.optional("ended_at")?,
        source: row.optional("source")?,
    })
}

impl<A> UserSessions<'_, A> {
    /// The session of that id, whosever it is. Whether it still stands is the caller's question.
    pub async fn find(&mut self, id: &UserSessionId) -> Result<Option<UserSession>, StoreError> {
        let sql = select!("WHERE id = $1");
        let row = self.conn.query(TABLE, sql).bind(id).fetch_optional().await?;
        row.as_ref().map(session).transpose()
    }

    /// The user's sessions that were not ended and end after `now`, newest first.
    pub async fn open_of_user(
        &mut self,
        org: &OrgId,
        user: &UserId,
        now: Timestamp,
    ) -> Result<Vec<UserSession>, StoreError> {
        let sql = select!(
            "WHERE org_id = $1 AND user_id = $2 AND ended_at IS NULL AND expires_at > $3
            ORDER BY created_at DESC, id DESC LIMIT 500"
        );
        let rows = self.conn.query(TABLE, sql).bind(org).bind(user).bind(now).fetch_all().await?;
        rows.iter().map(session).collect()
    }
}

impl UserSessions<'_, ReadWrite> {
    /// Keeps a new session.
    pub async fn insert(&mut self, session: &UserSession) -> Result<(), StoreError> {
        let sql = "INSERT INTO user_sessions (id, org_id, user_id, secret_sha256, epoch,
            created_at, seen_at, expires_at, source) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        self.conn
            .query(TABLE, sql)
            .bind(&session.id)
            .bind(&session.org)
            .bind(&session.user)
            .bind(session.secret_sha256)
            .bind(session.epoch)
            .bind(session.created_at)
            .bind(session.seen_at)
            .bind(session.expires_at)
            .bind(session.source.as_deref())
            .execute()
            .await?;
        Ok(())
    }

    /// Ends one session of the user; false when it is not open.
    pub async fn end(
        &mut self,
        org: &OrgId,
        user: &UserId,
        id: &UserSessionId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.conn.authority_changed(AuthorityChange::People);
        let sql = "UPDATE user_sessions SET ended_at = $4 WHERE org_id = $1 AND user_id = $2
            AND id = $3 AND ended_at IS NULL AND expires_at > $4";
        self.conn.query(TABLE, sql).bind(org).bind(user).bind(id).bind(now).changed().await
    }

    /// Ends every session of the user, and answers how many were open.
    pub async fn end_of_user(
        &mut self,
        org: &OrgId,
        user: &UserId,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        self.conn.authority_changed(AuthorityChange::People);
        let sql = "UPDATE user_sessions SET ended_at = $3
            WHERE org_id = $1 AND user_id = $2 AND ended_at IS NULL AND expires_at > $3";
        self.conn.query(TABLE, sql).bind(org).bind(user).bind(now).execute().await
    }

    /// Notes uses, in one statement however many they are. Earlier uses change nothing.
    pub async fn touch(&mut self, uses: &[(UserSessionId, Timestamp)]) -> Result<(), StoreError> {
        let rows = self.conn.dialect().rows_of_json(1, TIMES);
        let uses = newest_times(uses.iter().map(|(id, at)| (id.as_str(), *at)));
        let select = Select::dynamic([
            "UPDATE user_sessions SET seen_at = r.at FROM ",
            &rows,
            " WHERE user_sessions.id = r.id AND user_sessions.seen_at < r.at",
        ]);
        self.conn.select(TABLE, select).bind(uses).execute().await?;
        Ok(())
    }

    /// Forgets sessions that ended by themselves before `before`.
    pub async fn purge_expired(&mut self, before: Timestamp) -> Result<u64, StoreError> {
        let sql = "DELETE FROM user_sessions WHERE expires_at <= $1";
        self.conn.query(TABLE, sql).bind(before).execute().await
    }
}
