//! What waits, by class and owner: counts, never jobs. A hint that the claim settles.

use spinor_model::{
    fit::fit,
    id::{ClassId, GroupName, UserName, VoName},
    offer::Offer,
    policy::{Decider, RequirementClass, Verdict},
};
use spinor_store::QueueKey;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

/// A class that an offer may take, as fit and rule see it.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The class.
    pub class: Arc<RequirementClass>,
    /// How the rule scored it.
    pub score: i64,
}

/// What is known of an offer under one rule: the verdicts, so that a steady state asks no plugin.
#[derive(Debug)]
struct Memo {
    decider: Decider,
    /// Classes of the VO that have been judged.
    judged: usize,
    /// Accepted ones, the best first.
    ranked: Vec<Candidate>,
}

/// Classes that an offer has not been judged on.
pub struct Unjudged {
    /// How many had been judged before.
    pub from: usize,
    /// Those that fit, to be shown to the rule.
    pub fitting: Vec<Arc<RequirementClass>>,
    /// How many are judged with these.
    pub to: usize,
}

#[derive(Default)]
struct VoIndex {
    classes: Vec<Arc<RequirementClass>>,
    /// May be below zero for a moment: changes arrive in another order than they were made.
    waiting: HashMap<ClassId, BTreeMap<UserName, i64>>,
    /// Of each offer under each rule that is asked about it: a canary is one more.
    memos: HashMap<Offer, Vec<Memo>>,
    groups: Strides<GroupName>,
    owners: Strides<UserName>,
}

/// Offers whose verdicts are kept, a VO; more begin anew.
const MAX_MEMOS: usize = 10_000;

/// Rules whose verdicts are kept, an offer: the one in force, a canary, and the one before.
const MAX_RULES: usize = 3;

/// A slot as a rule sees it, and what it has free by now.
#[derive(Clone, Copy)]
pub struct Slot<'a> {
    /// For whom.
    pub vo: &'a VoName,
    /// As it was judged.
    pub offer: &'a Offer,
    /// By whom.
    pub decider: &'a Decider,
    /// What is left of it.
    pub free: &'a Offer,
}

fn memo<'m>(
    memos: &'m HashMap<Offer, Vec<Memo>>,
    offer: &Offer,
    decider: &Decider,
) -> Option<&'m Memo> {
    memos.get(offer)?.iter().find(|memo| memo.decider == *decider)
}

/// Everything that waits.
#[derive(Default)]
pub struct Index {
    vos: HashMap<VoName, VoIndex>,
    home: HashMap<ClassId, VoName>,
}

impl Index {
    /// Learns of classes; those it knows stay as they are.
    pub fn add_classes(&mut self, classes: Vec<Arc<RequirementClass>>) {
        for class in classes {
            if self.home.insert(class.id, class.vo.clone()).is_none() {
                self.vos.entry(class.vo.clone()).or_default().classes.push(class);
            }
        }
    }

    /// Whether it has heard of a class.
    pub fn knows(&self, class: ClassId) -> bool {
        self.home.contains_key(&class)
    }

    fn waiting_mut(&mut self, queue: &QueueKey) -> Option<&mut i64> {
        let vo = self.home.get(&queue.class)?;
        let owners = self.vos.get_mut(vo)?.waiting.entry(queue.class).or_default();
        Some(owners.entry(queue.owner.clone()).or_default())
    }

    /// Sets a queue's length.
    pub fn set(&mut self, queue: &QueueKey, waiting: u64) {
        if let Some(count) = self.waiting_mut(queue) {
            *count = i64::try_from(waiting).unwrap_or(i64::MAX);
        }
    }

    /// Sets every queue's length; whether anything waits.
    pub fn count_anew(&mut self, queues: &HashMap<QueueKey, u64>) -> bool {
        for count in self.vos.values_mut().flat_map(|vo| vo.waiting.values_mut()) {
            count.values_mut().for_each(|count| *count = 0);
        }
        for (queue, waiting) in queues {
            self.set(queue, *waiting);
        }
        queues.values().any(|waiting| *waiting > 0)
    }

    /// A queue grew or shrank.
    pub fn change(&mut self, queue: &QueueKey, delta: i64) {
        if let Some(count) = self.waiting_mut(queue) {
            *count = count.saturating_add(delta);
        }
    }

    /// Jobs of a VO that wait.
    pub fn total(&self, vo: &VoName) -> u64 {
        let owners = self.vos.get(vo).into_iter().flat_map(|index| index.waiting.values());
        owners.flat_map(BTreeMap::values).filter_map(|count| u64::try_from(*count).ok()).sum()
    }

