//! Lists of the Compute Engine interface (REST, version 1), page by page.

use form_urlencoded::Serializer;
use serde_json::Value;

use super::{
    NAME,
    credentials::{Credentials, Found},
    error::{passes, refused},
    resources::Kind,
};
use crate::{
    deps::Deps,
    discovery::{
        Failure,
        bearer::Bearer,
        holdings::Regions,
        rest::{ATTEMPTS, Manner, Rest},
        shape,
    },
    server_url::ServerUrl,
};

/// Items of one page, as many as there can be.
const PAGE_ITEMS: &str = "500";
/// Pages of one list. More means that the cloud does not come to an end.
const PAGES_MAX: usize = 10_000;
/// Names the project that pays for a person's calls.
const USER_PROJECT: &str = "x-goog-user-project";

/// The interface.
pub(super) struct Api {
    endpoint: ServerUrl,
    bearer: Bearer<Credentials>,
    user_project: Option<String>,
}

impl Api {
    /// The interface at `endpoint`, with these credentials.
    pub(super) fn new(endpoint: ServerUrl, found: Found, deps: Deps) -> Result<Self, Failure> {
        let Found { credentials, user_project, .. } = found;
        let bearer = Bearer::new(Rest::new(deps)?, credentials);
        Ok(Self { endpoint, bearer, user_project })
    }

    /// Everything of one kind in a project, by region.
    pub(super) async fn list(&self, kind: &Kind, project: &str) -> Result<Regions, Failure> {
        let mut regions = Regions::new();
        let mut next = None::<String>;
        for _ in 0..PAGES_MAX {
            let page = self.page(kind, project, next.as_deref()).await?;
            kind.gather(&page, project, &mut regions);
            next = shape::text(&page, "nextPageToken").map(str::to_owned);
            if next.is_none() {
                return Ok(regions);
            }
        }
        Err(manner(kind).failed(format!("project {project}: there are too many pages")))
    }

    fn url(&self, kind: &Kind, project: &str, next: Option<&str>) -> String {
        let mut query = Serializer::new(String::new());
        query.append_pair("maxResults", PAGE_ITEMS).extend_pairs(kind.query);
        if let Some(next) = next {
            query.append_pair("pageToken", next);
        }
        let (origin, path, query) = (self.endpoint.origin(), kind.path, query.finish());
        format!("{origin}/compute/v1/projects/{project}/{path}?{query}")
    }

    async fn page(&self, kind: &Kind, project: &str, next: Option<&str>) -> Result<Value, Failure> {
        let url = self.url(kind, project, next);
        let header = self.user_project.as_deref().map(|project| (USER_PROJECT, project));
        let answer = self.bearer.get(manner(kind), &url, header).await?;
        if !answer.is_good() {
            return Err(refused(&answer, kind, project));
        }
        let page = answer.json();
        if page.is_object() {
            return Ok(page);
        }
        let why = format!("project {project}: the answer is not what {NAME} answers");
        Err(manner(kind).failed(why))
    }
}

fn manner(kind: &Kind) -> Manner<'static> {
    Manner { call: kind.call, attempts: ATTEMPTS, passes }
}
