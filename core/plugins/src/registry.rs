//! The bindings in force: one immutable snapshot, swapped as a whole.

use crate::{
    bound::{Bound, Policy, Surroundings, bind},
    load::{LoadError, Loader},
    permits::Permits,
    version::{PluginVersion, Versions},
};
use arc_swap::ArcSwap;
use spinor_model::{
    finding::Finding,
    id::{CeName, Digest, JobType, SinkName, VoName},
    policy::{
        AccountingSink, ComputingBackend, Decider, JobHandler, MatchingRule, Policies, Unbound,
    },
    registry::{Binding, BindingPath, Kind, VoDocument},
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

/// A VO's bindings in force.
#[derive(Clone, Default)]
pub struct VoBindings(BTreeMap<BindingPath, Bound>);

impl VoBindings {
    /// Each place and what is bound there.
    pub fn iter(&self) -> impl Iterator<Item = (&BindingPath, &Bound)> {
        self.0.iter()
    }
}

/// Every VO's bindings at one moment.
#[derive(Clone, Default)]
pub struct Snapshot {
    vos: BTreeMap<VoName, VoBindings>,
    /// Handlers that planned jobs and are bound no longer.
    retired: HashMap<(VoName, JobType, Digest, Digest), Arc<dyn JobHandler>>,
}

impl Snapshot {
    /// A VO's bindings.
    pub fn vo(&self, vo: &VoName) -> Option<&VoBindings> {
        self.vos.get(vo)
    }

    /// Every VO with its bindings.
    pub fn iter(&self) -> impl Iterator<Item = (&VoName, &VoBindings)> {
        self.vos.iter()
    }

    fn find(&self, vo: &VoName, path: BindingPath) -> Result<&Bound, Unbound> {
        let bound = self.vos.get(vo).and_then(|bindings| bindings.0.get(&path));
        bound.ok_or_else(|| {
            let kind = path.kind();
            let of_kind = |p: &&BindingPath| p.kind() == kind && kind != Kind::Matching;
            let paths = self.vos.get(vo).into_iter().flat_map(|b| b.0.keys());
            let others: Vec<_> = paths.filter(of_kind).map(ToString::to_string).collect();
            let hint = match others.join(", ") {
                list if list.is_empty() => String::new(),
                list => format!(" (bound are {list})"),
            };
            Unbound { vo: vo.clone(), path, hint }
        })
    }
}

/// The plugin registry: versions that are loaded, and the snapshot in force.
pub struct Registry {
    loader: Loader,
    surroundings: Surroundings,
    versions: Mutex<Versions>,
    permits: Mutex<HashMap<VoName, Arc<Permits>>>,
    snapshot: ArcSwap<Snapshot>,
}

/// Bindings that have been made ready but are not in force yet.
pub struct Prepared {
    vo: VoName,
    bindings: VoBindings,
}

impl Prepared {
    /// The digest that each binding was resolved to.
    pub fn resolutions(&self) -> BTreeMap<String, Digest> {
        self.bindings.iter().map(|(path, bound)| (path.to_string(), bound.version.digest)).collect()
    }
}

impl Registry {
    /// A registry with nothing in it.
    pub fn new(loader: Loader, surroundings: Surroundings) -> Self {
        Self {
            loader,
            surroundings,
            versions: Mutex::default(),
            permits: Mutex::default(),
            snapshot: ArcSwap::default(),
        }
    }

    /// Takes a component through the load pipeline and adds it to the versions.
    pub async fn load(&self, bytes: &[u8]) -> Result<Arc<PluginVersion>, LoadError> {
        let version = Arc::new(self.loader.load(bytes).await?);
        self.versions.lock().unwrap_or_else(PoisonError::into_inner).add(version.clone());
        Ok(version)
    }

    /// The versions that are loaded.
    pub fn versions(&self) -> Versions {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The bindings in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Makes a document's bindings ready. `pinned` says which digest a place was resolved to
    /// before; others take the highest version in range.
    pub async fn prepare(
        &self,
        document: &VoDocument,
        pinned: &BTreeMap<String, Digest>,
    ) -> Result<Prepared, Vec<Finding>> {
        let versions = self.versions();
        let permits = self.permits(&document.vo);
        let mut ready = BTreeMap::new();
        let mut findings = Vec::new();
        for (path, binding) in document.bindings() {
            let pin = pinned.get(&path.to_string());
            let bound = match resolve(&versions, &path, binding, pin) {
                Ok(version) => {
                    let Self { loader, surroundings, .. } = self;
                    bind(loader, surroundings, &permits, &document.vo, &path, version, binding)
                        .await
                }
                Err(finding) => Err(vec![finding]),
            };
            match bound {
                Ok(bound) => drop(ready.insert(path, bound)),
                Err(found) => findings.extend(found),
            }
        }
        if !findings.is_empty() {
            return Err(findings);
        }
        Ok(Prepared { vo: document.vo.clone(), bindings: VoBindings(ready) })
    }

    /// Puts prepared bindings in force, in one swap. Calls in flight end on what they began with.
    pub fn activate(&self, prepared: Prepared) {
        self.snapshot.rcu(|old| {
            let mut new = Snapshot::clone(old);
            let before = new.vos.insert(prepared.vo.clone(), prepared.bindings.clone());
            for (path, bound) in before.iter().flat_map(VoBindings::iter) {
                if let (BindingPath::Handling(job_type), Policy::Handling(handler)) =
                    (path, &bound.policy)
                {
                    let Decider { digest, settings, .. } = bound.decider;
                    let key = (prepared.vo.clone(), job_type.clone(), digest, settings);
                    new.retired.insert(key, handler.clone());
                }
            }
            new
        });
    }

    /// Keeps the handlers of an earlier revision: jobs that they planned are theirs to conclude.
    pub async fn retire(&self, document: &VoDocument, pinned: &BTreeMap<String, Digest>) {
        let (versions, permits) = (self.versions(), self.permits(&document.vo));
        for (path, binding) in document.bindings() {
            let BindingPath::Handling(job_type) = &path else { continue };
            let Ok(version) = resolve(&versions, &path, binding, pinned.get(&path.to_string()))
            else {
                continue;
            };
            let settings = Digest::of(binding.settings.to_string().as_bytes());
            let key = (document.vo.clone(), job_type.clone(), version.digest, settings);
            if self.snapshot.load().retired.contains_key(&key) {
                continue;
            }
            let Self { loader, surroundings, .. } = self;
            let bound =
                bind(loader, surroundings, &permits, &document.vo, &path, version, binding).await;
            if let Ok(Bound { policy: Policy::Handling(handler), .. }) = bound {
                self.snapshot.rcu(|old| {
                    let mut new = Snapshot::clone(old);
                    new.retired.insert(key.clone(), handler.clone());
                    new
                });
            }
        }
    }

    fn permits(&self, vo: &VoName) -> Arc<Permits> {
        let half = std::thread::available_parallelism().map_or(1, |n| n.get().div_ceil(2));
        let mut permits = self.permits.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Arc::new(Permits::new(u32::try_from(half).unwrap_or(1)));
        permits.entry(vo.clone()).or_insert_with(fresh).clone()
    }
}

fn resolve<'v>(
    versions: &'v Versions,
    path: &BindingPath,
    binding: &Binding,
    pin: Option<&Digest>,
) -> Result<&'v Arc<PluginVersion>, Finding> {
    let suits = |v: &&Arc<PluginVersion>| {
        v.card.name == binding.plugin && binding.version.matches(&v.card.version)
    };
    let pinned = pin.and_then(|digest| versions.get(digest)).filter(suits);
    let found = pinned.or_else(|| versions.resolve(&binding.plugin, &binding.version));
    found.ok_or_else(|| Finding {
        field: format!("{path}.plugin"),
        value: format!("{} {}", binding.plugin, binding.version),
        message: format!("is not here; this server has {}", versions.known(path.kind())),
    })
}

