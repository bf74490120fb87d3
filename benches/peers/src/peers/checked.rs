//! A value followed by its XXH3-128, for the stores that do not check what they read.

use twox_hash::XxHash3_128;

pub(super) const SUM: usize = 16;

pub(super) fn sum(value: &[u8]) -> [u8; SUM] {
    XxHash3_128::oneshot(value).to_le_bytes()
}

/// Returns what is before the sum, if that is right.
pub(super) fn strip(stored: &[u8]) -> Option<&[u8]> {
    let (value, stored_sum) = stored.split_at_checked(stored.len().checked_sub(SUM)?)?;
    (sum(value) == stored_sum).then_some(value)
}

/// Copies a stored value to `buffer` and checks the copy.
pub(super) fn copy<'a>(stored: &[u8], buffer: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    buffer.clear();
    buffer.extend_from_slice(stored);
    strip(buffer)
}

/// Returns `value` and its sum in `buffer`, for stores that want one slice.
pub(super) fn join<'a>(value: &[u8], buffer: &'a mut Vec<u8>) -> &'a [u8] {
    buffer.clear();
    buffer.extend_from_slice(value);
    buffer.extend_from_slice(&sum(value));
    buffer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_seen() {
        let (mut stored, mut out) = (Vec::new(), Vec::new());
        join(b"value", &mut stored);
        assert_eq!(copy(&stored, &mut out), Some(&b"value"[..]));
        stored[1] ^= 1;
        assert_eq!(copy(&stored, &mut out), None);
        assert_eq!(copy(b"short", &mut out), None);
    }
}
