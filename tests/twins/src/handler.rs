use crate::decider;
use spinor_model::{
    finding::Finding,
    plan::{Ending, Plan},
    policy::{
        AdmissionError, Admitted, Conclusion, Decider, EndedAttempt, JobHandler, ParameterColumn,
        PolicyError, Retry, Submitted,
    },
};
use std::sync::Mutex;

/// Takes `{"jobs": N, "requirement": {…}}`; exit code 0 is done, 75 is tried again elsewhere, a loss
/// is tried again.
pub struct TwinHandler {
    decider: Decider,
    /// Attempts it has judged.
    pub judged: Mutex<Vec<EndedAttempt>>,
}

impl Default for TwinHandler {
    fn default() -> Self {
        Self { decider: decider("handling/twin", "0.1.0"), judged: Mutex::default() }
    }
}

fn jobs(template: &str) -> u32 {
    let value: serde_json::Value = serde_json::from_str(template).unwrap_or_default();
    value["jobs"].as_u64().and_then(|n| n.try_into().ok()).unwrap_or(1)
}

impl JobHandler for TwinHandler {
    fn decider(&self) -> &Decider {
        &self.decider
    }

    fn admit(&self, submitted: &Submitted) -> Result<Admitted, AdmissionError> {
        let value: serde_json::Value =
            serde_json::from_str(&submitted.description).unwrap_or_default();
        let requirement = value.get("requirement").cloned().unwrap_or(serde_json::json!({}));
        let requirement = serde_json::from_value(requirement.clone()).map_err(|error| {
            AdmissionError::Findings(vec![Finding {
                field: "/requirement".to_owned(),
                value: requirement.to_string(),
                message: error.to_string(),
            }])
        })?;
        Ok(Admitted {
            name: "twin %(n)s".to_owned(),
            requirement,
            priority: 1,
            template: submitted.description.clone(),
            input_sandboxes: Vec::new(),
            jobs: jobs(&submitted.description),
            parameters: vec!["n".to_owned()],
        })
    }

    fn page(
        &self,
        template: &str,
        offset: u32,
        limit: u32,
    ) -> Result<Vec<ParameterColumn>, PolicyError> {
        let last = jobs(template).min(offset.saturating_add(limit));
        let values = (offset..last).map(|n| n.to_string()).collect();
        Ok(vec![ParameterColumn { name: "n".to_owned(), values }])
    }

    fn plan(&self, _: &str) -> Result<Plan, PolicyError> {
        Ok(Plan {
            command: vec!["true".to_owned()],
            environment: Default::default(),
            stdout: "std.out".to_owned(),
            stderr: "std.err".to_owned(),
            outputs: Vec::new(),
        })
    }

    fn conclude(&self, _: &str, attempt: &EndedAttempt) -> Result<Conclusion, PolicyError> {
        if let Ok(mut judged) = self.judged.lock() {
            judged.push(attempt.clone());
        }
        let again = |reason: &str, avoid_site| {
            Conclusion::Retry(Retry { reason: reason.to_owned(), delay_seconds: 0, avoid_site })
        };
        Ok(match &attempt.ending {
            Ending::Exited { code: 0 } => Conclusion::Done,
            Ending::Exited { code: 75 } => again("exit code 75", true),
            Ending::Lost { reason } => again(reason, false),
            other => Conclusion::Failed(format!("{other:?}")),
        })
    }
}
