//! Changing VOs and plugins, over the plugin host and the store.

mod alarms;
mod change;
mod follow;
mod previous;
mod surface;
mod versions;
mod views;

use change::Draft;
use spinor_api::administration::{AdminError, Administration as _, Applied};
use spinor_identity::subject::Subject;
use spinor_lifecycle::{Lifecycle, LifecycleError, replay::Replay};
use spinor_model::{
    finding::Finding,
    id::{Digest, VoName},
    registry::{BindingPath, VoDocument},
    time::Timestamp,
};
use spinor_plugins::{bound::Policy, making::Wanted, registry::Registry};
use spinor_store::{AuditRecord, Blobs, Change, Store, StoreError, StoredDocument};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, MutexGuard, PoisonError},
    time::Instant,
};
use tokio::sync::Mutex;

/// Changes VOs and plugins, one change at a time.
pub struct Administrator {
    store: Arc<dyn Store>,
    components: Blobs,
    registry: Arc<Registry>,
    lifecycle: Arc<Lifecycle>,
    changing: Mutex<()>,
    /// One replay at a time: each keeps a core busy for up to a minute.
    replaying: Arc<Mutex<()>>,
    /// The revision of each VO that is in force on this server, and why it is no later one.
    progress: std::sync::Mutex<Progress>,
}

/// How far this server is.
#[derive(Default)]
struct Progress {
    revisions: BTreeMap<VoName, i64>,
    problems: BTreeMap<VoName, String>,
    /// Components that are missing: told of once.
    missing: BTreeSet<Digest>,
    /// Components that did not load, and when that was last tried.
    unloadable: BTreeMap<Digest, Instant>,
}

fn internal(error: StoreError) -> AdminError {
    AdminError::Internal(error.to_string())
}

fn replay_failed(error: LifecycleError) -> AdminError {
    match error {
        LifecycleError::NoVo(_) => AdminError::NotFound(error.to_string()),
        other => AdminError::Internal(other.to_string()),
    }
}

/// Places that a VO has from the installation alone.
fn inherited(document: &VoDocument, effective: &VoDocument) -> BTreeSet<BindingPath> {
    let paths = effective.bindings().map(|(path, _)| path);
    paths.filter(|path| document.binding(path).is_none()).collect()
}

/// What a change is to be remembered by.
struct Deed<'a> {
    who: &'a str,
    path: Option<&'a BindingPath>,
    action: &'static str,
    plugin: String,
    detail: String,
}

impl Administrator {
    /// Over these parts.
    pub fn new(
        store: Arc<dyn Store>,
        components: Blobs,
        registry: Arc<Registry>,
        lifecycle: Arc<Lifecycle>,
    ) -> Self {
        let (changing, replaying) = (Mutex::default(), Arc::default());
        let progress = std::sync::Mutex::default();
        Self { store, components, registry, lifecycle, changing, replaying, progress }
    }

    /// Puts every document that was in force in force again, each binding on the digest it had.
    pub async fn restore(&self) -> Result<(), StoreError> {
        for stored in self.store.documents().await? {
            let vo = stored.document.vo.clone();
            let revisions = self.store.revisions(&vo).await?;
            if let Err(findings) = self.take_up(&stored, &revisions, true).await {
                tracing::error!(%vo, ?findings, "the VO's plugins cannot be bound; its jobs wait");
            }
            for earlier in revisions.iter().filter(|r| r.revision != stored.revision) {
                self.registry.keep(&earlier.effective, &earlier.resolutions).await;
            }
            self.advance(&vo, stored.revision);
            self.lifecycle.set_document(Arc::new(stored.effective));
        }
        Ok(())
    }

