//! Times as accounting writes them.

use jiff::Timestamp;

fn time(milliseconds: u64) -> Timestamp {
    let milliseconds = i64::try_from(milliseconds).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::MAX)
}

/// `usage-2026-11.jsonl`, by the month of the record's end in UTC.
pub fn file_name(prefix: &str, milliseconds: u64) -> String {
    format!("{prefix}-{}.jsonl", time(milliseconds).strftime("%Y-%m"))
}

/// `2026-11-24T05:47:12.123Z`.
pub fn rfc3339(milliseconds: u64) -> String {
    format!("{:.3}", time(milliseconds))
}
