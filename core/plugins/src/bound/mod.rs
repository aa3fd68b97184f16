//! Bindings: a version with settings and grants, behind the policy trait of its kind.

mod accounting;
mod columns;
mod computing;
mod contract;
mod effect;
mod handling;
mod isolation;
mod matching;
#[cfg(test)]
mod next;
mod spool;
mod supply;

use crate::{
    bindings::host::spinor::host::types,
    breaker::Breaker,
    call,
    capabilities::{
        command::CommandCapability,
        credentials::{Credentials, LateCredentials},
        directory::DirectoryCapability,
        http::HttpCapability,
        process::{PilotProgram, ProcessCapability},
        ssh::SshCapability,
    },
    limits::Limits,
    load::{LoadError, Loader},
    permits::Permits,
    state::{Caller, Capabilities, HostState},
    version::PluginVersion,
};
use spinor_model::{
    finding::Finding,
    id::{Digest, VoName},
    policy::{
        AccountingSink, Alarm, Answer, ComputingBackend, Concern, Decider, Decision, Effectful,
        JobHandler, MatchingRule, Observer, PolicyError, Question, SupplyPolicy,
    },
    registry::{Binding, BindingPath, Grants, Kind},
    time::Clock,
};
use std::{collections::BTreeSet, path::PathBuf, sync::Arc};
use wasmtime::{Engine, component::InstancePre};

/// What bindings need of the server.
#[derive(Clone)]
pub struct Surroundings {
    /// The server's data directory.
    pub data: PathBuf,
    /// The pilot program: command without the configuration's path.
    pub pilot: Vec<String>,
    /// The server's clock.
    pub clock: Arc<dyn Clock>,
    /// Who takes note of decisions, lines and faults.
    pub observer: Arc<dyn Observer>,
    /// Where tokens and proxies of VOs come from.
    pub credentials: LateCredentials,
}

/// A binding in force.
#[derive(Clone)]
pub struct Bound {
    /// The version behind it.
    pub version: Arc<PluginVersion>,
    /// Who decides through it.
    pub decider: Decider,
    /// It, behind its kind's trait.
    pub policy: Policy,
    /// How it has been doing.
    pub breaker: Arc<Breaker>,
    /// What it may touch.
    pub grants: Grants,
}

impl Bound {
    /// Whether it is this version under these settings and grants.
    pub fn is(&self, digest: &Digest, binding: &Binding) -> bool {
        self.decider.digest == *digest
            && self.decider.settings == binding.settings_digest()
            && self.grants == binding.grants
    }
}

/// A plugin behind its kind's trait.
#[derive(Clone)]
pub enum Policy {
    /// Which jobs go where.
    Matching(Arc<dyn MatchingRule>),
    /// Where pilots go.
    Supply(Arc<dyn SupplyPolicy>),
    /// How pilots get to a CE.
    Computing(Arc<dyn ComputingBackend>),
    /// What a type of job means.
    Handling(Arc<dyn JobHandler>),
    /// Where usage records go.
    Accounting(Arc<dyn AccountingSink>),
}

impl Policy {
    /// It, if it is a rule.
    pub fn rule(self) -> Option<Arc<dyn MatchingRule>> {
        match self {
            Self::Matching(rule) => Some(rule),
            _ => None,
        }
    }

    /// It, if it is a handler.
    pub fn handler(self) -> Option<Arc<dyn JobHandler>> {
        match self {
            Self::Handling(handler) => Some(handler),
            _ => None,
        }
    }

    /// It, if it acts on the world.
    pub fn effectful(self) -> Option<Arc<dyn Effectful>> {
        match self {
            Self::Computing(backend) => Some(backend),
            Self::Accounting(sink) => Some(sink),
            Self::Matching(_) | Self::Supply(_) | Self::Handling(_) => None,
        }
    }
}

/// What all kinds share: how to call this version under these settings.
pub(crate) struct Bond {
    pub engine: Engine,
    pub caller: Arc<Caller>,
    pub decider: Decider,
    pub settings: String,
    pub limits: Limits,
    pub capabilities: Capabilities,
    pub permits: Arc<Permits>,
    pub vo: VoName,
    pub path: BindingPath,
    pub breaker: Arc<Breaker>,
}

impl Bond {
    /// Takes note of how a call went. `input` tells inputs apart.
    pub fn noted<T>(&self, input: u64, result: Result<T, PolicyError>) -> Result<T, PolicyError> {
        match &result {
            Err(PolicyError::Fault { fault, .. }) => self.broke(input, &fault.to_string()),
            _ => self.breaker.good(),
        }
        result
    }

    /// A call broke.
    pub fn broke(&self, input: u64, reason: &str) {
        if self.breaker.fault(input, reason) {
            self.alarm(Concern::Tripped, reason);
        }
    }

