//! The plugin registry: versions, and the snapshot of bindings in force, swapped as a whole.

use crate::{
    bound::{Bound, Spot, Surroundings, bind},
    golden,
    load::{LoadError, Loader},
    making::{Making, Seen, Wanted, resolve},
    permits::Permits,
    snapshot::{Snapshot, VoBindings},
    version::{PluginVersion, Versions},
};
use arc_swap::ArcSwap;
use spinor_model::{
    finding::Finding,
    id::{Digest, VoName},
    policy::Decider,
    registry::{Binding, BindingPath, VoDocument},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The plugin registry: versions that are loaded, and the snapshot in force.
pub struct Registry {
    loader: Loader,
    surroundings: Surroundings,
    versions: Mutex<Versions>,
    permits: Mutex<HashMap<VoName, Arc<Permits>>>,
    pub(crate) snapshot: ArcSwap<Snapshot>,
}

/// Bindings that have been made ready but are not in force yet.
pub struct Prepared {
    vo: VoName,
    bindings: VoBindings,
}

impl Prepared {
    /// The digest that each place, and each candidate, was resolved to.
    pub fn resolutions(&self) -> BTreeMap<String, Digest> {
        let mut resolutions = BTreeMap::new();
        for (path, place) in self.bindings.iter() {
            resolutions.insert(path.to_string(), place.active.version.digest);
            if let Some(trial) = &place.candidate {
                resolutions.insert(path.candidate_key(), trial.bound.version.digest);
            }
        }
        resolutions
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

    /// Takes a component through the load pipeline, without adding it to the versions.
    pub async fn try_out(
        &self,
        bytes: &[u8],
        owner: Option<&VoName>,
    ) -> Result<Arc<PluginVersion>, LoadError> {
        let known = self.versions().get(&Digest::of(bytes)).map(|entry| entry.version.clone());
        match known {
            Some(version) => Ok(version),
            None => Ok(Arc::new(self.loader.load(bytes, owner).await?)),
        }
    }

    /// Checks the golden cases that a version carries; how many there are.
    pub async fn check_golden(&self, version: &Arc<PluginVersion>) -> Result<usize, LoadError> {
        golden::check(&self.loader, &self.surroundings, version).await
    }

    /// Adds a version, or one more owner and signers of one.
    pub fn add(
        &self,
        version: Arc<PluginVersion>,
        owner: Option<VoName>,
        signers: BTreeSet<String>,
        source: &str,
    ) {
        self.locked_versions().add(version, owner, signers, source);
    }

    /// Forgets a version.
    pub fn forget(&self, digest: &Digest) {
        self.locked_versions().remove(digest);
    }

    fn locked_versions(&self) -> MutexGuard<'_, Versions> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The versions that are loaded.
    pub fn versions(&self) -> Versions {
        self.locked_versions().clone()
    }

    /// The bindings in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Makes a document's bindings ready.
    pub async fn prepare(&self, wanted: Wanted<'_>) -> Result<Prepared, Vec<Finding>> {
        let making = Making {
            loader: &self.loader,
            surroundings: &self.surroundings,
            versions: self.versions(),
            snapshot: self.snapshot(),
            permits: self.permits(&wanted.document.vo),
            wanted,
        };
        let mut ready = BTreeMap::new();
        let mut findings = Vec::new();
        for (path, binding) in making.wanted.document.bindings() {
            match making.place(&path, binding).await {
                Ok(place) => drop(ready.insert(path, place)),
                Err(found) => findings.extend(found),
            }
        }
        if !findings.is_empty() && !making.wanted.lenient {
            return Err(findings);
        }
        for Finding { field, value, message } in findings {
            let vo = &making.wanted.document.vo;
            tracing::error!(%vo, field, value, message, "cannot be bound; what it decides waits");
        }
        Ok(Prepared { vo: making.wanted.document.vo.clone(), bindings: VoBindings(ready) })
    }

    /// Puts prepared bindings in force, in one swap. Calls in flight end on what they began with.
    pub fn activate(&self, prepared: Prepared) {
        self.snapshot.rcu(|old| {
            let mut new = Snapshot::clone(old);
            let before = new.vos.insert(prepared.vo.clone(), prepared.bindings.clone());
            for (path, place) in before.iter().flat_map(VoBindings::iter) {
                for bound in place.all() {
                    retire(&mut new, &prepared.vo, path, bound);
                }
            }
            new
        });
    }

    /// Binds a version beside everything, to ask it what it would do.
    pub async fn bind_aside(
        &self,
        vo: &VoName,
        path: &BindingPath,
        binding: &Binding,
        pin: Option<&Digest>,
    ) -> Result<Bound, Vec<Finding>> {
        let versions = self.versions();
        let version = resolve(&versions, Seen { vo, installed: false }, path, binding, pin)
            .map_err(|finding| vec![finding])?;
        let Self { loader, surroundings, .. } = self;
        let permits = Arc::new(Permits::new(1));
        bind(&Spot { loader, surroundings, permits, vo, path }, &version.version, binding).await
    }

    /// Keeps what an earlier revision bound: jobs that it planned are its own to conclude, pilots
    /// that it sent its own to follow.
    pub async fn keep(&self, document: &VoDocument, pinned: &BTreeMap<String, Digest>) {
        let vo = &document.vo;
        for (path, binding) in document.bindings() {
            let candidate = binding.candidate.as_ref().map(|c| (path.candidate_key(), c.binding()));
            let both = std::iter::once((path.to_string(), binding.clone())).chain(candidate);
            for (key, binding) in both {
                let Some(digest) = pinned.get(&key) else { continue };
                let key = (vo.clone(), path.clone(), *digest, binding.settings_digest());
                if !ends_what_it_began(&path) || self.snapshot.load().find(&key).is_some() {
                    continue;
                }
                if let Ok(bound) = self.bind_aside(vo, &path, &binding, Some(digest)).await {
                    self.snapshot.rcu(|old| {
                        let mut new = Snapshot::clone(old);
                        retire(&mut new, vo, &path, &bound);
                        new
                    });
                }
            }
        }
    }

    /// Lets go of what is bound no longer, but for what `needed` says.
    pub fn let_go(&self, needed: impl Fn(&VoName, &BindingPath, &Decider) -> bool) {
        self.snapshot.rcu(|old| {
            let mut new = Snapshot::clone(old);
            new.retired.retain(|(vo, path, ..), bound| needed(vo, path, &bound.decider));
            new
        });
    }

    fn permits(&self, vo: &VoName) -> Arc<Permits> {
        let half = std::thread::available_parallelism().map_or(1, |n| n.get().div_ceil(2));
        let mut permits = self.permits.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Arc::new(Permits::new(u32::try_from(half).unwrap_or(1)));
        permits.entry(vo.clone()).or_insert_with(fresh).clone()
    }
}

fn ends_what_it_began(path: &BindingPath) -> bool {
    matches!(path, BindingPath::Handling(_) | BindingPath::Computing(_))
}

fn retire(snapshot: &mut Snapshot, vo: &VoName, path: &BindingPath, bound: &Bound) {
    if ends_what_it_began(path) {
        let Decider { digest, settings, .. } = bound.decider;
        let key = (vo.clone(), path.clone(), digest, settings);
        snapshot.retired.insert(key, bound.clone());
    }
}
