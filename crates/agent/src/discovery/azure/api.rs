//! Lists of the Azure Resource Manager, page by page.
//!
//! *Invariant:* a page leads to another one at the same place only: the token goes nowhere else.

use http::Uri;
use serde_json::Value;

use super::{credentials::Credentials, error::refused};
use crate::{
    deps::Deps,
    discovery::{
        Failure,
        bearer::Bearer,
        rest::{Manner, Rest},
        shape,
    },
    server_url::ServerUrl,
};

/// Pages of one list. More means that the cloud does not come to an end.
const PAGES_MAX: usize = 10_000;

/// The interface.
pub(super) struct Api {
    endpoint: ServerUrl,
    bearer: Bearer<Credentials>,
}

/// A list.
pub(super) struct Call {
    /// As the reference names it.
    pub(super) name: &'static str,
    /// What it needs.
    pub(super) permission: &'static str,
    /// Where it is, below the subscription.
    pub(super) path: &'static str,
    /// Of the interface.
    pub(super) version: &'static str,
}

impl Call {
    /// The call failed, and why; `of` is the subscription, if it is about one.
    pub(super) fn failed(&self, of: &str, why: impl std::fmt::Display) -> Failure {
        Manner::patient(self.name).failed(about(of, why))
    }
}

/// What is said of a subscription.
pub(super) fn about(of: &str, what: impl std::fmt::Display) -> String {
    if of.is_empty() { what.to_string() } else { format!("subscription {of}: {what}") }
}

impl Api {
    /// The interface at `endpoint`, with these credentials.
    pub(super) fn new(
        endpoint: ServerUrl,
        credentials: Credentials,
        deps: Deps,
    ) -> Result<Self, Failure> {
        Ok(Self { endpoint, bearer: Bearer::new(Rest::new(deps)?, credentials) })
    }

    /// Everything on a list of a subscription; of none for the list of subscriptions.
    pub(super) async fn list(&self, call: &Call, of: &str) -> Result<Vec<Value>, Failure> {
        let below = if of.is_empty() { String::new() } else { format!("/{of}") };
        let (origin, path, version) = (self.endpoint.origin(), call.path, call.version);
        let mut url = format!("{origin}/subscriptions{below}{path}?api-version={version}");
        let mut items = Vec::new();
        for _ in 0..PAGES_MAX {
            let answer = self.bearer.get(Manner::patient(call.name), &url, None).await?;
            if !answer.is_good() {
                return Err(refused(&answer, call, of));
            }
            let mut page = answer.json();
            let Some(values) = page["value"].as_array_mut() else {
                return Err(call.failed(of, "the answer is not what Azure answers"));
            };
            items.append(values);
            match shape::text(&page, "nextLink") {
                None => return Ok(items),
                Some(next) if leads_to(next, &self.endpoint) => url = next.to_owned(),
                Some(_) => return Err(call.failed(of, "a page leads to another host")),
            }
        }
        Err(call.failed(of, "there are too many pages"))
    }
}

/// Whether a link stays at that place.
fn leads_to(link: &str, place: &ServerUrl) -> bool {
    let origin = link.parse::<Uri>().ok().and_then(|uri| {
        let origin = format!("{}://{}", uri.scheme_str()?, uri.authority()?);
        origin.parse::<ServerUrl>().ok()
    });
    origin.is_some_and(|origin| origin.origin() == place.origin())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_leads_to_the_same_place() {
        let place: ServerUrl = "https://management.azure.com".parse().unwrap();
        for good in ["https://management.azure.com/x?y=z", "https://Management.Azure.com:443/x"] {
            assert!(leads_to(good, &place), "{good}");
        }
        for bad in [
            "https://management.azure.com.example/x",
            "https://management.azure.com@example.com/x",
            "http://management.azure.com/x",
            "https://management.azure.com:8443/x",
            "/subscriptions?x",
            "",
        ] {
            assert!(!leads_to(bad, &place), "{bad}");
        }
    }
}
