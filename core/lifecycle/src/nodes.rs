//! Nodes on which jobs fail that run well elsewhere get no more of them for a while: one that fails
//! everything at once would otherwise be the first to ask for more, and eat a VO's queue.

use crate::{Lifecycle, LifecycleError, lock};
use spinor_identity::subject::PilotIdentity;
use spinor_model::{
    id::{CeName, NodeName, Stamp, TemplateId, VoName},
    plan::{AttemptResult, Ending},
    time::Timestamp,
};
use spinor_store::{NodeBan, NodeEnding};
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
/// Endings on a node that are looked at.
const LAST: u32 = 20;
/// Endings elsewhere, of each submission.
const OTHERS: u32 = 10;
/// Between looks at a node.
const PAUSE: Duration = Duration::from_secs(3);

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

/// How jobs of one submission fare on other nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Elsewhere {
    /// None has ended there.
    Unknown,
    /// Nearly all of the last ones ran well.
    Well,
    /// Some of the last ones came to nothing.
    Badly,
}

impl Elsewhere {
    /// Of the last ones that ended.
    fn of(last: &[NodeEnding]) -> Self {
        let good = |ending: &&NodeEnding| ending.result.ending == Ending::Exited { code: 0 };
        let told = |ending: &&NodeEnding| failed_fast(&ending.result).is_some();
        let (all, good) = (last.iter().filter(told).count(), last.iter().filter(good).count());
        match (all, (all - good) * 5 <= all) {
            (0, _) => Self::Unknown,
            (_, true) => Self::Well,
            (_, false) => Self::Badly,
        }
    }
}

/// What a row of failures says against the node, if it is enough. A job that fails elsewhere as well is
/// its owner's affair; of one that has run nowhere else, only another owner's failure tells.
fn verdict(
    failures: &[&NodeEnding],
    elsewhere: &BTreeMap<TemplateId, Elsewhere>,
) -> Option<String> {
    let of = |ending: &NodeEnding| {
        elsewhere.get(&ending.template).copied().unwrap_or(Elsewhere::Unknown)
    };
    let well = failures.iter().filter(|ending| of(ending) == Elsewhere::Well).count();
    if well >= ENOUGH {
        return Some(format!(
            "{well} jobs in a row failed there within {FAST} s, and others submitted with them run well elsewhere"
        ));
    }
    let left: Vec<_> = failures.iter().filter(|e| of(e) != Elsewhere::Badly).collect();
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
        let (vo, ce) = (&pilot.vo, &pilot.ce);
        if self.bans(vo, ce, &node) || !self.is_due(vo, ce, &node) {
            return Ok(());
        }
        let Some(reason) = self.speaks_against(vo, ce, &node).await? else { return Ok(()) };
        tracing::warn!(%vo, %ce, %node, reason, "the node gets no jobs for a while");
        let queue = (vo.clone(), ce.clone(), pilot.queue.clone());
        self.leave_alone(queue, "jobs fail on a node there");
        let (vo, ce, since) = (vo.clone(), ce.clone(), self.now());
        let until = Some(since.plus(BAN));
        self.ban_node(&NodeBan { vo, ce, node, since, until, reason }).await
    }

    /// Whether a node was not looked at just now: a bad submission of thousands must not be looked at
    /// thousands of times.
    fn is_due(&self, vo: &VoName, ce: &CeName, node: &NodeName) -> bool {
        let (now, mut looked) = (self.now(), lock(&self.looked_at));
        looked.retain(|_, at| now.since(*at) < PAUSE);
        let key = (vo.clone(), ce.clone(), node.clone());
        let due = !looked.contains_key(&key);
        if due {
            looked.insert(key, now);
        }
        due
    }

    async fn speaks_against(
        &self,
        vo: &VoName,
        ce: &CeName,
        node: &NodeName,
    ) -> Result<Option<String>, LifecycleError> {
        let mut since = Timestamp(self.now().0 - WINDOW);
        // What was before somebody allowed it again is forgiven.
        let before = self.store.node_ban(vo, ce, node).await?.and_then(|ban| ban.until);
        since = since.max(before.unwrap_or(since));
        let last = self.store.endings_on(vo, ce, node, since, LAST).await?;
        let failures = failures(&last);
        if failures.len() < ENOUGH || !self.store.has_other_nodes(vo, ce, node, since).await? {
            return Ok(None);
        }
        let templates: BTreeSet<TemplateId> = failures.iter().map(|f| f.template).collect();
        let mut elsewhere = BTreeMap::new();
        for template in templates {
            let last = self.store.endings_elsewhere(template, ce, node, OTHERS).await?;
            elsewhere.insert(template, Elsewhere::of(&last));
        }
        Ok(verdict(&failures, &elsewhere))
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
        let allowed = self.store.allow_node(vo, ce, node, self.now()).await?;
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

    fn says(last: &[NodeEnding], others: &[(i64, Elsewhere)]) -> Option<String> {
        let other = |(template, how): &(i64, Elsewhere)| (TemplateId(*template), *how);
        verdict(&failures(last), &others.iter().map(other).collect())
    }

    #[test]
    fn a_node_that_fails_what_runs_well_elsewhere_is_a_black_hole() {
        let three = [failed(1, "ada"), failed(1, "ada"), failed(1, "ada")];
        assert!(says(&three, &[(1, Elsewhere::Well)]).unwrap().contains("run well elsewhere"));
        assert_eq!(says(&three[..2], &[(1, Elsewhere::Well)]), None, "two are not enough");
    }

    #[test]
    fn a_bad_job_is_its_owners_affair() {
        let three = [failed(1, "ada"), failed(1, "ada"), failed(1, "ada")];
        assert_eq!(says(&three, &[(1, Elsewhere::Badly)]), None, "it fails elsewhere");
        assert_eq!(says(&three, &[]), None, "it has run nowhere else");
        let two_people = [failed(1, "ada"), failed(2, "bob"), failed(1, "ada")];
        assert!(says(&two_people, &[]).unwrap().contains("2 people"));
        assert_eq!(says(&two_people, &[(2, Elsewhere::Badly)]), None, "bob's fails elsewhere");
    }

    #[test]
    fn a_submission_whose_second_half_is_bad_speaks_against_no_node() {
        let done = || ended(1, "ada", Ending::Exited { code: 0 }, 900.0);
        let lost = || ended(1, "ada", Ending::Lost { reason: String::new() }, 9.0);
        assert_eq!(Elsewhere::of(&[]), Elsewhere::Unknown);
        assert_eq!(Elsewhere::of(&[lost()]), Elsewhere::Unknown);
        assert_eq!(Elsewhere::of(&[done(), lost()]), Elsewhere::Well);
        let mixed = [failed(1, "ada"), failed(1, "ada"), done(), done(), done()];
        assert_eq!(Elsewhere::of(&mixed), Elsewhere::Badly);
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
