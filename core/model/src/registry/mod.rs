//! A VO as one document: its groups, sites, CEs, bindings, settings, grants and limits.

mod binding;
mod candidate;
mod ce;
mod grants;
mod identity;
mod installation;
mod proxy;
mod robot;

pub use binding::{BadBindingPath, Binding, BindingPath, Fallback, Kind, Mode};
pub use candidate::{Candidate, Stage};
pub use ce::{Banned, Ce, IMAGES, ISOLATED, LIMITS_CORES, LIMITS_MEMORY, Queue};
pub use grants::{
    CommandGrant, DirectoryGrant, Granted, Grants, HttpGrant, IdentityGrant, ProcessGrant,
    RemoteProgram, SecretGrant, SshGrant,
};
pub use identity::{ClientToken, DataTokens, Identity, Support};
pub use installation::Installation;
pub use proxy::ProxySource;
pub use robot::Robot;

use crate::{
    finding::Finding,
    id::{CeName, GroupName, JobType, QueueName, SinkName, SiteName, UserName, VoName},
    offer::Offer,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// A VO as its managers and the operator write it, in TOML. Applied as a whole or not at all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VoDocument {
    /// The VO's name.
    pub vo: VoName,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// What its members may use.
    #[serde(default)]
    pub limits: Limits,
    /// What its policy managers may grant to plugins that they bind.
    #[serde(default, skip_serializing_if = "no_grants")]
    pub grants: Grants,
    /// Who says who its people are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// X.509 proxies that the server issues in its name, by what grants call them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub proxies: BTreeMap<String, ProxySource>,
    /// Where its people find help.
    #[serde(default, skip_serializing_if = "Support::is_empty")]
    pub support: Support,
    /// The group of those who name none; the first if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_group: Option<GroupName>,
    /// Whose signatures its plugins carry.
    #[serde(default, skip_serializing_if = "Signing::is_empty")]
    pub signing: Signing,
    /// Its groups.
    pub groups: BTreeMap<GroupName, Group>,
    /// Programs that submit for people.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub robots: BTreeMap<UserName, Robot>,
    /// Its sites.
    #[serde(default)]
    pub sites: BTreeMap<SiteName, Site>,
    /// Its computing elements.
    #[serde(default)]
    pub ces: BTreeMap<CeName, Ce>,
    /// Its matching rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matching: Option<Binding>,
    /// What steers its pilots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supply: Option<Binding>,
    /// A handler for each job type.
    #[serde(default)]
    pub handling: BTreeMap<JobType, Binding>,
    /// Its accounting sinks.
    #[serde(default)]
    pub accounting: BTreeMap<SinkName, Binding>,
}

fn no_grants(grants: &Grants) -> bool {
    *grants == Grants::default()
}

/// Who may sign a VO's plugins.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Signing {
    /// Whether a version must carry a signature of one of the keys to be bound. What is built in, or
    /// was pushed by the operator for everyone, needs none.
    pub required: bool,
    /// Ed25519 public keys in hexadecimal, by the signer's name.
    pub keys: BTreeMap<String, String>,
}

impl Signing {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What a VO's members may use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Attempts a job gets at most.
    pub max_attempts: u32,
    /// How often people may have a job rescheduled.
    pub max_reschedules: u32,
    /// Jobs one submission may stand for.
    pub max_jobs_per_submission: u32,
    /// Jobs that may wait at a time.
    pub max_waiting: u64,
    /// Jobs that may run at a time.
    pub max_running: Option<u64>,
    /// Size of a sandbox, in MiB.
    pub max_sandbox_mb: u64,
    /// Size of all sandboxes of the VO, in MiB; no limit if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox_quota_mb: Option<u64>,
    /// Days that a sandbox is kept which no job has.
    pub sandbox_days: u64,
    /// Seconds without a heartbeat until a job is Stalled.
    pub lease_seconds: u64,
    /// Seconds that a Stalled job may revive in.
    pub stalled_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            max_reschedules: 3,
            max_jobs_per_submission: 10_000,
            max_waiting: 1_000_000,
            max_running: None,
            max_sandbox_mb: 100,
            sandbox_quota_mb: None,
            sandbox_days: 15,
            lease_seconds: 120,
            stalled_seconds: 1_800,
        }
    }
}

