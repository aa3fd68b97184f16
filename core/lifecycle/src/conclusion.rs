//! Ended attempts are judged by the very handler that planned them.

use crate::{Lifecycle, LifecycleError};
use spinor_model::{
    plan::Ending,
    policy::{Conclusion, EndedAttempt, Retry},
    requirement::Requirement,
    state::JobState,
    usage::Outcome,
};
use spinor_store::{Judgement, PendingConclusion};
use std::{sync::Arc, time::Duration};

/// Attempts judged in one round.
const ROUND: u32 = 200;

impl Lifecycle {
    /// Judges what is in the outbox; how many were.
    pub async fn conclude_pending(&self) -> Result<u32, LifecycleError> {
        let mut judged = 0;
        for pending in self.store.pending_conclusions(ROUND).await? {
            let job = pending.job.id;
            match self.conclude(pending).await {
                Ok(done) => judged += u32::from(done),
                // One job's trouble must not keep the others'.
                Err(error) => tracing::error!(%job, %error, "an attempt could not be judged"),
            }
        }
        if judged > 0 {
            self.delivering.notify_one();
        }
        Ok(judged)
    }

    /// Judges one attempt, or holds its job with the reason.
    async fn conclude(&self, pending: PendingConclusion) -> Result<bool, LifecycleError> {
        let job = &pending.job;
        if job.status != JobState::Completing || job.attempt != pending.attempt.attempt {
            // It was killed or rescheduled meanwhile: there is nothing to judge, only usage to book.
            let (judgement, outcome) = (Judgement::Done, Outcome::Killed);
            self.store.conclude(&pending, judgement, outcome, "JobManager", self.now()).await?;
            return Ok(true);
        }
        let limit = match self.document(&job.vo) {
            Ok(document) => document.limits.max_attempts,
            Err(error) => return self.hold(&pending, error.to_string()).await,
        };
        let handler =
            self.policies.handler_that_planned(&job.vo, &job.job_type, &pending.planned_by);
        let handler = match handler {
            Ok(handler) => handler,
            Err(unbound) => return self.hold(&pending, unbound.to_string()).await,
        };
        let source = handler.decider().to_string();
        let attempt = ended(&pending, limit);
        let pending = Arc::new(pending);
        let shared = pending.clone();
        let conclusion =
            tokio::task::spawn_blocking(move || handler.conclude(&shared.template, &attempt));
        let conclusion = match conclusion.await? {
            Ok(conclusion) => conclusion,
            Err(error) => return self.hold(&pending, error.to_string()).await,
        };
        let (judgement, outcome) = self.judgement(&pending, conclusion, limit).await?;
        let now = self.now();
        let changes = self.store.conclude(&pending, judgement, outcome, &source, now).await?;
        self.note(&changes).await?;
        Ok(true)
    }

    async fn hold(&self, pending: &PendingConclusion, why: String) -> Result<bool, LifecycleError> {
        let (job, attempt) = (pending.job.id, pending.attempt.attempt);
        self.store.hold(job, attempt, &why, self.now()).await?;
        Ok(false)
    }

    /// What a handler's word comes to under the VO's limit.
    async fn judgement(
        &self,
        pending: &PendingConclusion,
        conclusion: Conclusion,
        limit: u32,
    ) -> Result<(Judgement, Outcome), LifecycleError> {
        Ok(match conclusion {
            Conclusion::Done => (Judgement::Done, Outcome::Done),
            Conclusion::Failed(reason) => (Judgement::Failed(reason), Outcome::Failed),
            Conclusion::Retry(retry) if pending.attempts_used >= limit => {
                let reason = format!("{} (after {limit} attempts)", retry.reason);
                (Judgement::Failed(reason), Outcome::Failed)
            }
            Conclusion::Retry(Retry { reason, delay_seconds, avoid_site }) => {
                let not_before = self.now().plus(Duration::from_secs(delay_seconds.into()));
                let requirement = match avoid_site {
                    true => self.without_site(pending).await?.map(Box::new),
                    false => None,
                };
                (Judgement::Retry { reason, not_before, requirement }, Outcome::Rescheduled)
            }
        })
    }

    /// What the job asks for without the attempt's site, and without those it avoided before; as it
    /// was, if that would leave it none of the sites its owner named.
    async fn without_site(
        &self,
        pending: &PendingConclusion,
    ) -> Result<Option<Requirement>, LifecycleError> {
        let mut asked = pending.requirement.clone();
        if let Some(class) = self.store.class_of(pending.job.id).await? {
            asked.banned_sites.extend(class.requirement.banned_sites.iter().cloned());
        }
        asked.banned_sites.insert(pending.attempt.site.clone());
        // CEs that it is bound to may all be there.
        let left = asked.ces.is_empty()
            && (asked.sites.is_empty() || !asked.sites.is_subset(&asked.banned_sites));
        Ok(left.then_some(asked))
    }
}

fn ended(pending: &PendingConclusion, limit: u32) -> EndedAttempt {
    let result = pending.attempt.result.as_ref();
    let nothing = || Ending::Lost { reason: "no result".to_owned() };
    EndedAttempt {
        number: spinor_model::id::AttemptNumber(pending.attempts_used),
        limit,
        ending: result.map_or_else(nothing, |r| r.ending.clone()),
        site: pending.attempt.site.clone(),
        missing_outputs: result.map(|r| r.missing_outputs.clone()).unwrap_or_default(),
        stderr_tail: result.map(|r| r.stderr_tail.clone()).unwrap_or_default(),
    }
}
