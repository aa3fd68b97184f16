//! A candidate is asked what others have decided, before it decides anything: what would change?

use crate::{Lifecycle, LifecycleError};
use serde::{Deserialize, Serialize};
use spinor_model::{
    fit::fit,
    id::{CeName, ClassId, JobType, SiteName, VoName},
    offer::Offer,
    policy::{
        Answer, Decider, Decision, Differences, Effectful, JobHandler, MatchingRule, PolicyError,
        Question, RequirementClass, Submitted, Verdict,
    },
    registry::BindingPath,
    time::{Timestamp, micros},
};
use spinor_store::Placement;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

/// What would change if a candidate decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Replay {
    /// For whom.
    pub vo: VoName,
    /// Where.
    pub path: BindingPath,
    /// Who would decide.
    pub candidate: Decider,
    /// Who decides now, if anyone.
    pub in_force: Option<Decider>,
    /// Decisions since then were asked again, and those in force whatever their time.
    pub since: Timestamp,
    /// Decisions that were asked again.
    pub decisions: u64,
    /// Pairs of queues and classes that wait now, asked beside the recorded ones.
    pub asked_now: u64,
    /// What is left out: too old to be understood, or there was no time.
    pub left_out: u64,
    /// What differs.
    pub differences: Differences,
    /// Attempts that were sent to a place since then.
    pub placements: u64,
    /// Those that the candidate would not have sent there, by site.
    pub placements_lost: BTreeMap<SiteName, u64>,
    /// Why it should not be let in, if so.
    pub warning: Option<String>,
}

/// A queue, and classes to be judged for it.
type Asked = (Offer, Vec<Arc<RequirementClass>>);

/// Decisions asked again at most.
const MAX_DECISIONS: u32 = 2_000;

/// A replay ends after this, with what it has.
const MAX_TIME: Duration = Duration::from_secs(60);

/// Differences that a warning needs: the bound that canaries have by default.
const MAX_DRIFT: u8 = 20;

impl Lifecycle {
    /// Asks a candidate rule what the rule in force has decided since a time, and would decide now.
    pub async fn replay_rule(
        &self,
        vo: &VoName,
        in_force: Option<Arc<dyn MatchingRule>>,
        candidate: Arc<dyn MatchingRule>,
        since: Timestamp,
    ) -> Result<Replay, LifecycleError> {
        let path = BindingPath::Matching;
        let decider = in_force.as_ref().map(|rule| rule.decider().clone());
        let decisions = self.recorded(vo, &path, since, decider.as_ref()).await?;
        let classes = self.store.classes().await?.into_iter().filter(|class| class.vo == *vo);
        let classes: HashMap<ClassId, _> = classes.map(|class| (class.id, class)).collect();
        let waiting = self.waiting(vo);
        let now = self.questions_of_now(vo, &classes, &waiting)?;
        let placements = self.store.placements(vo, since).await?;
        let report = Replay::new(vo, &path, candidate.decider(), decider, since);
        let mut waiting_of: BTreeMap<JobType, u64> = BTreeMap::new();
        for (class, count) in waiting.iter().filter_map(|(id, n)| Some((classes.get(id)?, n))) {
            *waiting_of.entry(class.job_type.clone()).or_default() += count;
        }
        let asked = tokio::task::spawn_blocking(move || {
            let mut asking = Asking::new(report, &classes);
            asking.recorded(&*candidate, &decisions);
            if let Some(rule) = &in_force {
                asking.now(&**rule, &*candidate, now);
            }
            asking.placed(&placements);
            asking.report
        });
        let mut report = asked.await?;
        for (job_type, of_type) in &mut report.differences.job_types {
            of_type.waiting = waiting_of.get(job_type).copied().unwrap_or(0);
        }
        Ok(report.warned())
    }

    /// Asks a candidate handler what the handler in force has decided since a time.
    pub async fn replay_handler(
        &self,
        vo: &VoName,
        job_type: &JobType,
        in_force: Option<Arc<dyn JobHandler>>,
        candidate: Arc<dyn JobHandler>,
        since: Timestamp,
    ) -> Result<Replay, LifecycleError> {
        let path = BindingPath::Handling(job_type.clone());
        let decider = in_force.as_ref().map(|handler| handler.decider().clone());
        let decisions = self.recorded(vo, &path, since, decider.as_ref()).await?;
        let report = Replay::new(vo, &path, candidate.decider(), decider, since);
        let job_type = job_type.clone();
        let asked = tokio::task::spawn_blocking(move || {
            ask_handler(report, &job_type, in_force.as_deref(), &*candidate, &decisions)
        });
        Ok(asked.await?.warned())
    }

