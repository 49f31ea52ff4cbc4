//! Credentials of Azure: which a host has, and what they are exchanged for.
//!
//! The variables are those of Azure's own libraries, and so is the order: a client secret, a federated
//! token (workload identity), a managed identity.
//!
//! *Invariant:* a secret is sent over https, or stays on this host and its own network; nothing of it
//! shows in an error.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use form_urlencoded::Serializer;
use futures::{FutureExt as _, future::BoxFuture};
use http::Uri;

use crate::{
    credentials::SecretText,
    deps::Deps,
    discovery::{
        Failure,
        bearer::{CREDENTIALS, Source, Token, no_credentials, token},
        rest::{Manner, Rest},
    },
    server_url::ServerUrl,
};

const AUTHORITY: &str = "https://login.microsoftonline.com";
/// Where a virtual machine asks who it is.
const INSTANCE: &str = "http://169.254.169.254";
/// A managed identity answers at once, or is not there.
const MACHINE_ATTEMPTS: u32 = 3;
const MACHINE_WITHIN: Duration = Duration::from_secs(5);

/// Credentials of Azure.
pub(super) struct Credentials {
    /// What a token is for: the Resource Manager.
    resource: String,
    kind: Kind,
}

enum Kind {
    /// An application, by its secret or by a token of another authority.
    Application { authority: ServerUrl, tenant: String, client: String, proof: Proof },
    /// The identity of this machine.
    Machine(Machine),
}

enum Proof {
    Secret(SecretText),
    /// The token is in this file, and another one from time to time.
    Federated(PathBuf),
}

struct Machine {
    nearby: Rest,
    url: String,
    /// Shows that the question comes from this machine.
    header: (&'static str, SecretText),
}

/// The credentials of this host, as its environment says.
pub(super) fn find(
    variable: &impl Fn(&str) -> Option<String>,
    endpoint: &ServerUrl,
    deps: &Deps,
) -> Result<Credentials, Failure> {
    let resource = endpoint.origin().to_owned();
    let secret = variable("AZURE_CLIENT_SECRET").map(|secret| Proof::Secret(secret.into()));
    let federated = || variable("AZURE_FEDERATED_TOKEN_FILE").map(|p| Proof::Federated(p.into()));
    let kind = match secret.or_else(federated) {
        Some(proof) => application(variable, proof)?,
        None => Kind::Machine(machine(variable, &resource, deps)?),
    };
    Ok(Credentials { resource, kind })
}

fn application(variable: &impl Fn(&str) -> Option<String>, proof: Proof) -> Result<Kind, Failure> {
    let named = |name: &str| {
        let with = match &proof {
            Proof::Secret(_) => "AZURE_CLIENT_SECRET",
            Proof::Federated(_) => "AZURE_FEDERATED_TOKEN_FILE",
        };
        variable(name).ok_or_else(|| no_credentials(format!("{with} is set, and {name} is not")))
    };
    let (tenant, client) = (named("AZURE_TENANT_ID")?, named("AZURE_CLIENT_ID")?);
    if !tenant.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.') {
        return Err(no_credentials("AZURE_TENANT_ID is no tenant: write its id or its domain"));
    }
    let authority = variable("AZURE_AUTHORITY_HOST").unwrap_or_else(|| AUTHORITY.to_owned());
    let authority: ServerUrl =
        authority.parse().map_err(|why| no_credentials(format!("AZURE_AUTHORITY_HOST {why}")))?;
    if !authority.is_tls() && !authority.is_loopback() {
        return Err(no_credentials("AZURE_AUTHORITY_HOST must be https"));
    }
    Ok(Kind::Application { authority, tenant, client, proof })
}

/// The managed identity: of an application platform if it says where that is, else of a machine.
fn machine(
    variable: &impl Fn(&str) -> Option<String>,
    resource: &str,
    deps: &Deps,
) -> Result<Machine, Failure> {
    let platform = variable("IDENTITY_ENDPOINT").zip(variable("IDENTITY_HEADER"));
    let (url, version, header) = match platform {
        Some((url, header)) => (url, "2019-08-01", ("x-identity-header", header)),
        None => {
            let host = variable("AZURE_POD_IDENTITY_AUTHORITY_HOST");
            let host = host.unwrap_or_else(|| INSTANCE.to_owned());
            let url = format!("{}/metadata/identity/oauth2/token", host.trim_end_matches('/'));
            (url, "2018-02-01", ("metadata", "true".to_owned()))
        }
    };
    if !is_near(&url) {
        let why = "the endpoint of the managed identity must be https, or on this host or its link";
        return Err(no_credentials(why));
    }
    let mut query = Serializer::new(String::new());
    query.append_pair("api-version", version).append_pair("resource", resource);
    if let Some(client) = variable("AZURE_CLIENT_ID") {
        query.append_pair("client_id", &client);
    }
    Ok(Machine {
        nearby: Rest::nearby(deps.clone())?,
        url: format!("{url}?{}", query.finish()),
        header: (header.0, header.1.into()),
    })
}

/// Whether what is sent there is encrypted, or does not leave this host and its own link.
fn is_near(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let near = match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_link_local(),
        Ok(IpAddr::V6(address)) => address.is_loopback() || address.is_unicast_link_local(),
        Err(_) => host == "localhost",
    };
    uri.scheme_str() == Some("https") || (uri.scheme_str() == Some("http") && near)
}

