//! API keys of users, services and agents. Of the secret only a digest is kept.

use argosy_domain::{
    access::Scopes,
    digest::Sha256,
    id::{AgentId, ApiKeyId, OrgId, UserId},
    time::Timestamp,
};

use crate::{
    authorities::AuthorityChange,
    error::StoreError,
    handle::{ReadWrite, aggregate, selection},
    page::{Page, PageRequest, Select, page_of},
    times::{TIMES, newest_times},
    value::{Row, Value},
};

const TABLE: &str = "api_keys";
const OWNERS: &str = "api_key_owners";
const ORDER: (&str, &str) = ("created_at", "id");

aggregate! {
    /// API keys.
    ApiKeys
}

/// A key that is being minted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewApiKey {
    /// The public part of the key string.
    pub id: ApiKeyId,
    /// Its tenant.
    pub org: OrgId,
    /// The agent whose credential it is; none for users and services.
    pub agent: Option<AgentId>,
    /// Whose it is: `user:<name>`, `service:<name>`, `agent:<id>`.
    pub owner: String,
    /// For people.
    pub name: String,
    /// What it may do.
    pub scopes: Scopes,
    /// Digest of the secret part (32 random bytes, so no slow hash is needed).
    pub secret_sha256: Sha256,
    /// When.
    pub created_at: Timestamp,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
}

/// What a key of a user or service owes its life to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyOwner {
    /// The user whose it is, and with whom it dies; none for keys of services.
    pub user: Option<UserId>,
    /// The key that minted it, and with which it dies.
    pub parent: Option<ApiKeyId>,
    /// Who minted it.
    pub created_by: String,
}

/// A key as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// The public part of the key string.
    pub id: ApiKeyId,
    /// Its tenant.
    pub org: OrgId,
    /// The agent whose credential it is; none for users and services.
    pub agent: Option<AgentId>,
    /// Whose it is.
    pub owner: String,
    /// For people.
    pub name: String,
    /// What it may do.
    pub scopes: Scopes,
    /// Digest of the secret part.
    pub secret_sha256: Sha256,
    /// When it was minted.
    pub created_at: Timestamp,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, give or take the interval at which uses are written.
    pub last_used_at: Option<Timestamp>,
    /// What it owes its life to; unknown for keys of agents and of older versions.
    pub minted: Option<KeyOwner>,
}

// Keys with what they owe their lives to.
selection! {
    select = "api_keys AS k
        LEFT JOIN api_key_owners AS o ON o.org_id = k.org_id AND o.key_id = k.id",
    "k.id, k.org_id, k.agent_id, k.owner, k.name, k.scopes, k.secret_sha256, k.created_at,
    k.expires_at, k.revoked_at, k.last_used_at, o.user_id, o.parent_id, o.created_by"
}

fn api_key(row: &Row) -> Result<ApiKey, StoreError> {
    let scopes: Vec<String> = row.get("scopes")?;
    Ok(ApiKey {
        id: row.get("id")?,
        org: row.get("org_id")?,
        agent: row.optional("agent_id")?,
        owner: row.get("owner")?,
        name: row.get("name")?,
        scopes: Scopes::parse(scopes.iter().map(String::as_str))
            .map_err(|_| row.corrupt("scopes"))?,
        secret_sha256: row.get("secret_sha256")?,
        created_at: row.get("created_at")?,
        expires_at: row.optional("expires_at")?,
        revoked_at: row.optional("revoked_at")?,
        last_used_at: row.optional("last_used_at")?,
        minted: match row.optional("created_by")? {
            None => None,
            Some(created_by) => Some(KeyOwner {
                user: row.optional("user_id")?,
                parent: row.optional("parent_id")?,
                created_by,
            }),
        },
    })
}

impl<A> ApiKeys<'_, A> {
    /// The key of that id, whosever it is. Whether it still works is the caller's question.
    pub async fn find(&mut self, id: &ApiKeyId) -> Result<Option<ApiKey>, StoreError> {
        let select = Select::dynamic([select!("WHERE k.id = $1")]);
        let row = self.conn.select(TABLE, select).bind(id).fetch_optional().await?;
        row.as_ref().map(api_key).transpose()
    }

    /// The organisation's keys of users and services, revoked and expired ones included.
    pub async fn list(
        &mut self,
        org: &OrgId,
        page: &PageRequest,
    ) -> Result<Page<ApiKey>, StoreError> {
        let base = select!("WHERE k.org_id = $1 AND k.agent_id IS NULL");
        let select = Select::new(base, [org.into()]).page(ORDER, page);
        let rows = self.conn.select(TABLE, select).fetch_all().await?;
        page_of(rows, page, ORDER, api_key)
    }

    /// Keys of users and services that stand at `now` and end before `until`.
    pub async fn count_ending(
        &mut self,
        org: &OrgId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<u64, StoreError> {
        let sql = "SELECT COUNT(*) AS n FROM api_keys WHERE org_id = $1 AND agent_id IS NULL
            AND revoked_at IS NULL AND expires_at > $2 AND expires_at <= $3";
        let query = self.conn.query(TABLE, sql).bind(org).bind(now).bind(until);
        query.fetch_one().await?.get("n")
    }
}

