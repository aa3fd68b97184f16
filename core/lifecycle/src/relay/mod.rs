//! Push mode: where workers reach no network, what pilots ask is fetched from files beside them and
//! answered as if it had come over HTTP, and the answer is put there.
//!
//! A question lies there until it is answered, so that one is answered twice when a server dies
//! in between; the protocol takes that, since over HTTP pilots repeat themselves too.

mod desk;
mod errand;
mod pieces;
mod program;

use crate::{Lifecycle, LifecycleError, lock};
use async_trait::async_trait;
use desk::{Desk, Key, Pending};
use errand::Errand;
use futures::{future::join_all, stream::BoxStream};
use program::Program;
use spinor_model::{
    id::{CeName, Stamp, VoName},
    policy::{ComputingBackend, PolicyError, Spool, SpoolFile},
};
use spinor_spool::{Broken, Name};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};
use tokio::{task::JoinSet, time::sleep};

/// Bytes on their way.
pub type Bytes = BoxStream<'static, io::Result<Vec<u8>>>;

/// What is asked, as over HTTP.
pub struct Question {
    /// Method of HTTP.
    pub method: String,
    /// Path at this server.
    pub path: String,
    /// The token that is shown; empty, if none is.
    pub token: String,
    /// Bytes of the body.
    pub length: u64,
    /// The body.
    pub body: Bytes,
}

/// What is answered.
pub struct Reply {
    /// Status of HTTP.
    pub status: u16,
    /// Bytes of the body.
    pub length: u64,
    /// The body.
    pub body: Bytes,
}

/// Whoever answers requests of pilots.
#[async_trait]
pub trait Front: Send + Sync {
    /// Answers one.
    async fn answer(&self, question: Question) -> io::Result<Reply>;
}

