//! Commands about jobs.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Jobs.
#[derive(Subcommand)]
pub enum Job {
    /// Submit a description: one job, or one for each row of its parameters
    Submit {
        /// The description: a JDL in a file that ends with `.jdl`, or JSON. Files of its input sandbox are looked for
        /// beside it.
        description: PathBuf,
        /// Wait for the jobs to end
        #[arg(long)]
        wait: bool,
    },
    /// List jobs, the newest 50 if nothing else is said
    List(List),
    /// Show a job: its state, its attempts, its log
    Show {
        /// The job.
        job: i64,
    },
    /// Wait until jobs have ended; exit 0 if all are Done
    Wait {
        /// The jobs.
        #[arg(required = true)]
        jobs: Vec<i64>,
        /// Give up after so many seconds
        #[arg(long)]
        timeout: Option<u64>,
    },
    /// Print the last of what a job wrote, as of its last heartbeat
    Logs {
        /// The job.
        job: i64,
        /// Standard error instead of standard output
        #[arg(long)]
        stderr: bool,
    },
    /// Fetch jobs' output sandboxes
    Output {
        /// The jobs.
        #[arg(required = true)]
        jobs: Vec<i64>,
        /// Directory to unpack into, each job's in `job-NUMBER`
        #[arg(long, default_value = ".")]
        to: PathBuf,
    },
    /// End jobs
    Kill {
        /// The jobs.
        #[arg(required = true)]
        jobs: Vec<i64>,
        /// The VO, for operators.
        #[arg(long)]
        vo: Option<String>,
    },
    /// Send jobs back to the start
    Reschedule {
        /// The jobs.
        #[arg(required = true)]
        jobs: Vec<i64>,
        /// The VO, for operators.
        #[arg(long)]
        vo: Option<String>,
    },
    /// Say why a job waits: what keeps it from each queue
    Explain {
        /// The job.
        job: i64,
    },
}

/// Which jobs to list.
#[derive(Args)]
pub struct List {
    /// The VO, for operators
    #[arg(long)]
    pub vo: Option<String>,
    /// Of this owner
    #[arg(long)]
    pub owner: Option<String>,
    /// In these states, separated by commas: Waiting,Running
    #[arg(long)]
    pub status: Option<String>,
    /// At this site
    #[arg(long)]
    pub site: Option<String>,
    /// With numbers above this: the first of them, not the newest
    #[arg(long)]
    pub after: Option<i64>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
    /// Count by state instead
    #[arg(long)]
    pub summary: bool,
}
