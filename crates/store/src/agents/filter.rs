//! What a list of agents is asked for.

use argosy_domain::{
    agent::{AgentStatus, Health},
    id::{AccountId, AgentId, OrgId, TokenId},
    limits::{HEALTHY_WITHIN, STALE_WITHIN},
    time::Timestamp,
};

use super::view;
use crate::{
    dialect::Dialect,
    page::{Select, contains_pattern},
    value::Value,
};

/// Conditions on agents; absent ones let everything through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentFilter {
    /// Where it stands.
    pub status: Option<AgentStatus>,
    /// Its health, and the moment that counts as now.
    pub health: Option<(Health, Timestamp)>,
    /// Its account.
    pub account: Option<AccountId>,
    /// Labels that it carries with exactly these values.
    pub labels: Vec<(String, String)>,
    /// One of these.
    pub ids: Option<Vec<AgentId>>,
    /// Found anywhere in name, host name or id; case does not matter.
    pub q: Option<String>,
    /// Its version, exactly.
    pub version: Option<String>,
    /// Whether a stream of it is open.
    pub connected: Option<bool>,
    /// Only those that an operator should look at.
    pub under_review: bool,
    /// Only those that used this enrolment token.
    pub token: Option<TokenId>,
    /// Only those that have a run of discovery, whatever became of it.
    pub discovers: bool,
}

impl AgentFilter {
    pub(super) fn select(&self, org: &OrgId, dialect: Dialect) -> Select {
        self.whole(Select::new(view!("a.org_id = $1"), [org.into()]), dialect)
    }

    pub(super) fn count(&self, org: &OrgId, dialect: Dialect) -> Select {
        const COUNT: &str = "SELECT COUNT(*) AS n FROM agents AS a
            LEFT JOIN agent_presence AS p ON p.agent_id = a.id WHERE a.org_id = $1";
        self.whole(Select::new(COUNT, [org.into()]), dialect)
    }

    fn whole(&self, select: Select, dialect: Dialect) -> Select {
        let select = select.and_if("a.status = ?", self.status.map(AgentStatus::as_str));
        self.conditions(select, dialect)
    }

    /// Everything but where it stands, as conditions on agents `a` with their presence `p`.
    pub(crate) fn conditions(&self, select: Select, dialect: Dialect) -> Select {
        let pattern = self.q.as_deref().map(contains_pattern);
        let ids = self.ids.as_ref().map(|ids| {
            let ids = ids.iter().map(|id| serde_json::Value::from(id.as_str()));
            serde_json::Value::Array(ids.collect()).to_string()
        });
        let mut select = select
            .and_if("a.account_id = ?", self.account)
            .and_if(dialect.agent_in_list(), ids)
            .and_if(
                "(LOWER(a.name) LIKE ? ESCAPE '!' OR LOWER(a.hostname) LIKE ? ESCAPE '!' \
                 OR LOWER(a.id) LIKE ? ESCAPE '!')",
                pattern,
            )
            .and_if("a.token_id = ?", self.token.as_ref())
            .and_if("a.version = ?", self.version.as_deref())
            .and_if("COALESCE(p.connected, FALSE) = ?", self.connected);
        if self.under_review {
            select = select.and("a.review IS NOT NULL AND a.status <> ?", "revoked");
        }
        if self.discovers {
            select = select.ending(
                " AND EXISTS (SELECT 1 FROM sync_jobs AS j WHERE j.org_id = a.org_id \
                 AND j.agent_id = a.id)",
            );
        }
        for (key, value) in &self.labels {
            let pair = [(key.clone(), value.as_str().into())];
            let label = serde_json::Value::Object(pair.into_iter().collect()).to_string();
            select = select.and(dialect.agent_has_label(), label);
        }
        match self.health {
            None => select,
            Some((health, now)) => with_health(select, health, now),
        }
    }
}

/// The same bounds as [`Health::at`]: younger than the limit, not as old as it.
fn with_health(select: Select, health: Health, now: Timestamp) -> Select {
    let healthy_after = Value::from(now.minus(HEALTHY_WITHIN));
    let stale_after = Value::from(now.minus(STALE_WITHIN));
    match health {
        Health::Healthy => select.and("p.last_seen > ?", healthy_after),
        Health::Stale => {
            select.and("p.last_seen > ?", stale_after).and("p.last_seen <= ?", healthy_after)
        }
        Health::Offline => select.and("(p.last_seen IS NULL OR p.last_seen <= ?)", stale_after),
    }
}
