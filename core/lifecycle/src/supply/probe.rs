//! A CE is tried: asked, given one pilot, looked at.

use super::place::Place;
use crate::{Lifecycle, LifecycleError};
use spinor_model::{
    id::{CeName, QueueName, Stamp, VoName},
    policy::{ComputingBackend, Room, Submission},
};
use std::time::{Duration, Instant};

/// What was done, how long it took, and what came of it.
#[derive(Debug, Clone)]
pub struct Step {
    /// What.
    pub what: &'static str,
    /// How long.
    pub took: Duration,
    /// What the CE said, or why it said nothing.
    pub outcome: Result<String, String>,
}

/// How a CE was tried.
#[derive(Debug, Clone, Default)]
pub struct Probe {
    /// One after the other; after one that failed, none.
    pub steps: Vec<Step>,
    /// The pilot, if it is there. It is one like any other.
    pub stamp: Option<Stamp>,
}

impl Probe {
    fn note(&mut self, what: &'static str, since: Instant, outcome: Result<String, String>) {
        self.steps.push(Step { what, took: since.elapsed(), outcome });
    }
}

/// Why a CE cannot be tried.
#[derive(Debug, thiserror::Error)]
pub enum NoProbe {
    /// The document has no such queue.
    #[error("VO {0} has no queue {2} at a CE {1}")]
    NoQueue(VoName, CeName, QueueName),
    /// Something is missing or broken.
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
}

impl Lifecycle {
    /// Asks a CE how much room it has, and brings it a pilot, whether anything waits or not.
    pub async fn probe(
        &self,
        vo: &VoName,
        ce: &CeName,
        queue: &QueueName,
    ) -> Result<Probe, NoProbe> {
        let document = self.document(vo)?;
        let found = document.queues().find(|(c, q, _, _)| *c == ce && *q == queue);
        let (ce, name, queue, offer) =
            found.ok_or_else(|| NoProbe::NoQueue(vo.clone(), ce.clone(), queue.clone()))?;
        let backend = self.policies.backend(vo, ce, name).map_err(LifecycleError::from)?;
        let mut probe = Probe::default();
        let started = Instant::now();
        let rooms = backend.capacity(std::slice::from_ref(name)).await;
        let room = rooms.map(|rooms| rooms.first().map(words).unwrap_or_default());
        let good = room.is_ok();
        probe.note("ask for room", started, room.map_err(|error| error.to_string()));
        if good {
            let place = Place::one(&document, ce, name, queue, offer.class());
            if !place.push || self.probe_files(backend.as_ref(), &mut probe).await {
                self.send_probe(vo, &place, backend.as_ref(), &mut probe).await?;
            }
        }
        Ok(probe)
    }

    /// Whether files are carried, and the pilot program is there.
    async fn probe_files(&self, backend: &dyn ComputingBackend, probe: &mut Probe) -> bool {
        let started = Instant::now();
        let program = self.program_file();
        let outcome = match backend.spool() {
            None => Err(format!("{} carries none", backend.decider())),
            Some(spool) => match spool.list().await {
                Err(error) => Err(error.to_string()),
                Ok(listed) if listed.iter().any(|(file, _)| *file == program) => {
                    Ok("the pilot program is there".to_owned())
                }
                Ok(_) => Err("the pilot program is not there yet".to_owned()),
            },
        };
        let good = outcome.is_ok();
        probe.note("carry files", started, outcome);
        good
    }

    async fn send_probe(
        &self,
        vo: &VoName,
        place: &Place<'_>,
        backend: &dyn ComputingBackend,
        probe: &mut Probe,
    ) -> Result<(), LifecycleError> {
        let Some(request) = self.request(place) else { return Ok(()) };
        self.record(vo, place, backend.decider(), std::slice::from_ref(&request)).await?;
        let started = Instant::now();
        let answer = backend.submit(std::slice::from_ref(&request)).await;
        let answer = match answer.map(|answers| answers.into_iter().next()) {
            Ok(Some(answer)) => answer,
            Ok(None) => Submission::Unknown("no answer".to_owned()),
            Err(error) => Submission::Unknown(error.to_string()),
        };
        let outcome = match &answer {
            Submission::Submitted(reference) => Ok(format!("it is `{reference}` there")),
            Submission::Refused(why) => Err(why.clone()),
            Submission::Unknown(why) => Err(format!("{why}; it will be looked for")),
        };
        probe.stamp = Some(request.stamp.clone());
        probe.note("submit a pilot", started, outcome);
        self.submitted(&request.stamp, answer).await
    }
}

fn words(room: &Room) -> String {
    let count = |what: &str, count: Option<u32>| count.map(|count| format!("{count} {what}"));
    let told = [count("would be taken now", room.free), count("wait", room.waiting)];
    let told: Vec<String> = told.into_iter().flatten().collect();
    if told.is_empty() { "it does not say".to_owned() } else { told.join(", ") }
}
