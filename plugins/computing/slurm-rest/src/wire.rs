//! What goes to slurmrestd and comes from it.

use crate::Settings;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use spinor_sdk::{
    batch::names,
    computing::{Pilot, gpus},
};

/// Shapes of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// v0.0.36 to v0.0.38: plain numbers, the environment as a map.
    Flat,
    /// v0.0.39 to v0.0.42: numbers that say whether they are set, the environment as a list.
    Set,
}

impl Version {
    /// The shape that a version has.
    pub fn of(text: &str) -> Option<Self> {
        match text.strip_prefix("v0.0.")?.parse::<u32>().ok()? {
            36..=38 => Some(Self::Flat),
            39..=42 => Some(Self::Set),
            _ => None,
        }
    }

    fn number(self, number: u64) -> Value {
        match self {
            Self::Flat => json!(number),
            Self::Set => json!({"set": true, "number": number}),
        }
    }

    /// The body of a submission.
    pub fn job(self, settings: &Settings, pilot: &Pilot, script: &str) -> Vec<u8> {
        let directory = settings.directory.trim_end_matches('/');
        let file = |what: &str| names::file(directory, &pilot.stamp, what);
        let path = "/usr/local/bin:/usr/bin:/bin";
        let mut job = json!({
            "name": names::name(&pilot.stamp),
            "partition": pilot.queue,
            "tasks": 1,
            "cpus_per_task": pilot.cores,
            "memory_per_node": self.number(pilot.memory_mib),
            "time_limit": self.number(pilot.wall_seconds.div_ceil(60)),
            "current_working_directory": directory,
            "standard_output": file("out"),
            "standard_error": file("err"),
            "requeue": false,
        });
        job["environment"] = match self {
            Self::Flat => json!({"PATH": path}),
            Self::Set => json!([format!("PATH={path}")]),
        };
        let gpus = gpus(pilot);
        if gpus > 0 {
            let (name, amount) = match self {
                Self::Flat => ("gpus_per_node", gpus.to_string()),
                Self::Set => ("tres_per_node", format!("gres/gpu:{gpus}")),
            };
            job[name] = json!(amount);
        }
        if let Some(account) = &settings.account {
            job["account"] = json!(account);
        }
        json!({"script": script, "job": job}).to_string().into_bytes()
    }
}

/// An answer of any version.
#[derive(Debug, Deserialize)]
pub struct Answer {
    #[serde(skip)]
    status: u16,
    /// The new job.
    #[serde(default)]
    pub job_id: Option<u64>,
    /// Jobs.
    #[serde(default)]
    pub jobs: Vec<Job>,
    #[serde(default)]
    errors: Vec<Complaint>,
}

/// What an error is about, in one of several spellings.
#[derive(Debug, Deserialize)]
struct Complaint {
    #[serde(default, alias = "errno")]
    error_number: i64,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    description: Option<String>,
}

/// A job.
#[derive(Debug, Deserialize)]
pub struct Job {
    /// Its number.
    pub job_id: u64,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Whose.
    #[serde(default)]
    pub user_name: String,
    /// Where.
    #[serde(default)]
    pub partition: String,
    /// Why it waits, or failed.
    #[serde(default)]
    pub state_reason: String,
    #[serde(default, deserialize_with = "words")]
    job_state: Vec<String>,
}

fn words<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        One(String),
        Several(Vec<String>),
    }
    Ok(match Words::deserialize(input)? {
        Words::One(word) => vec![word],
        Words::Several(words) => words,
    })
}

impl Job {
    /// Its state: the first word; what follows are flags, e.g. `COMPLETING`.
    pub fn state(&self) -> String {
        self.job_state.first().cloned().unwrap_or_default()
    }
}

/// Slurm's `ESLURM_INVALID_JOB_ID`.
const INVALID_JOB: i64 = 2017;

/// Slurm's numbers for a controller that was not there in time, from `slurm_errno.h`: the communication
/// errors 1000 to 1999, and timeouts.
fn is_cut_off(number: i64) -> bool {
    (1000..2000).contains(&number) || matches!(number, 5004 | 110 | 111)
}

impl Answer {
    /// Reads a body. slurmrestd has bodies for errors too.
    pub fn read(status: u16, body: &[u8]) -> Result<Self, String> {
        let read: Result<Self, _> = serde_json::from_slice(body);
        let shown: String = String::from_utf8_lossy(body).chars().take(200).collect();
        let mut answer = read.map_err(|error| format!("HTTP {status}: {error}: {shown}"))?;
        answer.status = status;
        Ok(answer)
    }

    /// What is wrong, in words.
    pub fn trouble(&self) -> Option<String> {
        let text = |c: &Complaint| {
            let words = c.error.iter().chain(&c.description).cloned().collect::<Vec<_>>();
            format!("{} (error {})", words.join(": "), c.error_number)
        };
        let said = self.errors.iter().map(text).collect::<Vec<_>>().join("; ");
        match (self.status, said.is_empty()) {
            (200..300, true) => None,
            (status, true) => Some(format!("HTTP {status}")),
            // Its versions to 22.05 say no more than this of a token that is not taken.
            (status, false) if said.contains("Unspecified error") => {
                Some(format!("HTTP {status}: {said}: is the token good, and for this user?"))
            }
            (status, false) => Some(format!("HTTP {status}: {said}")),
        }
    }

    /// Whether a refusal means that nothing was done.
    pub fn is_sure(&self) -> bool {
        !self.errors.iter().any(|c| is_cut_off(c.error_number))
    }

    /// Whether it says that there is no such job.
    pub fn is_unknown_job(&self) -> bool {
        self.status == 404 || self.errors.iter().any(|c| c.error_number == INVALID_JOB)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &str) -> Answer {
        Answer::read(status, body.as_bytes()).unwrap()
    }

    #[test]
    fn both_shapes_say_the_same() {
        let old = read(
            200,
            r#"{"errors": [], "jobs": [{"job_id": 7, "name": "spinor-a", "job_state": "RUNNING", "state_reason": "None"}]}"#,
        );
        let new = read(
            200,
            r#"{"errors": [], "jobs": [{"job_id": 7, "name": "spinor-a", "job_state": ["RUNNING", "COMPLETING"], "state_reason": "None"}]}"#,
        );
        for answer in [old, new] {
            assert_eq!((answer.jobs[0].state().as_str(), answer.trouble()), ("RUNNING", None));
        }
    }

    #[test]
    fn errors_are_told_apart() {
        let unknown = read(
            500,
            r#"{"errors": [{"error_number": 2017, "error": "Invalid job id specified"}]}"#,
        );
        assert!(unknown.is_unknown_job() && unknown.is_sure());
        let token =
            read(500, r#"{"errors": [{"error_number": -1, "error": "Unspecified error"}]}"#);
        assert!(token.is_sure() && token.trouble().unwrap().contains("is the token good"));
        let down = read(
            500,
            r#"{"errors": [{"error_number": 1800, "error": "Unable to contact slurm controller (connect failure)"}]}"#,
        );
        assert!(!down.is_sure() && !down.is_unknown_job());
        assert!(Answer::read(502, b"<html>").is_err());
    }
}
