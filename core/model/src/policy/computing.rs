use super::{Effectful, PolicyError};
use crate::id::{QueueName, Stamp};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// A pilot's secret on its way to the host's capabilities; never shown, never seen by a guest.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Placeholder(pub String);

impl fmt::Debug for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{{pilot-secret}}")
    }
}

impl Placeholder {
    /// What guests write in place of a pilot's secret; the host puts the secret in.
    pub fn mark(stamp: &Stamp) -> String {
        format!("{{{{pilot-secret:{stamp}}}}}")
    }
}

/// A pilot to bring to a queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PilotRequest {
    /// Its name for ever.
    pub stamp: Stamp,
    /// Where.
    pub queue: QueueName,
    /// What the CE is asked for.
    pub cores: u32,
    /// MiB.
    pub memory_mb: u64,
    /// Seconds.
    pub wall_time: u64,
    /// Whatever else it is asked for: the queue's attributes, and `gpus` and `scratch-mib` where it has them.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// The pilot's configuration, with [`Placeholder::mark`] for its secret.
    pub configuration: String,
    /// The secret itself.
    #[serde(skip)]
    pub secret: Placeholder,
}

/// What happened to one submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submission {
    /// It is at the CE under this reference.
    Submitted(String),
    /// Surely not.
    Refused(String),
    /// Perhaps; `find` settles it.
    Unknown(String),
}

/// What a CE says of a pilot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PilotStatus {
    /// In the CE's queue.
    Waiting,
    /// Running.
    Running,
    /// Ended well.
    Done,
    /// Ended badly.
    Failed(String),
    /// Removed.
    Aborted(String),
    /// The CE does not know.
    Unknown(String),
}

/// Which of a pilot's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PilotStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The CE's own log.
    Log,
}

impl PilotStream {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Stdout, Self::Stderr, Self::Log];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Log => "log",
        }
    }
}

/// Room as a CE tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// Which queue.
    pub queue: QueueName,
    /// Pilots it would take now, if it can say.
    pub free: Option<u32>,
    /// Pilots that wait there, if it can say.
    pub waiting: Option<u32>,
}

/// A file beside pilots.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpoolFile {
    /// Whose it is; nobody's, if it is for all pilots.
    pub pilot: Option<Stamp>,
    /// Digits, letters and dots.
    pub name: String,
}

/// Files beside pilots, through the CE's own channel.
#[async_trait]
pub trait Spool: Send + Sync {
    /// Requests of pilots, answers to them, and files for all pilots, with their bytes.
    async fn list(&self) -> Result<Vec<(SpoolFile, u64)>, PolicyError>;

    /// Part of a file; less than `max` bytes where it ends.
    async fn read(&self, file: &SpoolFile, offset: u64, max: u32) -> Result<Vec<u8>, PolicyError>;

    /// Writes part of a file; at offset 0 it is made, or made anew.
    async fn write(
        &self,
        file: &SpoolFile,
        offset: u64,
        content: Vec<u8>,
    ) -> Result<(), PolicyError>;

    /// Takes a file away, if it is there.
    async fn remove(&self, file: &SpoolFile) -> Result<(), PolicyError>;
}

/// Brings pilots to a CE. Every answer is per item, in the order asked.
#[async_trait]
pub trait ComputingBackend: Effectful {
    /// Its files beside pilots, if it carries any.
    fn spool(&self) -> Option<&dyn Spool> {
        None
    }

    /// Room in these queues.
    async fn capacity(&self, queues: &[QueueName]) -> Result<Vec<Room>, PolicyError>;

    /// Submits. Each stamp is submitted once.
    async fn submit(&self, pilots: &[PilotRequest]) -> Result<Vec<Submission>, PolicyError>;

    /// References of stamps that reached the CE.
    async fn find(&self, stamps: &[Stamp]) -> Result<Vec<Option<String>>, PolicyError>;

    /// States.
    async fn status(&self, references: &[String]) -> Result<Vec<PilotStatus>, PolicyError>;

    /// Ends pilots; an item's text says why it could not.
    async fn cancel(&self, references: &[String]) -> Result<Vec<Option<String>>, PolicyError>;

    /// Part of what a pilot wrote.
    async fn output(
        &self,
        reference: &str,
        stream: PilotStream,
        offset: u64,
        max: u32,
    ) -> Result<Vec<u8>, PolicyError>;

    /// Frees what the CE keeps; an item's text says why it could not.
    async fn clean(&self, references: &[String]) -> Result<Vec<Option<String>>, PolicyError>;
}
