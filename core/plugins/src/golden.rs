//! Golden cases: what a component says that it does, checked before anybody relies on it. They travel
//! in the schema of its settings, under [`KEY`].

use crate::{
    bound::{Policy, Spot, Surroundings, bind},
    load::{LoadError, Loader},
    permits::Permits,
    version::PluginVersion,
};
use serde::Deserialize;
use spinor_model::{
    id::{ClassId, GroupName, JobType, VoName},
    offer::Offer,
    policy::{
        AdmissionError, Fact, JobHandler, MatchingRule, QueueStanding, RequirementClass, Submitted,
        SupplyPolicy, Unobserved, Verdict,
    },
    registry::{Binding, BindingPath, Kind},
    requirement::Requirement,
};
use std::sync::Arc;

/// Where the cases stand in the schema.
pub const KEY: &str = "x-spinor-golden";

/// Cases that a component may carry: each costs a binding and a call.
const MAX_CASES: usize = 50;

/// A case: settings, a question, and the answer.
#[derive(Debug, Deserialize)]
struct Case {
    name: String,
    #[serde(default = "empty")]
    settings: serde_json::Value,
    #[serde(flatten)]
    asked: Asked,
}

fn empty() -> serde_json::Value {
    serde_json::json!({})
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Asked {
    /// Of a rule.
    Verdicts { offer: Offer, classes: Vec<Class>, verdicts: Vec<Verdict> },
    /// Of what steers pilots.
    Weights { queues: Vec<QueueStanding>, facts: Vec<Fact>, weights: Vec<f64> },
    /// Of a handler: how many jobs, or the fields that it finds fault with.
    Admission {
        description: serde_json::Value,
        #[serde(default)]
        jobs: u32,
        #[serde(default)]
        refused: Vec<String>,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Class {
    #[serde(default = "group")]
    group: GroupName,
    job_type: JobType,
    #[serde(default)]
    requirement: Requirement,
}

#[allow(clippy::expect_used)]
fn group() -> GroupName {
    "golden".parse().expect("a name")
}

/// Cases belong to no VO; the name is only for logs.
#[allow(clippy::expect_used)]
fn golden_vo() -> VoName {
    "golden".parse().expect("a name")
}

/// Checks all cases that a version carries; how many there are.
pub async fn check(
    loader: &Loader,
    surroundings: &Surroundings,
    version: &Arc<PluginVersion>,
) -> Result<usize, LoadError> {
    let Some(cases) = version.schema.get(KEY) else { return Ok(0) };
    let cases: Vec<Case> = serde_json::from_value(cases.clone())
        .map_err(|error| failed("(all)", format!("cannot be read: {error}")))?;
    if cases.len() > MAX_CASES {
        return Err(failed("(all)", format!("are {}: {MAX_CASES} at most", cases.len())));
    }
    let surroundings = Surroundings { observer: Arc::new(Unobserved), ..surroundings.clone() };
    for case in &cases {
        let policy = case.bound(loader, &surroundings, version).await?;
        let (name, answer) = (case.name.clone(), case.ask(policy));
        answer.await.map_err(|message| failed(&name, message))?;
    }
    Ok(cases.len())
}

fn failed(case: &str, message: String) -> LoadError {
    LoadError::Golden { case: case.to_owned(), message }
}

impl Case {
    async fn bound(
        &self,
        loader: &Loader,
        surroundings: &Surroundings,
        version: &Arc<PluginVersion>,
    ) -> Result<Policy, LoadError> {
        let path = match version.kind {
            Kind::Matching => BindingPath::Matching,
            Kind::Supply => BindingPath::Supply,
            Kind::Handling => "handling.golden".parse().unwrap_or(BindingPath::Matching),
            other => {
                return Err(failed(
                    &self.name,
                    format!("is of a {other} plugin, which acts on the world"),
                ));
            }
        };
        let vo = golden_vo();
        let permits = Arc::new(Permits::new(1));
        let spot = Spot { loader, surroundings, permits, vo: &vo, path: &path };
        let name = &version.card.name;
        let binding = Binding::new(name, semver::VersionReq::STAR, self.settings.clone());
        let bound = bind(&spot, version, &binding).await;
        let bound = bound.map_err(|findings| failed(&self.name, format!("{findings:?}")))?;
        Ok(bound.policy)
    }

    /// Asks off the runtime's threads, as the server does.
    async fn ask(&self, policy: Policy) -> Result<(), String> {
        let work: Box<dyn FnOnce() -> Result<(), String> + Send> = match (&self.asked, policy) {
            (Asked::Verdicts { offer, classes, verdicts }, Policy::Matching(rule)) => {
                let (offer, expected) = (offer.clone(), verdicts.clone());
                let classes: Vec<_> = classes.iter().enumerate().map(Class::numbered).collect();
                Box::new(move || judge(&*rule, &offer, &classes, &expected))
            }
            (Asked::Weights { queues, facts, weights }, Policy::Supply(policy)) => {
                let (queues, facts, weights) = (queues.clone(), facts.clone(), weights.clone());
                Box::new(move || weigh(&*policy, &queues, &facts, &weights))
            }
            (Asked::Admission { description, jobs, refused }, Policy::Handling(handler)) => {
                let (text, jobs, refused) = (description.to_string(), *jobs, refused.clone());
                Box::new(move || admit(&*handler, text, jobs, &refused))
            }
            _ => return Err("asks another kind of plugin".to_owned()),
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?
    }
}

impl Class {
    fn numbered((i, class): (usize, &Self)) -> Arc<RequirementClass> {
        Arc::new(RequirementClass {
            id: ClassId(i as i64),
            vo: golden_vo(),
            group: class.group.clone(),
            job_type: class.job_type.clone(),
            requirement: class.requirement.clone(),
        })
    }
}

fn judge(
    rule: &dyn MatchingRule,
    offer: &Offer,
    classes: &[Arc<RequirementClass>],
    expected: &[Verdict],
) -> Result<(), String> {
    let verdicts = rule.evaluate(offer, classes).map_err(|error| error.to_string())?;
    if verdicts == expected {
        return Ok(());
    }
    Err(format!("answers {verdicts:?}, and says of itself {expected:?}"))
}

fn weigh(
    policy: &dyn SupplyPolicy,
    queues: &[QueueStanding],
    facts: &[Fact],
    expected: &[f64],
) -> Result<(), String> {
    let weights = policy.prefer(queues, facts).map_err(|error| error.to_string())?;
    let same = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-9 * b.abs();
    if weights.len() == expected.len() && weights.iter().zip(expected).all(same) {
        return Ok(());
    }
    Err(format!("answers {weights:?}, and says of itself {expected:?}"))
}

fn admit(
    handler: &dyn JobHandler,
    description: String,
    jobs: u32,
    refused: &[String],
) -> Result<(), String> {
    let submitted = Submitted {
        description,
        vo: golden_vo(),
        group: group(),
        owner: "golden".parse().map_err(|error| format!("{error}"))?,
        max_jobs: 10_000,
    };
    let fields: Vec<String> = match handler.admit(&submitted) {
        Ok(admitted) if refused.is_empty() && admitted.jobs == jobs => return Ok(()),
        Ok(admitted) => {
            return Err(format!("admits {} jobs, and says of itself {jobs}", admitted.jobs));
        }
        Err(AdmissionError::Findings(findings)) => findings.into_iter().map(|f| f.field).collect(),
        Err(error) => return Err(error.to_string()),
    };
    if fields == refused {
        return Ok(());
    }
    Err(format!("finds fault with {fields:?}, and says of itself {refused:?}"))
}
