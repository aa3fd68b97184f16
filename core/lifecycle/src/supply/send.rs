//! Pilots are recorded, then sent.

use super::place::Place;
use crate::{Lifecycle, LifecycleError};
use spinor_identity::secret;
use spinor_model::{
    id::{Stamp, VoName},
    policy::{ComputingBackend, Decider, PilotRequest, Placeholder, PolicyError, Submission},
    registry::Queue,
    state::PilotState,
};
use spinor_store::NewPilot;

/// Pilots of one call to a backend, which has its deadline.
const AT_ONCE: usize = 50;

impl Lifecycle {
    /// Sends a queue what it gets; how many the CE may have got.
    pub(super) async fn send(&self, vo: &VoName, place: &Place<'_>) -> Result<u32, LifecycleError> {
        let (ce, queue, count) = (place.ce, place.name, place.wanted);
        let backend = self.policies.backend(vo, ce, queue);
        let Some(backend) = backend.ok().filter(|_| count > 0) else { return Ok(0) };
        tracing::info!(%vo, %ce, %queue, count, "sending pilots");
        let requests: Vec<PilotRequest> = (0..count).filter_map(|_| self.request(place)).collect();
        let mut sent = 0;
        for requests in requests.chunks(AT_ONCE) {
            match self.send_some(vo, place, backend.as_ref(), requests).await? {
                Ok((more, cut_off)) => {
                    sent += more;
                    if cut_off {
                        break;
                    }
                }
                Err(error) => {
                    tracing::warn!(%vo, %ce, %queue, %error, "sending pilots failed");
                    self.leave_alone((vo.clone(), ce.clone(), queue.clone()), "sending failed");
                    break;
                }
            }
        }
        Ok(sent)
    }

    /// They are recorded first, so that a crash loses none and doubles none. How many the CE may have
    /// got, and whether one was cut off.
    async fn send_some(
        &self,
        vo: &VoName,
        place: &Place<'_>,
        backend: &dyn ComputingBackend,
        requests: &[PilotRequest],
    ) -> Result<Result<(u32, bool), PolicyError>, LifecycleError> {
        self.record(vo, place, backend.decider(), requests).await?;
        let answers = match backend.submit(requests).await {
            Ok(answers) => answers,
            Err(error) => return Ok(Err(error)),
        };
        let cut_off = answers.iter().any(|answer| matches!(answer, Submission::Unknown(_)));
        let mut sent = 0;
        for (request, answer) in requests.iter().zip(answers) {
            sent += u32::from(!matches!(answer, Submission::Refused(_)));
            self.submitted(&request.stamp, answer).await?;
        }
        Ok(Ok((sent, cut_off)))
    }

    /// Records pilots that will be sent.
    pub(super) async fn record(
        &self,
        vo: &VoName,
        place: &Place<'_>,
        sent_by: &Decider,
        requests: &[PilotRequest],
    ) -> Result<(), LifecycleError> {
        let new = |request: &PilotRequest| NewPilot {
            stamp: request.stamp.clone(),
            vo: vo.clone(),
            site: place.offer.site.clone(),
            ce: place.ce.clone(),
            queue: place.name.clone(),
            cores: request.cores,
            wall_time: request.wall_time,
            secret_hash: secret::hash(&request.secret.0),
            sent_by: sent_by.clone(),
        };
        let pilots: Vec<NewPilot> = requests.iter().map(new).collect();
        Ok(self.store.add_pilots(&pilots, self.now()).await?)
    }

    pub(super) fn request(&self, place: &Place<'_>) -> Option<PilotRequest> {
        let Queue { cores, memory_mb, wall_time, gpus, scratch_mb, .. } = *place.queue;
        // A longer one might not be started before a downtime.
        let wall_time = place.until.map_or(wall_time, |until| wall_time.min(until));
        let stamp: Stamp = secret::fresh().get(..32)?.parse().ok()?;
        let configuration = serde_json::json!({
            "server": self.url,
            "others": **self.others.load(),
            "stamp": stamp,
            "secret": Placeholder::mark(&stamp),
            "push": place.push,
            "isolate": place.queue.isolate,
            "images": place.queue.images,
            "cores": cores,
            "overcommit": place.queue.overcommit,
            "memory_mb": memory_mb,
            "wall_time": wall_time,
            "gpus": gpus,
            "scratch_mb": scratch_mb,
            "tags": place.queue.told(),
            "image_directories": place.queue.image_directories,
            "attributes": place.queue.attributes,
            "program": {
                "url": format!("{}/api/pilots/program/{}", self.url, self.program),
                "sha256": self.program,
            },
        });
        Some(PilotRequest {
            stamp,
            queue: place.name.clone(),
            cores,
            memory_mb,
            wall_time,
            attributes: place.queue.asked(),
            configuration: configuration.to_string(),
            secret: Placeholder(secret::fresh()),
        })
    }

    pub(super) async fn submitted(
        &self,
        stamp: &Stamp,
        answer: Submission,
    ) -> Result<(), LifecycleError> {
        match answer {
            Submission::Submitted(reference) => {
                self.store.set_pilot_reference(stamp, &reference).await?;
            }
            Submission::Refused(why) => {
                tracing::warn!(%stamp, why, "a pilot was refused");
                self.bury(stamp, PilotState::Aborted, &why, "its pilot was refused").await?;
                if let Some(pilot) = self.store.pilot(stamp).await? {
                    self.note_pilot(&pilot, Some("it refused a pilot"));
                }
            }
            Submission::Unknown(why) => {
                tracing::warn!(%stamp, why, "a submission was cut off; it will be looked for");
            }
        }
        Ok(())
    }
}
