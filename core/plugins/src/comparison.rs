//! A candidate beside the version that is there: asked the same, off the caller's path, and what
//! differs is counted.

use spinor_model::{
    id::{JobType, VoName},
    offer::Offer,
    plan::Plan,
    policy::{
        AdmissionError, Admitted, Alarm, Answer, Concern, Conclusion, Decider, Differences,
        EndedAttempt, JobHandler, MatchingRule, Observer, ParameterColumn, PolicyError,
        RequirementClass, Submitted, Verdict,
    },
    registry::{BindingPath, Stage},
    time::micros,
};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    thread,
    time::Instant,
};

type Job = Box<dyn FnOnce() + Send>;

/// Comparisons that may wait; more are left out.
const WAITING: usize = 256;

/// What two versions in one place have answered differently so far.
pub struct Comparison {
    differences: Mutex<Differences>,
    jobs: SyncSender<Job>,
    left_out: std::sync::atomic::AtomicU64,
    alarmed: AtomicBool,
    bounds: Bounds,
}

/// When to raise an alarm, and about whom.
pub struct Bounds {
    /// For whom.
    pub vo: VoName,
    /// Where.
    pub path: BindingPath,
    /// The candidate.
    pub candidate: Decider,
    /// How far it is let in: only canaries drift.
    pub stage: Stage,
    /// Percent of answers that may differ.
    pub max_drift: u8,
    /// Who is told.
    pub observer: Arc<dyn Observer>,
}

/// Answers that a canary is not judged before.
const ENOUGH: u64 = 10;

impl Comparison {
    /// Nothing compared yet. Its thread ends with it.
    pub fn start(bounds: Bounds) -> std::io::Result<Arc<Self>> {
        let (jobs, received) = sync_channel::<Job>(WAITING);
        thread::Builder::new().name("spinor-comparison".to_owned()).spawn(move || {
            while let Ok(job) = received.recv() {
                job();
            }
        })?;
        Ok(Arc::new(Self {
            differences: Mutex::default(),
            jobs,
            left_out: 0.into(),
            alarmed: AtomicBool::new(false),
            bounds,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Differences> {
        self.differences.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What differed so far.
    pub fn differences(&self) -> Differences {
        self.lock().clone()
    }

    /// Comparisons that were left out because too many waited.
    pub fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }

    /// Adds what was compared elsewhere, e.g. over recorded decisions.
    pub fn add(&self, add: impl FnOnce(&mut Differences)) {
        let mut differences = self.lock();
        add(&mut differences);
        let beyond = (differences.compared >= ENOUGH || !differences.starved().is_empty())
            .then(|| differences.beyond(self.bounds.max_drift))
            .flatten();
        drop(differences);
        let Bounds { vo, path, candidate, stage, observer, .. } = &self.bounds;
        if let Some(reason) = beyond.filter(|_| *stage == Stage::Canary)
            && !self.alarmed.swap(true, Ordering::AcqRel)
        {
            let (vo, path, decider) = (vo.clone(), path.clone(), candidate.clone());
            observer.alarmed(Alarm { vo, path, decider, concern: Concern::Drifted, reason });
        }
    }

    fn later(self: &Arc<Self>, job: impl FnOnce(&Self) + Send + 'static) {
        let weak = Arc::downgrade(self);
        let job = move || {
            if let Some(comparison) = weak.upgrade() {
                job(&comparison);
            }
        };
        if self.jobs.try_send(Box::new(job)).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A rule that decides, with another asked the same.
pub struct ComparedRule {
    /// Whose verdicts count.
    pub decides: Arc<dyn MatchingRule>,
    /// Who is asked as well.
    pub other: Arc<dyn MatchingRule>,
    /// Whether the one that decides is the candidate.
    pub candidate_decides: bool,
    /// Where differences are counted.
    pub comparison: Arc<Comparison>,
}

impl MatchingRule for ComparedRule {
    fn decider(&self) -> &Decider {
        self.decides.decider()
    }

    fn evaluate(
        &self,
        offer: &Offer,
        classes: &[Arc<RequirementClass>],
    ) -> Result<Vec<Verdict>, PolicyError> {
        let started = Instant::now();
        let verdicts = self.decides.evaluate(offer, classes)?;
        let cost = micros(started);
        let (offer, classes, given) = (offer.clone(), classes.to_vec(), verdicts.clone());
        let (other, candidate_decides) = (self.other.clone(), self.candidate_decides);
        self.comparison.later(move |comparison| {
            let started = Instant::now();
            let asked = other.evaluate(&offer, &classes);
            let other_cost = micros(started);
            comparison.add(|differences| match (asked, candidate_decides) {
                (Ok(before), true) => {
                    differences.add_verdicts(&offer, &classes, &before, &given);
                    differences.add_cost(other_cost, cost);
                }
                (Ok(now), false) => {
                    differences.add_verdicts(&offer, &classes, &given, &now);
                    differences.add_cost(cost, other_cost);
                }
                (Err(error), false) => {
                    differences.add_fault(classes.len() as u64, &error.to_string());
                }
                (Err(_), true) => {}
            });
        });
        Ok(verdicts)
    }
}

/// A handler that decides, with another asked the same about admissions. Conclusions belong to
/// whoever planned the job: nobody else is asked.
pub struct ComparedHandler {
    /// Whose answers count.
    pub decides: Arc<dyn JobHandler>,
    /// Who is asked as well.
    pub other: Arc<dyn JobHandler>,
    /// Whether the one that decides is the candidate.
    pub candidate_decides: bool,
    /// The job type.
    pub job_type: JobType,
    /// Where differences are counted.
    pub comparison: Arc<Comparison>,
}

impl JobHandler for ComparedHandler {
    fn decider(&self) -> &Decider {
        self.decides.decider()
    }

    fn admit(&self, submitted: &Submitted) -> Result<Admitted, AdmissionError> {
        let started = Instant::now();
        let answer = self.decides.admit(submitted);
        let cost = micros(started);
        let Some(given) = Answer::to_admission(&answer) else { return answer };
        let (other, submitted) = (self.other.clone(), submitted.clone());
        let (job_type, candidate_decides) = (self.job_type.clone(), self.candidate_decides);
        self.comparison.later(move |comparison| {
            let started = Instant::now();
            let asked = other.admit(&submitted);
            let other_cost = micros(started);
            comparison.add(|differences| match (Answer::to_admission(&asked), candidate_decides) {
                (Some(before), true) => {
                    differences.add_answers(&job_type, &before, &given);
                    differences.add_cost(other_cost, cost);
                }
                (Some(now), false) => {
                    differences.add_answers(&job_type, &given, &now);
                    differences.add_cost(cost, other_cost);
                }
                (None, false) => {
                    let why = asked.err().map(|error| error.to_string()).unwrap_or_default();
                    differences.add_fault(1, &why);
                }
                (None, true) => {}
            });
        });
        answer
    }

    fn page(
        &self,
        template: &str,
        offset: u32,
        limit: u32,
    ) -> Result<Vec<ParameterColumn>, PolicyError> {
        self.decides.page(template, offset, limit)
    }

    fn plan(&self, template: &str) -> Result<Plan, PolicyError> {
        self.decides.plan(template)
    }

    fn conclude(&self, template: &str, attempt: &EndedAttempt) -> Result<Conclusion, PolicyError> {
        self.decides.conclude(template, attempt)
    }
}
