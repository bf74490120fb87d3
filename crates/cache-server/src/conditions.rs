//! Which part of a value a request wants, and whether it wants it at all (RFC 9110, sections 13 and 14).

use std::ops::Range;

use http::HeaderMap;
use http::header::{HeaderName, IF_NONE_MATCH, IF_RANGE, RANGE};

/// What a request wants of a value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All of it.
    Whole,
    /// A part that is there.
    Part(Range<u64>),
    /// A part that begins behind its end.
    Nothing,
    /// Nothing, because the client has it.
    Unchanged,
}

/// Returns what a request with these `headers` wants of a value of `len` bytes with this `etag`.
pub(crate) fn wanted(headers: &HeaderMap, etag: &str, len: u64) -> Wanted {
    if matches(headers, &IF_NONE_MATCH, etag) {
        return Wanted::Unchanged;
    }
    let Some(range) = headers.get(RANGE).and_then(|value| value.to_str().ok()) else { return Wanted::Whole };
    if headers.contains_key(IF_RANGE) && !matches(headers, &IF_RANGE, etag) {
        return Wanted::Whole;
    }
    part(range, len)
}

/// Returns whether the header `name` has this `etag` or is `*`.
pub(crate) fn matches(headers: &HeaderMap, name: &HeaderName, etag: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|tag| {
            let tag = tag.trim();
            tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag
        })
}

/// Returns the part that `range` means. Several parts, other units and what makes no sense mean the whole, as the RFC has it.
fn part(range: &str, len: u64) -> Wanted {
    let Some((first, last)) = range.strip_prefix("bytes=").and_then(|part| part.split_once('-')) else {
        return Wanted::Whole;
    };
    let number =
        |digits: &str| digits.parse::<u64>().ok().filter(|_| digits.bytes().all(|c| c.is_ascii_digit()));
    let (first, last) = (first.trim(), last.trim());
    match (number(first), number(last)) {
        (None, Some(0)) if first.is_empty() => Wanted::Nothing,
        (None, Some(_)) if first.is_empty() && len == 0 => Wanted::Nothing,
        (None, Some(count)) if first.is_empty() => Wanted::Part(len.saturating_sub(count)..len),
        (Some(start), None) if last.is_empty() && start < len => Wanted::Part(start..len),
        (Some(start), Some(end)) if start <= end && start < len => {
            Wanted::Part(start..end.saturating_add(1).min(len))
        }
        (Some(_), None) if last.is_empty() => Wanted::Nothing,
        (Some(start), Some(end)) if start <= end => Wanted::Nothing,
        _ => Wanted::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn ranges() {
        for (range, expected) in [
            ("bytes=0-0", Wanted::Part(0..1)),
            ("bytes=2-", Wanted::Part(2..10)),
            ("bytes=-3", Wanted::Part(7..10)),
            ("bytes=-30", Wanted::Part(0..10)),
            ("bytes=5-99", Wanted::Part(5..10)),
            ("bytes=0-18446744073709551615", Wanted::Part(0..10)),
            ("bytes=10-", Wanted::Nothing),
            ("bytes=10-12", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=5-4", Wanted::Whole),
            ("bytes=0-1,3-4", Wanted::Whole),
            ("bytes=+1-4", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("lines=1-2", Wanted::Whole),
            ("bytes=99999999999999999999-", Wanted::Whole),
        ] {
            assert_eq!(part(range, 10), expected, "{range}");
        }
        assert_eq!(part("bytes=-1", 0), Wanted::Nothing);
        assert_eq!(part("bytes=0-", 0), Wanted::Nothing);
    }

    #[test]
    fn conditions_come_before_ranges() {
        let headers = |pairs: &[(HeaderName, &'static str)]| {
            pairs
                .iter()
                .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
                .collect::<HeaderMap>()
        };
        let wanted = |pairs: &[_]| wanted(&headers(pairs), "\"a\"", 10);
        assert_eq!(wanted(&[]), Wanted::Whole);
        assert_eq!(wanted(&[(IF_NONE_MATCH, "\"b\", W/\"a\"")]), Wanted::Unchanged);
        assert_eq!(wanted(&[(IF_NONE_MATCH, "*")]), Wanted::Unchanged);
        assert_eq!(wanted(&[(IF_NONE_MATCH, "\"b\""), (RANGE, "bytes=1-1")]), Wanted::Part(1..2));
        assert_eq!(wanted(&[(IF_RANGE, "\"b\""), (RANGE, "bytes=1-1")]), Wanted::Whole);
        assert_eq!(wanted(&[(IF_RANGE, "\"a\""), (RANGE, "bytes=1-1")]), Wanted::Part(1..2));
    }
}
