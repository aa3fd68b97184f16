//! What changes VOs and plugins: the API's side of it. The server implements it over the plugin
//! host, so that this room links none.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use spinor_model::{
    finding::Finding,
    id::VoName,
    registry::{Binding, BindingPath},
};
use utoipa::ToSchema;

/// A document that is in force now.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Applied {
    /// The VO.
    pub vo: String,
    /// Its revision, from 1.
    pub revision: i64,
    /// Its bindings, each resolved to one version.
    pub bindings: Vec<BindingView>,
}

/// A plugin in its place.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
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
    /// Capabilities it has.
    pub capabilities: Vec<String>,
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
    /// JSON Schema of its settings.
    #[schema(value_type = Object)]
    pub settings_schema: serde_json::Value,
}

/// Why nothing was changed.
#[derive(Debug, Clone)]
pub enum AdminError {
    /// The document, or a binding in it, has mistakes.
    Findings(Vec<Finding>),
    /// There is no such thing.
    NotFound(String),
    /// A component is not taken.
    Refused(String),
    /// The server's own trouble.
    Internal(String),
}

/// Changes VOs and plugins.
#[async_trait]
pub trait Administration: Send + Sync {
    /// Puts a document, in TOML, in force: whole or not at all.
    async fn apply(&self, vo: &VoName, document: &str, author: &str)
    -> Result<Applied, AdminError>;

    /// Puts a plugin in a place, or takes it away.
    async fn bind(
        &self,
        vo: &VoName,
        path: &BindingPath,
        binding: Option<Binding>,
        author: &str,
    ) -> Result<Applied, AdminError>;

    /// Takes a component.
    async fn upload(&self, component: Vec<u8>, author: &str) -> Result<PluginView, AdminError>;

    /// Versions that are loaded.
    fn plugins(&self) -> Vec<PluginView>;

    /// Bindings in force, of one VO or of all.
    fn bindings(&self, vo: Option<&VoName>) -> Vec<BindingView>;
}
