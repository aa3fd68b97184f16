//! Making a document's bindings ready, before any takes effect.

use crate::{
    bound::{Bound, Policy, Spot, Surroundings, bind},
    comparison::{Bounds, ComparedHandler, ComparedRule, Comparison},
    load::Loader,
    permits::Permits,
    snapshot::{Place, Snapshot, Trial},
    version::{Entry, PluginVersion, Versions},
};
use spinor_model::{
    finding::Finding,
    id::{Digest, VoName},
    registry::{Binding, BindingPath, Candidate, Fallback, Kind, VoDocument},
};
use std::{collections::BTreeMap, sync::Arc};

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
        let stand_in = match binding.fallback {
            Fallback::Hold => None,
            Fallback::Previous => self.previous(path, &active).await,
            Fallback::BuiltIn => match self.previous(path, &active).await {
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

    async fn previous(&self, path: &BindingPath, active: &Bound) -> Option<Bound> {
        let differs = |(binding, digest): &&(Binding, Digest)| !active.is(digest, binding);
        let (binding, digest) = self.wanted.previous.get(path)?.iter().find(differs)?;
        self.stand_in(path, binding, Some(digest)).await
    }

    /// The built-in plugin of a kind, with empty settings and the grants of what is bound.
    async fn built_in(&self, path: &BindingPath, binding: &Binding) -> Option<Bound> {
        let name = match path.kind() {
            Kind::Matching => "matching/standard",
            Kind::Computing => "computing/local",
            Kind::Handling => "handling/executable",
            Kind::Accounting => "accounting/files",
        };
        let empty = serde_json::json!({});
        let own = Binding::new(name, semver::VersionReq::STAR, empty);
        self.stand_in(path, &Binding { grants: binding.grants.clone(), ..own }, None).await
    }

    /// What takes over is made ready as well as can be: without it there is none.
    async fn stand_in(
        &self,
        path: &BindingPath,
        binding: &Binding,
        pin: Option<&Digest>,
    ) -> Option<Bound> {
        let vo = &self.wanted.document.vo;
        let found = resolve(&self.versions, vo, path, binding, pin).ok()?;
        if let Some(bound) = self.there(path, &found.version.digest, binding) {
            return Some(bound);
        }
        let bound = self.bind(path, &found.version, binding, self.permits.clone()).await;
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

    async fn bound(
        &self,
        path: &BindingPath,
        key: &str,
        binding: &Binding,
        permits: &Arc<Permits>,
    ) -> Result<Bound, Vec<Finding>> {
        let document = self.wanted.document;
        let pin = self.wanted.pinned.get(key);
        let found = resolve(&self.versions, &document.vo, path, binding, pin);
        let entry = found.map_err(|finding| vec![finding])?;
        check_signature(document, key, entry).map_err(|finding| vec![finding])?;
        if let Some(bound) = self.there(path, &entry.version.digest, binding) {
            return Ok(bound);
        }
        self.bind(path, &entry.version, binding, permits.clone()).await
    }

    /// What is there already stays as it is, its record included.
    fn there(&self, path: &BindingPath, digest: &Digest, binding: &Binding) -> Option<Bound> {
        if self.wanted.renewed == Some(path) {
            return None;
        }
        let place = self.snapshot.place(&self.wanted.document.vo, path).ok()?;
        place.all().find(|bound| bound.is(digest, binding)).cloned()
    }

    async fn bind(
        &self,
        path: &BindingPath,
        version: &Arc<PluginVersion>,
        binding: &Binding,
        permits: Arc<Permits>,
    ) -> Result<Bound, Vec<Finding>> {
        let Self { loader, surroundings, .. } = self;
        let vo = &self.wanted.document.vo;
        bind(&Spot { loader, surroundings, permits, vo, path }, version, binding).await
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
        (BindingPath::Handling(_), Policy::Handling(decides), Policy::Handling(other)) => {
            let BindingPath::Handling(job_type) = path.clone() else {
                return Policy::Handling(decides);
            };
            let handler =
                ComparedHandler { decides, other, candidate_decides, job_type, comparison };
            Policy::Handling(Arc::new(handler))
        }
        // What acts on the world is never run twice.
        (_, decides, _) => decides,
    }
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

/// The version that a binding means.
pub(crate) fn resolve<'v>(
    versions: &'v Versions,
    vo: &VoName,
    path: &BindingPath,
    binding: &Binding,
    pin: Option<&Digest>,
) -> Result<&'v Entry, Finding> {
    let suits = |entry: &&Entry| {
        entry.visible(Some(vo)) && entry.version.suits(&binding.plugin, &binding.version)
    };
    let pinned = pin.and_then(|digest| versions.get(digest)).filter(suits);
    let found = pinned.or_else(|| versions.resolve(vo, &binding.plugin, &binding.version));
    found.ok_or_else(|| Finding {
        field: format!("{path}.plugin"),
        value: format!("{} {}", binding.plugin, binding.version),
        message: format!("is not here; this server has {}", versions.known(vo, path.kind())),
    })
}