    /// Raises an alarm about this version.
    pub fn alarm(&self, concern: Concern, reason: &str) {
        let labels = [
            ("vo", self.vo.to_string()),
            ("plugin", self.decider.plugin.clone()),
            ("version", self.decider.version.to_string()),
            ("concern", format!("{concern:?}").to_lowercase()),
        ];
        metrics::counter!("spinor_plugin_alarms_total", &labels).increment(1);
        self.caller.observer.alarmed(Alarm {
            vo: self.vo.clone(),
            path: self.path.clone(),
            decider: self.decider.clone(),
            concern,
            reason: reason.to_owned(),
        });
    }

    /// Has a decision recorded.
    pub fn decided(&self, question: Question, answer: Answer, cost_us: u64) {
        let (vo, path, decider) = (self.vo.clone(), self.path.clone(), self.decider.clone());
        self.caller.observer.decided(Decision { vo, path, decider, question, answer, cost_us });
    }

    pub fn answer(&self, error: types::Error) -> PolicyError {
        use types::Error;
        let retry = matches!(error, Error::Unavailable(_));
        let (Error::Settings(message)
        | Error::Invalid(message)
        | Error::Unavailable(message)
        | Error::Other(message)) = error;
        PolicyError::Answer { plugin: self.caller.plugin.clone(), message, retry }
    }

    pub fn broken(&self, what: String) -> PolicyError {
        let fault = spinor_model::policy::Fault::Contract(what);
        PolicyError::Fault { plugin: self.caller.plugin.clone(), fault }
    }

    pub fn state(&self) -> HostState {
        HostState::new(self.caller.clone(), self.capabilities.clone(), &self.limits)
    }

    /// As many answers as questions, or the contract is broken.
    pub fn same_length<T>(&self, answers: Vec<T>, questions: usize) -> Result<Vec<T>, PolicyError> {
        if answers.len() == questions {
            return Ok(answers);
        }
        Err(self.broken(format!("{} answers to {questions} questions", answers.len())))
    }
}

/// Where a version is to be bound.
pub struct Spot<'a> {
    /// Links it.
    pub loader: &'a Loader,
    /// What it may need.
    pub surroundings: &'a Surroundings,
    /// How many of its calls may run at a time.
    pub permits: Arc<Permits>,
    /// For whom.
    pub vo: &'a VoName,
    /// Where.
    pub path: &'a BindingPath,
}

/// Binds a version: checks grants and settings, links it, asks it about its settings.
pub async fn bind(
    spot: &Spot<'_>,
    version: &Arc<PluginVersion>,
    binding: &Binding,
) -> Result<Bound, Vec<Finding>> {
    let Spot { loader, path, .. } = spot;
    let plain = |field: &str, value: String, message: String| {
        vec![Finding { field: format!("{path}{field}"), value, message }]
    };
    if version.kind != path.kind() {
        let message =
            format!("is a {} plugin: `{path}` takes {} plugins", version.kind, path.kind());
        return Err(plain(".plugin", version.title(), message));
    }
    let granted = binding.grants.names();
    let missing: BTreeSet<_> = version.capabilities.difference(&granted).collect();
    if let Some(name) = missing.first() {
        let message = format!(
            "{} imports capability `{name}`, which is not granted: grant it as `{path}.grants.{name}`, or bind another plugin",
            version.title()
        );
        return Err(plain(".grants", format!("{granted:?}"), message));
    }
    let findings = version.check_settings(&format!("{path}.settings"), &binding.settings);
    if !findings.is_empty() {
        return Err(findings);
    }
    let io = |error: std::io::Error| plain(".grants", String::new(), error.to_string());
    let bond = bond(spot, version, binding).map_err(io)?;
    let (decider, breaker) = (bond.decider.clone(), bond.breaker.clone());
    let refused = |error: LoadError| plain(".plugin", version.title(), error.to_string());
    let pre =
        loader.link(version.kind, &version.component, &version.capabilities).map_err(refused)?;
    let findings = ask_about_settings(loader, version, &bond)
        .await
        .map_err(|error| plain(".settings", bond.settings.clone(), error.to_string()))?;
    if !findings.is_empty() {
        let base = format!("{path}.settings");
        let below = |f: Finding| Finding { field: format!("{base}{}", f.field), ..f };
        return Err(findings.into_iter().map(below).collect());
    }
    let made = {
        let version = version.clone();
        // It may ask the guest, which may take its time.
        tokio::task::spawn_blocking(move || policy(&version, bond, pre)).await
    };
    let policy = made
        .map_err(|error| plain(".plugin", version.title(), error.to_string()))?
        .map_err(refused)?;
    let (version, grants) = (version.clone(), binding.grants.clone());
    Ok(Bound { version, decider, policy, breaker, grants })
}

