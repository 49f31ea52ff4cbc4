//! Forgetting a registration from outside the agent: for whoever holds its server too.

use std::path::Path;

use crate::{
    credentials::{Credentials, CredentialsError},
    state_dir::StateDir,
};

/// Forgets the registration that a state directory holds, with the journal of its commands; the keys
/// stay. For whoever holds the server too, and knows that it is gone.
pub fn forget_registration(state_dir: &Path) -> Result<(), CredentialsError> {
    let dir = StateDir::open(state_dir)?;
    Credentials::load(&dir)?.abandon().save(&dir)?;
    Ok(dir.forget_journal()?)
}
