//! Points in time and durations, which protobuf counts in seconds and nanoseconds and JSON writes as text.

use std::fmt::Write as _;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Nanoseconds in a second.
const NANOS: i32 = 1_000_000_000;
/// Seconds in a day.
const DAY: i64 = 86_400;
/// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z, the range that both forms have, in seconds since 1970.
const FIRST: i64 = -62_135_596_800;
const LAST: i64 = 253_402_300_799;
/// Longest duration in seconds, about ten thousand years, as `google/protobuf/duration.proto` has it.
const LONGEST: i64 = 315_576_000_000;

/// `google.protobuf.Timestamp`, in JSON as in RFC 3339.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct Timestamp {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}

/// `google.protobuf.Duration`, in JSON as seconds with an `s`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct Duration {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}

impl Timestamp {
    /// Returns the text of RFC 3339, or nothing if the year has not four digits.
    fn to_text(self) -> Option<String> {
        if !(FIRST..=LAST).contains(&self.seconds) || !(0..NANOS).contains(&self.nanos) {
            return None;
        }
        let (year, month, day) = date(self.seconds.div_euclid(DAY));
        let time = self.seconds.rem_euclid(DAY);
        let (hour, minute, second) = (time / 3_600, time / 60 % 60, time % 60);
        let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
        write_fraction(&mut text, self.nanos);
        text.push('Z');
        Some(text)
    }

    fn from_text(text: &str) -> Option<Self> {
        let (date, rest) = text.split_at_checked(10)?;
        let mut parts = date.splitn(3, '-').map(number);
        let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
        let (clock, rest) = rest.strip_prefix(['T', 't'])?.split_at_checked(8)?;
        let mut parts = clock.splitn(3, ':').map(number);
        let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
        let (nanos, zone) = match rest.strip_prefix('.') {
            None => (0, rest),
            Some(rest) => {
                let end = rest.find(|c: char| !c.is_ascii_digit())?;
                (fraction(&rest[..end])?, &rest[end..])
            }
        };
        let offset = match zone.as_bytes() {
            b"Z" | b"z" => 0,
            [sign @ (b'+' | b'-'), ..] => {
                let (hours, minutes) = zone[1..].split_once(':')?;
                let offset = number(hours).filter(|it| *it < 24)? * 3_600 + number(minutes)? * 60;
                if *sign == b'+' { offset } else { -offset }
            }
            _ => return None,
        };
        let valid = (1..=12).contains(&month) && (1..=31).contains(&day);
        if !valid || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let days = days(year, month, day);
        // The 30th of February would be another day.
        (self::date(days) == (year, month, day)).then_some(())?;
        let seconds = days * DAY + hour * 3_600 + minute * 60 + second - offset;
        (FIRST..=LAST).contains(&seconds).then_some(Self { seconds, nanos })
    }
}

impl Duration {
    fn to_text(self) -> Option<String> {
        let same_sign = self.seconds == 0 || self.nanos == 0 || (self.seconds < 0) == (self.nanos < 0);
        if self.seconds.unsigned_abs() > LONGEST as u64
            || self.nanos.unsigned_abs() >= NANOS as u32
            || !same_sign
        {
            return None;
        }
        let sign = if self.seconds < 0 || self.nanos < 0 { "-" } else { "" };
        let mut text = format!("{sign}{}", self.seconds.unsigned_abs());
        write_fraction(&mut text, self.nanos.abs());
        text.push('s');
        Some(text)
    }

    fn from_text(text: &str) -> Option<Self> {
        let text = text.strip_suffix('s')?;
        let (sign, text) = text.strip_prefix('-').map_or((1, text), |text| (-1, text));
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let seconds = number(whole).filter(|seconds| *seconds <= LONGEST)?;
        Some(Self { seconds: i64::from(sign) * seconds, nanos: sign * fraction(part)? })
    }
}

