//! Credentials exchanged for access tokens that may read Compute Engine and no more, where the kind of
//! credentials lets that be said.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use futures::{FutureExt as _, future::BoxFuture};
use serde_json::{Value, json};

use super::super::key::Key;
use crate::{
    credentials::SecretText,
    discovery::{
        Failure,
        bearer::{CREDENTIALS, Source, Token, no_credentials, refused, token},
        rest::{Answer, Manner, Rest},
        shape,
    },
};

/// What a token is for.
const READ_COMPUTE: &str = "https://www.googleapis.com/auth/compute.readonly";
/// What a token is for that another one is asked for with.
const WHOLE_PLATFORM: &str = "https://www.googleapis.com/auth/cloud-platform";
/// How long a token is asked for.
const TOKEN_LIFE: Duration = Duration::from_secs(3600);
/// How long the metadata server may take.
const METADATA_WITHIN: Duration = Duration::from_secs(5);

/// Credentials of Google Cloud.
pub(in super::super) enum Credentials {
    /// A service account with a key.
    ServiceAccount(ServiceAccount),
    /// A person who is logged in.
    Person(Person),
    /// Something that another provider vouches for (workload identity federation).
    Workload(Workload),
    /// A service account that others may speak for.
    Impersonated {
        /// Who speaks for it.
        by: Box<Credentials>,
        /// Where that is asked for.
        url: String,
        /// Through whom.
        delegates: Vec<String>,
    },
    /// The service account of this machine.
    Machine {
        /// Reaches the metadata server.
        nearby: Rest,
        /// Where it is.
        host: String,
    },
}

/// A service account with a key.
pub(in super::super) struct ServiceAccount {
    pub(super) email: String,
    pub(super) key: Key,
    pub(super) token_uri: String,
}

/// A person who is logged in.
pub(in super::super) struct Person {
    pub(super) client_id: String,
    pub(super) client_secret: SecretText,
    pub(super) refresh_token: SecretText,
    pub(super) token_uri: String,
}

/// What another provider vouches for.
pub(in super::super) struct Workload {
    pub(super) audience: String,
    pub(super) subject_token_type: String,
    pub(super) token_url: String,
    pub(super) subject: Subject,
}

/// Where the other provider's token is.
pub(super) enum Subject {
    /// In a file.
    File { path: PathBuf, field: Option<String> },
    /// At an address beside this host.
    Url { nearby: Rest, url: String, headers: BTreeMap<String, String>, field: Option<String> },
}

impl Source for Credentials {
    fn fetch<'a>(&'a self, rest: &'a Rest) -> BoxFuture<'a, Result<Token, Failure>> {
        self.for_scope(rest, READ_COMPUTE)
    }
}

impl Credentials {
    fn for_scope<'a>(
        &'a self,
        rest: &'a Rest,
        scope: &'static str,
    ) -> BoxFuture<'a, Result<Token, Failure>> {
        async move {
            match self {
                Self::ServiceAccount(account) => account.token(rest, scope).await,
                Self::Person(person) => person.token(rest).await,
                Self::Workload(workload) => workload.token(rest, scope).await,
                Self::Impersonated { by, url, delegates } => {
                    let by = by.for_scope(rest, WHOLE_PLATFORM).await?;
                    impersonated(rest, &by, url, delegates, scope).await
                }
                Self::Machine { nearby, host } => {
                    let path = "computeMetadata/v1/instance/service-accounts/default/token";
                    let url = format!("http://{host}/{path}");
                    token(&metadata(nearby, super::machine(), &url).await?)
                }
            }
        }
        .boxed()
    }
}

/// Asks the metadata server.
pub(super) async fn metadata(
    nearby: &Rest,
    manner: Manner<'_>,
    url: &str,
) -> Result<Answer, Failure> {
    let request = |http: &reqwest::Client| {
        http.get(url).header("Metadata-Flavor", "Google").timeout(METADATA_WITHIN)
    };
    nearby.ask(manner, request).await
}

