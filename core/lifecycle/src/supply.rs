//! Demand gets pilots: what could run where, minus what is on its way, over all queues together.

use crate::{Lifecycle, LifecycleError, lock};
use spinor_identity::secret;
use spinor_model::{
    id::{CeName, ClassId, QueueName, Stamp, VoName},
    offer::Offer,
    policy::{
        ComputingBackend, Decider, PilotRequest, PilotStatus, PilotStream, Placeholder, Submission,
    },
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
    why: &'static str,
}

const FIRST_BACKOFF: Duration = Duration::from_secs(5);
const MAX_BACKOFF: Duration = Duration::from_secs(600);

/// A submission that is not heard of for so long is looked for.
const FIND_AFTER: Duration = Duration::from_secs(10);

/// What an ended pilot left at its CE is kept so long.
const CLEAN_AFTER: Duration = Duration::from_secs(600);

/// Pilots that a queue gets in one round: a backend's call has its deadline.
const MOST_AT_ONCE: u32 = 50;

/// A queue as supply sees it.
struct Place<'a> {
    ce: &'a CeName,
    name: &'a QueueName,
    queue: &'a Queue,
    offer: Offer,
    /// Classes that may go there, the first first, and a job's cores.
    classes: Vec<(ClassId, u64)>,
    /// Pilots on their way there.
    coming: u32,
    /// Pilots there and on their way.
    here: u32,
    /// Pilots that it may still get.
    room: u32,
    /// Jobs waiting that could go there.
    demand: u64,
    /// Pilots that it gets.
    wanted: u32,
    /// Why not more.
    why: String,
}

/// What a round of supply did for a queue.
#[derive(Debug, Clone)]
pub struct QueueReport {
    /// When.
    pub at: Timestamp,
    /// Which.
    pub ce: CeName,
    /// Which.
    pub queue: QueueName,
    /// Jobs waiting that could go there.
    pub demand: u64,
    /// Pilots that were on their way.
    pub coming: u32,
    /// Pilots that were there, with those on their way.
    pub here: u32,
    /// Pilots that were sent.
    pub sent: u32,
    /// Why not more.
    pub why: String,
}

/// Why nothing is known of, or done about, a pilot.
#[derive(Debug, thiserror::Error)]
pub enum PilotTrouble {
    /// It has no reference.
    #[error("its CE has not said yet that it has it")]
    NotThere,
    /// The CE says no.
    #[error("its CE answers: {0}")]
    NotGiven(String),
    /// Something is missing or broken.
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
}

impl Place<'_> {
    /// Lessens the room, and remembers why.
    fn limit(&mut self, most: Option<u32>, why: &str) {
        if let Some(most) =
            most.filter(|most| *most < self.room || (*most == 0 && self.why.is_empty()))
        {
            self.room = most;
            self.why = why.to_owned();
        }
    }

    /// Takes one pilot's worth of what waits; whether it found any.
    fn take_one(&mut self, unmet: &mut BTreeMap<ClassId, u64>) -> bool {
        if self.wanted >= self.room.min(MOST_AT_ONCE) {
            return false;
        }
        let mut cores = u64::from(self.queue.cores);
        for (class, each) in &self.classes {
            let Some(jobs) = unmet.get_mut(class) else { continue };
            let taken = (*jobs).min(cores / each);
            *jobs -= taken;
            cores -= taken * each;
            if cores == 0 {
                break;
            }
        }
        let found = cores < u64::from(self.queue.cores);
        self.wanted += u32::from(found);
        found
    }

    fn report(&self, at: Timestamp) -> QueueReport {
        let Self { ce, name, queue, coming, here, demand, wanted, .. } = *self;
        let full = self.room == 0 && self.why.is_empty();
        let why = match (demand, full) {
            _ if !self.why.is_empty() => self.why.clone(),
            (0, _) => "no job waits that could go there".to_owned(),
            (_, true) => format!("max_pilots ({}) is reached", queue.max_pilots),
            _ if wanted == MOST_AT_ONCE => format!("{MOST_AT_ONCE} at a time"),
            _ if wanted == self.room => format!("max_pilots ({}) is reached", queue.max_pilots),
            _ => "the rest is served by pilots on their way, here or elsewhere".to_owned(),
        };
        let (ce, queue) = (ce.clone(), name.clone());
        QueueReport { at, ce, queue, demand, coming, here, sent: wanted, why }
    }
}

