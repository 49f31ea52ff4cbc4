//! One resource: what it is, its tags, what else the provider says, and what happened to it.

use argosy_domain::{discovery::ChangeKind, id::ResourceRowId, resource::ResourceStatus};
use askama::Template;
use serde_json::{Map, Value};

use super::{HERE, RESOURCES, called, kind, resource_status};
use crate::{
    app::{discovery::ResourceDetail, records::ResourceChangeRecord},
    console::{
        agents::{account_name, accounts_of},
        answer::{Shown, page},
        fields::link,
        frame::Frame,
        show::{self, Badge, Fact, When, when},
        visit::{Id, Visit},
    },
};

/// Something that happened to it.
struct Event {
    at: When,
    badge: Badge,
    /// What is different, where something changed.
    fields: String,
    job: String,
}

#[derive(Template)]
#[template(path = "discovery_resource.html")]
struct ResourcePage {
    frame: Frame,
    name: String,
    status: Badge,
    stale: bool,
    facts: Vec<Fact>,
    /// What contains it: its id, and the way there.
    parent: Option<(String, String)>,
    tags: Vec<(String, String)>,
    metadata: String,
    history: Vec<Event>,
}

/// Tags, which are names with values; anything else of that name stays where it is.
fn tags(metadata: &mut Map<String, Value>) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let Some(Value::Object(tags)) = metadata.get("tags") else { return Vec::new() };
    let pairs = tags.iter().map(|(name, value)| (name.clone(), text(value))).collect();
    metadata.remove("tags");
    pairs
}

fn event(visit: &Visit, change: ResourceChangeRecord) -> Event {
    let tone = match change.kind {
        ChangeKind::Appeared | ChangeKind::Reappeared => "ok",
        ChangeKind::Changed => "info",
        ChangeKind::Vanished => "warn",
    };
    let field = |field: &String| match field.as_str() {
        "cidr" => "address range".to_owned(),
        "parent_resource_id" => "what contains it".to_owned(),
        other => other.to_owned(),
    };
    Event {
        at: when(change.at, visit.app.now()),
        badge: Badge::new(tone, change.kind.as_str()),
        fields: change.fields.iter().map(field).collect::<Vec<_>>().join(", "),
        job: change.job.to_string(),
    }
}

fn facts(detail: &ResourceDetail, account: String) -> Vec<Fact> {
    let (row, seen) = (&detail.row, &detail.row.resource);
    let mut facts = vec![
        Fact::text("Type", kind(&seen.resource_type)),
        Fact::code("Its own id", seen.resource_id.clone()),
    ];
    facts.extend(seen.cidr.clone().map(|cidr| Fact::code("Address range", cidr)));
    facts.push(Fact::text("Provider", seen.provider.clone()));
    if !seen.region.is_empty() {
        facts.push(Fact::text("Region", seen.region.clone()));
    }
    facts.push(Fact::text("Account", account));
    facts.push(Fact::text("First seen", show::exact(row.first_seen_at)));
    facts.push(Fact::text("Last seen", show::exact(row.last_seen_at)));
    facts
}

/// The page.
pub(in crate::console) async fn show(visit: Visit, Id(id): Id<ResourceRowId>) -> Shown {
    let detail = visit.app.show_resource(&visit.caller, &id).await?;
    let accounts = accounts_of(&visit).await;
    let account = account_name(&accounts, &detail.row.account.0.to_string());
    let name = called(&detail.row.resource.name, &detail.row.resource.resource_id);
    let parent = detail.row.resource.parent_resource_id.clone().map(|parent| {
        let number = detail.row.account.0.to_string();
        let pairs = [("account", Some(number.as_str())), ("q", Some(parent.as_str()))];
        let path = link(RESOURCES, pairs);
        (parent, path)
    });
    let facts = facts(&detail, account);
    let mut metadata = detail.row.resource.metadata;
    let tags = tags(&mut metadata);
    let metadata = match metadata.is_empty() {
        true => String::new(),
        false => serde_json::to_string_pretty(&metadata).unwrap_or_default(),
    };
    page(&ResourcePage {
        frame: visit.frame(&name, HERE).await,
        status: resource_status(detail.row.status),
        stale: detail.row.status == ResourceStatus::Stale,
        facts,
        parent,
        tags,
        metadata,
        history: detail.history.into_iter().map(|change| event(&visit, change)).collect(),
        name,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tags_are_taken_out_of_what_else_there_is() {
        let mut metadata = json!({ "tags": { "Name": "<main>", "n": 3 }, "tenancy": "default" });
        let metadata = metadata.as_object_mut().unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(tags(metadata), [pair("Name", "<main>"), pair("n", "3")]);
        assert_eq!(metadata.len(), 1);
        let mut odd = json!({ "tags": [1] });
        assert!(tags(odd.as_object_mut().unwrap()).is_empty() && odd["tags"].is_array());
    }
}
