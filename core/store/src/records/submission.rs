//! Submissions, and the queues that they lengthen.

use serde::Serialize;
use spinor_model::{
    id::{ClassId, Digest, GroupName, JobId, JobType, UserName, VoName},
    plan::Plan,
    policy::Decider,
    requirement::Requirement,
};
use std::collections::BTreeMap;

/// An admitted description on its way in.
#[derive(Debug, Clone)]
pub struct NewTemplate {
    /// Whose it is.
    pub vo: VoName,
    /// Whose it is.
    pub group: GroupName,
    /// Whose it is.
    pub owner: UserName,
    /// Its type.
    pub job_type: JobType,
    /// What was sent, if it was not a description of ours.
    pub source: String,
    /// The logical files that it names, in which parameters are still to be put.
    pub input_data: Vec<String>,
    /// For whom a robot submits; empty if its owner does.
    pub person: String,
    /// The times that it was asked for: with a key, a repeated submission is the same submission.
    pub times: Vec<Option<String>>,
    /// The normalised description.
    pub template: String,
    /// What its jobs run.
    pub plan: Plan,
    /// What its jobs ask for.
    pub requirement: Requirement,
    /// Who planned it.
    pub planned_by: Decider,
    /// 0 to 10.
    pub priority: u8,
    /// Input sandboxes.
    pub sandboxes: Vec<Digest>,
    /// Its jobs, each as often as it was asked for.
    pub jobs: Vec<NewJob>,
}

impl NewTemplate {
    /// How many jobs it brings.
    pub fn count(&self) -> usize {
        self.jobs.len() * self.times.len()
    }
}

/// A job on its way in.
#[derive(Debug, Clone, Serialize)]
pub struct NewJob {
    /// Its name, parameters put in.
    pub name: String,
    /// What its owner calls it together with others.
    pub job_group: String,
    /// Its parameters.
    pub parameters: BTreeMap<String, String>,
}

/// How many jobs of a VO may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// So many.
    pub max_waiting: u64,
    /// How many do, if that is known well enough: to count them takes as long as there are jobs.
    pub waiting: Option<u64>,
}

/// What became of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submission {
    /// All is in; `changes` is what the queues gained.
    Stored {
        /// The jobs of each template, of each time that it was asked for. What was in already, under the same keys,
        /// has the jobs that it had.
        jobs: Vec<Vec<Vec<JobId>>>,
        /// What the queues gained.
        changes: Vec<QueueChange>,
    },
    /// It would exceed the VO's limit of waiting jobs.
    OverQuota {
        /// Jobs that wait now.
        waiting: u64,
    },
    /// It names an input sandbox that nobody uploaded.
    NoSandbox(Digest),
}

/// Jobs that wait under one class for one owner.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct QueueKey {
    /// The class.
    pub class: ClassId,
    /// The owner.
    pub owner: UserName,
}

/// How a queue grew or shrank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueChange {
    /// The queue.
    pub queue: QueueKey,
    /// By how many jobs.
    pub delta: i64,
}