/// A group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Who may act in it.
    #[serde(default)]
    pub users: BTreeSet<UserName>,
    /// What it gets, in proportion to the VO's other groups.
    #[serde(default = "default_share")]
    pub share: u32,
    /// Who may act in it, as the VO's identity provider numbers them (claim `sub`).
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub subs: BTreeSet<String>,
    /// What the VO's identity provider says of members: entitlements in the form of AARC, or paths of
    /// `wlcg.groups`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub entitlements: BTreeSet<String>,
    /// Properties its members' tokens carry, e.g. `NormalUser`.
    #[serde(default = "default_properties")]
    pub properties: BTreeSet<String>,
}

fn default_share() -> u32 {
    1000
}

fn default_properties() -> BTreeSet<String> {
    BTreeSet::from(["NormalUser".to_owned()])
}

/// A site.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Site {
    /// For people.
    pub description: String,
    /// Takes no jobs and no pilots for the time being.
    pub banned: bool,
}

/// A document that is refused, with all that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the VO document has {} mistake(s): {}", .0.len(), list(.0))]
pub struct BadDocument(pub Vec<Finding>);

fn list(findings: &[Finding]) -> String {
    let text = |f: &Finding| format!("{} `{}` {}", f.field, f.value, f.message);
    findings.iter().map(text).collect::<Vec<_>>().join("; ")
}

impl VoDocument {
    /// Reads and checks a document.
    pub fn from_toml(text: &str) -> Result<Self, BadDocument> {
        let document: Self = read(text)?;
        let findings = document.findings();
        if findings.is_empty() { Ok(document) } else { Err(BadDocument(findings)) }
    }

