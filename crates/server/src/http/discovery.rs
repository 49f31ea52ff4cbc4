//! Discovered resources.

use std::io;

use argosy_domain::{access::Caller, id::ResourceRowId};
use argosy_wire::rest::{
    Page,
    discovery::{
        CrowdedSubnet, NetworkInsight, NetworkName, NetworkOverlap, Resource, ResourceDetail,
        ResourceEvent, ResourceNode, ResourceTree,
    },
};
use axum::{
    Json as Answered,
    body::{Body, Bytes},
    extract::State,
    http::header,
    response::IntoResponse,
};
use futures::stream;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    answer::{Answer, Problems},
    convert,
    extract::{By, Id, Paging, Params},
};
use crate::app::{
    App,
    discovery::{Insight, ResourceQuery, TreeNode},
    error::AppError,
    paging::{AppPage, cursor_text},
    records::{NetworkRecord, ResourceChangeRecord, ResourceRecord},
};

/// Which resources to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Of this account.
    account_id: Option<i64>,
    /// Such as `aws`.
    provider: Option<String>,
    /// Such as `eu-central-1`.
    region: Option<String>,
    /// Such as `vpc`.
    resource_type: Option<String>,
    /// `active` or `stale`.
    status: Option<String>,
    /// Part of name, id or address range.
    q: Option<String>,
}

impl Wanted {
    fn query(self) -> ResourceQuery {
        ResourceQuery {
            account: self.account_id,
            provider: self.provider,
            region: self.region,
            resource_type: self.resource_type,
            status: self.status,
            q: self.q,
        }
    }
}

/// Lists resources, newest first.
#[utoipa::path(
    get, path = "/discovery/resources", tag = "discovery", params(Wanted, Paging),
    security(("api_key" = ["discovery:read"])),
    responses((status = 200, body = Page<Resource>), Problems)
)]
pub(super) async fn resources(
    State(app): State<App>,
    By(caller): By,
    Params(wanted): Params<Wanted>,
    Params(paging): Params<Paging>,
) -> Answer<Answered<Page<Resource>>> {
    let page = app.list_resources(&caller, wanted.query(), &paging.into()).await?;
    Ok(Answered(convert::page(page, resource_of)))
}

/// Shows a resource, with what happened to it.
#[utoipa::path(
    get, path = "/discovery/resources/{id}", tag = "discovery", params(("id" = String, Path)),
    security(("api_key" = ["discovery:read"])),
    responses((status = 200, body = ResourceDetail), Problems)
)]
pub(super) async fn resource(
    State(app): State<App>,
    By(caller): By,
    Id(id): Id<ResourceRowId>,
) -> Answer<Answered<ResourceDetail>> {
    let detail = app.show_resource(&caller, &id).await?;
    let event = |change: ResourceChangeRecord| ResourceEvent {
        kind: change.kind.as_str().to_owned(),
        at: convert::text(change.at),
        sync_job_id: change.job.to_string(),
        fields: change.fields,
    };
    Ok(Answered(ResourceDetail {
        resource: resource_of(detail.row),
        history: detail.history.into_iter().map(event).collect(),
    }))
}

/// Shows networks, newest first, each with its subnets, and those with what is in them.
#[utoipa::path(
    get, path = "/discovery/tree", tag = "discovery", operation_id = "resource_tree",
    params(Wanted, Paging), security(("api_key" = ["discovery:read"])),
    responses((status = 200, body = ResourceTree), Problems)
)]
pub(super) async fn tree(
    State(app): State<App>,
    By(caller): By,
    Params(wanted): Params<Wanted>,
    Params(paging): Params<Paging>,
) -> Answer<Answered<ResourceTree>> {
    let tree = app.resource_tree(&caller, wanted.query(), &paging.into()).await?;
    Ok(Answered(ResourceTree {
        items: tree.roots.into_iter().map(node).collect(),
        next_cursor: tree.next.as_ref().map(cursor_text),
        truncated: tree.truncated,
    }))
}

fn node(node: TreeNode) -> ResourceNode {
    ResourceNode {
        resource: resource_of(node.row),
        children: node.children.into_iter().map(self::node).collect(),
    }
}

/// What an export is to be.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Exported {
    /// `csv` or `json`; `json` unless said otherwise.
    format: Option<String>,
}

/// How an export is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Csv,
    Json,
}

/// Exports every resource that the filter lets through, as CSV or as one JSON array.
#[utoipa::path(
    get, path = "/discovery/export", tag = "discovery", operation_id = "export_resources",
    params(Wanted, Exported), security(("api_key" = ["discovery:read"])),
    responses(
        (status = 200, content((Vec<Resource> = "application/json"), (String = "text/csv"))),
        Problems
    )
)]
pub(super) async fn export(
    State(app): State<App>,
    By(caller): By,
    Params(wanted): Params<Wanted>,
    Params(exported): Params<Exported>,
) -> Answer<impl IntoResponse> {
    let format = match exported.format.as_deref() {
        None | Some("json") => Format::Json,
        Some("csv") => Format::Csv,
        Some(_) => return Err(AppError::field("format", "must be csv or json").into()),
    };
    let query = wanted.query();
    let first = app.export_resources(&caller, query.clone(), None).await?;
    let (media_type, file) = match format {
        Format::Csv => ("text/csv; charset=utf-8", "attachment; filename=\"resources.csv\""),
        Format::Json => ("application/json", "attachment; filename=\"resources.json\""),
    };
    let headers = [
        (header::CONTENT_TYPE, media_type),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_DISPOSITION, file),
    ];
    let export = Export { app, caller, query, format, begun: false };
    let parts = stream::try_unfold(Some((export, first)), next_part);
    Ok((headers, Body::from_stream(parts)))
}