    /// Has a candidate do what was done since a time, over what passed between the world and the one
    /// in force: nothing happens out there.
    pub async fn replay_effects(
        &self,
        vo: &VoName,
        path: &BindingPath,
        in_force: Option<&Decider>,
        candidate: &dyn Effectful,
        since: Timestamp,
    ) -> Result<Replay, LifecycleError> {
        let decisions = self.recorded(vo, path, since, in_force).await?;
        let mut report = Replay::new(vo, path, candidate.decider(), in_force.cloned(), since);
        let ends = Instant::now() + MAX_TIME;
        for Decision { question, answer, cost_us, .. } in &decisions {
            let (Question::Effect { effect, exchanges }, Answer::Effect(before)) =
                (question, answer)
            else {
                continue;
            };
            let started = Instant::now();
            if started > ends {
                report.left_out += 1;
                continue;
            }
            report.decisions += 1;
            let now = candidate.again(effect, exchanges).await;
            let cost = micros(started);
            report.differences.add_cost(*cost_us, cost);
            report.differences.add_effect(effect, before, now);
        }
        Ok(report.warned())
    }

    /// What the policy in force decided, or, if it decided nothing yet, what others did.
    async fn recorded(
        &self,
        vo: &VoName,
        path: &BindingPath,
        since: Timestamp,
        in_force: Option<&Decider>,
    ) -> Result<Vec<Decision>, LifecycleError> {
        self.keep_observed().await?;
        let all = self.store.decisions(vo, path, since, in_force, MAX_DECISIONS).await?;
        let (own, others): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|decision| Some(&decision.decider) == in_force);
        Ok(if own.is_empty() { others } else { own })
    }

    /// Every queue, and the waiting classes that fit it.
    fn questions_of_now(
        &self,
        vo: &VoName,
        classes: &HashMap<ClassId, Arc<RequirementClass>>,
        waiting: &BTreeMap<ClassId, u64>,
    ) -> Result<Vec<Asked>, LifecycleError> {
        let document = self.document(vo)?;
        let fitting = |offer: &Offer| {
            let waiting = waiting.keys().filter_map(|id| classes.get(id));
            waiting.filter(|class| fit(&class.requirement, offer).is_ok()).cloned().collect()
        };
        let offers = document.queues().map(|(.., offer)| offer.class());
        Ok(offers.map(|offer| (offer.clone(), fitting(&offer))).collect())
    }
}

impl Replay {
    fn new(
        vo: &VoName,
        path: &BindingPath,
        candidate: &Decider,
        in_force: Option<Decider>,
        since: Timestamp,
    ) -> Self {
        Self {
            vo: vo.clone(),
            path: path.clone(),
            candidate: candidate.clone(),
            in_force,
            since,
            decisions: 0,
            asked_now: 0,
            left_out: 0,
            differences: Differences::default(),
            placements: 0,
            placements_lost: BTreeMap::new(),
            warning: None,
        }
    }

    fn warned(mut self) -> Self {
        self.warning = self.differences.beyond(MAX_DRIFT);
        self
    }
}

/// A replay of verdicts under way.
struct Asking<'a> {
    report: Replay,
    classes: &'a HashMap<ClassId, Arc<RequirementClass>>,
    ends: Instant,
    asked: HashSet<(Offer, ClassId)>,
    /// Whether the candidate takes a class anywhere at a CE.
    takes: HashMap<(SiteName, CeName, ClassId), bool>,
}

impl<'a> Asking<'a> {
    fn new(report: Replay, classes: &'a HashMap<ClassId, Arc<RequirementClass>>) -> Self {
        let ends = Instant::now() + MAX_TIME;
        Self { report, classes, ends, asked: HashSet::new(), takes: HashMap::new() }
    }

    fn recorded(&mut self, candidate: &dyn MatchingRule, decisions: &[Decision]) {
        for decision in decisions {
            let (Question::Verdicts { offer, classes }, Answer::Verdicts(before)) =
                (&decision.question, &decision.answer)
            else {
                continue;
            };
            let known: Option<Vec<_>> =
                classes.iter().map(|id| self.classes.get(id).cloned()).collect();
            let Some(classes) = known.filter(|known| known.len() == before.len()) else {
                self.report.left_out += 1;
                continue;
            };
            if Instant::now() > self.ends {
                self.report.left_out += 1;
                continue;
            }
            self.report.decisions += 1;
            self.compare(candidate, offer, &classes, before, decision.cost_us);
        }
    }

