//! Discovered resources: listed, looked at, and as a tree.

use std::collections::HashMap;

use argosy_domain::{
    access::{Caller, Permission},
    discovery::ChangeKind,
    id::{AccountId, OrgId, ResourceRowId},
    limits::{PAGE_ITEMS_MAX, RESOURCE_CHANGES_SHOWN},
    resource::ResourceStatus,
};
use argosy_store::{
    Cursor, Page, PageRequest, Reader, ResourceChange, ResourceFilter, ResourceRow,
};

use super::super::{
    App,
    error::{AppError, AppResult},
    paging::PageQuery,
};

/// Levels of a tree: network, subnet, interface, address.
const TREE_LEVELS: usize = 4;
/// Resources below the networks of one page of a tree.
const TREE_NODES_MAX: u32 = 5_000;

/// Which resources a list shows.
#[derive(Debug, Clone, Default)]
pub struct ResourceQuery {
    /// Of this account.
    pub account: Option<i64>,
    /// Of this provider.
    pub provider: Option<String>,
    /// In this region.
    pub region: Option<String>,
    /// Of this type.
    pub resource_type: Option<String>,
    /// `active` or `stale`.
    pub status: Option<String>,
    /// Part of name, id or address range.
    pub q: Option<String>,
}

impl ResourceQuery {
    pub(super) fn filter(self) -> AppResult<ResourceFilter> {
        let status = self.status.as_deref().map(|text| {
            ResourceStatus::parse(text).ok_or_else(|| AppError::field("status", "is unknown"))
        });
        Ok(ResourceFilter {
            account: self.account.map(AccountId),
            provider: self.provider,
            region: self.region,
            resource_type: self.resource_type,
            status: status.transpose()?,
            q: self.q.filter(|q| !q.is_empty()),
            roots: false,
        })
    }
}

/// A resource with what happened to it, newest first.
#[derive(Debug, Clone)]
pub struct ResourceDetail {
    /// The resource.
    pub row: ResourceRow,
    /// What happened.
    pub history: Vec<ResourceChange>,
}

/// A resource with what lies in it.
#[derive(Debug, Clone)]
pub struct TreeNode {
    /// The resource.
    pub row: ResourceRow,
    /// What lies in it.
    pub children: Vec<TreeNode>,
}

/// A page of networks with everything in them.
#[derive(Debug, Clone)]
pub struct Tree {
    /// The networks.
    pub roots: Vec<TreeNode>,
    /// Where the list of networks goes on.
    pub next: Option<Cursor>,
    /// Some of what lies in them is not shown: there is too much.
    pub truncated: bool,
}

impl App {
    /// The resources of the caller's organisation.
    pub async fn list_resources(
        &self,
        caller: &Caller,
        query: ResourceQuery,
        page: &PageQuery,
    ) -> AppResult<Page<ResourceRow>> {
        let org = Self::own_org(caller, Permission::DiscoveryRead)?;
        let mut reader = self.store().read("resources.list").await?;
        Ok(reader.resources().list(org, &query.filter()?, &page.request()?).await?)
    }

    /// The part of an export that follows: up to 500 resources, and where the next part begins.
    pub async fn export_resources(
        &self,
        caller: &Caller,
        query: ResourceQuery,
        after: Option<Cursor>,
    ) -> AppResult<Page<ResourceRow>> {
        let org = Self::own_org(caller, Permission::DiscoveryRead)?;
        let page = PageRequest { limit: PAGE_ITEMS_MAX, after };
        let mut reader = self.store().read("resources.export").await?;
        Ok(reader.resources().list(org, &query.filter()?, &page).await?)
    }

    /// One resource with what happened to it.
    pub async fn show_resource(
        &self,
        caller: &Caller,
        id: &ResourceRowId,
    ) -> AppResult<ResourceDetail> {
        let org = Self::own_org(caller, Permission::DiscoveryRead)?;
        let mut reader = self.store().read("resources.show").await?;
        let row = reader.resources().get(org, id).await?;
        let row = row.ok_or_else(|| AppError::not_found("resource"))?;
        let mut history = reader.resources().changes_of(org, id, RESOURCE_CHANGES_SHOWN).await?;
        history.push(ResourceChange {
            kind: ChangeKind::Appeared,
            at: row.first_seen_at,
            job: row.first_job.clone().unwrap_or_else(|| row.job.clone()),
            fields: Vec::new(),
        });
        Ok(ResourceDetail { row, history })
    }

    /// Networks, newest first, with everything active that lies in them.
    pub async fn resource_tree(
        &self,
        caller: &Caller,
        query: ResourceQuery,
        page: &PageQuery,
    ) -> AppResult<Tree> {
        let org = Self::own_org(caller, Permission::DiscoveryRead)?;
        let filter =
            ResourceFilter { status: Some(ResourceStatus::Active), roots: true, ..query.filter()? };
        let mut reader = self.store().read("resources.tree").await?;
        let roots = reader.resources().list(org, &filter, &page.request()?).await?;
        let (levels, truncated) = below(&mut reader, org, &roots.items).await?;
        let nodes = planted(roots.items, levels);
        Ok(Tree { roots: nodes, next: roots.next, truncated })
    }
}

type Key = (AccountId, String, String);

fn key(row: &ResourceRow) -> Key {
    (row.account, row.resource.provider.clone(), row.resource.resource_id.clone())
}

fn parent(row: &ResourceRow) -> Option<Key> {
    let parent = row.resource.parent_resource_id.clone()?;
    Some((row.account, row.resource.provider.clone(), parent))
}

/// What lies below these, level by level.
async fn below(
    reader: &mut Reader,
    org: &OrgId,
    roots: &[ResourceRow],
) -> AppResult<(Vec<Vec<ResourceRow>>, bool)> {
    let (mut levels, mut left) = (Vec::<Vec<ResourceRow>>::new(), TREE_NODES_MAX);
    for _ in 1..TREE_LEVELS {
        let above = levels.last().map_or(roots, Vec::as_slice);
        let parents: Vec<&str> =
            above.iter().map(|row| row.resource.resource_id.as_str()).collect();
        if parents.is_empty() {
            break;
        }
        let children = reader.resources().children_of(org, &parents, left + 1).await?;
        let count = u32::try_from(children.len()).unwrap_or(u32::MAX);
        let (truncated, fitting) = (count > left, usize::try_from(left).unwrap_or(0));
        left = left.saturating_sub(count);
        levels.push(children.into_iter().take(fitting).collect());
        if truncated {
            return Ok((levels, true));
        }
    }
    Ok((levels, false))
}

/// Puts each level below the one above it, from the lowest up.
fn planted(roots: Vec<ResourceRow>, mut levels: Vec<Vec<ResourceRow>>) -> Vec<TreeNode> {
    let mut children = HashMap::<Key, Vec<TreeNode>>::new();
    let grown = |rows: Vec<ResourceRow>, children: &mut HashMap<Key, Vec<TreeNode>>| {
        let node = |row: ResourceRow| {
            let below = children.remove(&key(&row)).unwrap_or_default();
            TreeNode { row, children: below }
        };
        rows.into_iter().map(node).collect::<Vec<_>>()
    };
    while let Some(level) = levels.pop() {
        let nodes = grown(level, &mut children);
        children.clear();
        for node in nodes {
            if let Some(parent) = parent(&node.row) {
                children.entry(parent).or_default().push(node);
            }
        }
    }
    grown(roots, &mut children)
}
