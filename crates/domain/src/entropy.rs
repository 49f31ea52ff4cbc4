//! Randomness as something that is passed in.

/// A source of cryptographically strong random bytes.
pub trait Entropy: Send + Sync {
    /// Fills `bytes` completely. A source that cannot do so must abort the process: no secret may
    /// ever be made of anything less.
    fn fill(&self, bytes: &mut [u8]);
}

/// `N` fresh random bytes.
pub fn random_bytes<const N: usize>(entropy: &dyn Entropy) -> [u8; N] {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes);
    bytes
}
