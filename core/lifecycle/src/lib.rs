//! The moving parts. Each is a module that reads like the step it is:
//!
//! | module | step |
//! |---|---|
//! | [`admission`] | a description becomes jobs that wait |
//! | [`index`], [`matching`] | a pilot's slot gets jobs |
//! | [`supply`] | demand gets pilots |
//! | [`relay`] | pilots without a network are heard |
//! | [`pilots`] | pilots start, are heard of, bring results |
//! | [`nodes`] | nodes that fail jobs get no more |
//! | [`downtimes`] | CEs drain before they go down |
//! | [`conclusion`] | ended attempts are judged |
//! | [`accounting`] | usage records reach their sinks |
//! | [`watchdog`] | time passes |
//! | [`explain`] | why a job waits |
//! | [`observations`] | what policies decided, and guests wrote, is kept |
//! | [`replay`] | a candidate is asked what others decided |
//!
//! They decide through [`spinor_model::policy`] and remember through [`spinor_store::Store`]; they
//! see neither HTTP nor SQL nor WebAssembly.

pub mod accounting;
pub mod admission;
pub mod conclusion;
pub mod downtimes;
pub mod explain;
pub mod index;
pub mod matching;
pub mod nodes;
pub mod observations;
pub mod pilots;
pub mod relay;
pub mod replay;
mod run;
mod servers;
pub mod supply;
pub mod watchdog;

pub use run::Tasks;

use arc_swap::ArcSwap;
use index::Index;
use observations::Observations;
use spinor_model::{
    id::{CeName, ClassId, Digest, NodeName, VoName},
    policy::{NoPolicy, Policies, PolicyError},
    registry::VoDocument,
    time::{Clock, Timestamp},
};
use spinor_store::{QueueChange, Store, StoreError};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicI64},
    time::Duration,
};
use tokio::sync::Notify;

/// How fast things move.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Between a pilot's heartbeats.
    pub heartbeat: Duration,
    /// Between an idle pilot's questions for work.
    pub poll: Duration,
    /// An idle pilot ends after this.
    pub idle: Duration,
    /// Between rounds of supply.
    pub supply: Duration,
    /// Between rounds of everything else that looks by itself.
    pub tick: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(10),
            poll: Duration::from_secs(5),
            idle: Duration::from_secs(120),
            supply: Duration::from_secs(5),
            tick: Duration::from_secs(1),
        }
    }
}

/// What the moving parts are made over.
pub struct Parts {
    /// What is remembered.
    pub store: Arc<dyn Store>,
    /// Who decides.
    pub policies: Arc<dyn Policies>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// How fast things move.
    pub pace: Pace,
    /// Where pilots reach this server.
    pub url: String,
    /// SHA-256 of the pilot program, which workers fetch from there.
    pub program: Digest,
    /// What policies do.
    pub observations: Arc<Observations>,
    /// This server's name among those on its database.
    pub server: String,
}

impl Parts {
    /// Parts whose policies nobody observes, for tests.
    pub fn unobserved(
        store: Arc<dyn Store>,
        policies: Arc<dyn Policies>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (pace, url) = (Pace::default(), "http://x".to_owned());
        let observations = Arc::new(Observations::new().0);
        let server = "alone".to_owned();
        let program = Digest::of(b"");
        Self { store, policies, clock, pace, url, program, observations, server }
    }
}

/// What the moving parts share.
pub struct Lifecycle {
    /// What is remembered.
    pub store: Arc<dyn Store>,
    /// Who decides.
    pub policies: Arc<dyn Policies>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// How fast things move.
    pub pace: Pace,
    /// Where pilots reach this server.
    pub url: String,
    /// SHA-256 of the pilot program, which workers fetch from there.
    program: Digest,
    /// This server's name among those on its database.
    pub server: String,
    others: ArcSwap<Vec<String>>,
    /// Until when, in milliseconds since 1970, the duties are this server's; 0 if they are not.
    duty_until: AtomicI64,
    /// Downtimes, by their hosts in small letters: each match looks for one.
    downtimes: ArcSwap<HashMap<String, Vec<downtimes::Downtime>>>,
    banned_nodes: ArcSwap<nodes::Banned>,
    /// When nodes were last looked at.
    looked_at: Mutex<HashMap<(VoName, CeName, NodeName), Timestamp>>,
    documents: ArcSwap<BTreeMap<VoName, Arc<VoDocument>>>,
    /// Since when each is in force here.
    documents_since: ArcSwap<BTreeMap<VoName, Timestamp>>,
    index: Mutex<Index>,
    backoffs: Mutex<supply::Backoffs>,
    /// Why there is no word from a CE on its pilots.
    silent: Mutex<BTreeMap<(VoName, CeName), String>>,
    /// CEs without a network: whether files go there, or why not.
    carried: Mutex<BTreeMap<(VoName, CeName), Result<(), String>>>,
    supplied: Mutex<BTreeMap<VoName, Vec<supply::QueueReport>>>,
    problems: Mutex<BTreeMap<VoName, String>>,
    held: Mutex<HashSet<ClassId>>,
    observations: Arc<Observations>,
    keeping: tokio::sync::Mutex<()>,
    /// The threads that ask guests about descriptions, of each VO.
    asking: Mutex<HashMap<VoName, Arc<tokio::sync::Semaphore>>>,
    concluding: Notify,
    delivering: Notify,
    supplying: Notify,
}

