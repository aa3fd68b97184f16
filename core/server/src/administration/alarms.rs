//! What should not have happened is remembered; a candidate that trips or drifts goes by itself.

use super::{Administrator, Deed, change::Draft, views};
use spinor_api::administration::AdminError;
use spinor_model::{
    id::VoName,
    policy::{Alarm, Concern},
    registry::BindingPath,
    time::Timestamp,
};
use std::{collections::HashSet, sync::Arc};
use tokio::sync::mpsc::UnboundedReceiver;

/// Who acts when nobody does.
const ITSELF: &str = "spinor";

/// Quarantined inputs that are remembered, so that each is told once.
const MAX_TOLD: usize = 10_000;

/// Decisions of so long ago are what a candidate is first compared with.
const LOOK_BACK_MS: i64 = 24 * 3_600 * 1_000;

impl Administrator {
    /// Heeds alarms until nobody raises any.
    pub async fn heed(self: Arc<Self>, mut alarms: UnboundedReceiver<Alarm>) {
        let mut told = HashSet::new();
        while let Some(alarm) = alarms.recv().await {
            if alarm.concern == Concern::Quarantined {
                if told.len() >= MAX_TOLD {
                    told.clear();
                }
                if !told.insert((alarm.vo.clone(), alarm.path.clone(), alarm.reason.clone())) {
                    continue;
                }
            }
            if let Err(error) = self.act_on(&alarm).await {
                tracing::error!(vo = %alarm.vo, path = %alarm.path, ?error, "an alarm went unheeded");
            }
        }
    }

    async fn act_on(&self, alarm: &Alarm) -> Result<(), AdminError> {
        let _alone = self.changing.lock().await;
        let Alarm { vo, path, decider, concern, reason } = alarm;
        let snapshot = self.registry.snapshot();
        let place = snapshot.place(vo, path).ok();
        let candidate = place.and_then(|place| place.candidate.as_ref());
        let is_candidate = candidate.is_some_and(|trial| trial.bound.decider == *decider);
        let stand_in = place.and_then(|place| place.stand_in.as_ref()).map(views::title);
        let (action, detail) = match (concern, stand_in) {
            (Concern::Quarantined, _) => ("quarantine", reason.clone()),
            (Concern::Drifted, _) => ("drift", reason.clone()),
            (Concern::Tripped, _) if is_candidate => ("trip", reason.clone()),
            (Concern::Tripped, Some(title)) => ("trip", format!("{reason}; {title} stands in")),
            (Concern::Tripped, None) => {
                ("trip", format!("{reason}; nothing stands in, jobs are held"))
            }
        };
        let plugin = format!("{decider} ({})", decider.digest.short());
        let now = self.lifecycle.now();
        let deed = Deed { who: ITSELF, path: Some(path), action, plugin: plugin.clone(), detail };
        self.remember(Some(vo), deed, 0, now).await?;
        if is_candidate && *concern != Concern::Quarantined {
            self.take_away(alarm, &plugin).await?;
        }
        Ok(())
    }

    /// Takes a candidate away by itself; another server may be changing the same document.
    async fn take_away(&self, alarm: &Alarm, plugin: &str) -> Result<(), AdminError> {
        let Alarm { vo, path, decider, reason, .. } = alarm;
        let mut last = Ok(());
        for _ in 0..5 {
            let stored = self.stored(vo).await?;
            let candidate = stored.resolutions.get(&path.candidate_key());
            if candidate != Some(&decider.digest) {
                return Ok(());
            }
            let mut draft = Draft::of(&stored);
            draft.let_in(path, None)?;
            let detail = format!("candidate taken away by itself: {reason}");
            let plugin = plugin.to_owned();
            let deed = Deed { who: ITSELF, path: Some(path), action: "rollback", plugin, detail };
            match self.put_in_force(draft, deed).await {
                Err(AdminError::Refused(why)) => last = Err(AdminError::Refused(why)),
                other => return other.map(drop),
            }
        }
        last
    }

    /// Compares a candidate with what was decided of late, beside what it is asked from now on.
    pub(super) fn compare_with_the_past(&self, vo: &VoName, path: &BindingPath) {
        let snapshot = self.registry.snapshot();
        let Ok(place) = snapshot.place(vo, path) else { return };
        let Some(trial) = place.candidate.clone() else { return };
        let since = Timestamp(self.lifecycle.now().0.saturating_sub(LOOK_BACK_MS));
        let both = (Some(place.active.policy.clone()), trial.bound.policy.clone());
        let place = (vo.clone(), path.clone());
        let replayed =
            super::replay(self.lifecycle.clone(), self.replaying.clone(), place, both, since);
        tokio::spawn(async move {
            match replayed.await {
                Ok(replay) => trial.comparison.add(|own| own.merge(&replay.differences)),
                Err(error) => tracing::warn!(?error, "a candidate's past is unknown"),
            }
        });
    }
}
