//! What people see of versions, places and their history.

use spinor_api::administration::{
    BindingView, HistoryView, PlaceView, PluginView, ReportView, RevisionView, RolloutView,
    ServerView,
};
use spinor_model::{
    id::VoName,
    registry::{BindingPath, Mode, Stage},
};
use spinor_plugins::{
    bound::Bound,
    report::Report,
    snapshot::{Place, Snapshot},
    version::{Entry, PluginVersion},
};
use spinor_store::{AuditRecord, ServerRecord, StoredDocument};
use std::collections::BTreeMap;

/// `kind/name 1.2.3 (0123456789ab)`.
pub fn title(bound: &Bound) -> String {
    format!("{} ({})", bound.decider, bound.decider.digest.short())
}

/// The same of a version.
pub fn version_title(version: &PluginVersion) -> String {
    format!("{} ({})", version.title(), version.digest.short())
}

fn owned<'a>(names: impl IntoIterator<Item = &'a &'static str>) -> Vec<String> {
    names.into_iter().map(|name| (*name).to_owned()).collect()
}

/// A version.
pub fn plugin(entry: &Entry, snapshot: &Snapshot, vo: Option<&VoName>) -> PluginView {
    let version = &entry.version;
    let of_vo = |view: &BindingView| {
        view.digest == version.digest.to_string() && vo.is_none_or(|vo| *vo.as_str() == view.vo)
    };
    let bound = places(snapshot, None).into_iter().flat_map(|place| place.versions);
    let owner = |owner: &Option<VoName>| {
        owner.as_ref().map_or_else(|| "(installation)".to_owned(), ToString::to_string)
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
        exports: version.exports.iter().cloned().collect(),
        settings_schema: version.schema.clone(),
        source: entry.source.clone(),
        owners: entry.owners.iter().map(owner).collect(),
        signers: entry.signers.iter().cloned().collect(),
        bound: bound
            .filter(of_vo)
            .map(|view| format!("{} {} {}", view.vo, view.path, view.state))
            .collect(),
    }
}

/// What a component is.
pub fn report(report: Report, version: Option<PluginView>) -> ReportView {
    ReportView {
        digest: report.digest.to_string(),
        size: report.size as u64,
        kind: report.kind.map(|kind| kind.to_string()),
        imports: report.imports,
        risk: report.risk.as_str().to_owned(),
        risk_reasons: report.reasons,
        problems: report.problems,
        version,
    }
}

fn view(vo: &VoName, path: &BindingPath, bound: &Bound, state: &str) -> BindingView {
    let health = bound.breaker.health();
    let (state, reason) = match health.rests_until {
        Some(until) => ("tripped", format!("{}; is tried again at {until}", health.last_fault)),
        None => (state, health.last_fault),
    };
    BindingView {
        vo: vo.to_string(),
        path: path.to_string(),
        plugin: bound.decider.plugin.clone(),
        version: bound.decider.version.to_string(),
        digest: bound.decider.digest.to_string(),
        settings: bound.decider.settings.to_string(),
        capabilities: owned(&bound.version.capabilities),
        state: state.to_owned(),
        reason,
        good: health.good,
        faults: health.faults,
    }
}

fn active_state(place: &Place) -> &'static str {
    match place.mode {
        Mode::Enforce => "active",
        Mode::Off => "off",
    }
}

/// What is bound in each place.
pub fn bindings(snapshot: &Snapshot, vo: Option<&VoName>) -> Vec<BindingView> {
    let wanted = snapshot.iter().filter(|(name, _)| vo.is_none_or(|only| only == *name));
    let of_vo = |(name, bindings): (&VoName, &spinor_plugins::snapshot::VoBindings)| {
        let of_place = |(path, place): (&BindingPath, &Place)| {
            view(name, path, &place.active, active_state(place))
        };
        bindings.iter().map(of_place).collect::<Vec<_>>()
    };
    wanted.flat_map(of_vo).collect()
}

/// Each place with all that is there.
pub fn places(snapshot: &Snapshot, vo: Option<&VoName>) -> Vec<PlaceView> {
    let wanted = snapshot.iter().filter(|(name, _)| vo.is_none_or(|only| only == *name));
    wanted
        .flat_map(|(name, bindings)| {
            bindings.iter().map(|(path, there)| place(snapshot, name, path, there))
        })
        .collect()
}

fn place(snapshot: &Snapshot, vo: &VoName, path: &BindingPath, place: &Place) -> PlaceView {
    let mut versions = vec![view(vo, path, &place.active, active_state(place))];
    versions.extend(place.stand_in.iter().map(|bound| view(vo, path, bound, "stand-in")));
    let rollout = place.candidate.as_ref().map(|trial| {
        versions.push(view(vo, path, &trial.bound, trial.stage.as_str()));
        RolloutView {
            stage: trial.stage.as_str().to_owned(),
            share: if trial.stage == Stage::Canary { trial.share } else { 0 },
            max_drift: trial.max_drift,
            differences: trial.comparison.differences(),
            left_out: trial.comparison.left_out(),
        }
    });
    let here: Vec<_> = place.all().map(|bound| bound.decider.clone()).collect();
    let draining = snapshot.retired().filter(|(its_vo, its_path, bound)| {
        *its_vo == vo && *its_path == path && !here.contains(&bound.decider)
    });
    versions.extend(draining.map(|(.., bound)| view(vo, path, bound, "draining")));
    let active_rests = place.active.breaker.tripped().is_some();
    let stand_in = place.stand_in.as_ref().filter(|b| b.breaker.tripped().is_none());
    let decides = match (place.mode, active_rests, stand_in) {
        (Mode::Off, ..) | (_, true, None) => String::new(),
        (_, false, _) => title(&place.active),
        (_, true, Some(bound)) => title(bound),
    };
    PlaceView { vo: vo.to_string(), path: path.to_string(), decides, versions, rollout }
}

/// Servers, and whether each has put in force what any other has.
pub fn servers(records: Vec<ServerRecord>) -> Vec<ServerView> {
    let mut furthest: BTreeMap<VoName, i64> = BTreeMap::new();
    for (vo, revision) in records.iter().flat_map(|record| &record.revisions) {
        let known = furthest.entry(vo.clone()).or_default();
        *known = (*known).max(*revision);
    }
    let view = |record: ServerRecord| ServerView {
        converged: record.revisions == furthest,
        server: record.server,
        url: record.url,
        seen: record.seen.to_string(),
        revisions: record.revisions.into_iter().map(|(vo, n)| (vo.to_string(), n)).collect(),
        problem: record.problem,
    };
    records.into_iter().map(view).collect()
}

/// An entry of the audit.
pub fn history(entry: AuditRecord) -> HistoryView {
    HistoryView {
        time: entry.time.to_string(),
        who: entry.who,
        path: entry.path,
        action: entry.action,
        plugin: entry.plugin,
        detail: entry.detail,
    }
}

/// A revision.
pub fn revision(stored: StoredDocument) -> RevisionView {
    RevisionView {
        revision: stored.revision,
        applied: stored.applied.to_string(),
        author: stored.change.author,
        action: stored.change.action,
        note: stored.change.note,
        resolutions: stored.resolutions.into_iter().map(|(k, d)| (k, d.to_string())).collect(),
    }
}
