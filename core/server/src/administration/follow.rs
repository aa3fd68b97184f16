//! Changes that were made on another server of the same database are put in force here.

use super::Administrator;
use spinor_identity::signature;
use spinor_model::{id::VoName, time::Timestamp};
use spinor_store::{ServerRecord, StoreError, StoredDocument};
use std::{
    collections::{BTreeSet, HashSet},
    sync::{Arc, PoisonError},
    time::Duration,
};

/// Between two looks.
const ROUND: Duration = Duration::from_millis(300);

/// Servers that were not heard of for longer are not shown.
const SHOWN_MS: i64 = 60_000;

impl Administrator {
    /// Notes that a revision is in force here.
    pub(super) fn advance(&self, vo: &VoName, revision: i64) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.revisions.insert(vo.clone(), revision);
        progress.problems.remove(vo);
    }

    fn in_force(&self, vo: &VoName) -> i64 {
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.revisions.get(vo).copied().unwrap_or(0)
    }

    fn hold_back(&self, vo: &VoName, problem: &str) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.problems.insert(vo.clone(), problem.to_owned());
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
                tracing::error!(%vo, why, "another server's change cannot be put in force here");
                self.hold_back(vo, &why);
            }
        }
        Ok(())
    }

    async fn load_new_components(&self) -> Result<(), StoreError> {
        let versions = self.registry.versions();
        let known: HashSet<_> = versions
            .iter()
            .flat_map(|e| e.owners.iter().map(|owner| (e.version.digest, owner.clone())))
            .collect();
        for component in self.store.components().await? {
            let digest = component.digest;
            if known.contains(&(digest, component.owner.clone())) {
                continue;
            }
            let Some(bytes) = self.components.get(&digest).await? else { continue };
            match self.registry.try_out(&bytes, component.owner.as_ref()).await {
                Ok(version) => {
                    let signatures = self.store.signatures(digest).await?.into_iter();
                    let fits = |(key, signed): &(String, String)| {
                        signature::check(key, signed, &digest).is_ok()
                    };
                    let signers: BTreeSet<_> =
                        signatures.filter(fits).map(|(key, _)| key).collect();
                    self.registry.add(version, component.owner, signers, &component.source);
                }
                Err(error) => tracing::error!(%digest, %error, "a component does not load"),
            }
        }
        Ok(())
    }

    fn own_record(&self) -> ServerRecord {
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
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
