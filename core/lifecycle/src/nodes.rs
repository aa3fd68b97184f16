//! Nodes on which jobs fail that run well elsewhere get no more of them for a while: one that fails
//! everything at once would otherwise be the first to ask for more, and eat a VO's queue.

use crate::{Lifecycle, LifecycleError};
use spinor_identity::subject::PilotIdentity;
use spinor_model::{
    id::{CeName, NodeName, Stamp, TemplateId, VoName},
    plan::{AttemptResult, Ending},
    time::Timestamp,
};
use spinor_store::{Elsewhere, NodeBan, NodeEnding};
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

/// A payload that comes to nothing within so many seconds fails fast.
const FAST: f64 = 60.0;
/// So many in a row that speak against a node are enough.
const ENOUGH: usize = 3;
/// What is longer ago says nothing of today.
const WINDOW: i64 = 3_600_000;
/// How long a node gets nothing, unless somebody allows it again.
const BAN: Duration = Duration::from_secs(3600);
/// Endings that are looked at.
const LAST: u32 = 20;

/// Banned nodes, and the pilots on them.
#[derive(Default)]
pub(crate) struct Banned {
    bans: Vec<NodeBan>,
    pilots: HashSet<Stamp>,
}

/// Whether a payload failed fast; nothing if its end says nothing of it.
fn failed_fast(result: &AttemptResult) -> Option<bool> {
    match result.ending {
        Ending::Killed | Ending::Lost { .. } => None,
        Ending::Exited { code: 0 } | Ending::WallTime { .. } | Ending::Memory { .. } => Some(false),
        Ending::Exited { .. } | Ending::Signalled { .. } | Ending::NotStarted { .. } => {
            Some(result.consumption.wall_seconds < FAST)
        }
    }
}

/// The last endings, as long as they are fast failures.
fn failures(last: &[NodeEnding]) -> Vec<&NodeEnding> {
    let judged = last.iter().filter_map(|ending| Some((ending, failed_fast(&ending.result)?)));
    judged.take_while(|(_, fast)| *fast).map(|(ending, _)| ending).collect()
}

/// What a row of failures says against the node, if it is enough. A job that fails elsewhere as well is
/// its owner's affair; of one that has run nowhere else, only another owner's failure tells.
fn verdict(
    failures: &[&NodeEnding],
    elsewhere: &BTreeMap<TemplateId, Elsewhere>,
) -> Option<String> {
    let of = |ending: &&&NodeEnding| elsewhere.get(&ending.template);
    let well = failures.iter().filter(|ending| of(ending).is_some_and(|other| other.done)).count();
    if well >= ENOUGH {
        return Some(format!(
            "{well} jobs in a row failed there within {FAST} s, and others submitted with them ran well elsewhere"
        ));
    }
    let bad = |ending: &&&NodeEnding| of(ending).is_some_and(|other| other.failed && !other.done);
    let left: Vec<_> = failures.iter().filter(|ending| !bad(ending)).collect();
    let owners: HashSet<_> = left.iter().map(|ending| &ending.owner).collect();
    (left.len() >= ENOUGH && owners.len() > 1).then(|| {
        let (jobs, owners) = (left.len(), owners.len());
        format!("{jobs} jobs of {owners} people in a row failed there within {FAST} s")
    })
}

impl Lifecycle {
    /// A result came from a node. If it speaks against that, the node may be banned.
    pub(crate) async fn suspect(
        &self,
        pilot: &PilotIdentity,
        result: &AttemptResult,
    ) -> Result<(), LifecycleError> {
        if failed_fast(result) != Some(true) {
            return Ok(());
        }
        let record = self.store.pilot(&pilot.stamp).await?;
        let Some(node) = record.and_then(|pilot| pilot.node) else { return Ok(()) };
        let (vo, ce, since) = (&pilot.vo, &pilot.ce, Timestamp(self.now().0 - WINDOW));
        let last = self.store.endings_on(vo, ce, &node, since, LAST).await?;
        let failures = failures(&last);
        if failures.len() < ENOUGH || self.bans(vo, ce, &node) {
            return Ok(());
        }
        let templates: BTreeSet<TemplateId> = failures.iter().map(|f| f.template).collect();
        let mut elsewhere = BTreeMap::new();
        for template in templates {
            elsewhere.insert(template, self.store.elsewhere(template, ce, &node).await?);
        }
        let Some(reason) = verdict(&failures, &elsewhere) else { return Ok(()) };
        tracing::warn!(%vo, %ce, %node, reason, "the node gets no jobs for a while");
        let queue = (vo.clone(), ce.clone(), pilot.queue.clone());
        self.leave_alone(queue, "jobs fail on a node there");
        let (vo, ce, since) = (vo.clone(), ce.clone(), self.now());
        let until = Some(since.plus(BAN));
        self.ban_node(&NodeBan { vo, ce, node, since, until, reason }).await
    }

