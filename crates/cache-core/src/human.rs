//! Sizes and durations as people write and read them.

use std::time::Duration;

/// Says that a text is no size or duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {what}: write {example}")]
pub struct HumanError {
    text: String,
    what: &'static str,
    example: &'static str,
}

/// Units of size: decimal as on the label of a disk, and binary.
const SIZES: [(&str, u64); 13] = [
    ("", 1),
    ("b", 1),
    ("k", 1000),
    ("kb", 1000),
    ("m", 1_000_000),
    ("mb", 1_000_000),
    ("g", 1_000_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

const DURATIONS: [(&str, u64); 8] = [
    ("ms", 1),
    ("s", 1000),
    ("", 1000),
    ("m", 60_000),
    ("min", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 604_800_000),
];

/// Returns the bytes that `text` means, as in `500MB`, `1.5 GiB`, `20G` or `0`.
///
/// # Errors
/// If it is no size.
pub fn parse_size(text: &str) -> Result<u64, HumanError> {
    let fail =
        || HumanError { text: text.to_owned(), what: "size", example: "500MB, 1.5GiB or a number of bytes" };
    let lower = text.trim().to_ascii_lowercase();
    let (number, unit) = split(&lower).ok_or_else(fail)?;
    let (_, factor) = SIZES.into_iter().find(|(name, _)| *name == unit).ok_or_else(fail)?;
    let bytes = number * factor as f64;
    if bytes.is_finite() && bytes < u64::MAX as f64 { Ok(bytes.round() as u64) } else { Err(fail()) }
}

/// Returns the time that `text` means, as in `90s`, `1h30m`, `500ms`, `2 d` or a number of seconds.
///
/// # Errors
/// If it is no duration.
pub fn parse_duration(text: &str) -> Result<Duration, HumanError> {
    let fail = || HumanError { text: text.to_owned(), what: "duration", example: "90s, 10m, 1h30m or 7d" };
    let lower = text.trim().to_ascii_lowercase();
    let mut rest = lower.as_str();
    let mut millis = 0.0;
    if rest.is_empty() {
        return Err(fail());
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let end = rest[end..].find(|c: char| !c.is_ascii_alphabetic()).map_or(rest.len(), |len| end + len);
        let (number, unit) = split(rest[..end].trim()).ok_or_else(fail)?;
        let (_, factor) = DURATIONS.into_iter().find(|(name, _)| *name == unit).ok_or_else(fail)?;
        millis += number * factor as f64;
        rest = rest[end..].trim_start();
    }
    if millis < 9e15 { Ok(Duration::from_millis(millis.round() as u64)) } else { Err(fail()) }
}

/// Splits into a number that is not negative and a unit.
fn split(text: &str) -> Option<(f64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number = text[..digits].parse().ok()?;
    Some((number, text[digits..].trim_start()))
}

/// Returns `bytes` with three digits at most and a decimal unit: `38 MB`, `1.2 GB`.
pub fn size(bytes: u64) -> String {
    let (value, unit) = scaled(bytes);
    if unit != "B" && value < 9.95 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

/// Returns how much `used` is of `whole`: `19.3 of 20.0 GB`.
pub fn part(used: u64, whole: u64) -> String {
    let (value, unit) = scaled(whole);
    let factor = value / (whole.max(1) as f64);
    format!("{:.1} of {value:.1} {unit}", used as f64 * factor)
}

/// Returns a number below a thousand and its unit.
fn scaled(bytes: u64) -> (f64, &'static str) {
    let units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    (value, units[unit])
}

/// Returns `duration` in its largest fitting unit: `6 ms`, `41.2 s`, `3 min`, `2 h`, `5 d`.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds {
        s if s < 0.0005 => format!("{:.0} µs", s * 1e6),
        s if s < 0.9995 => format!("{:.0} ms", s * 1e3),
        s if s < 119.95 => format!("{s:.1} s"),
        s if s < 7170.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_000.0 => format!("{:.0} h", s / 3600.0),
        s => format!("{:.0} d", s / 86_400.0),
    }
}

/// Returns `count` with the word that fits it: `1 file`, `214 files`.
pub fn count(count: usize, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("12", 12),
            ("500MB", 500_000_000),
            ("1.5 GiB", 3 << 29),
            ("20g", 20_000_000_000),
            ("1KiB", 1024),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "x", "-1", "1 parsec", "1e3", "99999999999 TB", "."] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
        let shown = [0, 999, 1000, 1234, 9_960, 38_400_000, 999_600, 20_000_000_000].map(size);
        assert_eq!(part(19_300_000_000, 20_000_000_000), "19.3 of 20.0 GB");
        assert_eq!(shown, ["0 B", "999 B", "1.0 kB", "1.2 kB", "10 kB", "38 MB", "1.0 MB", "20 GB"]);
    }

    #[test]
    fn durations() {
        for (text, millis) in [
            ("90", 90_000),
            ("1h30m", 5_400_000),
            ("500ms", 500),
            ("2 d", 172_800_000),
            ("1.5s", 1500),
            ("1m 5s", 65_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "h", "1 fortnight", "-3s", "1h-3m", "999999999999999w", "1..2s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        let shown = [0.000_25, 0.006, 0.9996, 41.2, 180.0, 7200.0, 432_000.0]
            .map(Duration::from_secs_f64)
            .map(duration);
        assert_eq!(shown, ["250 µs", "6 ms", "1.0 s", "41.2 s", "3 min", "2 h", "5 d"]);
    }
}
