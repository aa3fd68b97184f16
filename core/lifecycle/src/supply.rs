//! Demand gets pilots: what could run where, minus what is on its way, over all queues together.

use crate::{Lifecycle, LifecycleError, lock};
use spinor_identity::secret;
use spinor_model::{
    id::{CeName, ClassId, QueueName, Stamp, VoName},
    offer::Offer,
    policy::{ComputingBackend, Decider, PilotRequest, PilotStatus, Placeholder, Submission},
    registry::{Queue, VoDocument},
    state::PilotState,
    time::Timestamp,
};
use spinor_store::{NewPilot, PilotRecord};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

/// Queues whose pilots found no work, or that refused some.
pub type Backoffs = HashMap<(VoName, CeName, QueueName), Backoff>;

/// How long to leave a queue alone.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    failures: u32,
    until: Timestamp,
}

const FIRST_BACKOFF: Duration = Duration::from_secs(5);
const MAX_BACKOFF: Duration = Duration::from_secs(600);

/// A submission that is not heard of for so long is looked for.
const FIND_AFTER: Duration = Duration::from_secs(10);

/// What an ended pilot left at its CE is kept so long.
const CLEAN_AFTER: Duration = Duration::from_secs(600);

/// A queue as supply sees it.
struct Place<'a> {
    ce: &'a CeName,
    name: &'a QueueName,
    queue: &'a Queue,
    offer: Offer,
    /// The rule that judged the offer.
    decider: Decider,
}

impl Lifecycle {
    /// One round of supply for every VO. A VO's trouble is its own.
    pub async fn supply(&self) -> Result<(), LifecycleError> {
        for document in self.documents().values() {
            if let Err(error) = self.supply_vo(document).await {
                tracing::warn!(vo = %document.vo, %error, "no pilots were sent");
            }
        }
        Ok(())
    }

    async fn supply_vo(&self, document: &Arc<VoDocument>) -> Result<(), LifecycleError> {
        let vo = &document.vo;
        let pilots = self.store.pilots(Some(vo), false).await?;
        self.follow(vo, &pilots).await?;
        let mut unmet = self.waiting(vo);
        if unmet.is_empty() {
            return Ok(());
        }
        let pilots = self.store.pilots(Some(vo), false).await?;
        let places = self.places(document).await?;
        for place in &places {
            let coming = pilots.iter().filter(|pilot| {
                pilot.ce == *place.ce && pilot.queue == *place.name && pilot.status.is_on_its_way()
            });
            let coming = u64::try_from(coming.count()).unwrap_or(u64::MAX);
            self.take_from(&mut unmet, vo, place, coming);
        }
        for place in &places {
            let here =
                pilots.iter().filter(|p| p.ce == *place.ce && p.queue == *place.name).count();
            let room =
                place.queue.max_pilots.saturating_sub(u32::try_from(here).unwrap_or(u32::MAX));
            let wanted = self.take_from(&mut unmet, vo, place, room.into());
            let wanted = u32::try_from(wanted).unwrap_or(u32::MAX).min(room);
            if wanted > 0 && !self.backs_off(vo, place) {
                self.send(vo, place, wanted).await?;
            }
        }
        Ok(())
    }