fn bond(spot: &Spot<'_>, version: &Arc<PluginVersion>, binding: &Binding) -> std::io::Result<Bond> {
    let Spot { loader, surroundings, permits, vo, path } = spot;
    let observer = surroundings.observer.clone();
    Ok(Bond {
        engine: loader.engine(version.kind).clone(),
        caller: Arc::new(Caller { vo: Some((*vo).clone()), plugin: version.title(), observer }),
        decider: Decider {
            plugin: version.card.name.clone(),
            version: version.card.version.clone(),
            digest: version.digest,
            settings: binding.settings_digest(),
        },
        settings: binding.settings.to_string(),
        limits: limits(version.kind),
        capabilities: capabilities(surroundings, vo, path, binding, version)?,
        permits: permits.clone(),
        vo: (*vo).clone(),
        path: (*path).clone(),
        breaker: Arc::new(Breaker::new(surroundings.clock.clone())),
    })
}

fn limits(kind: Kind) -> Limits {
    if kind.is_pure() { Limits::PURE } else { Limits::EFFECTFUL }
}

fn policy(
    version: &PluginVersion,
    bond: Bond,
    pre: InstancePre<HostState>,
) -> Result<Policy, LoadError> {
    let trial = |error: wasmtime::Error| LoadError::Trial(crate::load::short(&error));
    Ok(match version.kind {
        Kind::Matching => {
            let contract = contract::contract(&version.exports, pre)?;
            Policy::Matching(Arc::new(matching::Rule::new(bond, contract)?))
        }
        Kind::Supply => Policy::Supply(Arc::new(supply::Supply::new(bond, pre).map_err(trial)?)),
        Kind::Handling => {
            Policy::Handling(Arc::new(handling::Handler::new(bond, pre).map_err(trial)?))
        }
        Kind::Computing => {
            let spools = version.exports.contains(spool::HOOK);
            let backend = computing::Backend::new(bond, pre, spools).map_err(trial)?;
            Policy::Computing(Arc::new(backend))
        }
        Kind::Accounting => {
            Policy::Accounting(Arc::new(accounting::Sink::new(bond, pre).map_err(trial)?))
        }
    })
}

/// What it asks for and was granted, made ready.
fn capabilities(
    surroundings: &Surroundings,
    vo: &VoName,
    path: &BindingPath,
    binding: &Binding,
    version: &PluginVersion,
) -> std::io::Result<Capabilities> {
    let asked = |name| version.capabilities.contains(name);
    let grants = &binding.grants;
    let directory = grants.directory.as_ref().filter(|_| asked("directory"));
    let process = grants.process.as_ref().filter(|_| asked("process"));
    let secrets = surroundings.data.join("secrets").join(vo.as_str());
    let credentials = Credentials { source: surroundings.credentials.clone(), vo: vo.clone() };
    let pilots = || PilotProgram {
        command: surroundings.pilot.clone(),
        root: surroundings.data.join("pilots").join(vo.as_str()).join(path.to_string()),
    };
    Ok(Capabilities {
        clock: asked("clock").then(|| surroundings.clock.clone()),
        random: asked("random"),
        directory: directory
            .map(|d| DirectoryCapability::new(surroundings.data.join(&d.path), d.max_mb << 20))
            .transpose()?
            .map(Arc::new),
        process: process
            .map(|p| ProcessCapability::new(pilots(), p.max))
            .transpose()?
            .map(Arc::new),
        http: (asked("http") || asked("secret"))
            .then(|| Arc::new(HttpCapability::new(grants, secrets.clone(), credentials.clone()))),
        command: asked("command")
            .then(|| CommandCapability::new(&grants.command, credentials.clone()))
            .transpose()?
            .map(Arc::new),
        ssh: asked("ssh")
            .then(|| SshCapability::new(&grants.ssh, &secrets))
            .transpose()?
            .map(Arc::new),
    })
}

async fn ask_about_settings(
    loader: &Loader,
    version: &PluginVersion,
    bond: &Bond,
) -> Result<Vec<Finding>, PolicyError> {
    let pre = loader
        .questions(version.kind, &version.component, &version.capabilities)
        .map_err(|error| bond.broken(error.to_string()))?;
    let settings = bond.settings.clone();
    let pure = version.kind.is_pure();
    let limits = Limits::EFFECTFUL;
    let state = HostState::new(bond.caller.clone(), Capabilities::default(), &limits);
    let found = call::effectful(&bond.engine, state, &limits, "validate", move |store| {
        Box::pin(async move {
            if pure {
                store.set_fuel(Limits::PURE.fuel)?;
            }
            let instance = pre.instantiate_async(&mut *store).await?;
            instance.spinor_host_settings().call_validate(store, &settings).await
        })
    })
    .await
    .0?;
    let own = |f: types::Finding| Finding { field: f.field, value: f.value, message: f.message };
    Ok(found.into_iter().map(own).collect())
}
