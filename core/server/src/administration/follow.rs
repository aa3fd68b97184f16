//! Changes that were made on another server of the same database are put in force here.

use super::Administrator;
use spinor_identity::signature;
use spinor_model::{
    id::{Digest, VoName},
    time::Timestamp,
};
use spinor_plugins::version::PluginVersion;
use spinor_store::{ServerRecord, StoreError, StoredComponent, StoredDocument};
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

/// Between two looks.
const ROUND: Duration = Duration::from_millis(300);

/// A component that did not load is tried again after this.
const AGAIN: Duration = Duration::from_secs(60);

/// Servers that were not heard of for longer are not shown.
const SHOWN_MS: i64 = 60_000;

impl Administrator {
    /// Notes that a revision is in force here.
    pub(super) fn advance(&self, vo: &VoName, revision: i64) {
        let mut progress = self.progress();
        progress.revisions.insert(vo.clone(), revision);
        progress.problems.remove(vo);
    }

    fn in_force(&self, vo: &VoName) -> i64 {
        let progress = self.progress();
        progress.revisions.get(vo).copied().unwrap_or(0)
    }

    /// Notes why a VO is not further; whether that is news.
    fn hold_back(&self, vo: &VoName, problem: &str) -> bool {
        let before = self.progress().problems.insert(vo.clone(), problem.to_owned());
        before.is_none_or(|before| before != problem)
    }

    /// Follows other servers for ever, and tells them how far this one is.
    pub async fn follow(self: Arc<Self>) {
        while self.store.shared() {
            if let Err(error) = self.catch_up().await {
                tracing::error!(%error, "changes of other servers are not known");
            }
            tokio::time::sleep(ROUND).await;
        }
    }

    /// Puts in force what others did, and says so.
    pub async fn catch_up(&self) -> Result<(), StoreError> {
        let _alone = self.changing.lock().await;
        self.load_new_components().await?;
        for stored in self.store.documents().await? {
            let vo = stored.document.vo.clone();
            if stored.revision > self.in_force(&vo) {
                self.take_up_from_others(&vo, stored).await?;
            }
        }
        self.store.server_seen(self.own_record()).await
    }

    async fn take_up_from_others(
        &self,
        vo: &VoName,
        stored: StoredDocument,
    ) -> Result<(), StoreError> {
        let revisions = self.store.revisions(vo).await?;
        match self.take_up(&stored, &revisions, false).await {
            Ok(()) => {
                tracing::info!(%vo, revision = stored.revision, "taken up from another server");
                self.advance(vo, stored.revision);
                self.lifecycle.set_document(Arc::new(stored.effective));
            }
            // What is in force stays in force.
            Err(findings) => {
                let first = findings.first();
                let why = first.map(|f| format!("{} `{}` {}", f.field, f.value, f.message));
                let why = format!("revision {}: {}", stored.revision, why.unwrap_or_default());
                if self.hold_back(vo, &why) {
                    tracing::error!(%vo, why, "another server's change cannot be put in force here");
                }
            }
        }
        Ok(())
    }

    /// Loads components that came in since, on this server or another, and forgets those that went.
    pub async fn load_new_components(&self) -> Result<(), StoreError> {
        let rows = self.store.components().await?;
        let versions = self.registry.versions();
        for entry in versions.iter() {
            if rows.iter().all(|row| row.digest != entry.version.digest) {
                self.registry.forget(&entry.version.digest);
            }
        }
        let signatures = self.store.signatures().await?;
        for component in rows {
            let digest = component.digest;
            let known = versions.get(&digest);
            let there = known.is_some_and(|entry| entry.owners.contains(&component.owner));
            let signers: BTreeSet<String> = signatures
                .iter()
                .filter(|(of, key, signed)| {
                    let known = known.is_some_and(|entry| entry.signers.contains(key));
                    *of == digest && (known || signature::check(key, signed, &digest).is_ok())
                })
                .map(|(_, key, _)| key.clone())
                .collect();
            let signed = known.is_some_and(|entry| entry.signers.is_superset(&signers));
            if (there && signed) || self.failed_lately(&digest) {
                continue;
            }
            if let Some(version) = self.loaded(&component).await? {
                self.registry.add(version, component.owner, signers, &component.source);
            }
        }
        Ok(())
    }

    async fn loaded(
        &self,
        component: &StoredComponent,
    ) -> Result<Option<Arc<PluginVersion>>, StoreError> {
        let digest = component.digest;
        if let Some(entry) = self.registry.versions().get(&digest) {
            return Ok(Some(entry.version.clone()));
        }
        let Some(bytes) = self.components.get(&digest).await? else {
            if self.progress().missing.insert(digest) {
                tracing::error!(%digest, "a component's file is missing; what is bound to it waits");
            }
            return Ok(None);
        };
        let tried = self.registry.try_out(&bytes, component.owner.as_ref()).await;
        Ok(tried
            .map_err(|error| {
                tracing::error!(%digest, %error, "a component does not load");
                self.progress().unloadable.insert(digest, Instant::now());
            })
            .ok())
    }

    /// Whether a component did not load a moment ago: the fault may be the machine's, and pass.
    fn failed_lately(&self, digest: &Digest) -> bool {
        self.progress().unloadable.get(digest).is_some_and(|tried| tried.elapsed() < AGAIN)
    }

    fn own_record(&self) -> ServerRecord {
        let progress = self.progress();
        let problems = progress.problems.iter().map(|(vo, why)| format!("{vo}: {why}"));
        ServerRecord {
            server: self.lifecycle.server.clone(),
            url: self.lifecycle.url.clone(),
            seen: self.lifecycle.now(),
            revisions: progress.revisions.clone(),
            problem: problems.collect::<Vec<_>>().join("; "),
        }
    }

    /// Servers on this database, this one first.
    pub(super) async fn all_servers(&self) -> Result<Vec<ServerRecord>, StoreError> {
        let since = Timestamp(self.lifecycle.now().0.saturating_sub(SHOWN_MS));
        let own = self.own_record();
        let mut others = self.store.servers(since).await?;
        others.retain(|record| record.server != own.server);
        others.insert(0, own);
        Ok(others)
    }
}