/// Returns the number that is written in decimal digits and nothing else.
fn number(digits: &str) -> Option<i64> {
    digits.bytes().all(|c| c.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Returns the nanoseconds that the digits behind the point mean. What is finer is left out.
fn fraction(digits: &str) -> Option<i32> {
    number(digits)?;
    format!("{digits:0<9}").get(..9)?.parse().ok()
}

/// Writes a fraction of three, six or nine digits, or none.
fn write_fraction(text: &mut String, nanos: i32) {
    // Writing to a string cannot fail.
    let _ = match nanos {
        0 => Ok(()),
        _ if nanos % 1_000_000 == 0 => write!(text, ".{:03}", nanos / 1_000_000),
        _ if nanos % 1_000 == 0 => write!(text, ".{:06}", nanos / 1_000),
        _ => write!(text, ".{nanos:09}"),
    };
}

/// Returns the days since 1970-01-01 of a date of the Gregorian calendar (Howard Hinnant, "chrono-compatible low-level date
/// algorithms", `days_from_civil`).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Returns the date of a day since 1970-01-01 (as above, `civil_from_days`).
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

macro_rules! as_text {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let text = self.to_text().ok_or_else(|| serde::ser::Error::custom("a time that has no text"))?;
                serializer.serialize_str(&text)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::from_text(&text).ok_or_else(|| serde::de::Error::custom("a time that is none"))
            }
        }
    )*};
}
as_text!(Timestamp, Duration);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_text_of_rfc_3339() {
        for (seconds, nanos, text) in [
            (0, 0, "1970-01-01T00:00:00Z"),
            (951_782_400, 0, "2000-02-29T00:00:00Z"),
            (1_700_000_000, 120_000_000, "2023-11-14T22:13:20.120Z"),
            (1_700_000_000, 1_000, "2023-11-14T22:13:20.000001Z"),
            (-1, 1, "1969-12-31T23:59:59.000000001Z"),
            (FIRST, 0, "0001-01-01T00:00:00Z"),
            (LAST, 999_999_999, "9999-12-31T23:59:59.999999999Z"),
        ] {
            let time = Timestamp { seconds, nanos };
            assert_eq!(time.to_text().as_deref(), Some(text));
            assert_eq!(Timestamp::from_text(text), Some(time), "{text}");
        }
        let same = Timestamp::from_text("2023-11-14T22:13:20Z");
        assert_eq!(Timestamp::from_text("2023-11-15T00:13:20+02:00"), same);
        assert_eq!(Timestamp::from_text("2023-11-14t17:43:20.0-04:30"), same);
        for bad in [
            "",
            "2023-11-14",
            "2023-11-14T22:13:20",
            "2023-02-29T00:00:00Z",
            "2023-13-01T00:00:00Z",
            "2023-00-00T00:00:00Z",
            "2023-11-14T24:00:00Z",
            "2023-11-14T22:13:20.Z",
            "2023-11-14T22:13:20.5",
            "2023-11-14T22:13:20+99:99",
            "2023-11-14T22:13:20+é",
            "20é3-11-14T22:13:20Z",
            "0000-12-31T23:59:59Z",
            "9999-12-31T23:59:59-01:00",
        ] {
            assert_eq!(Timestamp::from_text(bad), None, "{bad}");
        }
        for (seconds, nanos) in [(FIRST - 1, 0), (LAST + 1, 0), (0, -1), (0, NANOS), (i64::MIN, i32::MIN)] {
            assert_eq!(Timestamp { seconds, nanos }.to_text(), None);
        }
    }

    #[test]
    fn durations_are_seconds() {
        for (seconds, nanos, text) in
            [(0, 0, "0s"), (1, 500_000_000, "1.500s"), (-1, -1, "-1.000000001s"), (0, -5_000, "-0.000005s")]
        {
            let duration = Duration { seconds, nanos };
            assert_eq!(duration.to_text().as_deref(), Some(text));
            assert_eq!(Duration::from_text(text), Some(duration), "{text}");
        }
        for bad in ["", "s", "1", "1.s", ".5s", "1e3s", "--1s", "999999999999s"] {
            assert_eq!(Duration::from_text(bad), None, "{bad}");
        }
        for (seconds, nanos) in [(1, -1), (-1, 1), (LONGEST + 1, 0), (0, NANOS), (i64::MIN, i32::MIN)] {
            assert_eq!(Duration { seconds, nanos }.to_text(), None);
        }
    }
}