    /// The document as TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string(self)
            .unwrap_or_else(|error| format!("# not to be shown as TOML: {error}\n"))
    }

    /// The group of those who name none.
    pub fn default_group(&self) -> Option<&GroupName> {
        self.default_group.as_ref().or_else(|| self.groups.keys().next())
    }

    /// The tokens for data that jobs of a group get, if they do.
    pub fn data_tokens(&self, group: &GroupName) -> Option<&DataTokens> {
        self.identity.as_ref()?.data.as_ref().filter(|data| data.groups.contains(group))
    }

    /// The name of the proxy that jobs of a group get, if they do.
    pub fn payload_proxy(&self, group: &GroupName) -> Option<&str> {
        let given = |(_, proxy): &(&String, &ProxySource)| proxy.groups.contains(group);
        self.proxies.iter().find(given).map(|(name, _)| name.as_str())
    }

    /// Bans a site or a CE, or allows it again; whether there is such a one.
    pub fn ban(&mut self, whom: &Banned, banned: bool) -> bool {
        let flag = match whom {
            Banned::Site(name) => self.sites.get_mut(name).map(|site| &mut site.banned),
            Banned::Ce(name) => self.ces.get_mut(name).map(|ce| &mut ce.banned),
        };
        flag.map(|flag| *flag = banned).is_some()
    }

    /// Which ban keeps pilots from a CE: its site's, or its own. What is not there counts as banned.
    pub fn ban_of(&self, ce: &CeName) -> Option<Banned> {
        let Some(found) = self.ces.get(ce) else { return Some(Banned::Ce(ce.clone())) };
        if self.sites.get(&found.site).is_none_or(|site| site.banned) {
            return Some(Banned::Site(found.site.clone()));
        }
        found.banned.then(|| Banned::Ce(ce.clone()))
    }

    /// What is banned.
    pub fn banned(&self) -> BTreeSet<Banned> {
        let sites = self.sites.iter().filter(|(_, site)| site.banned);
        let ces = self.ces.iter().filter(|(_, ce)| ce.banned);
        let sites = sites.map(|(name, _)| Banned::Site(name.clone()));
        sites.chain(ces.map(|(name, _)| Banned::Ce(name.clone()))).collect()
    }

    /// Every binding with its place.
    pub fn bindings(&self) -> impl Iterator<Item = (BindingPath, &Binding)> {
        let matching = self.matching.iter().map(|b| (BindingPath::Matching, b));
        let supply = self.supply.iter().map(|b| (BindingPath::Supply, b));
        let computing = self.ces.iter().filter_map(|(name, ce)| {
            Some((BindingPath::Computing(name.clone()), ce.backend.as_ref()?))
        });
        let handling =
            self.handling.iter().map(|(name, b)| (BindingPath::Handling(name.clone()), b));
        let accounting =
            self.accounting.iter().map(|(name, b)| (BindingPath::Accounting(name.clone()), b));
        matching.chain(supply).chain(computing).chain(handling).chain(accounting)
    }

    /// What is bound in a place.
    pub fn binding(&self, path: &BindingPath) -> Option<&Binding> {
        match path {
            BindingPath::Matching => self.matching.as_ref(),
            BindingPath::Supply => self.supply.as_ref(),
            BindingPath::Computing(name) => self.ces.get(name)?.backend.as_ref(),
            BindingPath::Handling(name) => self.handling.get(name),
            BindingPath::Accounting(name) => self.accounting.get(name),
        }
    }

    /// Puts a binding in its place, or takes it away.
    pub fn bind(
        &mut self,
        path: &BindingPath,
        binding: Option<Binding>,
    ) -> Result<(), BadDocument> {
        match path {
            BindingPath::Matching => self.matching = binding,
            BindingPath::Supply => self.supply = binding,
            BindingPath::Computing(name) => match self.ces.get_mut(name) {
                Some(ce) => ce.backend = binding,
                None => return Err(unknown("ces", name, self.ces.keys())),
            },
            BindingPath::Handling(name) => put(&mut self.handling, name, binding),
            BindingPath::Accounting(name) => put(&mut self.accounting, name, binding),
        }
        let findings = self.findings();
        if findings.is_empty() { Ok(()) } else { Err(BadDocument(findings)) }
    }

    /// All queues, with what a pilot there offers.
    pub fn queues(&self) -> impl Iterator<Item = (&CeName, &QueueName, &Queue, Offer)> {
        self.ces.iter().flat_map(|(ce_name, ce)| {
            ce.queues.iter().map(move |(queue_name, queue)| {
                (ce_name, queue_name, queue, queue.offer(&ce.site, ce_name, queue_name))
            })
        })
    }

    fn findings(&self) -> Vec<Finding> {
        let mut findings: Vec<Finding> =
            self.identity.iter().flat_map(Identity::findings).collect();
        findings.extend(self.proxies.iter().flat_map(|(name, proxy)| proxy.findings(name)));
        let mut find = |field: String, value: String, message: String| {
            findings.push(Finding { field, value, message });
        };
        if self.groups.is_empty() {
            find("groups".into(), "{}".into(), "is empty: a VO needs a group for its users".into());
        }
        let data = self.identity.iter().filter_map(|identity| identity.data.as_ref());
        let data = data.flat_map(|data| &data.groups);
        let default = self.default_group.iter().map(|group| ("default_group".to_owned(), group));
        let named = default
            .chain(data.map(|group| ("identity.data.groups".to_owned(), group)))
            .chain(self.robots.iter().map(|(name, r)| (format!("robots.{name}.group"), &r.group)))
            .chain(self.proxies.iter().flat_map(|(name, proxy)| {
                proxy.groups.iter().map(move |group| (format!("proxies.{name}.groups"), group))
            }));
        for (field, group) in named.filter(|(_, group)| !self.groups.contains_key(*group)) {
            let message = "is not among the document's groups".to_owned();
            find(field, group.to_string(), message);
        }
        let payloads = self.proxies.values().flat_map(|proxy| &proxy.groups);
        let mut given = BTreeSet::new();
        for group in payloads.filter(|group| !given.insert(*group)) {
            let message = "has two proxies: which would its payloads have?".to_owned();
            find("proxies".to_owned(), group.to_string(), message);
        }
        for name in self.robots.keys() {
            if self.groups.values().any(|group| group.users.contains(name)) {
                let message = "is a person's name: `users` of a group lists it".to_owned();
                find(format!("robots.{name}"), name.to_string(), message);
            }
        }
        for (name, ce) in &self.ces {
            if !self.sites.contains_key(&ce.site) {
                let known = self.sites.keys().map(SiteName::as_str).collect::<Vec<_>>().join(", ");
                let message = format!("is not among the document's sites ({known})");
                find(format!("ces.{name}.site"), ce.site.to_string(), message);
            }
            for (queue_name, queue) in &ce.queues {
                if queue.cores == 0 || queue.memory_mb == 0 || queue.wall_time == 0 {
                    let message = "has no cores, memory or wall time: a pilot needs all three";
                    find(format!("ces.{name}.queues.{queue_name}"), "0".into(), message.into());
                }
                for (tag, switch) in [(ISOLATED, "isolate"), (IMAGES, "images")] {
                    if queue.tags.contains(tag) {
                        let field = format!("ces.{name}.queues.{queue_name}.tags");
                        let message =
                            format!("is what `{switch} = true` makes of a queue: say that instead");
                        find(field, tag.into(), message);
                    }
                }
            }
        }
        for (path, binding) in self.bindings() {
            let kind = path.kind();
            let package = kind.package();
            if !binding.plugin.starts_with(&format!("{package}/")) {
                let message = format!("is no {kind} plugin: its name begins with `{package}/`");
                find(format!("{path}.plugin"), binding.plugin.clone(), message);
            }
            for field in binding.grants.tokens().filter(|_| self.identity.is_none()) {
                let message = "comes from the VO's provider: the document has no `[identity]`";
                find(format!("{path}.grants.{field}"), "".into(), message.into());
            }
            let unknown = |(_, proxy): &(String, &String)| !self.proxies.contains_key(*proxy);
            for (field, proxy) in binding.grants.proxies().filter(unknown) {
                let message = "is not among the document's `[proxies]`".to_owned();
                find(format!("{path}.grants.{field}"), proxy.clone(), message);
            }
            if let Some(candidate) = &binding.candidate {
                for (field, value, message) in candidate.findings(kind) {
                    find(format!("{path}.candidate.{field}"), value, message);
                }
            }
        }
        for (name, key) in &self.signing.keys {
            if key.len() != 64 || !key.chars().all(|c| c.is_ascii_hexdigit()) {
                let message = "is no Ed25519 public key: `spinor plugin keygen` prints one, 64 hexadecimal digits";
                find(format!("signing.keys.{name}"), key.clone(), message.into());
            }
        }
        let Limits { max_attempts, max_jobs_per_submission, lease_seconds, .. } = self.limits;
        if max_attempts == 0 || max_jobs_per_submission == 0 || lease_seconds == 0 {
            let message =
                "max_attempts, max_jobs_per_submission and lease_seconds must be positive";
            find("limits".into(), "0".into(), message.into());
        }
        findings
    }
}