    fn bans(&self, vo: &VoName, ce: &CeName, node: &NodeName) -> bool {
        let banned = self.banned_nodes.load();
        banned.bans.iter().any(|ban| ban.vo == *vo && ban.ce == *ce && ban.node == *node)
    }

    /// Whether a pilot is on a banned node.
    pub(crate) fn on_banned_node(&self, stamp: &Stamp) -> bool {
        self.banned_nodes.load().pilots.contains(stamp)
    }

    /// Pilots on a node get no more jobs; what runs there goes on.
    pub async fn ban_node(&self, ban: &NodeBan) -> Result<(), LifecycleError> {
        self.store.ban_node(ban).await?;
        self.look_at_nodes().await
    }

    /// Takes a ban back; whether there was one.
    pub async fn allow_node(
        &self,
        vo: &VoName,
        ce: &CeName,
        node: &NodeName,
    ) -> Result<bool, LifecycleError> {
        let allowed = self.store.allow_node(vo, ce, node).await?;
        self.look_at_nodes().await?;
        Ok(allowed)
    }

    /// A VO's banned nodes.
    pub fn node_bans(&self, vo: &VoName) -> Vec<NodeBan> {
        self.banned_nodes.load().bans.iter().filter(|ban| ban.vo == *vo).cloned().collect()
    }

    /// A pilot came up on a node.
    pub(crate) async fn arrived(
        &self,
        vo: &VoName,
        ce: &CeName,
        node: &NodeName,
    ) -> Result<(), LifecycleError> {
        match self.bans(vo, ce, node) {
            true => self.look_at_nodes().await,
            false => Ok(()),
        }
    }

    /// Looks which nodes are banned: other servers ban and allow some as well.
    pub(crate) async fn look_at_nodes(&self) -> Result<(), LifecycleError> {
        let now = self.now();
        let bans = self.store.node_bans(now).await?;
        let pilots = match bans.is_empty() {
            true => HashSet::new(),
            false => self.store.pilots_on_banned_nodes(now).await?.into_iter().collect(),
        };
        self.banned_nodes.store(Arc::new(Banned { bans, pilots }));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spinor_model::{
        id::{AttemptNumber, JobId},
        plan::Consumption,
    };

    fn ended(template: i64, owner: &str, ending: Ending, seconds: f64) -> NodeEnding {
        let consumption = Consumption { wall_seconds: seconds, ..Consumption::default() };
        let (job, attempt, nonce) = (JobId(1), AttemptNumber(1), String::new());
        let (stdout_tail, stderr_tail) = Default::default();
        let (output, missing_outputs) = Default::default();
        let result = AttemptResult {
            job,
            attempt,
            nonce,
            ending,
            consumption,
            output,
            missing_outputs,
            stdout_tail,
            stderr_tail,
        };
        NodeEnding { template: TemplateId(template), owner: owner.parse().unwrap(), result }
    }

    fn failed(template: i64, owner: &str) -> NodeEnding {
        ended(template, owner, Ending::Exited { code: 1 }, 2.0)
    }

    fn says(last: &[NodeEnding], others: &[(i64, bool, bool)]) -> Option<String> {
        let other = |(template, done, failed): &(i64, bool, bool)| {
            (TemplateId(*template), Elsewhere { done: *done, failed: *failed })
        };
        verdict(&failures(last), &others.iter().map(other).collect())
    }

    #[test]
    fn a_node_that_fails_what_runs_well_elsewhere_is_a_black_hole() {
        let three = [failed(1, "ada"), failed(1, "ada"), failed(1, "ada")];
        assert!(says(&three, &[(1, true, true)]).unwrap().contains("ran well elsewhere"));
        assert_eq!(says(&three[..2], &[(1, true, false)]), None, "two are not enough");
    }

    #[test]
    fn a_bad_job_is_its_owners_affair() {
        let three = [failed(1, "ada"), failed(1, "ada"), failed(1, "ada")];
        assert_eq!(says(&three, &[(1, false, true)]), None, "it fails everywhere");
        assert_eq!(says(&three, &[]), None, "it has run nowhere else");
        let two_people = [failed(1, "ada"), failed(2, "bob"), failed(1, "ada")];
        assert!(says(&two_people, &[]).unwrap().contains("2 people"));
        assert_eq!(says(&two_people, &[(2, false, true)]), None, "bob's fails everywhere");
    }

    #[test]
    fn only_a_row_of_fast_failures_counts() {
        let slow = ended(1, "ada", Ending::Exited { code: 1 }, 600.0);
        let well = ended(1, "ada", Ending::Exited { code: 0 }, 1.0);
        let killed = ended(1, "ada", Ending::Killed, 1.0);
        let f = || failed(1, "ada");
        assert_eq!(failures(&[f(), f(), slow, f()]).len(), 2);
        assert_eq!(failures(&[f(), well, f()]).len(), 1);
        assert_eq!(failures(&[f(), killed, f()]).len(), 2);
    }
}