/// An export under way.
struct Export {
    app: App,
    caller: Caller,
    query: ResourceQuery,
    format: Format,
    begun: bool,
}

type Step = Option<(Export, AppPage<ResourceRecord>)>;

/// The next piece of the body. An error cuts the answer off.
async fn next_part(step: Step) -> io::Result<Option<(Bytes, Step)>> {
    let Some((mut export, page)) = step else { return Ok(None) };
    let over = page.next.is_none();
    let text = export.write(page.items, over)?;
    let step = match page.next {
        None => None,
        Some(after) => {
            let query = export.query.clone();
            let next = export.app.export_resources(&export.caller, query, Some(after)).await;
            Some((export, next.map_err(io::Error::other)?))
        }
    };
    Ok(Some((text.into(), step)))
}

const COLUMNS: &str = "id,account_id,provider,region,resource_type,resource_id,name,cidr,\
    parent_resource_id,status,discovered_at,last_seen_at,metadata\r\n";

/// A field of RFC 4180. What a spreadsheet would calculate is text there.
fn csv_field(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    if guard.is_empty() && !text.contains([',', '"', '\n', '\r']) {
        return text.to_owned();
    }
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

fn csv_line(resource: &Resource) -> String {
    let metadata = resource.metadata.to_string();
    let account = resource.account_id.to_string();
    let fields = [
        resource.id.as_str(),
        &account,
        &resource.provider,
        &resource.region,
        &resource.resource_type,
        &resource.resource_id,
        &resource.name,
        resource.cidr.as_deref().unwrap_or_default(),
        resource.parent_resource_id.as_deref().unwrap_or_default(),
        &resource.status,
        &resource.discovered_at,
        &resource.last_seen_at,
        &metadata,
    ];
    let mut line = fields.map(csv_field).join(",");
    line.push_str("\r\n");
    line
}

impl Export {
    fn write(&mut self, rows: Vec<ResourceRecord>, over: bool) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        for row in rows {
            let resource = resource_of(row);
            match (self.format, self.begun) {
                (Format::Csv, false) => text.extend_from_slice(COLUMNS.as_bytes()),
                (Format::Json, begun) => text.push(if begun { b',' } else { b'[' }),
                (Format::Csv, true) => {}
            }
            match self.format {
                Format::Csv => text.extend_from_slice(csv_line(&resource).as_bytes()),
                Format::Json => serde_json::to_writer(&mut text, &resource)?,
            }
            self.begun = true;
        }
        match (self.format, over) {
            (Format::Csv, true) if !self.begun => text.extend_from_slice(COLUMNS.as_bytes()),
            (Format::Json, true) if !self.begun => text.extend_from_slice(b"[]\n"),
            (Format::Json, true) => text.extend_from_slice(b"]\n"),
            (Format::Csv | Format::Json, _) => {}
        }
        Ok(text)
    }
}

/// Which networks to look at.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Looked {
    /// Of this account; of all of them without one.
    account_id: Option<i64>,
}

/// Shows which networks overlap, and which subnets are nearly full.
#[utoipa::path(
    get, path = "/discovery/insight", tag = "discovery", operation_id = "network_insight",
    params(Looked), security(("api_key" = ["discovery:read"])),
    responses((status = 200, body = NetworkInsight), Problems)
)]
pub(super) async fn insight(
    State(app): State<App>,
    By(caller): By,
    Params(looked): Params<Looked>,
) -> Answer<Answered<NetworkInsight>> {
    let Insight { overlaps, crowded, truncated } =
        app.network_insight(&caller, looked.account_id).await?;
    let overlap = |overlap: crate::app::discovery::Overlap| NetworkOverlap {
        one: network(overlap.one.0, overlap.one.1.to_string()),
        other: network(overlap.other.0, overlap.other.1.to_string()),
    };
    let subnet = |crowded: crate::app::discovery::Crowded| {
        let cidr = crowded.subnet.cidr.clone().unwrap_or_default();
        CrowdedSubnet {
            subnet: network(crowded.subnet, cidr),
            usable: crowded.usable,
            free: crowded.free,
            used_percent: crowded.used_percent,
        }
    };
    Ok(Answered(NetworkInsight {
        overlaps: overlaps.into_iter().map(overlap).collect(),
        crowded: crowded.into_iter().map(subnet).collect(),
        truncated,
    }))
}

fn network(row: NetworkRecord, cidr: String) -> NetworkName {
    NetworkName {
        id: row.id.to_string(),
        account_id: row.account.0,
        provider: row.provider,
        region: row.region,
        resource_id: row.resource_id,
        name: row.name,
        cidr,
    }
}

fn resource_of(row: ResourceRecord) -> Resource {
    let (seen, kept) = (row.resource, row.status);
    Resource {
        id: row.id.to_string(),
        account_id: row.account.0,
        provider: seen.provider,
        region: seen.region,
        resource_type: seen.resource_type,
        resource_id: seen.resource_id,
        name: seen.name,
        cidr: seen.cidr,
        parent_resource_id: seen.parent_resource_id,
        status: kept.as_str().to_owned(),
        metadata: serde_json::Value::Object(seen.metadata),
        discovered_at: convert::text(row.first_seen_at),
        last_seen_at: convert::text(row.last_seen_at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_quoted_and_calculates_nothing() {
        assert_eq!(csv_field("10.0.0.0/16"), "10.0.0.0/16");
        assert_eq!(csv_field("a \"b\", c"), "\"a \"\"b\"\", c\"");
        assert_eq!(csv_field("=1+1"), "\"'=1+1\"");
    }
}
