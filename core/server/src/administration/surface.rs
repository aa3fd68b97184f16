//! What the API may ask for.

use super::{
    Administrator, Deed,
    change::{self, Draft},
    internal, views,
};
use async_trait::async_trait;
use spinor_api::administration::{
    AdminError, Administration, Applied, BindingView, Collected, HistoryView, PlaceView,
    PluginView, Push, ReplayRequest, ReportView, RevisionView, ServerView,
};
use spinor_identity::subject::Subject;
use spinor_lifecycle::replay::Replay;
use spinor_model::{
    finding::Finding,
    id::{Digest, VoName},
    registry::{
        BadDocument, Banned, Binding, BindingPath, Candidate, Installation, Mode, VoDocument,
    },
    time::Timestamp,
};
use spinor_plugins::making::Wanted;
use spinor_store::AuditRecord;
use std::collections::BTreeMap;

#[async_trait]
impl Administration for Administrator {
    async fn apply(
        &self,
        vo: &VoName,
        document: &str,
        pins: BTreeMap<String, Digest>,
        by: &Subject,
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
        let (who, strict) = (by.to_string(), !pins.is_empty());
        let detail = if strict { "with a lock file".to_owned() } else { String::new() };
        let deed = Deed { who: &who, path: None, action: "apply", plugin: String::new(), detail };
        let draft = Draft::new(document, pins, strict);
        self.put_in_force(draft, deed).await
    }

    async fn bind(
        &self,
        vo: &VoName,
        path: &BindingPath,
        binding: Option<Binding>,
        by: &Subject,
    ) -> Result<Applied, AdminError> {
        let _alone = self.changing.lock().await;
        let before = self.plugin_in(vo, path);
        self.change_place(vo, path, by, |draft, _| {
            if binding.is_none() {
                draft.there(path)?;
            }
            let action = if binding.is_some() { "bind" } else { "unbind" };
            draft.put(path, binding)?;
            let detail = if before.is_empty() { before } else { format!("instead of {before}") };
            Ok((action, detail))
        })
        .await
    }

    async fn rollout(
        &self,
        vo: &VoName,
        path: &BindingPath,
        candidate: Option<Candidate>,
        by: &Subject,
    ) -> Result<Applied, AdminError> {
        let _alone = self.changing.lock().await;
        let starts = candidate.is_some();
        let applied =
            self.change_place(vo, path, by, |draft, _| draft.let_in(path, candidate)).await?;
        if starts {
            self.compare_with_the_past(vo, path);
        }
        Ok(applied)
    }

    async fn promote(
        &self,
        vo: &VoName,
        path: &BindingPath,
        by: &Subject,
    ) -> Result<Applied, AdminError> {
        let _alone = self.changing.lock().await;
        let before = self.plugin_in(vo, path);
        self.change_place(vo, path, by, |draft, _| {
            draft.promote(path)?;
            Ok(("promote", format!("instead of {before}")))
        })
        .await
    }

    async fn rollback(
        &self,
        vo: &VoName,
        path: Option<&BindingPath>,
        to: Option<i64>,
        by: &Subject,
    ) -> Result<Applied, AdminError> {
        let _alone = self.changing.lock().await;
        let revisions = self.store.revisions(vo).await.map_err(internal)?;
        let Some(path) = path else {
            let found = change::revision(&revisions, to.unwrap_or_default())?;
            let draft = Draft { strict: true, after: None, ..Draft::of(found) };
            let detail = format!("to revision {}", found.revision);
            let (who, plugin) = (by.to_string(), String::new());
            let deed = Deed { who: &who, path: None, action: "rollback", plugin, detail };
            return self.put_in_force(draft, deed).await;
        };
        let before = self.plugin_in(vo, path);
        self.change_place(vo, path, by, |draft, stored| {
            let detail = draft.roll_back(path, to, stored, &revisions)?;
            Ok(("rollback", format!("{detail}, was {before}")))
        })
        .await
    }

    async fn ban(
        &self,
        vo: &VoName,
        whom: &Banned,
        reason: Option<String>,
        by: &Subject,
    ) -> Result<Applied, AdminError> {
        let _alone = self.changing.lock().await;
        let mut draft = Draft::of(&self.stored(vo).await?);
        if !draft.document.ban(whom, reason.is_some()) {
            return Err(AdminError::NotFound(format!(
                "the document of VO {vo} has no {whom}; what the installation has, its operator bans there"
            )));
        }
        let (action, detail) = match reason {
            Some(reason) => ("ban", format!("{whom}: {reason}")),
            None => ("allow", whom.to_string()),
        };
        let (who, plugin) = (by.to_string(), String::new());
        let deed = Deed { who: &who, path: None, action, plugin, detail };
        self.put_in_force(draft, deed).await
    }

    async fn disable(
        &self,
        vo: &VoName,
        path: &BindingPath,
        by: &Subject,
    ) -> Result<Applied, AdminError> {
        let _alone = self.changing.lock().await;
        self.change_place(vo, path, by, |draft, _| {
            let binding = Binding { mode: Mode::Off, ..draft.there(path)? };
            draft.keep(path, binding)?;
            Ok(("disable", "what it would decide is held".to_owned()))
        })
        .await
    }