fn put<K: Ord + Clone>(map: &mut BTreeMap<K, Binding>, key: &K, binding: Option<Binding>) {
    match binding {
        Some(binding) => drop(map.insert(key.clone(), binding)),
        None => drop(map.remove(key)),
    }
}

fn unknown<'a, T: fmt::Display + 'a>(
    field: &str,
    value: &T,
    known: impl Iterator<Item = &'a T>,
) -> BadDocument {
    let known = known.map(ToString::to_string).collect::<Vec<_>>().join(", ");
    BadDocument(vec![Finding {
        field: field.to_owned(),
        value: value.to_string(),
        message: format!("is not there; the VO has {known}"),
    }])
}

/// Reads TOML; a mistake is told by its place.
fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, BadDocument> {
    toml::from_str(text).map_err(|error| {
        let at = error.span().map(|span| line_of(text, span.start)).unwrap_or_default();
        BadDocument(vec![Finding {
            field: at,
            value: error.span().map(|s| excerpt(text, s)).unwrap_or_default(),
            message: error.message().to_owned(),
        }])
    })
}

fn line_of(text: &str, offset: usize) -> String {
    let before = &text[..offset.min(text.len())];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("line {line}, column {column}")
}

fn excerpt(text: &str, span: std::ops::Range<usize>) -> String {
    text.get(span).unwrap_or_default().chars().take(80).collect()
}

#[cfg(test)]
mod tests;
