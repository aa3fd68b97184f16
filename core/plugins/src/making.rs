//! Making a document's bindings ready, before any takes effect.

use crate::{
    bound::{Bound, Policy, Spot, Surroundings, bind},
    comparison::{Bounds, ComparedHandler, ComparedRule, Comparison},
    load::Loader,
    permits::Permits,
    snapshot::{Place, Snapshot, Trial},
    version::{Entry, Versions},
};
use spinor_model::{
    finding::Finding,
    id::{Digest, VoName},
    policy::Decider,
    registry::{Binding, BindingPath, Candidate, Fallback, Kind, VoDocument},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// What is to be in force.
pub struct Wanted<'a> {
    /// The document.
    pub document: &'a VoDocument,
    /// Which digest a place, or its candidate, was resolved to before; others take the highest
    /// version in range.
    pub pinned: &'a BTreeMap<String, Digest>,
    /// What was in each place, the latest first: the first that differs from what is there now takes
    /// over when that trips.
    pub previous: &'a BTreeMap<BindingPath, Vec<(Binding, Digest)>>,
    /// A place whose bindings begin anew, even if they are the same.
    pub renewed: Option<&'a BindingPath>,
    /// Places that the VO inherits: only what the installation owns may decide there.
    pub inherited: &'a BTreeSet<BindingPath>,
    /// Whether a place that cannot be made ready is left empty: what it decides waits, and the others
    /// go on. For what was in force already, when a server starts.
    pub lenient: bool,
}

/// Making a document's bindings ready.
pub(crate) struct Making<'a> {
    pub loader: &'a Loader,
    pub surroundings: &'a Surroundings,
    pub versions: Versions,
    pub snapshot: Arc<Snapshot>,
    pub permits: Arc<Permits>,
    pub wanted: Wanted<'a>,
}

