//! What a pilot and the server say to each other, in JSON over HTTP.
//!
//! | request | answer |
//! |---|---|
//! | `POST /api/pilots/start` [`Start`] | [`Started`] |
//! | `POST /api/pilots/match` [`Match`] | [`Matched`] |
//! | `POST /api/pilots/heartbeat` [`Heartbeat`] | [`HeartbeatAnswer`] |
//! | `POST /api/pilots/result` [`crate::plan::AttemptResult`] | [`ResultTaken`] |
//! | `POST /api/pilots/end` | nothing |

use crate::{
    id::{AttemptNumber, Digest, GroupName, JobId, Stamp, UserName},
    image::Image,
    plan::Plan,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Version of this protocol. A server speaks its own and the one before.
pub const PROTOCOL: u32 = 1;

/// A pilot shows its secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Start {
    /// [`PROTOCOL`] of the pilot.
    pub protocol: u32,
    /// Its name.
    pub stamp: Stamp,
    /// Its secret, which works once.
    pub secret: String,
    /// Chosen by the pilot for this one use of the secret, so that it can repeat the request.
    pub start: String,
    /// The machine that it is on, as that calls itself.
    #[serde(default)]
    pub node: String,
}

/// A pilot may work.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Started {
    /// Its token from now on.
    pub token: String,
    /// Seconds between heartbeats.
    pub heartbeat_seconds: f64,
    /// Seconds between questions of an idle pilot.
    pub poll_seconds: f64,
    /// Seconds after which an idle pilot ends.
    pub idle_seconds: f64,
}

/// What a pilot has free.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Match {
    /// Free cores.
    pub cores: u32,
    /// Free memory in MiB.
    pub memory_mb: u64,
    /// Free GPUs.
    #[serde(default)]
    pub gpus: u32,
    /// Free scratch space in MiB.
    #[serde(default)]
    pub scratch_mb: u64,
    /// Seconds it will still live.
    pub wall_time: u64,
    /// As `uname -m` says.
    pub architecture: String,
    /// What its slot is known for.
    #[serde(default)]
    pub tags: BTreeSet<String>,
    /// Whatever else a rule may look at.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// Whose jobs it runs, if any: it takes no others beside them, unless it `mixes`.
    pub owner: Option<UserName>,
    /// Whether it keeps payloads apart, and takes jobs of several owners.
    #[serde(default)]
    pub mixes: bool,
    /// What it knows that it holds. A job that it was given and does not name is given again: the
    /// answer was lost.
    pub holds: Vec<(JobId, AttemptNumber)>,
}

/// Jobs for a pilot.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Matched {
    /// To be run now, all at once.
    pub jobs: Vec<Assignment>,
}

/// A job that a pilot must run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Assignment {
    /// The job.
    pub job: JobId,
    /// The attempt.
    pub attempt: AttemptNumber,
    /// The attempt's secret, which its result must show.
    pub nonce: String,
    /// Whose it is.
    pub owner: UserName,
    /// Whose it is.
    pub group: GroupName,
    /// Cores it gets.
    pub cores: u32,
    /// GPUs it gets.
    #[serde(default)]
    pub gpus: u32,
    /// Memory it holds, in MiB.
    pub memory_mb: u64,
    /// Memory it is ended for exceeding, in MiB.
    pub memory_limit_mb: u64,
    /// Seconds it is ended after.
    pub wall_time: u64,
    /// Scratch space it holds, in MiB.
    #[serde(default)]
    pub scratch_mb: u64,
    /// What to run.
    pub plan: Plan,
    /// The container image to run it in.
    #[serde(default)]
    pub image: Option<Image>,
    /// Input sandboxes, to be fetched and unpacked.
    pub sandboxes: Vec<Digest>,
    /// The payload's own token.
    pub token: String,
    /// Whether the payload gets a token for data: see [`DataToken`].
    #[serde(default)]
    pub data_token: bool,
    /// Whether the payload gets a proxy: see [`PayloadProxy`].
    #[serde(default)]
    pub proxy: bool,
}

/// A token of the community's, which a payload shows to storage.
#[derive(Clone, Serialize, Deserialize)]
pub struct DataToken {
    /// It.
    pub access_token: String,
    /// Seconds that are left of its life.
    pub expires_in: u64,
}

/// A proxy of the community's, which a payload shows to storage.
#[derive(Clone, Serialize, Deserialize)]
pub struct PayloadProxy {
    /// Certificate, key and chain, in PEM.
    pub pem: String,
    /// Seconds that are left of its life.
    pub expires_in: u64,
}

/// A pilot tells of its jobs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Heartbeat {
    /// What runs.
    pub jobs: Vec<Beat>,
}

/// What a pilot tells of a running job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Beat {
    /// The job.
    pub job: JobId,
    /// The attempt.
    pub attempt: AttemptNumber,
    /// The last of standard output so far, at most 2 KiB.
    pub stdout_tail: String,
}

/// What a pilot should do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HeartbeatAnswer {
    /// For each job it told of, in order.
    pub jobs: Vec<JobOrder>,
    /// Take no more work, and end when what runs has ended.
    #[serde(default)]
    pub drain: bool,
}

/// What a pilot should do with a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub enum JobOrder {
    /// Go on, with this token for the payload from now on.
    Continue {
        /// The payload's token.
        token: String,
    },
    /// End it.
    Kill,
}

/// A result was taken.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ResultTaken {
    /// Whether it had been taken before.
    pub repeated: bool,
    /// Whether it is the job's result; one that is not counts for accounting alone.
    pub counts: bool,
}
