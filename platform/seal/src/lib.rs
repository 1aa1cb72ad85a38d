//! Checks the signatures of published files: ed25519, by `ring`.
//!
//! What is signed, by whom, and what follows from it is [`repository::signed`]'s business; it asks the function here about each
//! signature. Who signs has its key elsewhere: clients need no more than this.

use repository::signed::PublicKey;
use ring::signature::{ED25519, UnparsedPublicKey};

/// Whether `signature` is one of `message` by `key` (RFC 8032). Give it to whatever takes a [`repository::signed::Verify`].
#[must_use]
pub fn verify(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, key.as_bytes()).verify(message, signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Vec<u8> {
        let pairs = (0..text.len()).step_by(2);
        pairs.map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn the_signature_of_the_standard_and_no_other() {
        // RFC 8032, section 7.1, test 2.
        let key = bytes("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
        let key = PublicKey::from_bytes(key.try_into().unwrap());
        let signature = bytes(
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        );
        assert!(verify(&key, &[0x72], &signature));
        assert!(!verify(&key, &[0x73], &signature));
        assert!(!verify(&PublicKey::from_bytes([9; 32]), &[0x72], &signature));
        assert!(!verify(&key, &[0x72], &signature[..63]));
        for at in 0..signature.len() {
            let mut changed = signature.clone();
            changed[at] ^= 1;
            assert!(!verify(&key, &[0x72], &changed), "byte {at}");
        }
    }
}