    /// Jobs of a VO that wait, by class.
    pub fn waiting(&self, vo: &VoName) -> BTreeMap<ClassId, u64> {
        let index = self.vos.get(vo);
        let counts = index.into_iter().flat_map(|index| &index.waiting);
        let sum = |owners: &BTreeMap<UserName, i64>| {
            owners.values().filter_map(|count| u64::try_from(*count).ok()).sum::<u64>()
        };
        counts
            .map(|(class, owners)| (*class, sum(owners)))
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    /// What an offer has not been judged on under this rule; nothing if all is known.
    pub fn unjudged(&mut self, vo: &VoName, offer: &Offer, decider: &Decider) -> Option<Unjudged> {
        let index = self.vos.get_mut(vo)?;
        if index.memos.len() >= MAX_MEMOS && !index.memos.contains_key(offer) {
            index.memos.clear();
        }
        let fresh = || Memo { decider: decider.clone(), judged: 0, ranked: Vec::new() };
        let memos = index.memos.entry(offer.clone()).or_default();
        let from = match memos.iter().find(|memo| memo.decider == *decider) {
            Some(memo) => memo.judged,
            None => {
                memos.truncate(MAX_RULES - 1);
                memos.insert(0, fresh());
                0
            }
        };
        let to = index.classes.len();
        let fits = |class: &&Arc<RequirementClass>| fit(&class.requirement, offer).is_ok();
        let fitting = index.classes[from..].iter().filter(fits).cloned().collect();
        (from < to).then_some(Unjudged { from, fitting, to })
    }

    /// Remembers verdicts, unless the rule or another caller has moved on meanwhile.
    pub fn judge(
        &mut self,
        vo: &VoName,
        offer: &Offer,
        decider: &Decider,
        unjudged: Unjudged,
        verdicts: Vec<Verdict>,
    ) {
        let memos = self.vos.get_mut(vo).and_then(|index| index.memos.get_mut(offer));
        let mut memos = memos.into_iter().flatten();
        let Some(memo) = memos.find(|m| m.decider == *decider && m.judged == unjudged.from) else {
            return;
        };
        for (class, verdict) in unjudged.fitting.into_iter().zip(verdicts) {
            if let Verdict::Accept(score) = verdict {
                memo.ranked.push(Candidate { class, score });
            }
        }
        memo.ranked.sort_by_key(|candidate| (-candidate.score, candidate.class.id));
        memo.judged = unjudged.to;
    }

    /// Accepted classes of an offer, the best first, that have jobs waiting.
    pub fn accepted(&self, vo: &VoName, offer: &Offer, decider: &Decider) -> Vec<Candidate> {
        let index = self.vos.get(vo);
        let memo = index.and_then(|index| memo(&index.memos, offer, decider));
        let waits = |candidate: &&Candidate| {
            index.is_some_and(|index| {
                let owners = index.waiting.get(&candidate.class.id);
                owners.is_some_and(|owners| owners.values().any(|count| *count > 0))
            })
        };
        memo.into_iter().flat_map(|memo| &memo.ranked).filter(waits).cloned().collect()
    }

    /// Whose turn it is for a slot: the group furthest behind its share, its best class that still
    /// fits what is free, and of those who wait there the owner furthest behind.
    pub fn choose(
        &mut self,
        slot: Slot<'_>,
        owner: Option<&UserName>,
        shares: &dyn Fn(&GroupName) -> u32,
        skip: &HashSet<QueueKey>,
    ) -> Option<(Candidate, QueueKey, u32)> {
        let Slot { vo, offer, decider, free } = slot;
        let VoIndex { waiting, memos, groups, owners, .. } = self.vos.get_mut(vo)?;
        let mut best: Option<(&Candidate, UserName, u32)> = None;
        for candidate in &memo(memos, offer, decider)?.ranked {
            if best.as_ref().is_some_and(|(b, ..)| b.class.group == candidate.class.group) {
                continue;
            }
            let Some(queue) = waiting.get(&candidate.class.id) else { continue };
            let waits = queue.iter().filter(|(name, count)| {
                let key = || QueueKey { class: candidate.class.id, owner: (*name).clone() };
                **count > 0 && owner.is_none_or(|only| only == *name) && !skip.contains(&key())
            });
            let Some(next) = owners.least(waits.map(|(name, _)| name)) else { continue };
            let Ok(cores) = fit(&candidate.class.requirement, free) else { continue };
            let behind = best.as_ref().is_none_or(|(b, ..)| {
                groups.pass(&candidate.class.group) < groups.pass(&b.class.group)
            });
            if behind {
                best = Some((candidate, next.clone(), cores));
            }
        }
        let (candidate, owner, cores) = best?;
        let candidate = candidate.clone();
        groups.serve(
            &candidate.class.group,
            f64::from(cores) / f64::from(shares(&candidate.class.group).max(1)),
        );
        owners.serve(&owner, f64::from(cores));
        let queue = QueueKey { class: candidate.class.id, owner };
        Some((candidate, queue, cores))
    }
}

/// Stride scheduling: each is served in proportion to its share; one that comes new, or back,
/// starts level with the others.
#[derive(Debug)]
struct Strides<K> {
    passes: HashMap<K, f64>,
    now: f64,
}

impl<K> Default for Strides<K> {
    fn default() -> Self {
        Self { passes: HashMap::new(), now: 0.0 }
    }
}

impl<K: Clone + Eq + std::hash::Hash + Ord> Strides<K> {
    fn pass(&self, key: &K) -> f64 {
        self.passes.get(key).copied().unwrap_or(self.now).max(self.now)
    }

    fn least<'a>(&self, keys: impl Iterator<Item = &'a K>) -> Option<&'a K> {
        keys.min_by(|a, b| self.pass(a).total_cmp(&self.pass(b)).then_with(|| a.cmp(b)))
    }

    fn serve(&mut self, key: &K, stride: f64) {
        let pass = self.pass(key);
        self.now = self.now.max(pass);
        self.passes.insert(key.clone(), pass + stride);
    }
}

#[cfg(test)]
mod tests;
