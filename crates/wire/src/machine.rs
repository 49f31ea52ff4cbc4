//! The machine id: evidence that a state directory is still on the machine that enrolled.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroize as _;

use crate::bytes::{Bytes32, Fixed};

/// The salted machine id that an agent shows: HMAC-SHA256 with the raw thumbprint of the server
/// under which it enrolled as key and the host's own machine id as message. Two servers see two
/// different values for one machine.
pub fn salted_machine_id(server_thumbprint: &Bytes32, host_machine_id: &str) -> Bytes32 {
    Fixed(mac(&server_thumbprint.0, host_machine_id.trim().as_bytes()))
}

/// HMAC-SHA256 (RFC 2104).
pub(crate) fn mac(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    let mut block = [0; 64];
    block[..32].copy_from_slice(key);
    // Zeros up to the block size are what RFC 2104 itself appends to a shorter key.
    let mut mac = <Hmac<Sha256>>::new(&block.into());
    block.zeroize();
    mac.update(message);
    mac.finalize().into_bytes().into()
}
