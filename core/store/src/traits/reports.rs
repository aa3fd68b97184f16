use crate::{StoreError, records::*};
use async_trait::async_trait;
use spinor_model::{
    id::{JobId, VoName},
    time::Timestamp,
};
use std::{collections::BTreeMap, sync::Arc};

/// Searches by the columns that DIRAC's people know.
#[async_trait]
pub trait SearchStore: Send + Sync {
    /// A page of what is searched for.
    async fn search(&self, search: &Search) -> Result<Page, StoreError>;

    /// How many there are of each combination of the search's columns.
    async fn count_by(&self, search: &Search) -> Result<Arc<Counted>, StoreError>;

    /// Logs of several jobs, each the oldest entry first.
    async fn logs(&self, jobs: &[JobId]) -> Result<Vec<(JobId, EventRecord)>, StoreError>;
}

/// What is reported of jobs and pilots by those who run them elsewhere.
#[async_trait]
pub trait ReportStore: Send + Sync {
    /// Takes reports on some of the named jobs, each on its own merits: what became of each. All jobs are the
    /// speaker's to speak for, or nothing has happened.
    async fn report(
        &self,
        speaker: Speaker,
        jobs: Vec<JobId>,
        reports: Vec<StatusReport>,
        by: String,
        now: Timestamp,
    ) -> Result<Reported, StoreError>;

    /// Jobs are alive, and say this of themselves: they run, if they did not; what they are told, once. All of
    /// them are there and the speaker's to speak for, or nothing has happened.
    async fn alive(
        &self,
        speaker: Speaker,
        jobs: Vec<JobId>,
        parameters: Vec<(JobId, String, serde_json::Value)>,
        now: Timestamp,
    ) -> Result<Beaten, StoreError>;

    /// Fails jobs of a VO that are run elsewhere and have not been heard of since before `before`.
    async fn fail_unheard(
        &self,
        vo: &VoName,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Sets what jobs say of themselves; values are JSON.
    async fn set_parameters(
        &self,
        parameters: &[(JobId, String, serde_json::Value)],
    ) -> Result<(), StoreError>;

    /// What a job says of itself.
    async fn parameters(
        &self,
        job: JobId,
    ) -> Result<BTreeMap<String, serde_json::Value>, StoreError>;

    /// Says that jobs are at a site.
    async fn set_sites(&self, sites: &[(JobId, String)], now: Timestamp) -> Result<(), StoreError>;

    /// What was sent as a job's description, and the logical files that it names.
    async fn source(&self, job: JobId) -> Result<Option<(String, Vec<String>)>, StoreError>;
}
