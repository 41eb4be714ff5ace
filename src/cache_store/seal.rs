//! Sealing: what stands on disk can be read by nobody without the key, and by nobody be changed or moved.
//!
//! AES-256-GCM-SIV, one key a tenant, derived from the operator's. The name of a row is sealed in with it, so that a
//! row put in another's place is none; and a record that was written in part is none either.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};

use crate::base::Secret;

/// What the derivation of the keys is for.
const PURPOSE: &str = "pointsman 2026 answers at rest";

/// Seals and opens.
pub(super) struct Seal(Secret);

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal")
    }
}

impl Seal {
    pub(super) const fn new(secret: Secret) -> Self {
        Self(secret)
    }

    fn key(&self, tenant: &str) -> Option<RandomizedNonceKey> {
        let secret = self.0.expose().as_bytes();
        let mut material = (secret.len() as u64).to_le_bytes().to_vec();
        material.extend_from_slice(secret);
        material.extend_from_slice(tenant.as_bytes());
        RandomizedNonceKey::new(&AES_256_GCM_SIV, &blake3::derive_key(PURPOSE, &material)).ok()
    }

    /// The nonce, then what is sealed, then its tag. `None` if it cannot be sealed; then it is not written.
    pub(super) fn seal(&self, tenant: &str, name: &[u8], plain: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = plain.to_vec();
        let nonce = self.key(tenant)?.seal_in_place_append_tag(Aad::from(name), &mut sealed).ok()?;
        Some([nonce.as_ref().as_slice(), &sealed].concat())
    }

    /// What was sealed under this name; `None` if it is damaged, or another's, or sealed by another key.
    pub(super) fn open(&self, tenant: &str, name: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        let mut opened = sealed.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let length = self.key(tenant)?.open_in_place(nonce, Aad::from(name), &mut opened).ok()?.len();
        opened.truncate(length);
        Some(opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_by_its_key_tenant_and_name_alone_and_undamaged() {
        let seal = Seal::new(Secret::new("one".repeat(12)));
        let sealed = seal.seal("red", b"name", b"an answer").expect("sealed");
        assert_eq!(seal.open("red", b"name", &sealed).as_deref(), Some(b"an answer".as_slice()));
        assert!(!sealed.windows(6).any(|part| part == b"answer"));
        assert_ne!(sealed, seal.seal("red", b"name", b"an answer").expect("sealed"), "never twice the same");
        assert_eq!(seal.open("blue", b"name", &sealed), None);
        assert_eq!(seal.open("red", b"other", &sealed), None);
        assert_eq!(Seal::new(Secret::new("two".repeat(12))).open("red", b"name", &sealed), None);
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert_eq!(seal.open("red", b"name", &damaged), None, "{at}");
            assert_eq!(seal.open("red", b"name", &sealed[..at]), None, "{at}");
        }
    }
}
