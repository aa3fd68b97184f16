mod facts;
mod identity;
mod nodes;
mod reports;

pub use facts::FactStore;
pub use identity::IdentityStore;
pub use nodes::NodeStore;
pub use reports::{ReportStore, SearchStore};

use crate::{StoreError, records::*};
use async_trait::async_trait;
use spinor_model::{
    id::{AttemptNumber, ClassId, Digest, JobId, NodeName, SinkName, Stamp, UserName, VoName},
    plan::AttemptResult,
    policy::{Decider, Decision, RequirementClass},
    registry::{BindingPath, Installation, VoDocument},
    sandbox::SandboxName,
    state::PilotState,
    time::Timestamp,
    usage::Outcome,
};
use std::{collections::BTreeMap, sync::Arc};

/// Everything the server keeps.
pub trait Store:
    RegistryStore
    + JobStore
    + AttemptStore
    + PilotStore
    + NodeStore
    + FactStore
    + PolicyStore
    + UsageStore
    + SandboxStore
    + ServerStore
    + IdentityStore
    + SearchStore
    + ReportStore
{
}

impl<S> Store for S where
    S: RegistryStore
        + JobStore
        + AttemptStore
        + PilotStore
        + NodeStore
        + FactStore
        + PolicyStore
        + UsageStore
        + SandboxStore
        + ServerStore
        + IdentityStore
        + SearchStore
        + ReportStore
{
}

/// VOs' documents and components.
#[async_trait]
pub trait RegistryStore: Send + Sync {
    /// Remembers a component whose bytes are among the blobs.
    async fn add_component(&self, new: NewComponent, now: Timestamp) -> Result<(), StoreError>;

    /// All components with those who brought them, the oldest first.
    async fn components(&self) -> Result<Vec<StoredComponent>, StoreError>;

    /// All signatures: over which digest, by which public key.
    async fn signatures(&self) -> Result<Vec<(Digest, String, String)>, StoreError>;

    /// Forgets a component.
    async fn remove_component(&self, digest: Digest) -> Result<(), StoreError>;

    /// Puts a document in force as the VO's next revision, which it returns; nothing if another one
    /// than `after` is in force by now.
    async fn apply_document(
        &self,
        document: &VoDocument,
        effective: &VoDocument,
        resolutions: &BTreeMap<String, Digest>,
        change: &Change,
        after: i64,
        now: Timestamp,
    ) -> Result<Option<i64>, StoreError>;

    /// What every VO inherits, and its revision; nothing at revision 0 if there never was any.
    async fn installation(&self) -> Result<(Installation, i64), StoreError>;

    /// Keeps what every VO inherits as the next revision, which it returns.
    async fn apply_installation(
        &self,
        installation: &Installation,
        author: &str,
        now: Timestamp,
    ) -> Result<i64, StoreError>;

    /// Every revision of a VO's document, the oldest first.
    async fn revisions(&self, vo: &VoName) -> Result<Vec<StoredDocument>, StoreError>;

    /// Each VO's document in force.
    async fn documents(&self) -> Result<Vec<StoredDocument>, StoreError>;

    /// Says that a server is up, and what the time was when one last said so.
    async fn server_alive(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError>;
}

/// Jobs, by those who own them.
#[async_trait]
pub trait JobStore: Send + Sync {
    /// Takes templates of one VO on, all of them or none.
    async fn submit(
        &self,
        templates: Vec<NewTemplate>,
        room: Room,
        now: Timestamp,
    ) -> Result<Submission, StoreError>;

    /// All classes.
    async fn classes(&self) -> Result<Vec<Arc<RequirementClass>>, StoreError>;

    /// How many jobs wait in each queue.
    async fn queues(&self) -> Result<Vec<(QueueKey, u64)>, StoreError>;

    /// One job.
    async fn job(&self, id: JobId) -> Result<Option<JobRecord>, StoreError>;

    /// Jobs by their ids; those that there are.
    async fn jobs_by_id(&self, ids: &[JobId]) -> Result<Vec<JobRecord>, StoreError>;

    /// Jobs by filter, in order of their ids.
    async fn jobs(&self, filter: &JobFilter) -> Result<Vec<JobRecord>, StoreError>;

