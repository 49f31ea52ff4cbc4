//! Azure: virtual networks, subnets and public addresses of one, several or all subscriptions.
//!
//! The credentials are those that the host has: a client secret or a federated token that the
//! environment names, else the managed identity of the machine. Nothing but the calls named here is
//! made, and each of them only reads.

mod api;
mod credentials;
mod error;
mod resources;

use std::collections::BTreeSet;

use futures::{StreamExt as _, future::BoxFuture, stream};
use serde_json::Value;
use tokio::sync::mpsc;

use super::{
    AzureSettings, Failure, Provider, Reading,
    holdings::{self, Regions},
};
use crate::deps::Deps;
use api::{Api, Call};

const NAME: &str = "azure";
/// Subscriptions that are read at once.
const AT_ONCE: usize = 4;

const SUBSCRIPTIONS: Call = Call {
    name: "Subscriptions - List",
    permission: "Microsoft.Resources/subscriptions/read",
    path: "",
    version: "2022-12-01",
};
const LOCATIONS: Call = Call {
    name: "Subscriptions - List Locations",
    permission: "Microsoft.Resources/subscriptions/locations/read",
    path: "/locations",
    version: "2022-12-01",
};
const NETWORKS: Call = Call {
    name: "Virtual Networks - List All",
    permission: "Microsoft.Network/virtualNetworks/read",
    path: "/providers/Microsoft.Network/virtualNetworks",
    version: "2024-05-01",
};
const ADDRESSES: Call = Call {
    name: "Public IP Addresses - List All",
    permission: "Microsoft.Network/publicIPAddresses/read",
    path: "/providers/Microsoft.Network/publicIPAddresses",
    version: "2024-05-01",
};

/// Azure as it is configured on this host.
pub struct Azure {
    settings: AzureSettings,
    deps: Deps,
}

impl Azure {
    /// Azure, read so.
    pub fn new(settings: AzureSettings, deps: Deps) -> Self {
        Self { settings, deps }
    }

    async fn read_all(&self, out: mpsc::Sender<Reading>) {
        let holdings = match self.opened().await {
            Err(failure) => vec![Err(failure)],
            Ok((api, subscriptions)) => {
                let read = |subscription: String| self.read_subscription(&api, subscription);
                stream::iter(subscriptions).map(read).buffer_unordered(AT_ONCE).collect().await
            }
        };
        holdings::send(NAME, holdings, &out).await;
    }

    /// The interface, and the subscriptions that are read.
    async fn opened(&self) -> Result<(Api, Vec<String>), Failure> {
        let endpoint = self.settings.endpoint.clone();
        let credentials = credentials::find(&super::variable, &endpoint, &self.deps)?;
        let api = Api::new(endpoint, credentials, self.deps.clone())?;
        let subscriptions = match self.settings.subscriptions.as_slice() {
            [] => subscriptions(&api).await?,
            named => named.to_vec(),
        };
        Ok((api, subscriptions))
    }

    async fn read_subscription(&self, api: &Api, subscription: String) -> Result<Regions, Failure> {
        let wanted: BTreeSet<&str> = self.settings.regions.iter().map(String::as_str).collect();
        let list = |call| api.list(call, &subscription);
        let locations = async {
            // Where regions are named, it is known without asking which are read.
            if wanted.is_empty() { list(&LOCATIONS).await } else { Ok(Vec::new()) }
        };
        let (locations, networks, addresses) =
            futures::try_join!(locations, list(&NETWORKS), list(&ADDRESSES))?;
        let mut regions = Regions::new();
        let named = wanted.iter().map(|name| (*name).to_owned());
        for name in named.chain(locations.iter().filter_map(resources::physical)) {
            regions.entry(name).or_default();
        }
        for resource in resources::all(&networks, &addresses, &subscription) {
            if wanted.is_empty() || wanted.contains(resource.region.as_str()) {
                regions.entry(resource.region.clone()).or_default().found.push(resource);
            }
        }
        Ok(regions)
    }
}

/// Every subscription that the credentials see and that can be read.
async fn subscriptions(api: &Api) -> Result<Vec<String>, Failure> {
    let readable = |one: &Value| {
        let state = one["state"].as_str().unwrap_or_default();
        let id = one["subscriptionId"].as_str()?.to_ascii_lowercase();
        (!matches!(state, "Disabled" | "Deleted")).then_some(id)
    };
    let listed = api.list(&SUBSCRIPTIONS, "").await?;
    let mut subscriptions: Vec<String> = listed.iter().filter_map(readable).collect();
    subscriptions.sort();
    subscriptions.dedup();
    if subscriptions.is_empty() {
        return Err(Failure {
            error: "the credentials see no subscription: give them the role Reader on one"
                .to_owned(),
            call: Some(SUBSCRIPTIONS.name.to_owned()),
            permission: Some(SUBSCRIPTIONS.permission.to_owned()),
        });
    }
    Ok(subscriptions)
}

impl Provider for Azure {
    fn name(&self) -> &'static str {
        NAME
    }

    fn read(&self, out: mpsc::Sender<Reading>) -> BoxFuture<'_, ()> {
        Box::pin(self.read_all(out))
    }
}
