//! Versions come in, are looked at, and go.

use super::{Administrator, Deed, internal, views};
use spinor_api::administration::{AdminError, Collected, PluginView, Push, ReportView};
use spinor_identity::{signature, subject::Subject};
use spinor_model::{
    id::{Digest, VoName},
    policy::Decider,
    registry::BindingPath,
};
use spinor_plugins::{load::LoadError, report::Report, version::PluginVersion};
use spinor_store::{NewComponent, Unfinished};
use std::{collections::BTreeSet, sync::Arc};

/// Revisions of each VO that can be gone back to, after `gc`.
const REVISIONS_KEPT: usize = 10;

impl Administrator {
    /// Says what a component is, and tries it if nothing is known against it.
    pub(super) async fn report(&self, component: &[u8], by: &Subject) -> ReportView {
        let mut report = Report::of(component);
        let known = self.registry.versions().get(&report.digest).map(|e| e.version.clone());
        let tried = match known {
            Some(version) => Some(version),
            None if report.problems.is_empty() => {
                let tried = self.try_all(component, by.vo()).await;
                tried.map_err(|error| report.problems.push(format!("it {error}"))).ok()
            }
            None => None,
        };
        let view = tried.map(|version| {
            let (owners, signers) = (BTreeSet::new(), BTreeSet::new());
            let source = String::new();
            let entry = spinor_plugins::version::Entry { version, owners, signers, source };
            views::plugin(&entry, &self.registry.snapshot(), by.vo())
        });
        views::report(report, view)
    }

    /// Takes a component, or says in words why not.
    pub(super) async fn take(&self, push: Push, by: &Subject) -> Result<PluginView, AdminError> {
        let Push { component, vo, source, signatures } = push;
        let digest = Digest::of(&component);
        for (key, signed) in &signatures {
            let checked = signature::check(key, signed, &digest);
            checked.map_err(|error| AdminError::Refused(error.to_string()))?;
        }
        let report = Report::of(&component);
        if !report.problems.is_empty() {
            let text = format!("the component {}", report.problems.join("; "));
            self.refused(vo.as_ref(), by, &digest, &text).await?;
            return Err(AdminError::Refused(text));
        }
        let tried = match self.try_all(&component, vo.as_ref()).await {
            Ok(version) => version,
            Err(error) => {
                let text = format!("the component {error}");
                self.refused(vo.as_ref(), by, &digest, &text).await?;
                return Err(AdminError::Refused(text));
            }
        };
        let _alone = self.changing.lock().await;
        self.check_name(&tried, vo.as_ref())?;
        self.components.put(&component).await.map_err(internal)?;
        let now = self.lifecycle.now();
        let signers = signatures.iter().map(|(key, _)| key.clone()).collect();
        let new = NewComponent {
            digest,
            size: component.len() as u64,
            owner: vo.clone(),
            source: source.clone(),
            pushed_by: by.to_string(),
            signatures,
        };
        self.store.add_component(new, now).await.map_err(internal)?;
        self.registry.add(tried.clone(), vo.clone(), signers, &source);
        let (who, plugin) = (by.to_string(), views::version_title(&tried));
        let detail = format!("from {source}, risk {}", report.risk.as_str());
        let deed = Deed { who: &who, path: None, action: "push", plugin, detail };
        self.remember(vo.as_ref(), deed, 0, now).await?;
        let (versions, snapshot) = (self.registry.versions(), self.registry.snapshot());
        let view = versions.get(&digest).map(|e| views::plugin(e, &snapshot, vo.as_ref()));
        view.ok_or_else(|| AdminError::Internal("the version was taken away again".to_owned()))
    }

    async fn try_all(
        &self,
        component: &[u8],
        vo: Option<&VoName>,
    ) -> Result<Arc<PluginVersion>, LoadError> {
        let version = self.registry.try_out(component, vo).await?;
        self.registry.check_golden(&version).await?;
        Ok(version)
    }

    async fn refused(
        &self,
        vo: Option<&VoName>,
        by: &Subject,
        digest: &Digest,
        why: &str,
    ) -> Result<(), AdminError> {
        let (who, plugin) = (by.to_string(), format!("({})", digest.short()));
        let detail = why.to_owned();
        let deed = Deed { who: &who, path: None, action: "reject", plugin, detail };
        self.remember(vo, deed, 0, self.lifecycle.now()).await
    }

