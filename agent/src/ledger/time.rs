//! Wall-clock time with nanoseconds, written as RFC 3339 in UTC.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

const DAY: u64 = 86_400;

/// Nanoseconds since 1970-01-01T00:00:00Z; reaches to the year 2554.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// The time now. A clock before 1970 reads as 1970.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Seconds since 1970.
    pub fn seconds(self) -> u64 {
        self.0 / 1_000_000_000
    }
}

/// The civil date of a day number since 1970: years begin in March, so the leap day is the last.
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468; // days from 0000-03-01 to 1970-01-01
    let era = shifted / 146_097; // of 400 years
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year_of_era + carry, month, day)
}

/// The day number since 1970 of a date of 1970 or later.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let year_of_era = year % 400;
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    (year / 400 * 146_097 + 365 * year_of_era + year_of_era / 4 - year_of_era / 100 + day_of_year)
        .checked_sub(719_468)
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date(self.seconds() / DAY);
        let second = self.seconds() % DAY;
        let (hour, minute, nanos) = (second / 3600, second / 60 % 60, self.0 % 1_000_000_000);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}.{nanos:09}Z", second % 60)
    }
}

/// The text is no time of the form `2026-11-21T10:00:00Z`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no time; write it as 2026-11-21T10:00:00Z")]
pub struct TimeError(String);

impl FromStr for Time {
    type Err = TimeError;

    /// UTC only; the fraction may have 1 to 9 digits or be missing, and so may the time of day.
    fn from_str(text: &str) -> Result<Self, TimeError> {
        parse(text).ok_or_else(|| TimeError(text.chars().take(64).collect()))
    }
}

fn parse(text: &str) -> Option<Time> {
    let (date, clock) = match text.split_once('T') {
        Some((date, clock)) => (date, clock.strip_suffix('Z')?),
        None => (text, "00:00:00"),
    };
    let (clock, fraction) = match clock.split_once('.') {
        Some((clock, fraction)) => (clock, fraction),
        None => (clock, "0"),
    };
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    let digits = u32::try_from(fraction.len()).ok().filter(|n| (1..=9).contains(n))?;
    let nanos = number(fraction)? * 10u64.pow(9 - digits);
    let day = (1..=12)
        .contains(&month)
        .then(|| days(year, month, day))
        .flatten()
        .filter(|n| self::date(*n) == (year, month, day))?;
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = day * DAY + hour * 3600 + minute * 60 + second;
    Some(Time(seconds.checked_mul(1_000_000_000)?.checked_add(nanos)?))
}

fn numbers(text: &str, separator: char, widths: [usize; 3]) -> Option<[u64; 3]> {
    let mut parts = text.split(separator);
    let mut found = [0; 3];
    for (slot, width) in found.iter_mut().zip(widths) {
        *slot = number(parts.next().filter(|part| part.len() == width)?)?;
    }
    parts.next().is_none().then_some(found)
}

fn number(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

impl serde::Serialize for Time {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Time {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_times() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_400, "2000-02-29T00:00:00"),
            (951_868_799, "2000-02-29T23:59:59"),
            (1_767_225_599, "2025-12-31T23:59:59"),
            (4_107_542_400, "2100-03-01T00:00:00"),
        ] {
            assert_eq!(Time(seconds * 1_000_000_000).to_string(), format!("{text}.000000000Z"));
            assert_eq!(format!("{text}Z").parse(), Ok(Time(seconds * 1_000_000_000)));
        }
        assert_eq!("2026-11-21".parse::<Time>().unwrap().to_string(), "2026-11-21T00:00:00.000000000Z");
        assert_eq!("1970-01-01T00:00:01.5Z".parse(), Ok(Time(1_500_000_000)));
    }

    #[test]
    fn no_times() {
        for text in [
            "",
            "T",
            "Z",
            "now",
            "2026-11-21T10:00:00",
            "2026-11-21T10:00:00+01:00",
            "2026-02-30T00:00:00Z",
            "2025-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-1-1T0:0:0Z",
            "+026-01-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00.1234567890Z",
            "9999-01-01T00:00:00Z",
            "0000-01-01",
            "2026-01-01T00:00:00.１Z",
            "2026-01-01-01T00:00:00Z",
        ] {
            assert!(text.parse::<Time>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_time_comes_back(nanos: u64) {
            prop_assert_eq!(Time(nanos).to_string().parse(), Ok(Time(nanos)));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _parsed = text.parse::<Time>();
        }
    }
}