impl Making<'_> {
    pub async fn place(
        &self,
        path: &BindingPath,
        binding: &Binding,
    ) -> Result<Place, Vec<Finding>> {
        let active = self.bound(path, &path.to_string(), binding, &self.permits).await?;
        check_push(self.wanted.document, path, &active).map_err(|finding| vec![finding])?;
        let stand_in = match binding.fallback {
            Fallback::Hold => None,
            Fallback::Previous => self.previous(path, binding, &active).await,
            Fallback::BuiltIn => match self.previous(path, binding, &active).await {
                Some(bound) => Some(bound),
                None => self.built_in(path, binding).await,
            },
        };
        let stand_in = stand_in.filter(|bound| bound.decider != active.decider);
        let candidate = match &binding.candidate {
            Some(candidate) => Some(self.trial(path, candidate, &active).await?),
            None => None,
        };
        Ok(Place { mode: binding.mode, active, stand_in, candidate })
    }

    /// The latest other version or settings, if what it was granted then is still granted.
    async fn previous(
        &self,
        path: &BindingPath,
        binding: &Binding,
        active: &Bound,
    ) -> Option<Bound> {
        let ceiling = [&binding.grants, &self.wanted.document.grants];
        let fits = |(earlier, digest): &&(Binding, Digest)| {
            let Decider { digest: now, settings, .. } = &active.decider;
            let differs = digest != now || earlier.settings_digest() != *settings;
            differs && earlier.grants.beyond(&ceiling).is_empty()
        };
        let (earlier, digest) = self.wanted.previous.get(path)?.iter().find(fits)?;
        let installed = self.wanted.inherited.contains(path);
        self.stand_in(path, earlier, Some(digest), installed).await
    }

    /// The built-in plugin of a kind, with empty settings and the grants of what is bound.
    async fn built_in(&self, path: &BindingPath, binding: &Binding) -> Option<Bound> {
        let name = match path.kind() {
            Kind::Matching => "matching/standard",
            // Without one, all queues are alike.
            Kind::Supply => return None,
            Kind::Computing => "computing/local",
            Kind::Handling => "handling/executable",
            Kind::Accounting => "accounting/files",
        };
        let empty = serde_json::json!({});
        let own = Binding::new(name, semver::VersionReq::STAR, empty);
        let own = Binding { grants: binding.grants.clone(), ..own };
        self.stand_in(path, &own, None, true).await
    }

    /// What takes over is made ready as well as can be: without it there is none.
    async fn stand_in(
        &self,
        path: &BindingPath,
        binding: &Binding,
        pin: Option<&Digest>,
        installed: bool,
    ) -> Option<Bound> {
        let vo = &self.wanted.document.vo;
        let key = path.to_string();
        let bound = self.made(path, &key, binding, (pin, installed), &self.permits).await;
        bound.map_err(|findings| tracing::warn!(%vo, %path, ?findings, "no stand-in")).ok()
    }

    async fn trial(
        &self,
        path: &BindingPath,
        candidate: &Candidate,
        active: &Bound,
    ) -> Result<Trial, Vec<Finding>> {
        let binding = candidate.binding();
        let permits = Arc::new(Permits::new(1));
        let bound = self.bound(path, &path.candidate_key(), &binding, &permits).await?;
        let Candidate { stage, share, max_drift, .. } = *candidate;
        let there = self.snapshot.place(&self.wanted.document.vo, path).ok();
        let same = there.and_then(|place| place.candidate.as_ref()).filter(|trial| {
            trial.bound.decider == bound.decider
                && trial.stage == stage
                && trial.max_drift == max_drift
        });
        let comparison = match same {
            Some(trial) => trial.comparison.clone(),
            None => Comparison::start(Bounds {
                vo: self.wanted.document.vo.clone(),
                path: path.clone(),
                candidate: bound.decider.clone(),
                stage,
                max_drift,
                observer: self.surroundings.observer.clone(),
            })
            .map_err(|error| {
                let field = format!("{path}.candidate");
                vec![Finding { field, value: String::new(), message: error.to_string() }]
            })?,
        };
        let beside = compared(path, &active.policy, &bound.policy, false, &comparison);
        let instead = compared(path, &bound.policy, &active.policy, true, &comparison);
        Ok(Trial { bound, stage, share, max_drift, comparison, beside, instead })
    }

    /// What the document has in a place, on the digest that it was resolved to.
    async fn bound(
        &self,
        path: &BindingPath,
        key: &str,
        binding: &Binding,
        permits: &Arc<Permits>,
    ) -> Result<Bound, Vec<Finding>> {
        let pin = self.wanted.pinned.get(key);
        let installed = self.wanted.inherited.contains(path);
        self.made(path, key, binding, (pin, installed), permits).await
    }

    async fn made(
        &self,
        path: &BindingPath,
        key: &str,
        binding: &Binding,
        (pin, installed): (Option<&Digest>, bool),
        permits: &Arc<Permits>,
    ) -> Result<Bound, Vec<Finding>> {
        let document = self.wanted.document;
        let seen = Seen { vo: &document.vo, installed };
        let found = resolve(&self.versions, seen, path, binding, pin);
        let entry = found.map_err(|finding| vec![finding])?;
        check_signature(document, key, entry).map_err(|finding| vec![finding])?;
        if let Some(bound) = self.there(path, &entry.version.digest, binding, permits) {
            return Ok(bound);
        }
        let Self { loader, surroundings, .. } = self;
        let (vo, permits) = (&document.vo, permits.clone());
        bind(&Spot { loader, surroundings, permits, vo, path }, &entry.version, binding).await
    }

    /// What is there already stays as it is, its record included.
    fn there(
        &self,
        path: &BindingPath,
        digest: &Digest,
        binding: &Binding,
        permits: &Arc<Permits>,
    ) -> Option<Bound> {
        if self.wanted.renewed == Some(path) {
            return None;
        }
        let place = self.snapshot.place(&self.wanted.document.vo, path).ok()?;
        // A candidate's own permit is for candidates: what is promoted is bound anew.
        let same = |bound: &&Bound| bound.is(digest, binding);
        match Arc::ptr_eq(permits, &self.permits) {
            true => std::iter::once(&place.active).chain(&place.stand_in).find(same).cloned(),
            false => place.candidate.as_ref().map(|trial| &trial.bound).filter(same).cloned(),
        }
    }
}