/// Shares what waits out over queues, a pilot at a time, those with the fewest first.
fn share(unmet: &mut BTreeMap<ClassId, u64>, places: &mut [Place<'_>]) {
    let full =
        |place: &Place<'_>| u64::from(place.here) * 1000 / u64::from(place.queue.max_pilots.max(1));
    places.sort_by_key(full);
    while places.iter_mut().fold(false, |found, place| place.take_one(unmet) || found) {}
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
        let pilots = self.store.pilots(Some(vo), false).await?;
        let mut places = self.places(document, &pilots, &unmet).await?;
        for place in &places {
            self.take_from(&mut unmet, place, place.coming.into());
        }
        self.ask_for_room(vo, &mut places).await;
        share(&mut unmet, &mut places);
        for place in &places {
            if place.wanted > 0 {
                self.send(vo, place, place.wanted).await?;
            }
        }
        let now = self.now();
        let told = places.iter().map(|place| place.report(now)).collect();
        lock(&self.supplied).insert(vo.clone(), told);
        Ok(())
    }

    /// What the last round of supply did for a VO, and why.
    pub fn supplied(&self, vo: &VoName) -> Vec<QueueReport> {
        lock(&self.supplied).get(vo).cloned().unwrap_or_default()
    }

    /// Queues, how much room each has, and what could run there.
    async fn places<'a>(
        &self,
        document: &'a VoDocument,
        pilots: &[PilotRecord],
        unmet: &BTreeMap<ClassId, u64>,
    ) -> Result<Vec<Place<'a>>, LifecycleError> {
        let mut places = Vec::new();
        for (ce, name, queue, offer) in document.queues() {
            let here = pilots.iter().filter(|p| p.ce == *ce && p.queue == *name);
            let coming = here.clone().filter(|pilot| pilot.status.is_on_its_way()).count();
            let count = |pilots: usize| u32::try_from(pilots).unwrap_or(u32::MAX);
            let (coming, here) = (count(coming), count(here.count()));
            let mut place = Place {
                ce,
                name,
                queue,
                offer: offer.class(),
                classes: Vec::new(),
                coming,
                here,
                room: queue.max_pilots.saturating_sub(here),
                demand: 0,
                wanted: 0,
                why: String::new(),
            };
            if let Some(why) = self.closed(document, &place) {
                place.limit(Some(0), &why);
            }
            let more = queue.max_waiting.map(|most| most.saturating_sub(coming));
            place.limit(more, "max_waiting is reached");
            self.weigh(&document.vo, &mut place, unmet).await?;
            places.push(place);
        }
        Ok(places)
    }

    /// Why a queue gets no pilots, whatever waits.
    fn closed(&self, document: &VoDocument, place: &Place<'_>) -> Option<String> {
        let Place { ce, name, offer, .. } = place;
        if document.sites.get(&offer.site).is_none_or(|site| site.banned) {
            return Some(format!("site {} is banned", offer.site));
        }
        if document.ces.get(*ce).is_none_or(|ce| ce.banned) {
            return Some("the CE is banned".to_owned());
        }
        if let Err(error) = self.policies.backend(&document.vo, ce, name) {
            return Some(error.to_string());
        }
        let key = (document.vo.clone(), (*ce).clone(), (*name).clone());
        let backoffs = lock(&self.backoffs);
        let backoff = backoffs.get(&key).filter(|backoff| backoff.until > self.now())?;
        let seconds = backoff.until.since(self.now()).as_secs() + 1;
        Some(format!("left alone for {seconds} s more: {}", backoff.why))
    }

    /// Asks the rule which classes may go to a queue, in the order in which they would.
    async fn weigh(
        &self,
        vo: &VoName,
        place: &mut Place<'_>,
        unmet: &BTreeMap<ClassId, u64>,
    ) -> Result<(), LifecycleError> {
        if unmet.is_empty() {
            return Ok(());
        }
        let rule = self.judged(vo, &place.offer, None).await?;
        let accepted = lock(&self.index).accepted(vo, &place.offer, rule.decider());
        let class = |c: &crate::index::Candidate| {
            (c.class.id, u64::from(c.class.requirement.cpu.num_cores.min.max(1)))
        };
        place.classes = accepted.iter().map(class).collect();
        place.demand = place.classes.iter().filter_map(|(id, _)| unmet.get(id)).sum();
        Ok(())
    }

    /// Takes from the demand what pilots on their way to a queue will serve.
    fn take_from(&self, unmet: &mut BTreeMap<ClassId, u64>, place: &Place<'_>, pilots: u64) {
        let mut cores = pilots * u64::from(place.queue.cores);
        for (class, each) in &place.classes {
            let Some(jobs) = unmet.get_mut(class) else { continue };
            let taken = (*jobs).min(cores / each);
            *jobs -= taken;
            cores -= taken * each;
        }
    }

    /// Asks CEs for room, where something would be sent. One that does not answer gets nothing.
    async fn ask_for_room(&self, vo: &VoName, places: &mut [Place<'_>]) {
        let mut by_ce: BTreeMap<CeName, Vec<&mut Place<'_>>> = BTreeMap::new();
        for place in places.iter_mut().filter(|place| place.demand > 0 && place.room > 0) {
            by_ce.entry(place.ce.clone()).or_default().push(place);
        }
        for (ce, mut places) in by_ce {
            let queues: Vec<QueueName> = places.iter().map(|place| place.name.clone()).collect();
            let Some(first) = queues.first() else { continue };
            let Ok(backend) = self.policies.backend(vo, &ce, first) else { continue };
            match backend.capacity(&queues).await {
                Ok(rooms) => {
                    for (place, room) in places.iter_mut().zip(rooms) {
                        place.limit(room.free, "the CE says that it is full");
                        let more = |most: u32| room.waiting.map(|w| most.saturating_sub(w));
                        place.limit(
                            place.queue.max_waiting.and_then(more),
                            "max_waiting is reached",
                        );
                    }
                }
                Err(error) => {
                    tracing::warn!(%vo, %ce, %error, "a CE does not say how much room it has");
                    for place in places {
                        place.limit(Some(0), &format!("the CE does not answer: {error}"));
                    }
                }
            }
        }
    }

    /// How a pilot fared: `trouble` makes its queue be left alone for a while, longer each time.
    pub(crate) fn note_pilot(&self, pilot: &PilotRecord, trouble: Option<&'static str>) {
        let key = (pilot.vo.clone(), pilot.ce.clone(), pilot.queue.clone());
        let mut backoffs = lock(&self.backoffs);
        let Some(why) = trouble else {
            backoffs.remove(&key);
            return;
        };
        let now = self.now();
        let backoff = backoffs.entry(key).or_insert(Backoff { failures: 0, until: now, why });
        backoff.why = why;
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
                    self.note_pilot(&pilot, Some("it refused a pilot"));
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
        let idle = (pilot.jobs_run == 0).then_some("a pilot ended there before it had a job");
        self.note_pilot(pilot, idle);
        Ok(())
    }

    fn sender(
        &self,
        pilot: &PilotRecord,
    ) -> Result<(Arc<dyn ComputingBackend>, String), PilotTrouble> {
        let reference = pilot.reference.clone().ok_or(PilotTrouble::NotThere)?;
        let backend = self.policies.backend_that_sent(&pilot.vo, &pilot.ce, pilot.sent_by.as_ref());
        Ok((backend.map_err(LifecycleError::from)?, reference))
    }

    /// Part of what a pilot wrote, as its CE gives it.
    pub async fn pilot_output(
        &self,
        pilot: &PilotRecord,
        stream: PilotStream,
        offset: u64,
        max: u32,
    ) -> Result<Vec<u8>, PilotTrouble> {
        let (backend, reference) = self.sender(pilot)?;
        let output = backend.output(&reference, stream, offset, max).await;
        output.map_err(|error| PilotTrouble::NotGiven(error.to_string()))
    }

    /// Has a pilot's CE end it. What it was doing is then lost, and tried again.
    pub async fn kill_pilot(&self, pilot: &PilotRecord) -> Result<(), PilotTrouble> {
        let (backend, reference) = self.sender(pilot)?;
        let answers = backend.cancel(&[reference]).await.map_err(LifecycleError::from)?;
        match answers.into_iter().flatten().next() {
            None => Ok(()),
            Some(why) => Err(PilotTrouble::NotGiven(why)),
        }
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
