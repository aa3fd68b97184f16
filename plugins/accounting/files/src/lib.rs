//! Usage records as JSON Lines, a file a month, in the directory that the operator granted.
//!
//! Records of a VO come in order of their sequence, so the last line of a file says which have been
//! stored: a repeated record is skipped, and a line torn by a crash is cut off and written anew.

mod month;

use spinor_sdk::accounting::directory::{self, DirectoryError};
use spinor_sdk::accounting::{Ack, Sink, UsageRecord};
use spinor_sdk::{Card, Error, Finding, Plugin, plugin_card, schemars};

/// The plugin.
pub struct Files;

/// Its settings.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// What file names begin with, before `-2026-11.jsonl`.
    prefix: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { prefix: "usage".to_owned() }
    }
}

impl Plugin for Files {
    type Settings = Settings;
    const CARD: Card = plugin_card!(
        "accounting/files",
        "usage records as JSON Lines, a file a month",
        ["directory"]
    );

    fn check(settings: &Settings) -> Vec<Finding> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if !settings.prefix.is_empty() && settings.prefix.chars().all(plain) {
            return Vec::new();
        }
        vec![Finding {
            field: "/prefix".to_owned(),
            value: format!("\"{}\"", settings.prefix),
            message: "must be letters, digits, dots, hyphens or underscores".to_owned(),
        }]
    }
}

impl Sink for Files {
    fn deliver(settings: &Settings, records: Vec<UsageRecord>) -> Result<Vec<Ack>, Error> {
        let mut acks = Vec::with_capacity(records.len());
        let name = |record: &UsageRecord| month::file_name(&settings.prefix, record.ended);
        for records in records.chunk_by(|a, b| name(a) == name(b)) {
            let file = name(&records[0]);
            let stored = last_sequence(&GrantedDirectory, &file).map_err(error)?;
            acks.extend(append(&GrantedDirectory, &file, stored, records).map_err(error)?);
        }
        Ok(acks)
    }
}

/// What the sink needs of the host, so that tests can stand in for it.
trait Directory {
    fn size(&self, file: &str) -> Result<u64, DirectoryError>;
    fn read(&self, file: &str, offset: u64, max: u32) -> Result<Vec<u8>, DirectoryError>;
    fn append(&self, file: &str, content: &[u8]) -> Result<(), DirectoryError>;
    fn truncate(&self, file: &str, size: u64) -> Result<(), DirectoryError>;
}

struct GrantedDirectory;

impl Directory for GrantedDirectory {
    fn size(&self, file: &str) -> Result<u64, DirectoryError> {
        directory::size(file)
    }
    fn read(&self, file: &str, offset: u64, max: u32) -> Result<Vec<u8>, DirectoryError> {
        directory::read(file, offset, max)
    }
    fn append(&self, file: &str, content: &[u8]) -> Result<(), DirectoryError> {
        directory::append(file, content)
    }
    fn truncate(&self, file: &str, size: u64) -> Result<(), DirectoryError> {
        directory::truncate(file, size)
    }
}

/// No line is longer.
const TAIL: u64 = 64 * 1024;

/// The sequence of the last whole line; a torn one behind it is cut off.
fn last_sequence(directory: &impl Directory, file: &str) -> Result<u64, DirectoryError> {
    let size = match directory.size(file) {
        Ok(0) | Err(DirectoryError::NotFound) => return Ok(0),
        other => other?,
    };
    let from = size.saturating_sub(TAIL);
    let tail = directory.read(file, from, TAIL as u32)?;
    let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    if whole < tail.len() {
        directory.truncate(file, from + whole as u64)?;
    }
    let lines = &tail[..whole.saturating_sub(1)];
    let last = lines.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    if last.is_empty() {
        return Ok(0);
    }
    let line: serde_json::Value = serde_json::from_slice(last)
        .map_err(|error| DirectoryError::Other(format!("{file}: last line: {error}")))?;
    let sequence = line["sequence"].as_u64();
    sequence.ok_or_else(|| DirectoryError::Other(format!("{file}: last line has no sequence")))
}

fn append(
    directory: &impl Directory,
    file: &str,
    stored: u64,
    records: &[UsageRecord],
) -> Result<Vec<Ack>, DirectoryError> {
    let mut lines = Vec::new();
    let mut acks = Vec::with_capacity(records.len());
    for record in records {
        if record.sequence <= stored {
            acks.push(Ack::Repeated);
            continue;
        }
        lines.extend_from_slice(line(record).to_string().as_bytes());
        lines.push(b'\n');
        acks.push(Ack::Stored);
    }
    if !lines.is_empty() {
        directory.append(file, &lines)?;
    }
    Ok(acks)
}

fn line(record: &UsageRecord) -> serde_json::Value {
    let attributes = record.attributes.iter().map(|a| (a.name.clone(), a.value.clone().into()));
    serde_json::json!({
        "id": record.id,
        "sequence": record.sequence,
        "vo": record.vo,
        "group": record.group,
        "owner": record.owner,
        "job": record.job,
        "attempt": record.attempt,
        "job_type": record.job_type,
        "site": record.site,
        "ce": record.ce,
        "status": record.status,
        "cores": record.cores,
        "started": month::rfc3339(record.started),
        "ended": month::rfc3339(record.ended),
        "wall_seconds": record.wall_seconds,
        "cpu_seconds": record.cpu_seconds,
        "max_memory_mib": record.max_memory_mib,
        "attributes": serde_json::Map::from_iter(attributes),
    })
}

fn error(error: DirectoryError) -> Error {
    match error {
        DirectoryError::Denied(text) => Error::Settings(text),
        DirectoryError::NotFound => Error::Other("a file vanished".to_owned()),
        DirectoryError::Quota(text) => Error::Unavailable(text),
        DirectoryError::Other(text) => Error::Unavailable(text),
    }
}

spinor_sdk::export_sink!(Files);

#[cfg(test)]
mod tests;
