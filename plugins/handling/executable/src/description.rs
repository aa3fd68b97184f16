//! The description of an executable job, as people write it.

use crate::parameters::Parameter;
use serde::{Deserialize, Serialize};
use spinor_sdk::handling::{ParameterColumn, Rejection, read};
use spinor_sdk::{Error, Finding};
use std::collections::BTreeMap;

/// An executable job. Unknown fields are mistakes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// The job type it was submitted under; checked by the server.
    #[serde(rename = "type", default)]
    pub job_type: Option<String>,
    /// For people; may hold parameters.
    #[serde(default = "default_name")]
    pub name: String,
    /// A program of the input sandbox, or of the worker's PATH.
    pub executable: String,
    /// Its arguments; they may hold parameters.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// Environment variables.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Digests of input sandboxes that the client has uploaded.
    #[serde(default)]
    pub input_sandboxes: Vec<String>,
    /// Names or patterns of files to keep.
    #[serde(default)]
    pub output_sandbox: Vec<String>,
    /// Whether the job is good even if it made none of them.
    #[serde(default)]
    pub optional_outputs: bool,
    /// File that gets standard output.
    #[serde(default = "default_stdout")]
    pub stdout: String,
    /// File that gets standard error.
    #[serde(default = "default_stderr")]
    pub stderr: String,
    /// What it asks of its slot; the server knows the vocabulary.
    #[serde(default)]
    pub requirements: Option<serde_json::Value>,
    /// 0 (background) to 10 (goes ahead).
    #[serde(default = "default_priority")]
    pub priority: u8,
    /// Exit codes after which it is tried again.
    #[serde(default)]
    pub retry_exit_codes: Vec<i32>,
    /// A job for each row of values.
    #[serde(default)]
    pub parameters: BTreeMap<String, Parameter>,
}

fn default_name() -> String {
    "unnamed".to_owned()
}

fn default_stdout() -> String {
    "std.out".to_owned()
}

fn default_stderr() -> String {
    "std.err".to_owned()
}

fn default_priority() -> u8 {
    1
}

/// Something wrong at a JSON pointer.
pub fn finding(field: &str, value: impl ToString, message: impl Into<String>) -> Finding {
    let value = value.to_string().chars().take(200).collect();
    Finding { field: field.to_owned(), value, message: message.into() }
}

impl Description {
    /// Reads and checks what somebody wrote.
    pub fn parse(text: &str) -> Result<Self, Rejection> {
        let description: Self = read(text)?;
        let findings = description.findings();
        if findings.is_empty() { Ok(description) } else { Err(Rejection::Findings(findings)) }
    }

    /// Reads back what `to_json` wrote.
    pub fn stored(template: &str) -> Result<Self, Error> {
        serde_json::from_str(template).map_err(|error| Error::Invalid(error.to_string()))
    }

    /// The normalised description.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The parameters as columns of equal length, at most `max` jobs.
    pub fn columns(&self, max: u32) -> Result<Vec<ParameterColumn>, Rejection> {
        let mut columns = Vec::new();
        for (name, parameter) in &self.parameters {
            let values = parameter.values(max).map_err(|message| {
                let field = format!("/parameters/{name}");
                Rejection::Findings(vec![finding(&field, parameter, message)])
            })?;
            columns.push(ParameterColumn { name: name.clone(), values });
        }
        let lengths: Vec<String> =
            columns.iter().map(|c| format!("{} has {}", c.name, c.values.len())).collect();
        if columns.windows(2).any(|pair| pair[0].values.len() != pair[1].values.len()) {
            let message = "differ in length: give each parameter as many values";
            return Err(Rejection::Findings(vec![finding(
                "/parameters",
                lengths.join(", "),
                message,
            )]));
        }
        Ok(columns)
    }

    fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if self.executable.is_empty() {
            findings.push(finding("/executable", "\"\"", "is empty: name the program to run"));
        }
        if self.priority > 10 {
            findings.push(finding("/priority", self.priority, "is above 10: give 0 to 10"));
        }
        for (field, name) in [("/stdout", &self.stdout), ("/stderr", &self.stderr)] {
            if name.is_empty() || name.contains('/') || name.starts_with('.') {
                findings.push(finding(field, name, "is no plain file name"));
            }
        }
        for (i, name) in self.output_sandbox.iter().enumerate() {
            if name.starts_with('/') || name.split('/').any(|part| part == "..") {
                let message = "leads out of the job's directory: name files inside it";
                findings.push(finding(&format!("/output_sandbox/{i}"), name, message));
            }
        }
        findings
    }
}