    fn now(
        &mut self,
        in_force: &dyn MatchingRule,
        candidate: &dyn MatchingRule,
        questions: Vec<Asked>,
    ) {
        for (offer, mut classes) in questions {
            classes.retain(|class| !self.asked.contains(&(offer.clone(), class.id)));
            if classes.is_empty() || Instant::now() > self.ends {
                continue;
            }
            let started = Instant::now();
            let Ok(before) = in_force.evaluate(&offer, &classes) else { continue };
            let cost = micros(started);
            self.report.asked_now += classes.len() as u64;
            self.compare(candidate, &offer, &classes, &before, cost);
        }
    }

    fn compare(
        &mut self,
        candidate: &dyn MatchingRule,
        offer: &Offer,
        classes: &[Arc<RequirementClass>],
        before: &[Verdict],
        cost_us: u64,
    ) {
        let started = Instant::now();
        match candidate.evaluate(offer, classes) {
            Ok(now) => {
                let own = micros(started);
                self.report.differences.add_cost(cost_us, own);
                self.report.differences.add_verdicts(offer, classes, before, &now);
                for (class, verdict) in classes.iter().zip(&now) {
                    let place = (offer.site.clone(), offer.ce.clone(), class.id);
                    *self.takes.entry(place).or_default() |= matches!(verdict, Verdict::Accept(_));
                    self.asked.insert((offer.clone(), class.id));
                }
            }
            Err(error) => {
                self.report.differences.add_fault(classes.len() as u64, &error.to_string());
            }
        }
    }

    fn placed(&mut self, placements: &[Placement]) {
        for Placement { class, site, ce, attempts } in placements {
            self.report.placements += attempts;
            if self.takes.get(&(site.clone(), ce.clone(), *class)) == Some(&false) {
                *self.report.placements_lost.entry(site.clone()).or_default() += attempts;
            }
        }
    }
}

fn ask_handler(
    mut report: Replay,
    job_type: &JobType,
    in_force: Option<&dyn JobHandler>,
    candidate: &dyn JobHandler,
    decisions: &[Decision],
) -> Replay {
    let ends = Instant::now() + MAX_TIME;
    for decision in decisions {
        let started = Instant::now();
        if started > ends {
            report.left_out += 1;
            continue;
        }
        let asked = match &decision.question {
            Question::Admission { submitted } => {
                // What was recorded hides secrets, so the one in force is asked again as well.
                let before = in_force.map_or(Ok(decision.answer.clone()), |h| admit(h, submitted));
                before.map(|before| (before, admit(candidate, submitted)))
            }
            Question::Conclusion { template, attempt } => {
                // Only versions of one plugin read each other's templates.
                if candidate.decider().plugin != decision.decider.plugin {
                    report.left_out += 1;
                    continue;
                }
                let now = candidate.conclude(template, attempt).map(Answer::Conclusion);
                Ok((decision.answer.clone(), now.map_err(|error| error.to_string())))
            }
            Question::Verdicts { .. } | Question::Effect { .. } => continue,
        };
        report.decisions += 1;
        let cost = micros(started);
        match asked {
            Ok((before, Ok(now))) => {
                report.differences.add_answers(job_type, &before, &now);
                report.differences.add_cost(decision.cost_us, cost);
            }
            Ok((_, Err(fault))) => report.differences.add_fault(1, &fault),
            Err(_) => report.left_out += 1,
        }
    }
    report
}

/// What a handler says to a description, its plan included.
fn admit(handler: &dyn JobHandler, submitted: &Submitted) -> Result<Answer, String> {
    let admitted = handler.admit(submitted);
    let answer = Answer::to_admission(&admitted);
    let fault = || admitted.as_ref().err().map(ToString::to_string).unwrap_or_default();
    let mut answer = answer.ok_or_else(fault)?;
    if let (Answer::Admitted(shown), Ok(admitted)) = (&mut answer, &admitted) {
        // Where the template would stand, versions are compared by what it makes pilots do.
        let plan = handler.plan(&admitted.template).map_err(|e: PolicyError| e.to_string())?;
        shown.template = serde_json::to_string(&plan).map_err(|error| error.to_string())?;
    }
    Ok(answer)
}