impl Source for Credentials {
    fn fetch<'a>(&'a self, rest: &'a Rest) -> BoxFuture<'a, Result<Token, Failure>> {
        async move {
            match &self.kind {
                Kind::Application { authority, tenant, client, proof } => {
                    let url = format!("{}/{tenant}/oauth2/v2.0/token", authority.origin());
                    let scope = format!("{}/.default", self.resource);
                    proof.token(rest, &url, client, &scope).await
                }
                Kind::Machine(machine) => machine.token().await,
            }
        }
        .boxed()
    }
}

fn form(client: &str, scope: &str, proof: &[(&str, &str)]) -> String {
    let mut form = Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    form.append_pair("client_id", client).append_pair("scope", scope);
    form.extend_pairs(proof).finish()
}

impl Proof {
    /// RFC 6749, section 4.4, and RFC 7523 for the federated token.
    async fn token(
        &self,
        rest: &Rest,
        url: &str,
        client: &str,
        scope: &str,
    ) -> Result<Token, Failure> {
        let body = match self {
            Self::Secret(secret) => form(client, scope, &[("client_secret", secret.expose())]),
            Self::Federated(path) => {
                let read = tokio::fs::read_to_string(path).await.map_err(|why| {
                    no_credentials(format!("the token {} cannot be read: {why}", path.display()))
                });
                let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
                let proof = SecretText::new(read?);
                let proof = ("client_assertion", proof.expose().trim());
                form(client, scope, &[("client_assertion_type", kind), proof])
            }
        };
        let request = |http: &reqwest::Client| {
            let request = http.post(url).body(body.clone());
            request.header("content-type", "application/x-www-form-urlencoded")
        };
        token(&rest.ask(Manner::patient(CREDENTIALS), request).await?)
    }
}

impl Machine {
    async fn token(&self) -> Result<Token, Failure> {
        let (name, value) = &self.header;
        let request = |http: &reqwest::Client| {
            http.get(&self.url).header(*name, value.expose()).timeout(MACHINE_WITHIN)
        };
        let manner = Manner { attempts: MACHINE_ATTEMPTS, ..Manner::patient(CREDENTIALS) };
        match self.nearby.ask(manner, request).await {
            Ok(answer) => token(&answer),
            Err(why) => {
                let none = "no Azure credentials were found on this host: neither \
                            AZURE_CLIENT_SECRET nor AZURE_FEDERATED_TOKEN_FILE is set, and no \
                            managed identity answers";
                Err(no_credentials(format!("{none} ({why})")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn found(variables: &[(&str, &str)]) -> Result<Credentials, String> {
        let set: HashMap<&str, &str> = variables.iter().copied().collect();
        let endpoint = "https://management.azure.com".parse().unwrap();
        let variable = |name: &str| set.get(name).map(|value| (*value).to_owned());
        find(&variable, &endpoint, &crate::discovery::tests::deps()).map_err(|why| why.error)
    }

    const TENANT: (&str, &str) = ("AZURE_TENANT_ID", "contoso.onmicrosoft.com");
    const CLIENT: (&str, &str) = ("AZURE_CLIENT_ID", "client");
    const SECRET: (&str, &str) = ("AZURE_CLIENT_SECRET", "hidden");

    #[test]
    fn a_host_has_the_credentials_that_its_environment_names() {
        let kind = |variables: &[(&str, &str)]| found(variables).ok().unwrap().kind;
        let secret = kind(&[TENANT, CLIENT, SECRET]);
        assert!(matches!(secret, Kind::Application { proof: Proof::Secret(_), .. }));
        let file = ("AZURE_FEDERATED_TOKEN_FILE", "/token");
        let federated = kind(&[TENANT, CLIENT, file]);
        assert!(matches!(federated, Kind::Application { proof: Proof::Federated(_), .. }));
        let Kind::Machine(machine) = kind(&[]) else { panic!("nothing is named") };
        assert!(machine.url.starts_with("http://169.254.169.254/metadata/identity/"));
        let platform =
            [("IDENTITY_ENDPOINT", "http://127.0.0.1:41/token"), ("IDENTITY_HEADER", "h")];
        let Kind::Machine(machine) = kind(&[platform[0], platform[1], CLIENT]) else {
            panic!("no application is named")
        };
        assert!(
            machine.url.starts_with("http://127.0.0.1:41/token?api-version=2019-08-01&resource=")
        );
        assert!(machine.url.ends_with("&client_id=client"), "{}", machine.url);
    }

    #[test]
    fn half_of_what_is_needed_says_which_half() {
        let why = |variables: &[(&str, &str)]| found(variables).err().unwrap();
        let told = why(&[CLIENT, SECRET]);
        assert_eq!(told, "AZURE_CLIENT_SECRET is set, and AZURE_TENANT_ID is not");
        assert!(why(&[("AZURE_TENANT_ID", "a/b"), CLIENT, SECRET]).contains("no tenant"));
        let plain = ("AZURE_AUTHORITY_HOST", "http://login.example");
        let told = why(&[TENANT, CLIENT, SECRET, plain]);
        assert!(told.contains("https") && !told.contains("hidden"), "{told}");
        let far = [("IDENTITY_ENDPOINT", "http://10.0.0.1/token"), ("IDENTITY_HEADER", "h")];
        assert!(why(&far).contains("its link"));
    }
}
