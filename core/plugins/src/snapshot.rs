//! All bindings at one moment, immutable; and who decides among those in one place.

use crate::{
    bound::{Bound, Policy},
    comparison::Comparison,
};
use spinor_model::{
    id::{Digest, VoName},
    policy::{Decider, NoPolicy},
    registry::{BindingPath, Kind, Mode, Stage},
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// A place of a VO, and what is there.
#[derive(Clone)]
pub struct Place {
    /// Whether it decides at all.
    pub mode: Mode,
    /// What is bound.
    pub active: Bound,
    /// What takes over when that trips.
    pub stand_in: Option<Bound>,
    /// What is on its way in.
    pub candidate: Option<Trial>,
}

/// A candidate beside what is bound.
#[derive(Clone)]
pub struct Trial {
    /// The candidate.
    pub bound: Bound,
    /// How far it is let in.
    pub stage: Stage,
    /// Percent that a canary decides for.
    pub share: u8,
    /// Percent of answers that may differ.
    pub max_drift: u8,
    /// What has differed.
    pub comparison: Arc<Comparison>,
    /// What is bound, with the candidate asked beside it.
    pub beside: Policy,
    /// The candidate, with what is bound asked beside it.
    pub instead: Policy,
}

impl Place {
    /// Who decides now for something named by `sticky`, or for nothing in particular.
    pub fn decides(
        &self,
        vo: &VoName,
        path: &BindingPath,
        sticky: Option<&str>,
    ) -> Result<&Policy, NoPolicy> {
        if self.mode == Mode::Off {
            return Err(NoPolicy::Off { vo: vo.clone(), path: path.clone() });
        }
        let trial = self.candidate.as_ref().filter(|t| t.bound.breaker.tripped().is_none());
        if let (Some(trial), Some(sticky)) = (trial, sticky)
            && trial.takes(vo, path, sticky)
        {
            return Ok(&trial.instead);
        }
        let Some(reason) = self.active.breaker.tripped() else {
            return Ok(trial.map_or(&self.active.policy, |trial| &trial.beside));
        };
        let stand_in = self.stand_in.as_ref().filter(|b| b.breaker.tripped().is_none());
        stand_in.map(|bound| &bound.policy).ok_or_else(|| NoPolicy::Tripped {
            vo: vo.clone(),
            path: path.clone(),
            plugin: self.active.decider.to_string(),
            reason,
        })
    }

    /// Everything that is bound here.
    pub fn all(&self) -> impl Iterator<Item = &Bound> {
        let candidate = self.candidate.as_ref().map(|trial| &trial.bound);
        std::iter::once(&self.active).chain(self.stand_in.as_ref()).chain(candidate)
    }
}

impl Trial {
    /// Whether it is a canary's turn. The same name gets the same answer on every server.
    fn takes(&self, vo: &VoName, path: &BindingPath, sticky: &str) -> bool {
        let name = format!("{vo} {path} {sticky}");
        self.stage == Stage::Canary
            && Digest::of(name.as_bytes()).bucket(100) < u64::from(self.share)
    }
}

/// A VO's places.
#[derive(Clone, Default)]
pub struct VoBindings(pub(crate) BTreeMap<BindingPath, Place>);

impl VoBindings {
    /// Each place and what is there.
    pub fn iter(&self) -> impl Iterator<Item = (&BindingPath, &Place)> {
        self.0.iter()
    }
}

/// A version under settings in a place: for jobs that it planned, or pilots that it sent.
pub(crate) type RetiredKey = (VoName, BindingPath, Digest, Digest);

/// Every VO's bindings at one moment.
#[derive(Clone, Default)]
pub struct Snapshot {
    pub(crate) vos: BTreeMap<VoName, VoBindings>,
    /// What is bound no longer, but has jobs to conclude or pilots to follow.
    pub(crate) retired: HashMap<RetiredKey, Bound>,
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

    /// What is bound no longer but still has something to end.
    pub fn retired(&self) -> impl Iterator<Item = (&VoName, &BindingPath, &Bound)> {
        self.retired.iter().map(|((vo, path, ..), bound)| (vo, path, bound))
    }

    /// A place.
    pub fn place(&self, vo: &VoName, path: &BindingPath) -> Result<&Place, NoPolicy> {
        let place = self.vos.get(vo).and_then(|bindings| bindings.0.get(path));
        place.ok_or_else(|| {
            let kind = path.kind();
            let of_kind = |p: &&BindingPath| {
                p.kind() == kind && !matches!(kind, Kind::Matching | Kind::Supply)
            };
            let paths = self.vos.get(vo).into_iter().flat_map(|b| b.0.keys());
            let others: Vec<_> = paths.filter(of_kind).map(ToString::to_string).collect();
            let hint = match others.join(", ") {
                list if list.is_empty() => String::new(),
                list => format!(" (bound are {list})"),
            };
            NoPolicy::Unbound { vo: vo.clone(), path: path.clone(), hint }
        })
    }

    /// A version under settings, wherever it is: in place, beside it, or retired.
    pub(crate) fn find(&self, key: &RetiredKey) -> Option<&Bound> {
        let (vo, path, digest, settings) = key;
        let here = self.vos.get(vo).and_then(|bindings| bindings.0.get(path));
        let same = |b: &&Bound| b.decider.digest == *digest && b.decider.settings == *settings;
        here.and_then(|place| place.all().find(same)).or_else(|| self.retired.get(key))
    }

    /// Who decided, if it is still there.
    pub fn exactly(&self, vo: &VoName, path: &BindingPath, decider: &Decider) -> Option<&Bound> {
        self.find(&(vo.clone(), path.clone(), decider.digest, decider.settings))
    }
}
