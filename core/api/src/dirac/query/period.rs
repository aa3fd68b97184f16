//! A part of a date means the whole period: `2026-11` is all of November.

use jiff::{
    Span,
    civil::DateTime,
    tz::{Offset, TimeZone},
};

/// How exactly a date is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
    Millisecond,
}

/// From a moment on, up to another, in milliseconds since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// The first moment.
    pub from: i64,
    /// The first moment after.
    pub to: i64,
    /// How exactly it was said.
    pub resolution: Resolution,
}

/// Reads `YYYY[-MM[-DD[ HH[:MM[:SS[.ffffff]]]]]]`, with `T` for the blank, and `Z` or `+HH:MM` behind
/// what has a time; UTC if there is none.
pub fn period(text: &str) -> Option<Period> {
    let text = text.trim();
    let (date, time) = match text.split_once(['T', ' ']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let (time, offset) = match time {
        Some(time) => zone(time)?,
        None => ("", Offset::UTC),
    };
    let mut parts = date.splitn(3, '-');
    let year = number(parts.next()?, 4)?;
    let month = parts.next().map(|part| number(part, 2)).map_or(Some(None), |m| m.map(Some))?;
    let day = parts.next().map(|part| number(part, 2)).map_or(Some(None), |d| d.map(Some))?;
    if !time.is_empty() && day.is_none() {
        return None;
    }
    let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut clock = clock.split(':').filter(|part| !part.is_empty());
    let mut next = || clock.next().map(|part| number(part, 2)).map_or(Some(None), |n| n.map(Some));
    let (hour, minute, second) = (next()?, next()?, next()?);
    if clock.next().is_some() || (!fraction.is_empty() && second.is_none()) {
        return None;
    }
    let milliseconds = match fraction {
        "" => None,
        digits if digits.len() <= 9 && digits.chars().all(|c| c.is_ascii_digit()) => {
            Some(format!("{digits:0<3}").get(..3)?.parse::<i16>().ok()?)
        }
        _ => return None,
    };
    let (resolution, span) = match (month, day, hour, minute, second, milliseconds) {
        (None, ..) => (Resolution::Year, Span::new().years(1)),
        (_, None, ..) => (Resolution::Month, Span::new().months(1)),
        (_, _, None, ..) => (Resolution::Day, Span::new().days(1)),
        (_, _, _, None, ..) => (Resolution::Hour, Span::new().hours(1)),
        (_, _, _, _, None, _) => (Resolution::Minute, Span::new().minutes(1)),
        (_, _, _, _, _, None) => (Resolution::Second, Span::new().seconds(1)),
        _ => (Resolution::Millisecond, Span::new().milliseconds(1)),
    };
    let small =
        |part: Option<i16>, default: i8| part.map_or(Some(default), |n| i8::try_from(n).ok());
    let start = DateTime::new(
        year,
        small(month, 1)?,
        small(day, 1)?,
        small(hour, 0)?,
        small(minute, 0)?,
        small(second, 0)?,
        i32::from(milliseconds.unwrap_or(0)) * 1_000_000,
    )
    .ok()?;
    let end = start.checked_add(span).ok()?;
    let zone = TimeZone::fixed(offset);
    let moment = |at: DateTime| Some(zone.to_timestamp(at).ok()?.as_millisecond());
    Some(Period { from: moment(start)?, to: moment(end)?, resolution })
}

fn number(text: &str, digits: usize) -> Option<i16> {
    (text.len() == digits && text.chars().all(|c| c.is_ascii_digit())).then(|| text.parse().ok())?
}

/// A time without its zone, and the zone.
fn zone(time: &str) -> Option<(&str, Offset)> {
    if let Some(time) = time.strip_suffix(['Z', 'z']) {
        return Some((time, Offset::UTC));
    }
    let Some(at) = time.rfind(['+', '-']) else { return Some((time, Offset::UTC)) };
    let (time, zone) = time.split_at(at);
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let seconds = i32::from(number(hours, 2)?) * 3600 + i32::from(number(minutes, 2)?) * 60;
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    Some((time, Offset::from_seconds(sign * seconds).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bounds(text: &str) -> Option<(String, String)> {
        let shown = |ms| jiff::Timestamp::from_millisecond(ms).unwrap().to_string();
        period(text).map(|p| (shown(p.from), shown(p.to)))
    }

    #[test]
    fn a_part_is_the_whole_period() {
        for (text, from, to) in [
            ("2026", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("2024-02", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"),
            ("2026-12-31", "2026-12-31T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("2026-11-24 13", "2026-11-24T13:00:00Z", "2026-11-24T14:00:00Z"),
            ("2026-11-24T13:59", "2026-11-24T13:59:00Z", "2026-11-24T14:00:00Z"),
            ("2026-11-24T13:59:07Z", "2026-11-24T13:59:07Z", "2026-11-24T13:59:08Z"),
            ("2026-11-24T13:59:07.25", "2026-11-24T13:59:07.25Z", "2026-11-24T13:59:07.251Z"),
            ("2026-11-24T13:59:07+01:00", "2026-11-24T12:59:07Z", "2026-11-24T12:59:08Z"),
        ] {
            assert_eq!(bounds(text), Some((from.to_owned(), to.to_owned())), "{text}");
        }
        for wrong in
            ["", "yesterday", "26", "2026-13", "2026-1", "2026-02-30", "2026 13", "2026-11-24 25"]
        {
            assert_eq!(period(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "[0-9TZ: .+-]{0,32}") {
            let _ = period(&text);
        }
    }
}