async fn form(rest: &Rest, url: &str, fields: &[(&str, &str)]) -> Result<Token, Failure> {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let request = |http: &reqwest::Client| {
        let request = http.post(url).body(body.clone());
        request.header("content-type", "application/x-www-form-urlencoded")
    };
    token(&rest.ask(Manner::patient(CREDENTIALS), request).await?)
}

impl ServiceAccount {
    async fn token(&self, rest: &Rest, scope: &str) -> Result<Token, Failure> {
        let now = rest.deps().clock.now();
        let claims = json!({
            "iss": self.email, "scope": scope, "aud": self.token_uri,
            "iat": now.as_seconds(), "exp": now.plus(TOKEN_LIFE).as_seconds(),
        });
        let assertion = self.key.sign(&claims);
        let assertion = assertion.map_err(|_| no_credentials("the private key does not sign"))?;
        let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
        form(rest, &self.token_uri, &[("grant_type", grant), ("assertion", &assertion)]).await
    }
}

impl Person {
    async fn token(&self, rest: &Rest) -> Result<Token, Failure> {
        let fields = [
            ("grant_type", "refresh_token"),
            ("client_id", &self.client_id),
            ("client_secret", self.client_secret.expose()),
            ("refresh_token", self.refresh_token.expose()),
        ];
        form(rest, &self.token_uri, &fields).await
    }
}

impl Workload {
    /// RFC 8693.
    async fn token(&self, rest: &Rest, scope: &str) -> Result<Token, Failure> {
        let subject = self.subject.token().await?;
        let fields = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("audience", &self.audience),
            ("scope", scope),
            ("subject_token_type", &self.subject_token_type),
            ("subject_token", subject.expose()),
        ];
        form(rest, &self.token_url, &fields).await
    }
}

impl Subject {
    async fn token(&self) -> Result<SecretText, Failure> {
        let (text, field) = match self {
            Self::File { path, field } => {
                let text = tokio::fs::read_to_string(path).await;
                let gone = |why| {
                    no_credentials(format!("the token {} cannot be read: {why}", path.display()))
                };
                (text.map_err(gone)?, field)
            }
            Self::Url { nearby, url, headers, field } => {
                let request = |http: &reqwest::Client| {
                    let request = http.get(url);
                    headers
                        .iter()
                        .fold(request, |request, (name, value)| request.header(name, value))
                };
                let answer = nearby.ask(super::machine(), request).await?;
                if !answer.is_good() {
                    return Err(no_credentials(format!("{url} answered {}", answer.status)));
                }
                (answer.text, field)
            }
        };
        let text = SecretText::new(text.trim().to_owned());
        let Some(field) = field else { return Ok(text) };
        let said: Value = serde_json::from_str(text.expose()).unwrap_or_default();
        let inner = shape::text(&said, field).map(|text| SecretText::new(text.to_owned()));
        inner.ok_or_else(|| no_credentials(format!("there is no token in the field {field}")))
    }
}

async fn impersonated(
    rest: &Rest,
    by: &Token,
    url: &str,
    delegates: &[String],
    scope: &str,
) -> Result<Token, Failure> {
    let life = format!("{}s", TOKEN_LIFE.as_secs());
    let body = json!({ "scope": [scope], "lifetime": life, "delegates": delegates }).to_string();
    let request = |http: &reqwest::Client| {
        let request = http.post(url).bearer_auth(by.text.expose()).body(body.clone());
        request.header("content-type", "application/json")
    };
    let answer = rest.ask(Manner::patient(CREDENTIALS), request).await?;
    let said = answer.json();
    match shape::text(&said, "accessToken").filter(|_| answer.is_good()) {
        Some(text) => Ok(Token { text: SecretText::new(text.to_owned()), life: TOKEN_LIFE }),
        None if answer.status == 403 => Err(Failure {
            permission: Some("iam.serviceAccounts.getAccessToken".to_owned()),
            ..refused(&answer)
        }),
        None => Err(refused(&answer)),
    }
}