macro_rules! policy {
    ($self:ident, $vo:ident, $path:expr, $kind:ident) => {{
        let snapshot = $self.snapshot.load();
        match &snapshot.find($vo, $path)?.policy {
            Policy::$kind(policy) => Ok(policy.clone()),
            _ => Err(Unbound { vo: $vo.clone(), path: $path, hint: String::new() }),
        }
    }};
}

impl Policies for Registry {
    fn rule(&self, vo: &VoName) -> Result<Arc<dyn MatchingRule>, Unbound> {
        policy!(self, vo, BindingPath::Matching, Matching)
    }

    fn handler(&self, vo: &VoName, job_type: &JobType) -> Result<Arc<dyn JobHandler>, Unbound> {
        policy!(self, vo, BindingPath::Handling(job_type.clone()), Handling)
    }

    fn handler_that_planned(
        &self,
        vo: &VoName,
        job_type: &JobType,
        planned_by: &Decider,
    ) -> Result<Arc<dyn JobHandler>, Unbound> {
        let snapshot = self.snapshot.load();
        let Decider { digest, settings, .. } = planned_by;
        let path = BindingPath::Handling(job_type.clone());
        let bound = snapshot.find(vo, path.clone());
        if let Ok(Bound { decider, policy: Policy::Handling(handler), .. }) = bound
            && decider == planned_by
        {
            return Ok(handler.clone());
        }
        let key = (vo.clone(), job_type.clone(), *digest, *settings);
        let retired = snapshot.retired.get(&key).cloned();
        let hint = format!(" in the version that planned this job, {planned_by}");
        retired.ok_or(Unbound { vo: vo.clone(), path, hint })
    }

    fn backend(&self, vo: &VoName, ce: &CeName) -> Result<Arc<dyn ComputingBackend>, Unbound> {
        policy!(self, vo, BindingPath::Computing(ce.clone()), Computing)
    }

    fn sinks(&self, vo: &VoName) -> Vec<(SinkName, Arc<dyn AccountingSink>)> {
        let snapshot = self.snapshot.load();
        let sink = |(path, bound): (&BindingPath, &Bound)| match (path, &bound.policy) {
            (BindingPath::Accounting(name), Policy::Accounting(sink)) => {
                Some((name.clone(), sink.clone()))
            }
            _ => None,
        };
        snapshot.vo(vo).into_iter().flat_map(VoBindings::iter).filter_map(sink).collect()
    }
}