fn compared(
    path: &BindingPath,
    decides: &Policy,
    other: &Policy,
    candidate_decides: bool,
    comparison: &Arc<Comparison>,
) -> Policy {
    let comparison = comparison.clone();
    match (path, decides.clone(), other.clone()) {
        (_, Policy::Matching(decides), Policy::Matching(other)) => {
            let rule = ComparedRule { decides, other, candidate_decides, comparison };
            Policy::Matching(Arc::new(rule))
        }
        (BindingPath::Handling(job_type), Policy::Handling(decides), Policy::Handling(other)) => {
            let job_type = job_type.clone();
            let handler =
                ComparedHandler { decides, other, candidate_decides, job_type, comparison };
            Policy::Handling(Arc::new(handler))
        }
        // What acts on the world is never run twice.
        (_, decides, _) => decides,
    }
}

/// Where pilots reach no network, the plugin has to carry files.
fn check_push(document: &VoDocument, path: &BindingPath, bound: &Bound) -> Result<(), Finding> {
    let (BindingPath::Computing(name), Policy::Computing(backend)) = (path, &bound.policy) else {
        return Ok(());
    };
    let push = document.ces.get(name).is_some_and(|ce| ce.push);
    if !push || backend.spool().is_some() {
        return Ok(());
    }
    Err(Finding {
        field: format!("ces.{name}.push"),
        value: "true".to_owned(),
        message: format!(
            "{} carries no files to pilots and from them while they run: bind one that does, as computing/slurm and computing/ssh do, or leave `push` out",
            bound.version.title()
        ),
    })
}

/// A version that a VO brought needs a signature of one of its keys, if the VO's document says so.
fn check_signature(document: &VoDocument, key: &str, entry: &Entry) -> Result<(), Finding> {
    let keys = &document.signing.keys;
    let signed = keys.values().any(|key| entry.signers.contains(&key.to_lowercase()));
    if !document.signing.required || entry.owners.contains(&None) || signed {
        return Ok(());
    }
    let names = keys.keys().cloned().collect::<Vec<_>>().join(", ");
    Err(Finding {
        field: format!("{key}.plugin"),
        value: format!("{} ({})", entry.version.title(), entry.version.digest.short()),
        message: format!(
            "carries no signature of this VO's keys ({names}), which `signing.required` asks for: push it again with `--key FILE`"
        ),
    })
}

/// Which versions count.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'a> {
    /// For this VO.
    pub vo: &'a VoName,
    /// Only those of the installation.
    pub installed: bool,
}

impl Seen<'_> {
    fn sees(&self, entry: &Entry) -> bool {
        if self.installed { entry.owners.contains(&None) } else { entry.visible(Some(self.vo)) }
    }
}

/// The version that a binding means: the one that it was resolved to before, if that still suits.
pub(crate) fn resolve<'v>(
    versions: &'v Versions,
    seen: Seen<'_>,
    path: &BindingPath,
    binding: &Binding,
    pin: Option<&Digest>,
) -> Result<&'v Entry, Finding> {
    let Seen { vo, .. } = seen;
    if let Some(digest) = pin {
        let there =
            versions.get(digest).filter(|entry| seen.sees(entry)).ok_or_else(|| Finding {
                field: format!("{path}.plugin"),
                value: digest.to_string(),
                message:
                    "is what the place was resolved to, and is not here: push it, or bind another"
                        .to_owned(),
            })?;
        if there.version.suits(&binding.plugin, &binding.version) {
            return Ok(there);
        }
    }
    let found = versions.resolve(&binding.plugin, &binding.version, |entry| seen.sees(entry));
    found.ok_or_else(|| Finding {
        field: format!("{path}.plugin"),
        value: format!("{} {}", binding.plugin, binding.version),
        message: format!("is not here; this server has {}", versions.known(vo, path.kind())),
    })
}
