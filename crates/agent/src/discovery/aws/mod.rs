//! AWS: networks, subnets, elastic addresses and network interfaces, in many regions at once.
//!
//! The credentials are those that the official chain finds (environment, profile, web identity,
//! container, instance). Nothing but the calls named here is made, and each of them only reads.

mod api;
mod error;
mod org;
mod resources;
mod xml;

use std::sync::Arc;

use argosy_wire::rest::discovery::IngestResource;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use futures::{StreamExt as _, future::BoxFuture, stream};
use tokio::sync::mpsc;

use super::{AwsSettings, Failure, Member, Provider, Reading};
use crate::{deps::Deps, error::with_causes};
use api::Api;

const NAME: &str = "aws";
/// Regions that are read at once, those of all accounts together.
const AT_ONCE: usize = 8;

/// AWS as it is configured on this host.
pub struct Aws {
    settings: AwsSettings,
    deps: Deps,
}

/// One region of one account, with what opens it.
struct Place {
    member: Option<Member>,
    region: String,
    credentials: SharedCredentialsProvider,
}

impl Aws {
    /// AWS, read so.
    pub fn new(settings: AwsSettings, deps: Deps) -> Self {
        Self { settings, deps }
    }

    async fn load(&self) -> SdkConfig {
        let first = self.settings.regions.first().cloned().unwrap_or_default();
        aws_config::defaults(BehaviorVersion::latest()).region(Region::new(first)).load().await
    }

    async fn read_all(&self, out: mpsc::Sender<Reading>) {
        let config = self.load().await;
        let whole = |failure| Reading {
            member: None,
            provider: NAME,
            region: String::new(),
            found: Err(failure),
        };
        let (api, credentials) = match self.opened(&config).await {
            Ok(opened) => opened,
            // Nobody listens any more once the run is over; so in the following.
            Err(failure) => return drop(out.send(whole(failure)).await),
        };
        let api = Arc::new(api);
        let places = match &self.settings.org {
            None => self.places(None, &credentials),
            Some(org) => match org::accounts(&api, &credentials, org, &self.settings).await {
                Err(failure) => return drop(out.send(whole(failure)).await),
                Ok(accounts) => {
                    let mut places = Vec::new();
                    for account in accounts {
                        match account.credentials {
                            Ok(opens) => places.extend(self.places(Some(account.member), &opens)),
                            Err(failure) => {
                                let reading =
                                    Reading { member: Some(account.member), ..whole(failure) };
                                let _ = out.send(reading).await;
                            }
                        }
                    }
                    places
                }
            },
        };
        stream::iter(places)
            .for_each_concurrent(AT_ONCE, |place| {
                let (api, out) = (Arc::clone(&api), out.clone());
                async move {
                    let found = read_region(&api, &place).await;
                    let Place { member, region, .. } = place;
                    let _ = out.send(Reading { member, provider: NAME, region, found }).await;
                }
            })
            .await;
    }

    /// The interface and the credentials of this host, once it is known that there are any.
    async fn opened(
        &self,
        config: &SdkConfig,
    ) -> Result<(Api, SharedCredentialsProvider), Failure> {
        let credentials = config.credentials_provider().ok_or_else(|| error::no_credentials(""))?;
        if let Err(why) = credentials.provide_credentials().await {
            return Err(error::no_credentials(&with_causes(&why)));
        }
        let endpoint = config.endpoint_url().map(str::to_owned);
        Ok((Api::new(endpoint, self.deps.clone())?, credentials))
    }

    fn places(
        &self,
        member: Option<Member>,
        credentials: &SharedCredentialsProvider,
    ) -> Vec<Place> {
        let place = |region: &String| Place {
            member: member.clone(),
            region: region.clone(),
            credentials: credentials.clone(),
        };
        self.settings.regions.iter().map(place).collect()
    }
}

async fn read_region(api: &Api, place: &Place) -> Result<Vec<IngestResource>, Failure> {
    let mut found = Vec::new();
    for kind in resources::KINDS {
        let mut next = None;
        loop {
            let page =
                api.describe(&place.credentials, &place.region, kind, next.as_deref()).await?;
            found.extend(kind.resources(&page, &place.region));
            next = page.text("nextToken").map(str::to_owned);
            if next.is_none() {
                break;
            }
        }
    }
    Ok(found)
}

impl Provider for Aws {
    fn name(&self) -> &'static str {
        NAME
    }

    fn read(&self, out: mpsc::Sender<Reading>) -> BoxFuture<'_, ()> {
        Box::pin(self.read_all(out))
    }
}
