//! What changes VOs and plugins: the API's side of it. The server implements it over the plugin
//! host, so that this room links none.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use spinor_identity::subject::Subject;
use spinor_lifecycle::replay::Replay;
use spinor_model::{
    finding::Finding,
    id::{Digest, VoName},
    policy::Differences,
    registry::{Banned, Binding, BindingPath, Candidate},
};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// A document that is in force now.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Applied {
    /// The VO.
    pub vo: String,
    /// Its revision, from 1.
    pub revision: i64,
    /// Milliseconds from the request until it was in force, making its plugins ready included.
    #[serde(default)]
    pub took_ms: f64,
    /// Its bindings, each resolved to one version.
    pub bindings: Vec<BindingView>,
    /// Sites and CEs that were banned before, and are not any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lifted: Vec<String>,
}

/// A plugin in its place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BindingView {
    /// The VO.
    pub vo: String,
    /// The place, e.g. `matching`, `handling.executable`.
    pub path: String,
    /// `kind/name` of the plugin.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its component.
    pub digest: String,
    /// SHA-256 of its settings.
    pub settings: String,
    /// Capabilities it has.
    pub capabilities: Vec<String>,
    /// `active`, `off`, `tripped`, `stand-in`, `shadow`, `canary` or `draining`.
    pub state: String,
    /// More on that.
    #[serde(default)]
    pub reason: String,
    /// Calls that it answered, since this server put it there.
    pub good: u64,
    /// Calls that broke it.
    pub faults: u64,
}

/// A place, and all that is there.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PlaceView {
    /// The VO.
    pub vo: String,
    /// The place.
    pub path: String,
    /// Plugin and version that decides now; empty if none does, and what it would decide is held.
    pub decides: String,
    /// What is there: what is bound, what stands in, what is on its way in, what is draining.
    pub versions: Vec<BindingView>,
    /// How far the candidate is let in, if there is one.
    pub rollout: Option<RolloutView>,
}

/// A candidate's progress.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RolloutView {
    /// `shadow` or `canary`.
    pub stage: String,
    /// Percent that a canary decides for.
    pub share: u8,
    /// Percent of answers that may differ.
    pub max_drift: u8,
    /// What differed so far, on this server.
    #[schema(value_type = Object)]
    pub differences: Differences,
    /// Comparisons that were left out because too many waited.
    pub left_out: u64,
}

/// A version that is loaded.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PluginView {
    /// `kind/name`.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its component.
    pub digest: String,
    /// Size of its component in bytes.
    pub size: u64,
    /// One line for people.
    pub summary: String,
    /// SPDX licence expression.
    pub license: String,
    /// Capabilities it asks for.
    pub capabilities: Vec<String>,
    /// Everything it imports.
    pub imports: Vec<String>,
    /// Everything it exports: which contracts it is made for.
    #[serde(default)]
    pub exports: Vec<String>,
    /// JSON Schema of its settings.
    #[schema(value_type = Object)]
    pub settings_schema: serde_json::Value,
    /// Where it came from: `embedded`, `upload`, a file's name, or an address by digest.
    #[serde(default)]
    pub source: String,
    /// Whose it is: VOs, or `(installation)`.
    #[serde(default)]
    pub owners: Vec<String>,
    /// Public keys whose signatures over its digest were checked.
    #[serde(default)]
    pub signers: Vec<String>,
    /// Where it is bound, and as what: `lab matching active`.
    #[serde(default)]
    pub bound: Vec<String>,
}

/// What a component is, and whether this server can run it: in words.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ReportView {
    /// SHA-256 of its bytes.
    pub digest: String,
    /// Size in bytes.
    pub size: u64,
    /// Its kind, if it has one.
    pub kind: Option<String>,
    /// Everything it imports, each with what this server says to it.
    pub imports: Vec<String>,
    /// `low`, `medium` or `high`: what its real imports could do if granted.
    pub risk: String,
    /// Why.
    pub risk_reasons: Vec<String>,
    /// Why this server cannot run it; empty if it can.
    pub problems: Vec<String>,
    /// The version it would be, if this server can run it.
    pub version: Option<PluginView>,
}

/// A component on its way in.
#[derive(Debug, Clone, Default)]
pub struct Push {
    /// Its bytes.
    pub component: Vec<u8>,
    /// For this VO alone; operators may push for everyone.
    pub vo: Option<VoName>,
    /// Where it came from.
    pub source: String,
    /// Public key and signature over its digest, both in hexadecimal.
    pub signatures: Vec<(String, String)>,
}

/// An entry of a VO's history.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HistoryView {
    /// RFC 3339.
    pub time: String,
    /// Who.
    pub who: String,
    /// In which place; empty for the whole document.
    pub path: String,
    /// `push`, `apply`, `bind`, `rollout`, `promote`, `rollback`, `disable`, `trip`, `quarantine`, ….
    pub action: String,
    /// Plugin, version and digest; empty if none.
    pub plugin: String,
    /// In words.
    pub detail: String,
}

/// A revision of a VO's document.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RevisionView {
    /// From 1.
    pub revision: i64,
    /// RFC 3339.
    pub applied: String,
    /// Who.
    pub author: String,
    /// `apply`, `bind`, `rollout`, ….
    pub action: String,
    /// In words.
    pub note: String,
    /// The digest that each place was resolved to.
    pub resolutions: BTreeMap<String, String>,
}