    /// Jobs by filter, counted by state.
    async fn summary(&self, filter: &JobFilter) -> Result<Vec<StatusCount>, StoreError>;

    /// A job's log, the oldest entry first.
    async fn events(&self, id: JobId) -> Result<Vec<EventRecord>, StoreError>;

    /// A job's class.
    async fn class_of(&self, id: JobId) -> Result<Option<Arc<RequirementClass>>, StoreError>;

    /// Ends jobs of a VO, of one owner if given. What the queues lost comes along.
    async fn kill(
        &self,
        vo: &VoName,
        owner: Option<&UserName>,
        ids: &[JobId],
        by: &str,
        now: Timestamp,
    ) -> Result<(Vec<OrderAnswer>, Vec<QueueChange>), StoreError>;

    /// Sends jobs back to the start; those that were sent back as often as `again` allows fail.
    async fn reschedule(
        &self,
        vo: &VoName,
        owner: Option<&UserName>,
        ids: &[JobId],
        again: Again,
        by: &str,
        now: Timestamp,
    ) -> Result<(Vec<OrderAnswer>, Vec<QueueChange>), StoreError>;

    /// Received jobs whose time has come begin to wait.
    async fn release_due(&self, now: Timestamp) -> Result<Vec<QueueChange>, StoreError>;

    /// Sets what the payload says of itself, if the attempt is still the job's.
    async fn set_application_status(
        &self,
        id: JobId,
        attempt: AttemptNumber,
        text: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError>;
}

/// Attempts: claimed, heard of, ended, judged.
#[async_trait]
pub trait AttemptStore: Send + Sync {
    /// Claims waiting jobs of one queue: lease, attempt and limit in one transaction.
    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claimed>, StoreError>;

    /// What a pilot holds and does not know of: the answer to its claim was lost.
    async fn unheard_of(
        &self,
        stamp: &Stamp,
        holds: &[(JobId, AttemptNumber)],
    ) -> Result<Vec<Claimed>, StoreError>;

