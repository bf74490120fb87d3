//! What clients send to show who they are.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Longest `Authorization` that is looked at, in bytes. Ours have less than 200.
const MAX: usize = 4 << 10;

/// Accepts base64 with padding and without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Returns the secret in an `Authorization`: that of `Bearer`, or the password of `Basic` with any user.
pub(super) fn secret(authorization: &[u8]) -> Option<String> {
    if authorization.len() > MAX {
        return None;
    }
    let (scheme, rest) = std::str::from_utf8(authorization).ok()?.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return (!rest.is_empty()).then(|| rest.to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    // Bazel sends the alphabet for URLs, all others the usual one.
    let digits = rest.replace('+', "-").replace('/', "_");
    let decoded = String::from_utf8(BASE64.decode(digits).ok()?).ok()?;
    let (_user, password) = decoded.split_once(':')?;
    (!password.is_empty()).then(|| password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bearer_and_both_alphabets_of_basic() {
        assert_eq!(secret(b"Bearer abc").as_deref(), Some("abc"));
        assert_eq!(secret(b"bearer  abc ").as_deref(), Some("abc"));
        // `u:p>?` in both alphabets, with padding and without.
        for digits in ["dTpwPj8=", "dTpwPj8"] {
            assert_eq!(secret(format!("Basic {digits}").as_bytes()).as_deref(), Some("p>?"));
        }
        assert_eq!(secret(b"Basic dTo_Pz8_").as_deref(), secret(b"Basic dTo/Pz8/").as_deref());
        assert_eq!(secret(b"Basic dTo_Pz8_").as_deref(), Some("????"));
        assert_eq!(secret(b"Basic dTphOmI=").as_deref(), Some("a:b"));
    }

    #[test]
    fn anything_else_is_none() {
        for bad in [
            &b""[..],
            b"Bearer",
            b"Bearer ",
            b"Basic dTo=",
            b"Basic dQ==",
            b"Basic %",
            b"Digest x",
            b"\xff \xff",
        ] {
            assert_eq!(secret(bad), None, "{bad:?}");
        }
        assert_eq!(secret(format!("Bearer {}", "x".repeat(MAX)).as_bytes()), None);
    }
}
