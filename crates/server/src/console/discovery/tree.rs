//! Networks with what lies in them, as lists in lists.

use askama::Template;

use super::{called, kind};
use crate::{
    app::{
        discovery::{ResourceQuery, TreeNode},
        error::{AppError, AppResult},
        paging::{PageQuery, cursor_text},
    },
    console::{show, visit::Visit},
};

/// Networks on one page: each comes with everything in it.
const NETWORKS: u32 = 20;
/// So few networks are shown unfolded.
const UNFOLDED_MAX: usize = 3;

/// Networks, drawn.
pub(super) struct Drawn {
    pub(super) roots: Vec<String>,
    pub(super) truncated: bool,
    pub(super) next: Option<String>,
}

/// A resource with what lies in it, drawn.
#[derive(Template)]
#[template(path = "discovery_node.html")]
struct Node {
    id: String,
    name: String,
    kind: String,
    cidr: String,
    inside: String,
    unfolded: bool,
    children: Vec<String>,
}

fn node(known: &TreeNode, unfolded: bool) -> AppResult<String> {
    let children = known.children.iter().map(|child| node(child, false));
    let children = children.collect::<AppResult<Vec<String>>>()?;
    let seen = &known.row.resource;
    let drawn = Node {
        id: known.row.id.to_string(),
        name: called(&seen.name, &seen.resource_id),
        kind: kind(&seen.resource_type),
        cidr: seen.cidr.clone().unwrap_or_default(),
        inside: format!("{} inside", show::count(children.len() as u64)),
        unfolded,
        children,
    };
    drawn.render().map_err(AppError::internal)
}

/// A page of networks.
pub(super) async fn draw(visit: &Visit, query: ResourceQuery) -> AppResult<Drawn> {
    let part = PageQuery { limit: Some(NETWORKS), ..visit.paging() };
    let tree = visit.app.resource_tree(&visit.caller, query, &part).await?;
    let unfolded = tree.roots.len() <= UNFOLDED_MAX;
    let roots = tree.roots.iter().map(|root| node(root, unfolded));
    Ok(Drawn {
        roots: roots.collect::<AppResult<_>>()?,
        truncated: tree.truncated,
        next: tree.next.as_ref().map(cursor_text),
    })
}
