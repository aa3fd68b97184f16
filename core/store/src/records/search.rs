//! Searches by the columns that DIRAC's people know.

use crate::StoreError;
use serde_json::value::RawValue;
use spinor_model::id::VoName;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// A whole number.
    Number,
    /// A number with a fraction.
    Real,
    /// Text.
    Text,
    /// A moment.
    Time,
    /// Yes or no, as 1 or 0.
    Flag,
}

/// A column under the name that DIRAC's people know.
#[derive(Debug, PartialEq, Eq)]
pub struct Column {
    /// The name.
    pub name: &'static str,
    /// What it is in the database: a constant of ours.
    pub(crate) sql: &'static str,
    /// What it holds.
    pub kind: ColumnKind,
}

const fn column(name: &'static str, sql: &'static str, kind: ColumnKind) -> Column {
    Column { name, sql, kind }
}

use ColumnKind::{Flag, Number, Real, Text, Time};

/// Columns of jobs.
pub static JOB_COLUMNS: [Column; 21] = [
    column("JobID", "job_id", Number),
    column("JobType", "job_type", Text),
    column("JobGroup", "job_group", Text),
    column("Site", "site", Text),
    column("JobName", "name", Text),
    column("Owner", "owner", Text),
    column("OwnerGroup", "grp", Text),
    column("VO", "vo", Text),
    column("SubmissionTime", "submitted", Time),
    column("RescheduleTime", "rescheduled", Time),
    column("LastUpdateTime", "updated", Time),
    column("StartExecTime", "started", Time),
    column("HeartBeatTime", "heartbeat", Time),
    column("EndExecTime", "ended", Time),
    column("Status", "status", Text),
    column("MinorStatus", "minor_status", Text),
    column(
        "ApplicationStatus",
        "CASE application_status WHEN '' THEN 'Unknown' ELSE application_status END",
        Text,
    ),
    column("UserPriority", "priority", Number),
    column("RescheduleCounter", "reschedules", Number),
    column("VerifiedFlag", "CAST(1 AS BIGINT)", Flag),
    column(
        "AccountedFlag",
        "CASE WHEN status IN ('Done', 'Failed', 'Killed') THEN 'true' ELSE 'false' END",
        Text,
    ),
];

/// Columns of pilots.
pub static PILOT_COLUMNS: [Column; 16] = [
    column("PilotID", "pilot_id", Number),
    column("InitialJobID", "CAST(0 AS BIGINT)", Number),
    column("CurrentJobID", "current_job", Number),
    column("PilotJobReference", "reference", Text),
    column("PilotStamp", "stamp", Text),
    column("DestinationSite", "destination_site", Text),
    column("Queue", "queue", Text),
    column("GridSite", "grid_site", Text),
    column("VO", "vo", Text),
    column("GridType", "grid_type", Text),
    column("BenchMark", "benchmark", Real),
    column("SubmissionTime", "submitted", Time),
    column("LastUpdateTime", "updated", Time),
    column("Status", "status", Text),
    column("StatusReason", "status_reason", Text),
    column("AccountingSent", "accounting_sent", Flag),
];

/// What is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// Jobs.
    Jobs,
    /// Pilots, ours and others'.
    Pilots,
}

impl Table {
    /// Its columns.
    pub fn columns(self) -> &'static [Column] {
        match self {
            Self::Jobs => &JOB_COLUMNS,
            Self::Pilots => &PILOT_COLUMNS,
        }
    }

    /// A column by its name.
    pub fn column(self, name: &str) -> Option<&'static Column> {
        self.columns().iter().find(|column| column.name == name)
    }

    /// The column that tells its rows apart.
    pub fn key(self) -> &'static Column {
        &self.columns()[0]
    }
}

/// A value to compare with.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// A whole number, a moment or a flag.
    Number(i64),
    /// A number with a fraction.
    Real(f64),
    /// Text.
    Text(String),
}

/// What a column must say. A column that says nothing meets no condition.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// One of these, or none of them.
    In(Vec<Operand>, bool),
    /// More than this.
    Above(Operand),
    /// Less than this.
    Below(Operand),
    /// In one of these periods (first moment, first moment after), or in none of them.
    Within(Vec<(i64, i64)>, bool),
    /// Like this, or unlike: `%` is any text, `_` any character; case does not matter.
    Like(String, bool),
    /// The job ran, or runs, in one of these pilots.
    InPilots(Vec<String>),
    /// The pilot ran, or runs, one of these jobs.
    WithJobs(Vec<i64>),
}

/// A condition.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// Which column; of no account for pilots and their jobs.
    pub column: &'static Column,
    /// What it must say.
    pub test: Test,
}

/// A search.
#[derive(Debug, Clone)]
pub struct Search {
    /// In what.
    pub table: Table,
    /// Of which VO; of all, for operators.
    pub vo: Option<VoName>,
    /// All of these.
    pub conditions: Vec<Condition>,
    /// What to show.
    pub columns: Vec<&'static Column>,
    /// In which order, `true` for descending.
    pub sort: Vec<(&'static Column, bool)>,
    /// Equal rows once.
    pub distinct: bool,
    /// Rows left out at the beginning.
    pub offset: u64,
    /// At most so many.
    pub limit: u32,
}

/// Rows that were found, each with its values in the order of the search's columns: JSON as the database
/// wrote it, since most of it goes on to whoever asked as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rows {
    /// An array of arrays.
    json: String,
    count: usize,
}

impl Rows {
    pub(crate) fn new(json: String, count: usize) -> Self {
        Self { json, count }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Their values: a number, a text, or `null`; moments are milliseconds since 1970, flags 1 or 0.
    pub fn values(&self) -> Result<Vec<Vec<&RawValue>>, StoreError> {
        if self.count == 0 {
            return Ok(Vec::new());
        }
        let corrupt = |error: serde_json::Error| StoreError::Corrupt {
            what: "rows".to_owned(),
            why: error.to_string(),
        };
        serde_json::from_str(&self.json).map_err(corrupt)
    }
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Rows of this page.
    pub rows: Rows,
    /// Rows in all.
    pub total: u64,
}

/// How many there are of each combination of the search's columns.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counted {
    /// The combinations, each with its number as its last value.
    pub rows: Rows,
    /// Their sum.
    pub total: u64,
}