    /// Queues that may get pilots, with their offers judged by the rule.
    async fn places<'a>(&self, document: &'a VoDocument) -> Result<Vec<Place<'a>>, LifecycleError> {
        let mut places = Vec::new();
        for (ce, name, queue, offer) in document.queues() {
            let open = document.sites.get(&offer.site).is_some_and(|site| !site.banned);
            if !open || self.policies.backend(&document.vo, ce, name).is_err() {
                continue;
            }
            let offer = offer.class();
            let rule = self.judged(&document.vo, &offer, None).await?;
            places.push(Place { ce, name, queue, offer, decider: rule.decider().clone() });
        }
        Ok(places)
    }

    /// Takes from the demand what at most `most` pilots of a queue would serve; how many it takes.
    fn take_from(
        &self,
        unmet: &mut BTreeMap<ClassId, u64>,
        vo: &VoName,
        place: &Place<'_>,
        most: u64,
    ) -> u64 {
        let capacity = most * u64::from(place.queue.cores);
        let mut served = 0;
        for candidate in lock(&self.index).accepted(vo, &place.offer, &place.decider) {
            let cores = u64::from(candidate.class.requirement.cpu.num_cores.min);
            let Some(jobs) = unmet.get_mut(&candidate.class.id) else { continue };
            let taken = (*jobs).min((capacity - served) / cores.max(1));
            *jobs -= taken;
            served += taken * cores;
        }
        served.div_ceil(u64::from(place.queue.cores))
    }

    fn backs_off(&self, vo: &VoName, place: &Place<'_>) -> bool {
        let key = (vo.clone(), place.ce.clone(), place.name.clone());
        lock(&self.backoffs).get(&key).is_some_and(|backoff| backoff.until > self.now())
    }

    pub(crate) fn note_pilot(&self, pilot: &PilotRecord, useful: bool) {
        let key = (pilot.vo.clone(), pilot.ce.clone(), pilot.queue.clone());
        let mut backoffs = lock(&self.backoffs);
        if useful {
            backoffs.remove(&key);
            return;
        }
        let now = self.now();
        let backoff = backoffs.entry(key).or_insert(Backoff { failures: 0, until: now });
        let wait = FIRST_BACKOFF * 2u32.saturating_pow(backoff.failures.min(10));
        backoff.failures += 1;
        backoff.until = now.plus(wait.min(MAX_BACKOFF));
    }

    /// Sends pilots: recorded first, so that a crash loses none and doubles none.
    async fn send(&self, vo: &VoName, place: &Place<'_>, count: u32) -> Result<(), LifecycleError> {
        let backend = self.policies.backend(vo, place.ce, place.name);
        let Ok(backend) = backend else { return Ok(()) };
        let requests: Vec<PilotRequest> = (0..count).filter_map(|_| self.request(place)).collect();
        let new = |request: &PilotRequest| NewPilot {
            stamp: request.stamp.clone(),
            vo: vo.clone(),
            site: place.offer.site.clone(),
            ce: place.ce.clone(),
            queue: place.name.clone(),
            cores: request.cores,
            wall_time: request.wall_time,
            secret_hash: secret::hash(&request.secret.0),
            sent_by: backend.decider().clone(),
        };
        let pilots: Vec<NewPilot> = requests.iter().map(new).collect();
        self.store.add_pilots(&pilots, self.now()).await?;
        tracing::info!(%vo, ce = %place.ce, queue = %place.name, count, "sending pilots");
        match backend.submit(&requests).await {
            Ok(answers) => {
                for (request, answer) in requests.iter().zip(answers) {
                    self.submitted(&request.stamp, answer).await?;
                }
            }
            Err(error) => tracing::warn!(%vo, ce = %place.ce, %error, "sending pilots failed"),
        }
        Ok(())
    }

    fn request(&self, place: &Place<'_>) -> Option<PilotRequest> {
        let Queue { cores, memory_mb, wall_time, gpus, scratch_mb, .. } = *place.queue;
        let stamp: Stamp = secret::fresh().get(..32)?.parse().ok()?;
        let configuration = serde_json::json!({
            "server": self.url,
            "others": **self.others.load(),
            "stamp": stamp,
            "secret": Placeholder::mark(&stamp),
            "cores": cores,
            "memory_mb": memory_mb,
            "wall_time": wall_time,
            "gpus": gpus,
            "scratch_mb": scratch_mb,
            "tags": place.queue.tags,
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
            configuration: configuration.to_string(),
            secret: Placeholder(secret::fresh()),
        })
    }

    async fn submitted(&self, stamp: &Stamp, answer: Submission) -> Result<(), LifecycleError> {
        match answer {
            Submission::Submitted(reference) => {
                self.store.set_pilot_reference(stamp, &reference).await?;
            }
            Submission::Refused(why) => {
                self.bury(stamp, PilotState::Aborted, &why, "its pilot was refused").await?;
                if let Some(pilot) = self.store.pilot(stamp).await? {
                    self.note_pilot(&pilot, false);
                }
            }
            Submission::Unknown(why) => {
                tracing::warn!(%stamp, why, "a submission was cut off; it will be looked for");
            }
        }
        Ok(())
    }

    /// Asks CEs what became of a VO's pilots.
    async fn follow(&self, vo: &VoName, pilots: &[PilotRecord]) -> Result<(), LifecycleError> {
        let mut by_sender: HashMap<(&CeName, Option<&Decider>), Vec<&PilotRecord>> = HashMap::new();
        for pilot in pilots {
            by_sender.entry((&pilot.ce, pilot.sent_by.as_ref())).or_default().push(pilot);
        }
        for ((ce, sent_by), pilots) in by_sender {
            let Ok(backend) = self.policies.backend_that_sent(vo, ce, sent_by) else { continue };
            self.look_for(&backend, &pilots).await?;
            let known: Vec<(&PilotRecord, String)> =
                pilots.iter().filter_map(|p| Some((*p, p.reference.clone()?))).collect();
            let references: Vec<String> = known.iter().map(|(_, r)| r.clone()).collect();
            if references.is_empty() {
                continue;
            }
            match backend.status(&references).await {
                Ok(states) => {
                    for ((pilot, _), state) in known.iter().zip(states) {
                        self.heard(pilot, state).await?;
                    }
                }
                Err(error) => tracing::warn!(%vo, %ce, %error, "no word on pilots"),
            }
        }
        self.clean(vo).await
    }

    /// Submissions that were cut off are found, or were never there.
    async fn look_for(
        &self,
        backend: &Arc<dyn ComputingBackend>,
        pilots: &[&PilotRecord],
    ) -> Result<(), LifecycleError> {
        let now = self.now();
        let missing: Vec<_> = pilots
            .iter()
            .filter(|p| p.reference.is_none() && now.since(p.submitted) > FIND_AFTER)
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let stamps: Vec<Stamp> = missing.iter().map(|pilot| pilot.stamp.clone()).collect();
        match backend.find(&stamps).await {
            Ok(found) => {
                for (stamp, reference) in stamps.iter().zip(found) {
                    match reference {
                        Some(reference) => {
                            self.store.set_pilot_reference(stamp, &reference).await?
                        }
                        None => {
                            let why = "never reached its CE";
                            self.bury(stamp, PilotState::Aborted, why, why).await?;
                        }
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "cut-off submissions could not be looked for"),
        }
        Ok(())
    }

    async fn heard(&self, pilot: &PilotRecord, state: PilotStatus) -> Result<(), LifecycleError> {
        let stamp = &pilot.stamp;
        let (end, why) = match state {
            PilotStatus::Waiting if pilot.status == PilotState::Submitted => {
                let now = self.now();
                self.store.set_pilot_state(stamp, PilotState::Waiting, "", now).await?;
                return Ok(());
            }
            PilotStatus::Waiting | PilotStatus::Running | PilotStatus::Unknown(_) => return Ok(()),
            PilotStatus::Done => (PilotState::Done, String::new()),
            PilotStatus::Failed(why) => (PilotState::Failed, why),
            PilotStatus::Aborted(why) => (PilotState::Aborted, why),
        };
        let loss = format!("its pilot ended: {}", if why.is_empty() { "done" } else { &why });
        self.bury(stamp, end, &why, &loss).await?;
        self.note_pilot(pilot, pilot.jobs_run > 0);
        Ok(())
    }

    /// Tells every pilot to end.
    pub async fn cancel_pilots(&self) -> Result<(), LifecycleError> {
        for vo in self.documents().keys() {
            for pilot in self.store.pilots(Some(vo), false).await? {
                let sent_by = pilot.sent_by.as_ref();
                let backend = self.policies.backend_that_sent(vo, &pilot.ce, sent_by);
                let Ok(backend) = backend else { continue };
                if let Some(reference) = pilot.reference {
                    backend.cancel(&[reference]).await?;
                }
            }
        }
        Ok(())
    }

    async fn clean(&self, vo: &VoName) -> Result<(), LifecycleError> {
        let age = i64::try_from(CLEAN_AFTER.as_millis()).unwrap_or(i64::MAX);
        let before = Timestamp(self.now().0 - age);
        let old = self.store.uncleaned_pilots(before).await?;
        for pilot in old.iter().filter(|pilot| pilot.vo == *vo) {
            let sent_by = pilot.sent_by.as_ref();
            let backend = self.policies.backend_that_sent(vo, &pilot.ce, sent_by);
            let Ok(backend) = backend else { continue };
            let references: Vec<String> = pilot.reference.iter().cloned().collect();
            if backend.clean(&references).await.is_ok_and(|a| a.iter().all(Option::is_none)) {
                self.store.set_cleaned(std::slice::from_ref(&pilot.stamp)).await?;
            }
        }
        Ok(())
    }
}