/// A candidate to be asked what others decided.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ReplayRequest {
    /// `kind/name`.
    pub plugin: String,
    /// Which versions will do.
    #[serde(default = "any")]
    pub version: String,
    /// Its settings; those in force if not given.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub settings: Option<serde_json::Value>,
    /// Decisions of so many seconds.
    pub since_seconds: u64,
}

fn any() -> String {
    "*".to_owned()
}

/// A server on this database.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ServerView {
    /// Its name.
    pub server: String,
    /// Where it is reached.
    pub url: String,
    /// When it last said that it is up, RFC 3339.
    pub seen: String,
    /// Whether it has put in force what any other has.
    pub converged: bool,
    /// The revision of each VO's document that is in force there.
    pub revisions: BTreeMap<String, i64>,
    /// Why it is not further.
    pub problem: String,
}

/// What `gc` would take away, or has.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct Collected {
    /// Versions that nothing needs any more.
    pub removed: Vec<String>,
    /// Versions that are bound no longer but still have something to end, and what.
    pub draining: Vec<String>,
}

/// Why nothing was changed.
#[derive(Debug, Clone)]
pub enum AdminError {
    /// The document, or a binding in it, has mistakes.
    Findings(Vec<Finding>),
    /// There is no such thing.
    NotFound(String),
    /// Not for this caller.
    Forbidden(String),
    /// A component is not taken, or a change makes no sense now.
    Refused(String),
    /// The server's own trouble.
    Internal(String),
}

/// Changes VOs and plugins. Every change names who makes it; what they may is checked where the
/// thing is known: only an operator grants capabilities.
#[async_trait]
pub trait Administration: Send + Sync {
    /// Puts a document, in TOML, in force: whole or not at all. `pins` are digests that places must
    /// be resolved to, from a lock file.
    async fn apply(
        &self,
        vo: &VoName,
        document: &str,
        pins: BTreeMap<String, Digest>,
        by: &Subject,
    ) -> Result<Applied, AdminError>;

    /// What every VO inherits, in TOML.
    async fn installation(&self) -> Result<String, AdminError>;

    /// Puts in force what every VO inherits: for all of them, or not at all.
    async fn apply_installation(
        &self,
        document: &str,
        by: &Subject,
    ) -> Result<Vec<Applied>, AdminError>;

    /// Puts a plugin in a place, or takes it away.
    async fn bind(
        &self,
        vo: &VoName,
        path: &BindingPath,
        binding: Option<Binding>,
        by: &Subject,
    ) -> Result<Applied, AdminError>;

    /// Lets a candidate in beside what is bound, or takes it away.
    async fn rollout(
        &self,
        vo: &VoName,
        path: &BindingPath,
        candidate: Option<Candidate>,
        by: &Subject,
    ) -> Result<Applied, AdminError>;

    /// Puts the candidate in the place of what is bound.
    async fn promote(
        &self,
        vo: &VoName,
        path: &BindingPath,
        by: &Subject,
    ) -> Result<Applied, AdminError>;

    /// Takes the candidate away, or puts back what was bound before: code, settings and grants. With
    /// a revision, what was bound then; without a place, the whole document.
    async fn rollback(
        &self,
        vo: &VoName,
        path: Option<&BindingPath>,
        to: Option<i64>,
        by: &Subject,
    ) -> Result<Applied, AdminError>;

    /// Bans a site or a CE, with a reason, or allows it again, without one.
    async fn ban(
        &self,
        vo: &VoName,
        whom: &Banned,
        reason: Option<String>,
        by: &Subject,
    ) -> Result<Applied, AdminError>;

    /// Switches a place off: what it would decide is held.
    async fn disable(
        &self,
        vo: &VoName,
        path: &BindingPath,
        by: &Subject,
    ) -> Result<Applied, AdminError>;

    /// Asks a candidate what others decided, without letting it in.
    async fn replay(
        &self,
        vo: &VoName,
        path: &BindingPath,
        request: ReplayRequest,
        by: &Subject,
    ) -> Result<Replay, AdminError>;

    /// Says what a component is and whether it could be run, without taking it.
    async fn inspect(&self, component: &[u8], by: &Subject) -> ReportView;

    /// Takes a component.
    async fn push(&self, push: Push, by: &Subject) -> Result<PluginView, AdminError>;

    /// A component's bytes.
    async fn component(&self, digest: &Digest, by: &Subject) -> Result<Vec<u8>, AdminError>;

    /// Takes away versions that nothing needs any more; or only says which.
    async fn collect(&self, only_say: bool, by: &Subject) -> Result<Collected, AdminError>;

    /// What happened to a VO's plugins and bindings, the latest first; without a VO, to all.
    async fn history(
        &self,
        vo: Option<&VoName>,
        path: Option<&BindingPath>,
        limit: u32,
    ) -> Result<Vec<HistoryView>, AdminError>;

    /// The revisions of a VO's document, the latest first.
    async fn revisions(&self, vo: &VoName) -> Result<Vec<RevisionView>, AdminError>;

    /// A revision of a VO's document, in TOML.
    async fn revision(&self, vo: &VoName, revision: i64) -> Result<String, AdminError>;

    /// Servers on this database, and how far each is.
    async fn servers(&self) -> Result<Vec<ServerView>, AdminError>;

    /// Versions that a VO may bind, or all.
    fn plugins(&self, vo: Option<&VoName>) -> Vec<PluginView>;

    /// Bindings in force, of one VO or of all.
    fn bindings(&self, vo: Option<&VoName>) -> Vec<BindingView>;

    /// Places with all that is there, of one VO or of all.
    fn places(&self, vo: Option<&VoName>) -> Vec<PlaceView>;
}
