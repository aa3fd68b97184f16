//! What a pilot runs, and how an attempt ended.

use crate::id::{AttemptNumber, Digest, JobId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a pilot runs for a job. In a template its texts may hold parameters: see [`Plan::filled`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Program and arguments; no shell takes part.
    pub command: Vec<String>,
    /// Environment variables beside the pilot's own.
    pub environment: BTreeMap<String, String>,
    /// File that gets standard output.
    pub stdout: String,
    /// File that gets standard error.
    pub stderr: String,
    /// Names or patterns of files for the output sandbox.
    pub outputs: Vec<String>,
}

/// A `%` in a plan that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}`: `%{found}` means nothing here; write %(NAME)s for a parameter ({known}), %n, %j, or %% for a percent sign"
)]
pub struct BadParameter {
    text: String,
    found: String,
    known: String,
}

/// One job's parameters.
#[derive(Debug, Clone, Copy)]
pub struct Parameters<'a> {
    /// Named values.
    pub values: &'a BTreeMap<String, String>,
    /// The job's place in its template, from 0.
    pub row: u32,
    /// The job.
    pub job: JobId,
}

impl Parameters<'_> {
    /// Puts `%(name)s`, `%n` and `%j` in.
    ///
    /// ```
    /// use spinor_model::{id::JobId, plan::Parameters};
    /// let values = [("seed".to_owned(), "7".to_owned())].into();
    /// let parameters = Parameters { values: &values, row: 2, job: JobId(40) };
    /// assert_eq!(parameters.fill("s%(seed)s-%n-%j-100%%").unwrap(), "s7-2-40-100%");
    /// assert!(parameters.fill("%(sed)s").is_err());
    /// ```
    pub fn fill(&self, text: &str) -> Result<String, BadParameter> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            rest = self.fill_one(rest, &mut out).ok_or_else(|| self.bad(text, rest))?;
        }
        out.push_str(rest);
        Ok(out)
    }

    fn fill_one<'t>(&self, rest: &'t str, out: &mut String) -> Option<&'t str> {
        if let Some(named) = rest.strip_prefix('(') {
            let (name, rest) = named.split_once(")s")?;
            out.push_str(self.values.get(name)?);
            return Some(rest);
        }
        let mut chars = rest.chars();
        match chars.next()? {
            '%' => out.push('%'),
            'n' => out.push_str(&self.row.to_string()),
            'j' => out.push_str(&self.job.to_string()),
            _ => return None,
        }
        Some(chars.as_str())
    }

    fn bad(&self, text: &str, rest: &str) -> BadParameter {
        let known = self.values.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        BadParameter {
            text: text.chars().take(120).collect(),
            found: rest.chars().take(20).collect(),
            known: if known.is_empty() { "there are none".to_owned() } else { known },
        }
    }
}

impl Plan {
    /// The plan of one job, its parameters put in.
    pub fn filled(&self, parameters: Parameters<'_>) -> Result<Plan, BadParameter> {
        let fill =
            |texts: &[String]| texts.iter().map(|t| parameters.fill(t)).collect::<Result<_, _>>();
        Ok(Plan {
            command: fill(&self.command)?,
            environment: self
                .environment
                .iter()
                .map(|(name, value)| Ok((name.clone(), parameters.fill(value)?)))
                .collect::<Result<_, _>>()?,
            stdout: parameters.fill(&self.stdout)?,
            stderr: parameters.fill(&self.stderr)?,
            outputs: fill(&self.outputs)?,
        })
    }
}

/// How a payload ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum Ending {
    /// It exited with this code.
    Exited {
        /// Exit code.
        code: i32,
    },
    /// A signal ended it.
    Signalled {
        /// Signal number.
        signal: i32,
    },
    /// It overran its wall time.
    WallTime {
        /// The limit in seconds.
        limit: u64,
    },
    /// It overran its memory.
    Memory {
        /// The limit in MiB.
        limit: u64,
    },
    /// It could not be started.
    NotStarted {
        /// Why.
        reason: String,
    },
    /// The server or its owner wanted it ended.
    Killed,
    /// Its pilot is gone.
    Lost {
        /// How we know.
        reason: String,
    },
}

/// What an attempt used while it ran.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Consumption {
    /// Wall time, in seconds.
    pub wall_seconds: f64,
    /// User and system time of all processes, in seconds.
    pub cpu_seconds: f64,
    /// Highest resident memory of all processes together, in MiB.
    pub max_memory_mb: u64,
}

/// A pilot's report on an attempt that ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptResult {
    /// The job.
    pub job: JobId,
    /// Which attempt; an older one is refused.
    pub attempt: AttemptNumber,
    /// The secret that the claim handed out for this attempt.
    pub nonce: String,
    /// How the payload ended.
    pub ending: Ending,
    /// What it used.
    pub consumption: Consumption,
    /// The output sandbox, already uploaded.
    pub output: Option<Digest>,
    /// Outputs that the plan named and the payload did not leave.
    pub missing_outputs: Vec<String>,
    /// The last of standard output, at most 4 KiB.
    pub stdout_tail: String,
    /// The last of standard error, at most 4 KiB.
    pub stderr_tail: String,
}
