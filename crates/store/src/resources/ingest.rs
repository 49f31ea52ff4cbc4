//! A chunk of a run, taken in: what is new or different is written by one statement, and nothing else.

use std::collections::{BTreeMap, HashMap};

use argosy_domain::{
    digest::Sha256,
    discovery::ChangeKind,
    id::{AccountId, OrgId, SyncJobId},
    resource::{Resource, ResourceStatus},
    time::Timestamp,
};
use serde_json::json;

use super::{Resources, TABLE, UpsertCounts, changes::Change};
use crate::{
    dialect::JsonType, error::StoreError, handle::ReadWrite, page::Select, value::storable,
};

/// What came of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upserted {
    /// New, changed, unchanged.
    pub counts: UpsertCounts,
    /// The numbers of all that it holds, in their order.
    pub numbers: Vec<String>,
}

/// The columns that a batch carries for each resource.
const BATCH: &[(&str, JsonType)] = &[
    ("id", JsonType::Text),
    ("provider", JsonType::Text),
    ("region", JsonType::Text),
    ("resource_type", JsonType::Text),
    ("resource_id", JsonType::Text),
    ("name", JsonType::Text),
    ("cidr", JsonType::Text),
    ("parent_resource_id", JsonType::Text),
    ("metadata", JsonType::Text),
    ("content_sha256", JsonType::Text),
];

/// A resource on its way into its row.
struct Incoming<'r> {
    resource: &'r Resource,
    metadata: String,
    content: String,
}

/// Digest and status of resources, by number.
type Known = HashMap<String, (String, ResourceStatus)>;

/// A chunk, each resource once and by number.
fn incoming<'r>(
    org: &OrgId,
    account: AccountId,
    resources: &'r [Resource],
) -> BTreeMap<String, Incoming<'r>> {
    let mut rows = BTreeMap::new();
    for resource in resources {
        let key = json!([
            org.as_str(),
            account.0,
            resource.provider,
            resource.region,
            resource.resource_type,
            resource.resource_id,
        ]);
        let number = hex::encode(&Sha256::of(key.to_string().as_bytes()).0[..16]);
        let metadata = serde_json::Value::Object(resource.metadata.clone()).to_string();
        let (cidr, parent) = (&resource.cidr, &resource.parent_resource_id);
        let content = json!([resource.name, cidr, parent, metadata]).to_string();
        let content = hex::encode(Sha256::of(content.as_bytes()).0);
        rows.insert(number, Incoming { resource, metadata, content });
    }
    rows
}

fn row(number: &str, incoming: &Incoming<'_>) -> serde_json::Value {
    let text = |text: &str| storable(text.to_owned());
    let resource = incoming.resource;
    json!({
        "id": number,
        "provider": text(&resource.provider),
        "region": text(&resource.region),
        "resource_type": text(&resource.resource_type),
        "resource_id": text(&resource.resource_id),
        "name": text(&resource.name),
        "cidr": resource.cidr.as_deref().map(text),
        "parent_resource_id": resource.parent_resource_id.as_deref().map(text),
        "metadata": incoming.metadata,
        "content_sha256": incoming.content,
    })
}

fn texts<'t>(texts: impl IntoIterator<Item = &'t str>) -> String {
    serde_json::Value::from_iter(texts).to_string()
}

