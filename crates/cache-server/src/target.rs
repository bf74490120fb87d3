//! What a request's path means, before any protocol sees it.

use http::StatusCode;

use crate::reply::Refusal;

/// Longest path in bytes as it is sent. Maven's are the longest of real clients, below 500.
const MAX_PATH: usize = 2_048;
/// Longest part between two slashes in bytes: what file systems allow, so that clients use no longer ones.
const MAX_SEGMENT: usize = 255;
/// Most parts of a path.
const MAX_SEGMENTS: usize = 32;

/// The parts of a path, decoded. There are no empty ones: some clients send `//` where they mean `/`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) segments: Vec<String>,
    /// Whether the path ended with a slash.
    pub(crate) directory: bool,
}

impl Target {
    /// Returns the parts of `path`. Names never become paths of files here, but they may in clients and in tools that look
    /// at a cache; so whatever a file system could misunderstand is refused.
    pub(crate) fn parse(path: &str) -> Result<Self, Refusal> {
        if path.len() > MAX_PATH {
            let message = format!("the path has {} bytes, and the limit is {MAX_PATH}", path.len());
            return Err(Refusal::new(StatusCode::URI_TOO_LONG, message));
        }
        let mut segments = Vec::new();
        for raw in path.split('/').filter(|raw| !raw.is_empty()) {
            if segments.len() == MAX_SEGMENTS {
                let message = format!("the path has more than {MAX_SEGMENTS} parts");
                return Err(Refusal::new(StatusCode::URI_TOO_LONG, message));
            }
            segments.push(segment(raw)?);
        }
        Ok(Self { segments, directory: path.ends_with('/') })
    }
}

/// Returns one part of a path, decoded.
pub(crate) fn segment(raw: &str) -> Result<String, Refusal> {
    let bad = |why: &'static str| Refusal::new(StatusCode::BAD_REQUEST, why);
    let bytes =
        decode(raw).ok_or_else(|| bad("the path has a % that is not followed by two hexadecimal digits"))?;
    let text = String::from_utf8(bytes).map_err(|_| bad("the path is not UTF-8"))?;
    if text.len() > MAX_SEGMENT {
        let message = format!("a part of the path has {} bytes, and the limit is {MAX_SEGMENT}", text.len());
        return Err(Refusal::new(StatusCode::URI_TOO_LONG, message));
    }
    if text == "." || text == ".." {
        return Err(bad("the path has a part that is . or .."));
    }
    if text.chars().any(|c| c.is_control() || matches!(c, '/' | '\\')) {
        return Err(bad("the path has an encoded slash, a backslash or a control character"));
    }
    Ok(text)
}

/// Returns the bytes that `raw` means, nothing if a `%` is not followed by two hexadecimal digits.
pub(crate) fn decode(raw: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |c: Option<u8>| (c? as char).to_digit(16);
        let value = digit(rest.next())? * 16 + digit(rest.next())?;
        bytes.push(value as u8);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_decoded_and_slashes_collapsed() {
        let parse = |path| Target::parse(path).unwrap();
        assert_eq!(parse("//kv//a%20b/").segments, ["kv", "a b"]);
        assert!(parse("/kv/").directory);
        assert!(!parse("/kv").directory);
        assert_eq!(parse("/%C3%A9").segments, ["é"]);
        assert_eq!(parse("/").segments, Vec::<String>::new());
        assert_eq!(parse("/a/...").segments, ["a", "..."]);
    }

    #[test]
    fn what_a_file_system_could_misunderstand_is_refused() {
        for bad in [
            "/a/../b",
            "/.",
            "/%2e%2E/x",
            "/a%2fb",
            "/a%5Cb",
            "/a\\b",
            "/a%00",
            "/a%0a",
            "/%",
            "/%4",
            "/%zz",
            "/%ff",
        ] {
            assert_eq!(Target::parse(bad).unwrap_err().status(), StatusCode::BAD_REQUEST, "{bad}");
        }
        for long in ["/".to_owned() + &"a".repeat(256), "/".repeat(2049), "/a".repeat(33)] {
            assert_eq!(Target::parse(&long).unwrap_err().status(), StatusCode::URI_TOO_LONG, "{long}");
        }
        assert!(Target::parse(&("/".to_owned() + &"a".repeat(255))).is_ok());
    }
}
