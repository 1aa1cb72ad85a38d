//! An ed25519 key as TLS carries it (RFC 7250): 32 bytes with a prefix.

use key::PublicKey;

/// What stands before the 32 bytes of an ed25519 key in a SubjectPublicKeyInfo (RFC 8410, section 4).
const PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// As TLS carries it.
pub(crate) fn to_tls(key: &PublicKey) -> Vec<u8> {
    [PREFIX.as_slice(), key.as_bytes()].concat()
}

/// From what TLS carried; none for any other kind of key or for a certificate.
pub(crate) fn from_tls(bytes: &[u8]) -> Option<PublicKey> {
    let key = bytes.strip_prefix(&PREFIX)?;
    key.try_into().ok().map(PublicKey::from_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ed25519_keys_come_out_of_tls() {
        let key = PublicKey::from_bytes([7; 32]);
        let carried = to_tls(&key);
        assert_eq!(from_tls(&carried), Some(key));
        let mut other = carried.clone();
        other[8] = 0x6e;
        for bytes in [&other[..], &carried[..43], &[], &[carried.as_slice(), &[0]].concat()] {
            assert_eq!(from_tls(bytes), None);
        }
    }
}