    /// A name and version mean the same bytes for ever, for whoever sees them.
    fn check_name(&self, tried: &PluginVersion, vo: Option<&VoName>) -> Result<(), AdminError> {
        let versions = self.registry.versions();
        let of_everyone = versions.iter().find(|entry| {
            vo.is_some()
                && entry.owners.contains(&None)
                && entry.version.card.name == tried.card.name
                && entry.version.digest != tried.digest
        });
        if let Some(entry) = of_everyone {
            return Err(AdminError::Refused(format!(
                "{} is the installation's plugin ({}): give the VO's own another name",
                tried.card.name,
                entry.version.title()
            )));
        }
        let other = versions.iter().find(|entry| {
            entry.owners.contains(&vo.cloned())
                && entry.version.card.name == tried.card.name
                && entry.version.card.version == tried.card.version
                && entry.version.digest != tried.digest
        });
        let Some(other) = other else { return Ok(()) };
        Err(AdminError::Refused(format!(
            "{} is here already with other bytes ({}): a version is never changed, give this one another number",
            tried.title(),
            other.version.digest.short()
        )))
    }

    /// Takes away what nothing needs: not bound, not standing by, not a revision's that could be gone
    /// back to, with nothing left to end.
    pub(super) async fn collect_unneeded(
        &self,
        only_say: bool,
        by: &Subject,
    ) -> Result<Collected, AdminError> {
        let unfinished = self.store.unfinished().await.map_err(internal)?;
        let mut needed = BTreeSet::new();
        let mut collected = Collected::default();
        for work in &unfinished {
            let (vo, path, decider, words) = words(work);
            needed.insert(decider.digest);
            let snapshot = self.registry.snapshot();
            let bound = snapshot.place(vo, &path).ok();
            if bound.is_none_or(|place| place.all().all(|b| b.decider != *decider)) {
                let title = format!("{decider} ({})", decider.digest.short());
                collected.draining.push(format!("{title} in {vo} {path}: {words}"));
            }
        }
        if !only_say {
            self.registry.let_go(|vo, path, decider| {
                unfinished.iter().any(|work| {
                    let (its_vo, its_path, its_decider, _) = words(work);
                    its_vo == vo && its_path == *path && its_decider == decider
                })
            });
        }
        for (_, bindings) in self.registry.snapshot().iter() {
            let bound = bindings.iter().flat_map(|(_, place)| place.all());
            needed.extend(bound.map(|bound| bound.decider.digest));
        }
        // Other servers' VOs as well, whether this one has taken them up or not.
        for stored in self.store.documents().await.map_err(internal)? {
            let revisions = self.store.revisions(&stored.document.vo).await.map_err(internal)?;
            let kept = revisions.iter().rev().take(REVISIONS_KEPT);
            needed.extend(kept.flat_map(|stored| stored.resolutions.values().copied()));
        }
        let current: BTreeSet<Digest> = spinor_bundle::first_party().map(Digest::of).collect();
        needed.extend(current);
        for entry in self.registry.versions().iter() {
            let version = &entry.version;
            if needed.contains(&version.digest) {
                continue;
            }
            collected.removed.push(views::version_title(version));
            if !only_say {
                self.remove(version, by).await?;
            }
        }
        Ok(collected)
    }

    async fn remove(&self, version: &PluginVersion, by: &Subject) -> Result<(), AdminError> {
        self.registry.forget(&version.digest);
        self.store.remove_component(version.digest).await.map_err(internal)?;
        self.components.remove(&version.digest).await.map_err(internal)?;
        let (who, plugin) = (by.to_string(), views::version_title(version));
        let detail = "nothing needs it".to_owned();
        let deed = Deed { who: &who, path: None, action: "collect", plugin, detail };
        self.remember(None, deed, 0, self.lifecycle.now()).await
    }
}

/// Whose work it is, where, and how much is left, in words.
fn words(work: &Unfinished) -> (&VoName, BindingPath, &Decider, String) {
    match work {
        Unfinished::Jobs { vo, job_type, decider, count } => (
            vo,
            BindingPath::Handling(job_type.clone()),
            decider,
            format!("{count} jobs to conclude"),
        ),
        Unfinished::Pilots { vo, ce, decider, count } => {
            (vo, BindingPath::Computing(ce.clone()), decider, format!("{count} pilots to follow"))
        }
    }
}