    async fn replay(
        &self,
        vo: &VoName,
        path: &BindingPath,
        request: ReplayRequest,
        _by: &Subject,
    ) -> Result<Replay, AdminError> {
        let stored = self.stored(vo).await?;
        let there = stored.effective.binding(path);
        let finding = |field: &str, value: &str, message: String| {
            let value = value.to_owned();
            AdminError::Findings(vec![Finding { field: field.to_owned(), value, message }])
        };
        let version = request.version.parse().map_err(|error: semver::Error| {
            finding("version", &request.version, error.to_string())
        })?;
        let settings = request.settings.or_else(|| there.map(|b| b.settings.clone()));
        let settings = settings.unwrap_or_else(|| serde_json::json!({}));
        let grants = there.map(|b| b.grants.clone()).unwrap_or_default();
        let binding = Binding { grants, ..Binding::new(&request.plugin, version, settings) };
        let bound = self.registry.bind_aside(vo, path, &binding, None).await;
        let bound = bound.map_err(AdminError::Findings)?;
        let now = self.lifecycle.now();
        let window = i64::try_from(request.since_seconds.saturating_mul(1_000)).unwrap_or(i64::MAX);
        let since = Timestamp(now.0.saturating_sub(window));
        self.replay_bound(vo, path, &bound.policy, since).await
    }

    async fn inspect(&self, component: &[u8], by: &Subject) -> ReportView {
        self.report(component, by).await
    }

    async fn push(&self, push: Push, by: &Subject) -> Result<PluginView, AdminError> {
        self.take(push, by).await
    }

    async fn installation(&self) -> Result<String, AdminError> {
        let (installation, _) = self.store.installation().await.map_err(internal)?;
        Ok(installation.to_toml())
    }

    async fn apply_installation(
        &self,
        document: &str,
        by: &Subject,
    ) -> Result<Vec<Applied>, AdminError> {
        let _alone = self.changing.lock().await;
        let bad = |bad: BadDocument| AdminError::Findings(bad.0);
        let installation = Installation::from_toml(document).map_err(bad)?;
        let stored = self.store.documents().await.map_err(internal)?;
        // Every VO must be able to inherit it, before any does.
        for stored in &stored {
            let whole = stored.document.inherit(&installation).map_err(bad)?;
            let wanted = Wanted {
                inherited: &super::inherited(&stored.document, &whole),
                document: &whole,
                pinned: &stored.resolutions,
                previous: &BTreeMap::new(),
                renewed: None,
                lenient: false,
            };
            self.registry.prepare(wanted).await.map_err(AdminError::Findings)?;
        }
        let (who, now) = (by.to_string(), self.lifecycle.now());
        let kept = self.store.apply_installation(&installation, &who, now).await;
        let revision = kept.map_err(internal)?;
        let mut applied = Vec::new();
        for stored in stored {
            applied.push(self.inherit_anew(stored, &who, revision).await?);
        }
        Ok(applied)
    }

    async fn component(&self, digest: &Digest, by: &Subject) -> Result<Vec<u8>, AdminError> {
        let versions = self.registry.versions();
        let visible = versions.get(digest).is_some_and(|entry| entry.visible(by.vo()));
        let bytes = match visible {
            true => self.components.get(digest).await.map_err(internal)?,
            false => None,
        };
        bytes.ok_or_else(|| AdminError::NotFound(format!("there is no component {digest}")))
    }

    async fn collect(&self, only_say: bool, by: &Subject) -> Result<Collected, AdminError> {
        let _alone = self.changing.lock().await;
        self.collect_unneeded(only_say, by).await
    }

    async fn history(
        &self,
        vo: Option<&VoName>,
        path: Option<&BindingPath>,
        limit: u32,
    ) -> Result<Vec<HistoryView>, AdminError> {
        let entries = self.store.audit_entries(vo, limit).await.map_err(internal)?;
        let path = path.map(ToString::to_string);
        let wanted =
            |e: &AuditRecord| path.as_ref().is_none_or(|path| e.path == *path || e.path.is_empty());
        Ok(entries.into_iter().filter(wanted).map(views::history).collect())
    }

    async fn revisions(&self, vo: &VoName) -> Result<Vec<RevisionView>, AdminError> {
        let revisions = self.store.revisions(vo).await.map_err(internal)?;
        Ok(revisions.into_iter().rev().map(views::revision).collect())
    }

    async fn revision(&self, vo: &VoName, revision: i64) -> Result<String, AdminError> {
        let revisions = self.store.revisions(vo).await.map_err(internal)?;
        Ok(change::revision(&revisions, revision)?.document.to_toml())
    }

    async fn servers(&self) -> Result<Vec<ServerView>, AdminError> {
        Ok(views::servers(self.all_servers().await.map_err(internal)?))
    }

    fn plugins(&self, vo: Option<&VoName>) -> Vec<PluginView> {
        let (versions, snapshot) = (self.registry.versions(), self.registry.snapshot());
        let visible = versions.iter().filter(|entry| entry.visible(vo));
        let mut views: Vec<_> = visible.map(|e| views::plugin(e, &snapshot, vo)).collect();
        views.sort_by(|a, b| (&a.plugin, &a.version).cmp(&(&b.plugin, &b.version)));
        views
    }

    fn bindings(&self, vo: Option<&VoName>) -> Vec<BindingView> {
        views::bindings(&self.registry.snapshot(), vo)
    }

    fn places(&self, vo: Option<&VoName>) -> Vec<PlaceView> {
        views::places(&self.registry.snapshot(), vo)
    }
}
