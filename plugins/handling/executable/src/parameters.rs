//! Parameters of a scan: a list of values, or a range of numbers.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Where a parameter's values come from.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Parameter {
    /// These values.
    List(Vec<serde_json::Value>),
    /// `count` numbers from `start` on, `step` apart.
    Range(Range),
}

/// An arithmetic sequence.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The first value.
    #[serde(default)]
    pub start: i64,
    /// The distance.
    #[serde(default = "one")]
    pub step: i64,
    /// How many.
    pub count: u32,
}

fn one() -> i64 {
    1
}

impl Parameter {
    /// The values as texts.
    pub fn values(&self, max: u32) -> Result<Vec<String>, String> {
        let count = match self {
            Self::List(values) => values.len(),
            Self::Range(range) => range.count as usize,
        };
        match count {
            0 => Err("has no values: leave it out, or give at least one".to_owned()),
            n if n > max as usize => {
                Err(format!("stands for {n} jobs, the VO allows {max} a submission: split it"))
            }
            _ => self.texts(),
        }
    }

    fn texts(&self) -> Result<Vec<String>, String> {
        match self {
            Self::List(values) => values.iter().map(text).collect(),
            Self::Range(Range { start, step, count }) => (0..i64::from(*count))
                .map(|i| step.checked_mul(i).and_then(|offset| start.checked_add(offset)))
                .map(|v| v.map(|v| v.to_string()).ok_or_else(|| "overflows 64 bits".to_owned()))
                .collect(),
        }
    }
}

fn text(value: &serde_json::Value) -> Result<String, String> {
    match value {
        serde_json::Value::String(text) => Ok(text.clone()),
        serde_json::Value::Number(number) => Ok(number.to_string()),
        serde_json::Value::Bool(flag) => Ok(flag.to_string()),
        other => Err(format!("holds {other}: values are texts, numbers, true or false")),
    }
}

impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).unwrap_or_default())
    }
}