    /// Takes a pilot's word on its jobs and renews their leases.
    async fn beat(
        &self,
        stamp: &Stamp,
        beats: &[Beat],
        lease_until: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<BeatAnswer>, StoreError>;

    /// Takes a result, once, from the attempt that has the right.
    async fn finish(
        &self,
        stamp: &Stamp,
        result: &AttemptResult,
        now: Timestamp,
    ) -> Result<ResultAnswer, StoreError>;

    /// A job's attempts, the first first.
    async fn attempts(&self, id: JobId) -> Result<Vec<AttemptRecord>, StoreError>;

    /// Attempts at a VO's next `jobs` jobs after `after`, in order of the jobs.
    async fn attempts_of_vo(
        &self,
        vo: &VoName,
        after: JobId,
        jobs: u32,
    ) -> Result<Vec<AttemptRecord>, StoreError>;

    /// Ended attempts that a handler must judge.
    async fn pending_conclusions(&self, limit: u32) -> Result<Vec<PendingConclusion>, StoreError>;

    /// Writes a judgement and the attempt's usage.
    async fn conclude(
        &self,
        pending: &PendingConclusion,
        judgement: Judgement,
        usage_outcome: Outcome,
        source: &str,
        now: Timestamp,
    ) -> Result<Vec<QueueChange>, StoreError>;

    /// Leaves a job Completing, with the reason shown.
    async fn hold(
        &self,
        id: JobId,
        attempt: AttemptNumber,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Attempts whose lease ran out become Stalled; how many.
    async fn stall_expired(&self, now: Timestamp) -> Result<u64, StoreError>;

    /// Gives up attempts of a VO that have been Stalled since before `before`; how many.
    async fn lose_stalled(
        &self,
        vo: &VoName,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<u64, StoreError>;

    /// Gives up all attempts of a pilot that is dead; how many.
    async fn lose_attempts_of(
        &self,
        stamp: &Stamp,
        reason: &str,
        now: Timestamp,
    ) -> Result<u64, StoreError>;

    /// Gives every lease at least until `until`: no server was up to hear anyone.
    async fn renew_leases(&self, until: Timestamp) -> Result<(), StoreError>;
}

/// Pilots.
#[async_trait]
pub trait PilotStore: Send + Sync {
    /// Records pilots before they are sent.
    async fn add_pilots(&self, pilots: &[NewPilot], now: Timestamp) -> Result<(), StoreError>;

    /// Records what a CE calls a pilot.
    async fn set_pilot_reference(&self, stamp: &Stamp, reference: &str) -> Result<(), StoreError>;

    /// Records what is known of a pilot; an ended one stays ended.
    async fn set_pilot_state(
        &self,
        stamp: &Stamp,
        state: PilotState,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Records that a CE says nothing of a pilot that is understood, with its words, or that it does so
    /// again; nothing changes of an ended one.
    async fn set_pilot_unknown(
        &self,
        stamp: &Stamp,
        words: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// A pilot uses its secret, and says which node it is on. `start` is what it chose for this one use;
    /// it may repeat it.
    async fn start_pilot(
        &self,
        stamp: &Stamp,
        secret: Digest,
        start: Digest,
        node: Option<&NodeName>,
        now: Timestamp,
    ) -> Result<PilotStart, StoreError>;

    /// A pilot was heard of.
    async fn pilot_seen(
        &self,
        stamp: &Stamp,
        jobs_claimed: u32,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// One pilot.
    async fn pilot(&self, stamp: &Stamp) -> Result<Option<PilotRecord>, StoreError>;

    /// The hash of a pilot's secret.
    async fn pilot_secret(&self, stamp: &Stamp) -> Result<Option<Digest>, StoreError>;

    /// Pilots of a VO, or of all; those that have ended only if asked.
    async fn pilots(
        &self,
        vo: Option<&VoName>,
        ended: bool,
    ) -> Result<Vec<PilotRecord>, StoreError>;

    /// Ended pilots whose CE still keeps something of them: some of each CE.
    async fn uncleaned_pilots(&self, before: Timestamp) -> Result<Vec<PilotRecord>, StoreError>;

    /// Their CE keeps nothing of them any more.
    async fn set_cleaned(&self, stamps: &[Stamp]) -> Result<(), StoreError>;

    /// Keeps the end of what a pilot wrote to `stream`.
    async fn keep_pilot_output(
        &self,
        stamp: &Stamp,
        stream: &str,
        text: &str,
    ) -> Result<(), StoreError>;

    /// What is kept of what a pilot wrote.
    async fn kept_pilot_output(
        &self,
        stamp: &Stamp,
        stream: &str,
    ) -> Result<Option<String>, StoreError>;

    /// Takes note of a pilot that somebody else sends; whether its stamp was not taken.
    async fn register_pilot(
        &self,
        pilot: &RegisteredPilot,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Changes what is known of pilots that somebody else sends: of all, or of none.
    async fn change_pilots(
        &self,
        changes: &[PilotChange],
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// For whom pilots are, and whether this server sent them; those that nobody knows are left out.
    async fn vos_of_pilots(
        &self,
        stamps: &[Stamp],
    ) -> Result<Vec<(Stamp, VoName, bool)>, StoreError>;
}

/// What is kept of policies' doings.
#[async_trait]
pub trait PolicyStore: Send + Sync {
    /// Keeps what was observed: of each place the latest `keep` decisions, of each VO the latest
    /// `keep` lines.
    async fn observe(
        &self,
        observed: Observed,
        keep: u32,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Decisions in a place since a time, and those of `in_force` whatever their time, the latest
    /// first.
    async fn decisions(
        &self,
        vo: &VoName,
        path: &BindingPath,
        since: Timestamp,
        in_force: Option<&Decider>,
        limit: u32,
    ) -> Result<Vec<Decision>, StoreError>;

    /// Lines of a VO's guests after one, the oldest first; the latest if there are too many.
    async fn guest_lines(
        &self,
        vo: &VoName,
        plugin: Option<&str>,
        after: i64,
        limit: u32,
    ) -> Result<Vec<LineRecord>, StoreError>;

    /// Adds to the audit.
    async fn audit(&self, entry: AuditRecord) -> Result<(), StoreError>;

    /// The audit, of a VO or of all, the latest first.
    async fn audit_entries(
        &self,
        vo: Option<&VoName>,
        limit: u32,
    ) -> Result<Vec<AuditRecord>, StoreError>;

    /// Where a VO's jobs were sent since a time.
    async fn placements(&self, vo: &VoName, since: Timestamp)
    -> Result<Vec<Placement>, StoreError>;

    /// Shows why the waiting jobs of a class are held, or, without a reason, that they are not.
    async fn hold_class(&self, class: ClassId, reason: Option<&str>) -> Result<(), StoreError>;

    /// Who must still end what it began.
    async fn unfinished(&self) -> Result<Vec<Unfinished>, StoreError>;
}

/// Usage records and how far each sink is.
#[async_trait]
pub trait UsageStore: Send + Sync {
    /// The next batch for a sink: the one that was not acked, else a new one.
    async fn next_batch(
        &self,
        vo: &VoName,
        sink: &SinkName,
        limit: u32,
    ) -> Result<Batch, StoreError>;

    /// A sink has everything up to `sequence`; `refused` are those it will never take.
    async fn delivered(
        &self,
        vo: &VoName,
        sink: &SinkName,
        sequence: u64,
        refused: &[(u64, String)],
        problem: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// How far every sink is, and what waits for VOs without one.
    async fn sink_status(&self) -> Result<Vec<SinkStatus>, StoreError>;

    /// A VO's usage by group, site and outcome.
    async fn usage_totals(&self, vo: &VoName) -> Result<Vec<UsageTotal>, StoreError>;

    /// Usage records of a VO, in order.
    async fn usage(&self, vo: &VoName) -> Result<Vec<SequencedUsage>, StoreError>;
}

/// Servers on one database.
#[async_trait]
pub trait ServerStore: Send + Sync {
    /// Whether other servers may be on this database.
    fn shared(&self) -> bool;

    /// Whether the database answers, and whoever writes it goes on.
    async fn answers(&self) -> Result<(), StoreError>;

    /// A server says that it is up, and how far it is.
    async fn server_seen(&self, record: ServerRecord) -> Result<(), StoreError>;

    /// Servers that said so since a time.
    async fn servers(&self, since: Timestamp) -> Result<Vec<ServerRecord>, StoreError>;

    /// Takes on, or keeps, a duty that one server has at a time; whether it has it now.
    async fn take_duty(
        &self,
        duty: &str,
        server: &str,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError>;
}

/// Sandboxes: who may use which blob.
#[async_trait]
pub trait SandboxStore: Send + Sync {
    /// Records that somebody, or a pilot, has brought a sandbox.
    async fn add_sandbox(&self, new: NewSandbox, now: Timestamp) -> Result<(), StoreError>;

    /// Whether `owner`, or anyone if none is given, has such a sandbox in the VO.
    async fn has_sandbox(
        &self,
        vo: &VoName,
        owner: Option<&UserName>,
        digest: Digest,
    ) -> Result<bool, StoreError>;

    /// Bytes of all sandboxes of a VO, each owner's counted.
    async fn sandbox_bytes(&self, vo: &VoName) -> Result<u64, StoreError>;

    /// Forgets sandboxes of a VO that no job has and nobody has brought since before `before`, at most
    /// `limit`: how many, and the contents that nobody has any more.
    async fn expire_sandboxes(
        &self,
        vo: &VoName,
        before: Timestamp,
        limit: u32,
    ) -> Result<(u64, Vec<Digest>), StoreError>;

    /// Gives a job a sandbox that an attempt at it leaves; whether it did not have it yet.
    async fn assign_sandbox(
        &self,
        job: JobId,
        attempt: AttemptNumber,
        name: &SandboxName,
    ) -> Result<bool, StoreError>;

    /// Takes all sandboxes away from jobs.
    async fn unassign_sandboxes(&self, jobs: &[JobId]) -> Result<(), StoreError>;

    /// Sandboxes of a job by name.
    async fn job_sandboxes(&self, job: JobId) -> Result<Vec<(SandboxKind, String)>, StoreError>;
}
