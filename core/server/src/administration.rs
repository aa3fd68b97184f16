//! Changing VOs and plugins, over the plugin host and the store.

use async_trait::async_trait;
use spinor_api::administration::{AdminError, Administration, Applied, BindingView, PluginView};
use spinor_lifecycle::Lifecycle;
use spinor_model::{
    finding::Finding,
    id::{Digest, VoName},
    registry::{Binding, BindingPath, VoDocument},
};
use spinor_plugins::{
    bound::Bound,
    registry::{Registry, VoBindings},
    version::PluginVersion,
};
use spinor_store::{Blobs, RegistryStore, StoreError, StoredDocument, sqlite::SqliteStore};
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::Mutex;

/// Changes VOs and plugins, one change at a time.
pub struct Administrator {
    store: Arc<SqliteStore>,
    components: Blobs,
    registry: Arc<Registry>,
    lifecycle: Arc<Lifecycle>,
    changing: Mutex<()>,
}

fn internal(error: StoreError) -> AdminError {
    AdminError::Internal(error.to_string())
}

impl Administrator {
    /// Over these parts.
    pub fn new(
        store: Arc<SqliteStore>,
        components: Blobs,
        registry: Arc<Registry>,
        lifecycle: Arc<Lifecycle>,
    ) -> Self {
        Self { store, components, registry, lifecycle, changing: Mutex::default() }
    }

    /// Puts every document that was in force in force again, each binding on the digest it had.
    pub async fn restore(&self) -> Result<(), StoreError> {
        let in_force = self.store.documents().await?;
        for earlier in self.store.revisions().await? {
            let current = |stored: &StoredDocument| {
                stored.document.vo == earlier.document.vo && stored.revision == earlier.revision
            };
            // What is in force is bound below: once is enough.
            if !in_force.iter().any(current) {
                self.registry.retire(&earlier.document, &earlier.resolutions).await;
            }
        }
        for stored in in_force {
            let vo = stored.document.vo.clone();
            match self.registry.prepare(&stored.document, &stored.resolutions).await {
                Ok(prepared) => self.registry.activate(prepared),
                Err(findings) => {
                    tracing::error!(%vo, ?findings, "the VO's plugins cannot be bound; its jobs wait");
                }
            }
            self.lifecycle.set_document(Arc::new(stored.document));
        }
        Ok(())
    }

    async fn put_in_force(
        &self,
        document: VoDocument,
        pinned: &BTreeMap<String, Digest>,
        author: &str,
    ) -> Result<Applied, AdminError> {
        let prepared =
            self.registry.prepare(&document, pinned).await.map_err(AdminError::Findings)?;
        let (resolutions, now) = (prepared.resolutions(), self.lifecycle.now());
        let revision = self
            .store
            .apply_document(&document, &resolutions, author, now)
            .await
            .map_err(internal)?;
        let vo = document.vo.clone();
        self.registry.activate(prepared);
        self.lifecycle.set_document(Arc::new(document));
        tracing::info!(%vo, revision, author, "a document is in force");
        Ok(Applied { vo: vo.to_string(), revision, bindings: self.bindings(Some(&vo)) })
    }
}

fn plugin_view(version: &PluginVersion) -> PluginView {
    let owned = |names: &std::collections::BTreeSet<&str>| {
        names.iter().map(|name| (*name).to_owned()).collect()
    };
    PluginView {
        plugin: version.card.name.clone(),
        version: version.card.version.to_string(),
        digest: version.digest.to_string(),
        size: version.size as u64,
        summary: version.card.summary.clone(),
        license: version.card.license.clone(),
        capabilities: owned(&version.capabilities),
        imports: version.imports.iter().cloned().collect(),
        settings_schema: version.schema.clone(),
    }
}

fn binding_view(vo: &VoName, path: &BindingPath, bound: &Bound) -> BindingView {
    BindingView {
        vo: vo.to_string(),
        path: path.to_string(),
        plugin: bound.decider.plugin.clone(),
        version: bound.decider.version.to_string(),
        digest: bound.decider.digest.to_string(),
        capabilities: bound.version.capabilities.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn views(vo: &VoName, bindings: &VoBindings) -> Vec<BindingView> {
    bindings.iter().map(|(path, bound)| binding_view(vo, path, bound)).collect()
}

#[async_trait]
impl Administration for Administrator {
    async fn apply(
        &self,
        vo: &VoName,
        document: &str,
        author: &str,
    ) -> Result<Applied, AdminError> {
        let _alone = self.changing.lock().await;
        let document =
            VoDocument::from_toml(document).map_err(|bad| AdminError::Findings(bad.0))?;
        if document.vo != *vo {
            return Err(AdminError::Findings(vec![Finding {
                field: "vo".to_owned(),
                value: document.vo.to_string(),
                message: format!("is not the VO of the request, {vo}"),
            }]));
        }
        self.put_in_force(document, &BTreeMap::new(), author).await
    }

    async fn bind(
        &self,
        vo: &VoName,
        path: &BindingPath,
        binding: Option<Binding>,
        author: &str,
    ) -> Result<Applied, AdminError> {
        let _alone = self.changing.lock().await;
        let stored = self.store.documents().await.map_err(internal)?;
        let stored = stored
            .into_iter()
            .find(|stored| stored.document.vo == *vo)
            .ok_or_else(|| AdminError::NotFound(format!("there is no VO {vo}")))?;
        let (mut document, mut pinned) = (stored.document, stored.resolutions);
        if binding.is_none() && document.bindings().all(|(bound, _)| bound != *path) {
            let text = format!("nothing is bound to `{path}` in VO {vo}");
            return Err(AdminError::NotFound(text));
        }
        document.bind(path, binding).map_err(|bad| AdminError::Findings(bad.0))?;
        pinned.remove(&path.to_string());
        self.put_in_force(document, &pinned, author).await
    }

    async fn upload(&self, component: Vec<u8>, author: &str) -> Result<PluginView, AdminError> {
        let version = self
            .registry
            .load(&component)
            .await
            .map_err(|error| AdminError::Refused(format!("the component {error}")))?;
        let digest = self.components.put(&component).await.map_err(internal)?;
        let (size, now) = (component.len() as u64, self.lifecycle.now());
        self.store.add_component(digest, size, author, now).await.map_err(internal)?;
        Ok(plugin_view(&version))
    }

    fn plugins(&self) -> Vec<PluginView> {
        let versions = self.registry.versions();
        let mut views: Vec<_> = versions.iter().map(|version| plugin_view(version)).collect();
        views.sort_by(|a, b| (&a.plugin, &a.version).cmp(&(&b.plugin, &b.version)));
        views
    }

    fn bindings(&self, vo: Option<&VoName>) -> Vec<BindingView> {
        let snapshot = self.registry.snapshot();
        let wanted = |name: &VoName| vo.is_none_or(|only| only == name);
        let of_vos = snapshot.iter().filter(|(name, _)| wanted(name));
        of_vos.flat_map(|(name, bindings)| views(name, bindings)).collect()
    }
}