/// Why a question has no answer yet.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
    #[error("what a pilot asks: {0}")]
    Broken(#[from] Broken),
    #[error("what a pilot asks: {0}")]
    NotOurs(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<spinor_store::StoreError> for Trouble {
    fn from(error: spinor_store::StoreError) -> Self {
        Self::Lifecycle(error.into())
    }
}

/// What a pilot leaves is kept so long after its end.
const KEPT: Duration = Duration::from_secs(600);

/// Carries questions and answers.
struct Relay {
    lifecycle: Arc<Lifecycle>,
    front: Arc<dyn Front>,
    program: Program,
    desks: Mutex<BTreeMap<(VoName, CeName), Arc<Desk>>>,
}

impl Lifecycle {
    /// Carries questions and answers wherever a document says `push`.
    pub async fn relay_forever(self: Arc<Self>, front: Arc<dyn Front>) {
        let (desks, program) = (Mutex::default(), Program::default());
        let relay = Arc::new(Relay { lifecycle: self, front, program, desks });
        let mut looks = JoinSet::new();
        loop {
            let pace = relay.lifecycle.pace;
            let busy = relay.lifecycle.has_duty() && relay.round(&mut looks);
            while looks.try_join_next().is_some() {}
            sleep(if busy { pace.tick.min(pace.poll) } else { pace.poll }).await;
        }
    }
}

impl Relay {
    /// Looks at every CE, each by itself; whether anything lay at one.
    fn round(self: &Arc<Self>, looks: &mut JoinSet<()>) -> bool {
        let documents = self.lifecycle.documents();
        let push = documents.values().flat_map(|document| {
            let ces = document.ces.iter().filter(|(_, ce)| ce.push);
            ces.map(|(ce, _)| (document.vo.clone(), ce.clone()))
        });
        let mut busy = false;
        for place in push {
            let desk = lock(&self.desks).entry(place.clone()).or_default().clone();
            busy |= desk.busy.load(Ordering::Relaxed);
            if !desk.looking.swap(true, Ordering::Relaxed) {
                looks.spawn(self.clone().look_and_answer(place, desk));
            }
        }
        busy
    }

    async fn look_and_answer(self: Arc<Self>, place: (VoName, CeName), desk: Arc<Desk>) {
        let found = self.look(&place, &desk).await;
        self.note(place, found.as_ref().err());
        let errands = found.unwrap_or_default();
        desk.looking.store(false, Ordering::Relaxed);
        let answers = errands.into_iter().map(|errand| self.answer(errand, &desk));
        join_all(answers).await;
    }

    /// Keeps why files do not go to a CE, and says so once.
    fn note(&self, place: (VoName, CeName), trouble: Option<&Trouble>) {
        let now = trouble.map_or(Ok(()), |error| Err(error.to_string()));
        let (vo, ce) = place.clone();
        let before = lock(&self.lifecycle.carried).insert(place, now.clone());
        match (before, now) {
            (Some(Err(before)), Err(now)) if before == now => {}
            (_, Err(error)) => tracing::warn!(%vo, %ce, error, "files do not go there"),
            (Some(Err(_)), Ok(())) => tracing::info!(%vo, %ce, "files go there again"),
            (_, Ok(())) => {}
        }
    }

    /// What lies at a CE and is not being answered yet.
    async fn look(&self, place: &(VoName, CeName), desk: &Desk) -> Result<Vec<Errand>, Trouble> {
        let (vo, ce) = place;
        let backend = self.lifecycle.policies.backend_that_sent(vo, ce, None);
        let backend = backend.map_err(LifecycleError::from)?;
        let spool = backend
            .spool()
            .ok_or_else(|| Trouble::NotOurs(format!("{} carries no files", backend.decider())))?;
        let listed = spool.list().await?;
        self.bring_program(place, spool, &listed).await?;
        let questions: BTreeMap<Key, u64> = listed
            .iter()
            .filter_map(|(file, size)| {
                Some(((file.pilot.clone()?, Name::request(&file.name)?), *size))
            })
            .collect();
        desk.busy.store(!questions.is_empty(), Ordering::Relaxed);
        let mut found = Vec::new();
        for (key, size) in desk.new_of(&questions) {
            found.extend(self.errand(place, &backend, &key, size).await?);
        }
        if let Err(error) = self.clear(place, spool, &listed).await {
            tracing::warn!(%vo, %ce, %error, "what ended pilots left there stays");
        }
        desk.take_on(&found);
        Ok(found)
    }

    /// A question, if it is one of a pilot that was sent there.
    async fn errand(
        &self,
        (vo, ce): &(VoName, CeName),
        backend: &Arc<dyn ComputingBackend>,
        (stamp, number): &Key,
        size: u64,
    ) -> Result<Option<Errand>, Trouble> {
        let store = &self.lifecycle.store;
        let pilot = store.pilot(stamp).await?;
        if pilot.is_none_or(|pilot| pilot.vo != *vo || pilot.ce != *ce) {
            return Ok(None);
        }
        let secret = store.pilot_secret(stamp).await?;
        let (backend, stamp, number) = (backend.clone(), stamp.clone(), *number);
        Ok(secret.map(|secret| Errand { backend, stamp, number, size, secret }))
    }

    async fn answer(&self, errand: Errand, desk: &Desk) {
        let mut pending = Pending { desk, key: errand.key(), answered: false };
        // It is never closed.
        let _permit = desk.permits.acquire().await;
        match errand.run(self.front.as_ref(), &desk.large).await {
            Ok(()) => pending.answered = true,
            Err(error) => {
                let (stamp, number) = &pending.key;
                tracing::warn!(%stamp, number, %error, "no answer yet");
            }
        }
    }

    /// Takes away what pilots left that ended a while ago.
    async fn clear(
        &self,
        (vo, ce): &(VoName, CeName),
        spool: &dyn Spool,
        listed: &[(SpoolFile, u64)],
    ) -> Result<(), Trouble> {
        let (store, now) = (&self.lifecycle.store, self.lifecycle.now());
        let live = store.pilots(Some(vo), false).await?;
        let live: BTreeSet<&Stamp> = live.iter().map(|pilot| &pilot.stamp).collect();
        for (file, _) in listed {
            let Some(stamp) = file.pilot.as_ref().filter(|stamp| !live.contains(stamp)) else {
                continue;
            };
            let Some(pilot) = store.pilot(stamp).await? else { continue };
            let old = pilot.ended.is_some_and(|ended| now.since(ended) > KEPT);
            if old && pilot.vo == *vo && pilot.ce == *ce {
                spool.remove(file).await?;
            }
        }
        Ok(())
    }
}
