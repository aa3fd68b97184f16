use super::{Decider, Delivery, PilotRequest, PolicyError};
use crate::id::{Digest, QueueName, Stamp};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// A policy that acts on the world.
#[async_trait]
pub trait Effectful: Send + Sync {
    /// Who acts.
    fn decider(&self) -> &Decider;

    /// Does to recorded exchanges with the world what it would do out there: the answer to each item.
    async fn again(
        &self,
        effect: &Effect,
        exchanges: &[Exchange],
    ) -> Result<Vec<String>, PolicyError>;
}

/// What an effectful policy is asked to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Room in these queues?
    Capacity(Vec<QueueName>),
    /// Bring these pilots.
    Submit(Vec<PilotRequest>),
    /// Are these there?
    Find(Vec<Stamp>),
    /// How are they?
    Status(Vec<String>),
    /// End them.
    Cancel(Vec<String>),
    /// Free what is kept of them.
    Clean(Vec<String>),
    /// Store these records.
    Deliver(Vec<Delivery>),
}

impl Effect {
    /// Its name, as the contract has it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Capacity(_) => "capacity",
            Self::Submit(_) => "submit",
            Self::Find(_) => "find",
            Self::Status(_) => "status",
            Self::Cancel(_) => "cancel",
            Self::Clean(_) => "clean",
            Self::Deliver(_) => "deliver",
        }
    }
}

/// A question to the world through a capability, and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// Capability and function, e.g. `http.send`.
    pub call: String,
    /// Tells questions apart.
    pub asked: Digest,
    /// The answer as JSON.
    pub answered: String,
}
