//! Credentials files, of the types that Google documents.

use serde::Deserialize;
use serde_json::Value;

use super::{
    super::key::Key,
    Found,
    exchange::{Credentials, Person, ServiceAccount, Subject, Workload},
};
use crate::{credentials::SecretText, discovery::rest::Rest, server_url::ServerUrl};

const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";

/// A file that cannot be used. Displays as what can follow its name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    /// It is something else.
    #[error("is no credentials file of Google Cloud")]
    Other,
    /// A type that is not read here.
    #[error(
        "is of the type {0}, which is not supported: use service_account, authorized_user, \
         external_account with a file or URL, or impersonated_service_account"
    )]
    Type(String),
    /// Not a key.
    #[error("holds no RSA private key in PEM")]
    Key,
    /// An address that secrets must not go to.
    #[error("names the address {0}, which must be https")]
    Address(String),
}

#[derive(Deserialize)]
struct ServiceAccountFile {
    client_email: String,
    private_key: SecretText,
    private_key_id: Option<String>,
    token_uri: Option<String>,
}

#[derive(Deserialize)]
struct PersonFile {
    client_id: String,
    client_secret: SecretText,
    refresh_token: SecretText,
    token_uri: Option<String>,
}

#[derive(Deserialize)]
struct WorkloadFile {
    audience: String,
    subject_token_type: String,
    token_url: String,
    credential_source: SourceFile,
    service_account_impersonation_url: Option<String>,
}

#[derive(Deserialize)]
struct SourceFile {
    file: Option<String>,
    url: Option<String>,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    format: Option<FormatFile>,
}

#[derive(Deserialize)]
struct FormatFile {
    subject_token_field_name: Option<String>,
}

#[derive(Deserialize)]
struct ImpersonatedFile {
    service_account_impersonation_url: String,
    source_credentials: Value,
    #[serde(default)]
    delegates: Vec<String>,
}

/// Reads a file.
pub(super) fn read(bytes: &[u8], nearby: Rest) -> Result<Found, Unusable> {
    let value: Value = serde_json::from_slice(bytes).map_err(|_| Unusable::Other)?;
    let said = |name: &str| value[name].as_str().map(str::to_owned);
    // The project that pays is a person's matter: others pay for themselves.
    let person = value["type"] == "authorized_user";
    Ok(Found {
        project: said("project_id").or_else(|| said("quota_project_id")),
        user_project: said("quota_project_id").filter(|_| person),
        credentials: credentials(value, nearby)?,
    })
}

fn credentials(value: Value, nearby: Rest) -> Result<Credentials, Unusable> {
    let kind = value["type"].as_str().unwrap_or_default().to_owned();
    match kind.as_str() {
        "service_account" => {
            let file: ServiceAccountFile = parsed(value)?;
            let key = Key::parse(file.private_key.expose(), file.private_key_id.as_deref());
            Ok(Credentials::ServiceAccount(ServiceAccount {
                email: file.client_email,
                key: key.map_err(|_| Unusable::Key)?,
                token_uri: safe(file.token_uri.unwrap_or_else(|| TOKEN_URI.to_owned()))?,
            }))
        }
        "authorized_user" => {
            let file: PersonFile = parsed(value)?;
            Ok(Credentials::Person(Person {
                client_id: file.client_id,
                client_secret: file.client_secret,
                refresh_token: file.refresh_token,
                token_uri: safe(file.token_uri.unwrap_or_else(|| TOKEN_URI.to_owned()))?,
            }))
        }
        "external_account" => workload(parsed(value)?, nearby),
        "impersonated_service_account" => {
            let file: ImpersonatedFile = parsed(value)?;
            if file.source_credentials["type"] == "impersonated_service_account" {
                return Err(Unusable::Type("impersonated_service_account of another".to_owned()));
            }
            Ok(Credentials::Impersonated {
                by: Box::new(credentials(file.source_credentials, nearby)?),
                url: safe(file.service_account_impersonation_url)?,
                delegates: file.delegates,
            })
        }
        "" => Err(Unusable::Other),
        _ => Err(Unusable::Type(kind)),
    }
}

fn workload(file: WorkloadFile, nearby: Rest) -> Result<Credentials, Unusable> {
    let source = file.credential_source;
    let field = source.format.and_then(|format| format.subject_token_field_name);
    let subject = match (source.file, source.url) {
        (Some(path), _) => Subject::File { path: path.into(), field },
        (None, Some(url)) => Subject::Url { nearby, url, headers: source.headers, field },
        (None, None) => {
            return Err(Unusable::Type("external_account with another source".to_owned()));
        }
    };
    let workload = Credentials::Workload(Workload {
        audience: file.audience,
        subject_token_type: file.subject_token_type,
        token_url: safe(file.token_url)?,
        subject,
    });
    match file.service_account_impersonation_url {
        None => Ok(workload),
        Some(url) => Ok(Credentials::Impersonated {
            by: Box::new(workload),
            url: safe(url)?,
            delegates: Vec::new(),
        }),
    }
}

fn parsed<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, Unusable> {
    serde_json::from_value(value).map_err(|_| Unusable::Other)
}

/// An address that secrets may go to.
fn safe(url: String) -> Result<String, Unusable> {
    let uri: Option<http::Uri> = url.parse().ok();
    let origin = uri.and_then(|uri| {
        format!("{}://{}", uri.scheme_str()?, uri.authority()?).parse::<ServerUrl>().ok()
    });
    match origin {
        Some(origin) if origin.is_tls() || origin.is_loopback() => Ok(url),
        Some(_) | None => Err(Unusable::Address(url)),
    }
}