    /// Puts a revision in force on this server as it was resolved.
    async fn take_up(
        &self,
        stored: &StoredDocument,
        revisions: &[StoredDocument],
        lenient: bool,
    ) -> Result<(), Vec<Finding>> {
        let wanted = Wanted {
            inherited: &inherited(&stored.document, &stored.effective),
            document: &stored.effective,
            pinned: &stored.resolutions,
            previous: &previous::before(revisions, &stored.effective),
            renewed: None,
            lenient,
        };
        let prepared = self.registry.prepare(wanted).await?;
        self.registry.activate(prepared);
        Ok(())
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn stored(&self, vo: &VoName) -> Result<StoredDocument, AdminError> {
        let stored = self.store.documents().await.map_err(internal)?;
        let found = stored.into_iter().find(|stored| stored.document.vo == *vo);
        found.ok_or_else(|| AdminError::NotFound(format!("there is no VO {vo}")))
    }

    /// Makes a draft ready, keeps it, and puts it in force: all of it or nothing.
    async fn put_in_force(&self, draft: Draft, mut deed: Deed<'_>) -> Result<Applied, AdminError> {
        let started = Instant::now();
        let Draft { document, pinned, strict, renewed, after, .. } = draft;
        let vo = document.vo.clone();
        let revisions = self.store.revisions(&vo).await.map_err(internal)?;
        let (installation, _) = self.store.installation().await.map_err(internal)?;
        let effective =
            document.inherit(&installation).map_err(|bad| AdminError::Findings(bad.0))?;
        let inherited = inherited(&document, &effective);
        let wanted = Wanted {
            inherited: &inherited,
            document: &effective,
            pinned: &pinned,
            previous: &previous::before(&revisions, &effective),
            renewed: renewed.as_ref(),
            lenient: false,
        };
        let after = after.unwrap_or_else(|| revisions.last().map_or(0, |stored| stored.revision));
        let prepared = self.registry.prepare(wanted).await.map_err(AdminError::Findings)?;
        let (resolutions, now) = (prepared.resolutions(), self.lifecycle.now());
        if strict {
            change::hold_to(&pinned, &resolutions)?;
        }
        let change = Change {
            author: deed.who.to_owned(),
            action: deed.action.to_owned(),
            note: deed.detail.clone(),
        };
        let applied = self
            .store
            .apply_document(&document, &effective, &resolutions, &change, after, now)
            .await;
        let Some(revision) = applied.map_err(internal)? else {
            let text = format!(
                "VO {vo} was changed by somebody else meanwhile: look at it, and try again"
            );
            return Err(AdminError::Refused(text));
        };
        self.registry.activate(prepared);
        if let Some(path) = deed.path.filter(|_| deed.plugin.is_empty()) {
            deed.plugin = self.subject_of(&vo, path, deed.action);
        }
        self.advance(&vo, revision);
        let before = revisions.last().map(|stored| stored.document.banned()).unwrap_or_default();
        let lifted = before.difference(&document.banned()).map(ToString::to_string).collect();
        self.lifecycle.set_document(Arc::new(effective));
        let took_ms = started.elapsed().as_secs_f64() * 1e3;
        let Change { author, action, note } = change;
        tracing::info!(%vo, revision, author, action, note, took_ms, "a document is in force");
        self.remember(Some(&vo), deed, revision, now).await?;
        let bindings = self.bindings(Some(&vo));
        Ok(Applied { vo: vo.to_string(), revision, took_ms, bindings, lifted })
    }

    /// Puts a VO's document in force over another revision of the installation, even if somebody
    /// changes the VO meanwhile.
    async fn inherit_anew(
        &self,
        mut stored: StoredDocument,
        who: &str,
        revision: i64,
    ) -> Result<Applied, AdminError> {
        loop {
            let (plugin, detail) =
                (String::new(), format!("revision {revision} of the installation"));
            let deed = Deed { who, path: None, action: "inherit", plugin, detail };
            let found = self.put_in_force(Draft::of(&stored), deed).await;
            let Err(AdminError::Refused(_)) = &found else { return found };
            let now = self.stored(&stored.document.vo).await?;
            if now.revision == stored.revision {
                return found;
            }
            stored = now;
        }
    }

    async fn remember(
        &self,
        vo: Option<&VoName>,
        deed: Deed<'_>,
        revision: i64,
        time: Timestamp,
    ) -> Result<(), AdminError> {
        let Deed { who, path, action, plugin, detail } = deed;
        let detail = match revision {
            0 => detail,
            _ if detail.is_empty() => format!("revision {revision}"),
            _ => format!("revision {revision}: {detail}"),
        };
        let entry = AuditRecord {
            time,
            who: who.to_owned(),
            vo: vo.map_or(String::new(), ToString::to_string),
            path: path.map_or(String::new(), ToString::to_string),
            action: action.to_owned(),
            plugin,
            detail,
        };
        self.store.audit(entry).await.map_err(internal)
    }

    /// What a change of one place has in common with every other: it is made on the document in
    /// force, and remembered with what was there.
    async fn change_place(
        &self,
        vo: &VoName,
        path: &BindingPath,
        by: &Subject,
        act: impl FnOnce(&mut Draft, &StoredDocument) -> Result<(&'static str, String), AdminError>,
    ) -> Result<Applied, AdminError> {
        let stored = self.stored(vo).await?;
        let mut draft = Draft::of(&stored);
        let (action, detail) = act(&mut draft, &stored)?;
        if !matches!(by, Subject::Operator { .. }) {
            change::within_grants(&stored.document, &draft.document, path)?;
        }
        let granted = change::newly_granted(&stored.document, &draft.document, path);
        let detail = match granted.as_slice() {
            [] => detail,
            names => format!("{detail}; grants {}", names.join(", ")),
        };
        let who = by.to_string();
        let deed = Deed { who: &who, path: Some(path), action, plugin: String::new(), detail };
        self.put_in_force(draft, deed).await
    }

    /// Whom a change was about: the candidate that was let in, else what is bound now.
    fn subject_of(&self, vo: &VoName, path: &BindingPath, action: &str) -> String {
        let snapshot = self.registry.snapshot();
        let Ok(place) = snapshot.place(vo, path) else { return String::new() };
        let candidate = place.candidate.as_ref().filter(|_| action == "rollout");
        views::title(candidate.map_or(&place.active, |trial| &trial.bound))
    }

    fn plugin_in(&self, vo: &VoName, path: &BindingPath) -> String {
        let snapshot = self.registry.snapshot();
        let there = snapshot.place(vo, path).ok();
        there.map(|place| views::title(&place.active)).unwrap_or_default()
    }
}

/// A replay, and the turn that it waits for.
async fn replay(
    lifecycle: Arc<Lifecycle>,
    turn: Arc<Mutex<()>>,
    (vo, path): (VoName, BindingPath),
    (in_force, candidate): (Option<Policy>, Policy),
    since: Timestamp,
) -> Result<Replay, AdminError> {
    let _turn = turn.lock().await;
    let replayed = match (&path, candidate) {
        (BindingPath::Matching, Policy::Matching(rule)) => {
            let in_force = in_force.and_then(Policy::rule);
            lifecycle.replay_rule(&vo, in_force, rule, since).await
        }
        (BindingPath::Handling(job_type), Policy::Handling(handler)) => {
            let in_force = in_force.and_then(Policy::handler);
            lifecycle.replay_handler(&vo, job_type, in_force, handler, since).await
        }
        (_, candidate) => {
            let Some(candidate) = candidate.effectful() else {
                let text = format!("the candidate is of another kind than `{path}` takes");
                return Err(AdminError::Refused(text));
            };
            let in_force = in_force.and_then(Policy::effectful);
            let now = in_force.as_ref().map(|policy| policy.decider());
            lifecycle.replay_effects(&vo, &path, now, &*candidate, since).await
        }
    };
    replayed.map_err(replay_failed)
}

impl Administrator {
    async fn replay_bound(
        &self,
        vo: &VoName,
        path: &BindingPath,
        policy: &Policy,
        since: Timestamp,
    ) -> Result<Replay, AdminError> {
        let snapshot = self.registry.snapshot();
        let in_force = snapshot.place(vo, path).ok().map(|place| place.active.policy.clone());
        let (lifecycle, turn) = (self.lifecycle.clone(), self.replaying.clone());
        let place = (vo.clone(), path.clone());
        replay(lifecycle, turn, place, (in_force, policy.clone()), since).await
    }
}
