//! Application default credentials: where they are, and what they are exchanged for.
//!
//! *Invariant:* a secret is sent over https, or stays on this host; nothing of it shows in an error.

mod exchange;
mod file;

use std::path::{Path, PathBuf};

use crate::{
    deps::Deps,
    discovery::{
        Failure,
        bearer::no_credentials,
        rest::{Manner, Rest},
    },
};

pub(super) use exchange::Credentials;

/// What a file may have.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Where a machine of Google Cloud asks who it is.
const METADATA: &str = "169.254.169.254";
/// The metadata server answers at once, or is not there.
const METADATA_ATTEMPTS: u32 = 3;

/// What was found on this host.
pub(super) struct Found {
    /// What opens the cloud.
    pub(super) credentials: Credentials,
    /// The project that they belong to, if they do.
    pub(super) project: Option<String>,
    /// The project that pays for a person's calls.
    pub(super) user_project: Option<String>,
}

/// Looks where Google's own libraries look, in their order.
pub(super) async fn find(
    variable: &(impl Fn(&str) -> Option<String> + Sync),
    deps: &Deps,
) -> Result<Found, Failure> {
    let nearby = Rest::nearby(deps.clone())?;
    let host = variable("GCE_METADATA_HOST").unwrap_or_else(|| METADATA.to_owned());
    let mut found = match file(variable).await? {
        Some((path, bytes)) => file::read(&bytes, nearby)
            .map_err(|why| no_credentials(format!("{} {why}", path.display())))?,
        None => {
            let project = project(&nearby, &host).await?;
            let credentials = Credentials::Machine { nearby, host };
            Found { credentials, project: Some(project), user_project: None }
        }
    };
    if let Some(project) = variable("GOOGLE_CLOUD_PROJECT") {
        found.project = Some(project);
    }
    Ok(found)
}

/// The credentials file that is named, or the one that `gcloud` writes.
async fn file(
    variable: &(impl Fn(&str) -> Option<String> + Sync),
) -> Result<Option<(PathBuf, Vec<u8>)>, Failure> {
    if let Some(path) = variable("GOOGLE_APPLICATION_CREDENTIALS").map(PathBuf::from) {
        return match bounded(&path).await {
            Ok(bytes) => Ok(Some((path, bytes))),
            Err(why) => {
                let path = path.display();
                let named = "that GOOGLE_APPLICATION_CREDENTIALS names cannot be read";
                Err(no_credentials(format!("the file {path} {named}: {why}")))
            }
        };
    }
    let folder = match (variable("CLOUDSDK_CONFIG"), variable("HOME")) {
        (Some(folder), _) => PathBuf::from(folder),
        (None, Some(home)) => Path::new(&home).join(".config/gcloud"),
        (None, None) => return Ok(None),
    };
    let path = folder.join("application_default_credentials.json");
    match bounded(&path).await {
        Ok(bytes) => Ok(Some((path, bytes))),
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(no_credentials(format!("{} cannot be read: {why}", path.display()))),
    }
}

async fn bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    use tokio::io::AsyncReadExt as _;
    let mut bytes = Vec::new();
    let file = tokio::fs::File::open(path).await?;
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

/// The project of this machine; or there is no metadata server, and so there are no credentials.
async fn project(nearby: &Rest, host: &str) -> Result<String, Failure> {
    let url = format!("http://{host}/computeMetadata/v1/project/project-id");
    let asked = exchange::metadata(nearby, machine(), &url).await;
    let none = "no Google Cloud credentials were found on this host: GOOGLE_APPLICATION_CREDENTIALS \
                is not set, nobody is logged in with gcloud, and there is no metadata server";
    match asked {
        Ok(answer) if answer.is_good() => Ok(answer.text.trim().to_owned()),
        Ok(answer) => Err(no_credentials(format!("{none} (it answered {})", answer.status))),
        Err(why) => Err(no_credentials(format!("{none} ({why})"))),
    }
}

fn machine() -> Manner<'static> {
    Manner { attempts: METADATA_ATTEMPTS, ..Manner::patient(crate::discovery::bearer::CREDENTIALS) }
}

#[cfg(test)]
mod tests;