impl ApiKeys<'_, ReadWrite> {
    /// Keeps a new key.
    pub fn insert(&mut self, key: &NewApiKey) -> Result<(), StoreError> {
        let sql = "INSERT INTO api_keys (id, org_id, agent_id, owner, name, scopes,
            secret_sha256, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        self.conn
            .query(TABLE, sql)
            .bind(&key.id)
            .bind(&key.org)
            .bind(key.agent.as_ref())
            .bind(key.owner.as_str())
            .bind(key.name.as_str())
            .bind(Value::from_iter(key.scopes.iter()))
            .bind(key.secret_sha256)
            .bind(key.created_at)
            .bind(key.expires_at)
            .later()
    }

    /// Says what a new key owes its life to.
    pub async fn owe(
        &mut self,
        org: &OrgId,
        id: &ApiKeyId,
        owner: &KeyOwner,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO api_key_owners (key_id, org_id, user_id, parent_id, created_by)
            VALUES ($1, $2, $3, $4, $5)";
        let query = self.conn.query(OWNERS, sql).bind(id).bind(org).bind(owner.user.as_ref());
        let query = query.bind(owner.parent.as_ref()).bind(owner.created_by.as_str());
        query.execute().await?;
        Ok(())
    }

    /// Whether a key was not revoked; if so, it is not until the end of the transaction.
    pub async fn hold(&mut self, org: &OrgId, id: &ApiKeyId) -> Result<bool, StoreError> {
        let sql = "UPDATE api_keys SET revoked_at = revoked_at
            WHERE org_id = $1 AND id = $2 AND revoked_at IS NULL";
        self.conn.query(TABLE, sql).bind(org).bind(id).changed().await
    }

    /// Revokes every key of a user, and what was minted with them; answers how many there were.
    pub async fn void_of_user(
        &mut self,
        org: &OrgId,
        user: &UserId,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let sql = "UPDATE api_keys SET revoked_at = $3 WHERE org_id = $1 AND revoked_at IS NULL
            AND id IN (SELECT key_id FROM api_key_owners WHERE org_id = $1 AND user_id = $2)";
        let query = self.conn.query(TABLE, sql).bind(org).bind(user).bind(now);
        let own = query.execute().await?;
        self.conn.authority_changed(AuthorityChange::People);
        Ok(own + self.void_orphans(org, now).await?)
    }

    /// Revokes every key whose parent is revoked, down to the last generation.
    async fn void_orphans(&mut self, org: &OrgId, now: Timestamp) -> Result<u64, StoreError> {
        let sql = "UPDATE api_keys SET revoked_at = $2 WHERE org_id = $1 AND revoked_at IS NULL
            AND id IN (SELECT o.key_id FROM api_key_owners o
                JOIN api_keys p ON p.org_id = o.org_id AND p.id = o.parent_id
                WHERE o.org_id = $1 AND p.revoked_at IS NOT NULL)";
        let mut all = 0;
        loop {
            let generation = self.conn.query(TABLE, sql).bind(org).bind(now).execute().await?;
            if generation == 0 {
                return Ok(all);
            }
            self.conn.authority_changed(AuthorityChange::People);
            all += generation;
        }
    }

    /// Revokes a key and what was minted with it; false when there is none or it was revoked
    /// before.
    pub async fn revoke(
        &mut self,
        org: &OrgId,
        id: &ApiKeyId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.conn.authority_changed(AuthorityChange::Key(id.clone()));
        let sql = "UPDATE api_keys SET revoked_at = $3
            WHERE org_id = $1 AND id = $2 AND revoked_at IS NULL";
        let revoked = self.conn.query(TABLE, sql).bind(org).bind(id).bind(now).changed().await?;
        if revoked {
            self.void_orphans(org, now).await?;
        }
        Ok(revoked)
    }

    /// Revokes every key of an agent and answers how many there were.
    pub async fn void_of_agent(
        &mut self,
        agent: &AgentId,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let sql = "UPDATE api_keys SET revoked_at = $2
            WHERE org_id = (SELECT org_id FROM agents WHERE id = $1) AND agent_id = $1
            AND revoked_at IS NULL";
        self.conn.authority_changed(AuthorityChange::Agent(agent.clone()));
        self.conn.query(TABLE, sql).bind(agent).bind(now).execute().await
    }

    /// Notes uses, in one statement however many they are. Earlier uses change nothing.
    pub async fn touch(&mut self, uses: &[(ApiKeyId, Timestamp)]) -> Result<(), StoreError> {
        let rows = self.conn.dialect().rows_of_json(1, TIMES);
        let uses = newest_times(uses.iter().map(|(id, at)| (id.as_str(), *at)));
        let select = Select::dynamic([
            "UPDATE api_keys SET last_used_at = r.at FROM ",
            &rows,
            " WHERE api_keys.id = r.id
              AND (api_keys.last_used_at IS NULL OR api_keys.last_used_at < r.at)",
        ]);
        self.conn.select(TABLE, select).bind(uses).execute().await?;
        Ok(())
    }
}
