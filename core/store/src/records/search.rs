//! Searches by the columns that DIRAC's people know.

use serde::{Deserialize, Deserializer, de::Visitor};
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
    column("ApplicationStatus", "application_status", Text),
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

/// A value that was found.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A whole number, a moment or a flag, as the column's kind says.
    Number(i64),
    /// A number with a fraction.
    Real(f64),
    /// Text.
    Text(String),
}

impl Found {
    /// A whole number as one with a fraction.
    pub(crate) fn widen(&mut self) {
        if let Self::Number(number) = self {
            *self = Self::Real(*number as f64);
        }
    }
}

impl<'de> Deserialize<'de> for Found {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Found;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a value of a column")
            }

            fn visit_unit<E>(self) -> Result<Found, E> {
                Ok(Found::Nothing)
            }

            fn visit_i64<E>(self, number: i64) -> Result<Found, E> {
                Ok(Found::Number(number))
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Found, E> {
                i64::try_from(number).map(Found::Number).map_err(E::custom)
            }

            fn visit_f64<E>(self, number: f64) -> Result<Found, E> {
                Ok(Found::Real(number))
            }

            fn visit_str<E>(self, text: &str) -> Result<Found, E> {
                Ok(Found::Text(text.to_owned()))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// What a search found.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// Rows of this page, with values in the order of the search's columns.
    pub rows: Vec<Vec<Found>>,
    /// Rows in all.
    pub total: u64,
}
