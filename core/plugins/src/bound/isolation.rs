//! Poison: the few classes of a batch that break a rule are found and held, so that one job cannot
//! keep a VO's others.

use super::matching::Rule;
use spinor_model::{
    id::ClassId,
    offer::Offer,
    policy::{Concern, Fault, PolicyError, RequirementClass, Verdict},
};
use std::{
    sync::{Arc, PoisonError},
    time::Instant,
};

/// Faults after which it is not a matter of a few classes.
const MAX_SEARCH: u32 = 40;

fn quarantined(plugin: &str, fault: &Fault) -> Arc<str> {
    format!("{plugin} breaks on jobs like this one: it {fault}").into()
}

/// Where the classes are that a rule breaks on.
struct Search {
    verdicts: Vec<Verdict>,
    held: Vec<(ClassId, Arc<str>)>,
    faults: u32,
    ends: Instant,
}

impl Rule {
    /// A batch broke the rule: if it is a few classes that do, they are held and the others judged;
    /// otherwise it is the rule.
    pub(super) fn isolate(
        &self,
        offer: &Offer,
        classes: &[Arc<RequirementClass>],
        error: PolicyError,
    ) -> Result<Vec<Verdict>, PolicyError> {
        let input = classes.first().map_or(0, |class| class.id.0.unsigned_abs());
        if matches!(error, PolicyError::Fault { fault: Fault::Contract(_), .. }) {
            return self.bond.noted(input, Err(error));
        }
        if let [class] = classes {
            return self.suspect(class, error);
        }
        let ends = Instant::now() + self.bond.limits.deadline();
        let mut search = Search { verdicts: Vec::new(), held: Vec::new(), faults: 0, ends };
        self.search(offer, classes, &mut search)?;
        let Search { verdicts, held, .. } = search;
        let few =
            held.len() < classes.len() && (classes.len() < 4 || held.len() * 4 <= classes.len());
        if verdicts.len() < classes.len() || !few {
            return self.bond.noted(input, Err(error));
        }
        self.bond.breaker.good();
        for (class, reason) in held {
            self.bond.alarm(Concern::Quarantined, &format!("class {class}: {reason}"));
        }
        Ok(verdicts)
    }

    /// Halves what breaks until it is one class, or too much to be a matter of a few.
    fn search(
        &self,
        offer: &Offer,
        classes: &[Arc<RequirementClass>],
        search: &mut Search,
    ) -> Result<(), PolicyError> {
        if search.faults >= MAX_SEARCH || Instant::now() > search.ends {
            return Ok(());
        }
        match self.ask(offer, classes) {
            Ok(verdicts) => search.verdicts.extend(verdicts),
            Err(PolicyError::Fault { fault, .. }) => {
                search.faults += 1;
                if let [class] = classes {
                    let reason = quarantined(&self.bond.caller.plugin, &fault);
                    search.held.push((class.id, reason.clone()));
                    search.verdicts.push(Verdict::Held(reason));
                } else {
                    let (one, other) = classes.split_at(classes.len() / 2);
                    self.search(offer, one, search)?;
                    self.search(offer, other, search)?;
                }
            }
            Err(answer) => return Err(answer),
        }
        Ok(())
    }

    /// One class alone broke the rule. Twice that is the rule's fault; after that, if the rule has
    /// answered others, it is the class's.
    fn suspect(
        &self,
        class: &RequirementClass,
        error: PolicyError,
    ) -> Result<Vec<Verdict>, PolicyError> {
        let PolicyError::Fault { fault, .. } = &error else { return Err(error) };
        let times = {
            let mut suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
            let times = suspects.entry(class.id).or_insert(0u32);
            *times += 1;
            *times
        };
        if times > 2 && self.bond.breaker.has_answered() {
            let reason = quarantined(&self.bond.caller.plugin, fault);
            self.bond.alarm(Concern::Quarantined, &format!("class {}: {reason}", class.id));
            return Ok(vec![Verdict::Held(reason)]);
        }
        self.bond.noted(class.id.0.unsigned_abs(), Err(error))
    }
}