/// Why a step could not be done.
#[derive(Debug, thiserror::Error)]
pub enum LifecycleError {
    /// The store's trouble.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No plugin where one is needed.
    #[error(transparent)]
    NoPolicy(#[from] NoPolicy),
    /// A plugin's trouble.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// There is no such VO.
    #[error("there is no VO {0}: apply its document with `spinor apply`")]
    NoVo(VoName),
    /// A thread of ours broke.
    #[error("an internal task failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl Lifecycle {
    /// The moving parts over a store, as the store left them.
    pub async fn new(parts: Parts) -> Result<Arc<Self>, LifecycleError> {
        let Parts { store, policies, clock, pace, url, program, observations, server } = parts;
        let mut index = Index::default();
        index.add_classes(store.classes().await?);
        for (queue, waiting) in store.queues().await? {
            index.set(&queue, waiting);
        }
        let lifecycle = Self {
            store,
            policies,
            clock,
            pace,
            url,
            program,
            server,
            others: ArcSwap::default(),
            duty_until: AtomicI64::new(0),
            downtimes: ArcSwap::default(),
            banned_nodes: ArcSwap::default(),
            looked_at: Mutex::default(),
            documents: ArcSwap::default(),
            documents_since: ArcSwap::default(),
            index: Mutex::new(index),
            backoffs: Mutex::default(),
            silent: Mutex::default(),
            carried: Mutex::default(),
            supplied: Mutex::default(),
            problems: Mutex::default(),
            held: Mutex::default(),
            observations,
            keeping: tokio::sync::Mutex::default(),
            asking: Mutex::default(),
            concluding: Notify::new(),
            delivering: Notify::new(),
            supplying: Notify::new(),
        };
        Ok(Arc::new(lifecycle))
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Puts a VO's document in force.
    pub fn set_document(&self, document: Arc<VoDocument>) {
        self.documents.rcu(|old| {
            let mut new = BTreeMap::clone(old);
            new.insert(document.vo.clone(), document.clone());
            new
        });
        self.documents_since.rcu(|old| {
            let mut new = BTreeMap::clone(old);
            new.insert(document.vo.clone(), self.now());
            new
        });
    }

    /// Since when a VO's document is in force on this server.
    pub fn document_since(&self, vo: &VoName) -> Timestamp {
        self.documents_since.load().get(vo).copied().unwrap_or_default()
    }

    /// A VO's document in force.
    pub fn document(&self, vo: &VoName) -> Result<Arc<VoDocument>, LifecycleError> {
        self.documents.load().get(vo).cloned().ok_or_else(|| LifecycleError::NoVo(vo.clone()))
    }

    /// All documents in force.
    pub fn documents(&self) -> Arc<BTreeMap<VoName, Arc<VoDocument>>> {
        self.documents.load_full()
    }

    /// What keeps a VO's matching, if something does.
    pub fn problem(&self, vo: &VoName) -> Option<String> {
        lock(&self.problems).get(vo).cloned()
    }

    fn set_problem(&self, vo: &VoName, problem: Option<String>) {
        let mut problems = lock(&self.problems);
        match problem {
            Some(text) => drop(problems.insert(vo.clone(), text)),
            None => drop(problems.remove(vo)),
        }
    }

    /// Jobs of a VO that wait, by class, as the index has it.
    pub fn waiting(&self, vo: &VoName) -> BTreeMap<ClassId, u64> {
        lock(&self.index).waiting(vo)
    }

    /// Takes note of queues that grew or shrank; classes that are new are fetched.
    pub async fn note(&self, changes: &[QueueChange]) -> Result<(), LifecycleError> {
        let unknown = {
            let index = lock(&self.index);
            changes.iter().any(|change| !index.knows(change.queue.class))
        };
        if unknown {
            let classes = self.store.classes().await?;
            lock(&self.index).add_classes(classes);
        }
        let mut index = lock(&self.index);
        for change in changes {
            index.change(&change.queue, change.delta);
        }
        if changes.iter().any(|change| change.delta > 0) {
            self.supplying.notify_one();
        }
        Ok(())
    }
}

/// A lock that outlives a panic of its holder: what it guards is only counted and cached.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl spinor_identity::session::Documents for Lifecycle {
    fn document(&self, vo: &VoName) -> Option<Arc<VoDocument>> {
        self.documents.load().get(vo).cloned()
    }

    fn vos(&self) -> Vec<VoName> {
        self.documents.load().keys().cloned().collect()
    }
}
