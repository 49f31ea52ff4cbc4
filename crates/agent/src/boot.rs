//! Which boot of the host this is.
//!
//! Spans on the boot clock mean something only within one boot; receipts say in which boot a
//! command ended.

use std::{fmt, fs, io};

use serde::{Deserialize, Serialize};

/// Where Linux tells it (random(4)).
const BOOT_ID_FILE: &str = "/proc/sys/kernel/random/boot_id";

/// The identifier that the kernel drew when the host was started.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootId(String);

/// The kernel does not tell its boot id.
#[derive(Debug, thiserror::Error)]
#[error("{BOOT_ID_FILE} could not be read")]
pub struct BootIdUnknown(#[source] io::Error);

impl BootId {
    /// The boot that this process runs in.
    pub fn of_host() -> Result<Self, BootIdUnknown> {
        let text = fs::read_to_string(BOOT_ID_FILE).map_err(BootIdUnknown)?;
        Ok(Self::new(text.trim()))
    }

    /// A boot by name, for simulated hosts.
    pub fn new(id: &str) -> Self {
        Self(id.to_owned())
    }

    /// As it stands in a receipt.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_in_one_boot_at_a_time() {
        let boot = BootId::of_host().unwrap();
        assert_eq!(boot.as_str().len(), 36);
        assert_eq!(boot, BootId::of_host().unwrap());
    }
}