impl Resources<'_, ReadWrite> {
    /// Takes a chunk of a job in. A resource that is there twice counts once. The job must exist.
    pub async fn upsert_many(
        &mut self,
        org: &OrgId,
        account: AccountId,
        job: &SyncJobId,
        resources: &[Resource],
        now: Timestamp,
    ) -> Result<Upserted, StoreError> {
        let incoming = incoming(org, account, resources);
        let known = self.known(incoming.keys().map(String::as_str)).await?;
        let as_known = |number: &String, incoming: &Incoming<'_>| {
            known.get(number).is_some_and(|(content, status)| {
                *content == incoming.content && *status == ResourceStatus::Active
            })
        };
        let written: Vec<_> = incoming.iter().filter(|(n, i)| !as_known(n, i)).collect();
        let created = written.iter().filter(|(number, _)| !known.contains_key(*number)).count();
        let (all, written_count) = (incoming.len(), written.len());
        if !written.is_empty() {
            let renamed = self.note_differences(org, job, now, (&written, &known)).await?;
            let rows = written.iter().map(|(number, incoming)| row(number, incoming));
            let rows = rows.collect::<serde_json::Value>().to_string();
            self.write(org, account, job, rows, now).await?;
            let new = written.iter().filter(|(number, _)| !known.contains_key(*number));
            let new = new.map(|(number, _)| (*number).clone()).collect();
            self.touch_stretches(org, now, (new, renamed)).await?;
        }
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let counts = UpsertCounts {
            created: number(created),
            updated: number(written_count - created),
            unchanged: number(all - written_count),
        };
        Ok(Upserted { counts, numbers: incoming.into_keys().collect() })
    }

    /// Digest and status of those that are known.
    async fn known<'n>(
        &mut self,
        numbers: impl Iterator<Item = &'n str>,
    ) -> Result<Known, StoreError> {
        let named = self.conn.dialect().texts_of_json("$1", "n");
        let select = Select::dynamic([
            "SELECT x.id, x.content_sha256, x.status FROM ",
            &named,
            " JOIN resources AS x ON x.id = n.value",
        ]);
        let rows = self.conn.select(TABLE, select).bind(texts(numbers)).fetch_all().await?;
        rows.iter()
            .map(|row| {
                let status = row.parsed("status", ResourceStatus::parse)?;
                Ok((row.get("id")?, (row.get("content_sha256")?, status)))
            })
            .collect()
    }

    async fn write(
        &mut self,
        org: &OrgId,
        account: AccountId,
        job: &SyncJobId,
        rows: String,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let table = self.conn.dialect().rows_of_json(1, BATCH);
        let upsert = Select::dynamic([
            "INSERT INTO resources (id, org_id, account_id, job_id, provider, region,
             resource_type, resource_id, name, cidr, parent_resource_id, metadata, content_sha256,
             status, first_seen_at, last_seen_at, first_job)
             SELECT r.id, $2, $3, $4, r.provider, r.region, r.resource_type, r.resource_id, r.name,
             r.cidr, r.parent_resource_id, r.metadata, r.content_sha256, 'active', $5, $5, $4 FROM ",
            &table,
            " WHERE TRUE ORDER BY r.id ON CONFLICT (id) DO UPDATE SET job_id = excluded.job_id,
             name = excluded.name, cidr = excluded.cidr,
             parent_resource_id = excluded.parent_resource_id, metadata = excluded.metadata,
             content_sha256 = excluded.content_sha256, status = 'active',
             last_seen_at = excluded.last_seen_at",
        ]);
        let query = self.conn.select(TABLE, upsert).bind(rows);
        query.bind(org).bind(account).bind(job).bind(now).execute().await?;
        Ok(())
    }

    /// Writes down what is different about resources that are known; answers the numbers of those in
    /// which other texts are found now.
    async fn note_differences(
        &mut self,
        org: &OrgId,
        job: &SyncJobId,
        now: Timestamp,
        (written, known): (&[(&String, &Incoming<'_>)], &Known),
    ) -> Result<Vec<String>, StoreError> {
        let numbers: Vec<&str> = written
            .iter()
            .filter(|(number, _)| known.contains_key(*number))
            .map(|(number, _)| number.as_str())
            .collect();
        if numbers.is_empty() {
            return Ok(Vec::new());
        }
        let named = self.conn.dialect().texts_of_json("$1", "n");
        let select = Select::dynamic([
            "SELECT x.id, x.status, x.name, x.cidr, x.parent_resource_id, x.metadata FROM ",
            &named,
            " JOIN resources AS x ON x.id = n.value",
        ]);
        let rows = self.conn.select(TABLE, select).bind(texts(numbers)).fetch_all().await?;
        let now_said: HashMap<&str, &Incoming<'_>> =
            written.iter().map(|(number, incoming)| (number.as_str(), *incoming)).collect();
        let mut changes = Vec::new();
        for row in &rows {
            let number: String = row.get("id")?;
            let Some(incoming) = now_said.get(number.as_str()) else { continue };
            let resource = incoming.resource;
            let metadata: String = row.get("metadata")?;
            let said = [
                ("name", Some(resource.name.as_str())),
                ("cidr", resource.cidr.as_deref()),
                ("parent_resource_id", resource.parent_resource_id.as_deref()),
            ];
            let mut fields = Vec::new();
            for (field, said) in said {
                let before: Option<String> = row.optional(field)?;
                if before.as_deref() != said {
                    fields.push(field);
                }
            }
            if metadata != incoming.metadata {
                fields.push("metadata");
            }
            let kind = match row.parsed("status", ResourceStatus::parse)? {
                ResourceStatus::Active => ChangeKind::Changed,
                ResourceStatus::Stale => ChangeKind::Reappeared,
            };
            changes.push(Change { number, kind, fields });
        }
        self.add_changes(org, job, now, &changes).await?;
        let renamed = |change: &Change| {
            let other = change.fields.iter().any(|field| matches!(*field, "name" | "cidr"));
            other.then(|| change.number.clone())
        };
        Ok(changes.iter().filter_map(renamed).collect())
    }
}
