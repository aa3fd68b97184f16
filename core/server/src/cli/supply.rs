//! Commands about pilots, CEs and sites.

use clap::{Args, Subcommand};
use spinor_model::id::FactName;

/// Pilots.
#[derive(Subcommand)]
pub enum Pilot {
    /// List a VO's pilots
    List {
        /// The VO, for operators.
        #[arg(long)]
        vo: Option<String>,
        /// Also those that have ended.
        #[arg(long)]
        ended: bool,
    },
    /// Show a pilot
    Show {
        /// Its stamp.
        stamp: String,
    },
    /// Print what a pilot wrote, as its CE gives it
    Logs {
        /// Its stamp.
        stamp: String,
        /// `stdout`, `stderr`, or `log`: the CE's own
        #[arg(long, default_value = "stderr")]
        stream: String,
    },
    /// Have its CE end a pilot: the jobs that it runs are tried again elsewhere
    Kill {
        /// Its stamp.
        stamp: String,
    },
}

/// Whom to ban, or to allow again.
#[derive(Args)]
pub struct Whom {
    /// Its name.
    pub name: String,
    /// The VO, for operators.
    #[arg(long)]
    pub vo: Option<String>,
}

/// Sites.
#[derive(Subcommand)]
pub enum Site {
    /// List a VO's sites
    List {
        /// The VO, for operators.
        #[arg(long)]
        vo: Option<String>,
    },
    /// Send no pilots to a site, and give those that are there no more jobs
    Ban {
        /// Which.
        #[command(flatten)]
        whom: Whom,
        /// Why, for those who read the VO's log.
        #[arg(long)]
        reason: String,
    },
    /// Take a ban back
    Allow {
        /// Which.
        #[command(flatten)]
        whom: Whom,
    },
}

/// CEs.
#[derive(Subcommand)]
pub enum Ce {
    /// List a VO's queues: what could run there, what was sent, and why not more
    List {
        /// The VO, for operators.
        #[arg(long)]
        vo: Option<String>,
    },
    /// Show a CE's queues, and what became of its last pilots
    Show {
        /// Which.
        #[command(flatten)]
        whom: Whom,
    },
    /// Send no pilots to a CE, or give those on one of its nodes no more jobs; what is there goes on
    Ban {
        /// Which.
        #[command(flatten)]
        whom: Whom,
        /// This node of it alone.
        #[arg(long)]
        node: Option<String>,
        /// Why, for those who read the VO's log.
        #[arg(long)]
        reason: String,
    },
    /// Take a ban back
    Allow {
        /// Which.
        #[command(flatten)]
        whom: Whom,
        /// This node of it alone.
        #[arg(long)]
        node: Option<String>,
    },
    /// List nodes that get no jobs, and why: those that fail what runs well elsewhere are among them
    Nodes {
        /// The VO, for operators.
        #[arg(long)]
        vo: Option<String>,
    },
    /// Try a CE: ask it for room, bring it a pilot, and follow that until it calls
    Test {
        /// Which.
        #[command(flatten)]
        whom: Whom,
        /// The queue, if it has several.
        #[arg(long)]
        queue: Option<String>,
        /// Seconds after which it is said that the pilot did not call.
        #[arg(long, default_value_t = 600)]
        wait: u64,
    },
}

/// Facts.
#[derive(Subcommand)]
pub enum Fact {
    /// List what was told and still counts
    List {
        /// The VO, for operators.
        #[arg(long)]
        vo: Option<String>,
    },
    /// Tell the server of something that varies, e.g. `carbon-intensity CERN=32 KIT=380`
    Tell {
        /// Its name.
        name: FactName,
        /// What it is about, and its value: `SUBJECT=VALUE`
        #[arg(required = true)]
        values: Vec<String>,
        /// Hours that it counts.
        #[arg(long, default_value_t = 24.0)]
        hours: f64,
        /// The VO, for operators.
        #[arg(long)]
        vo: Option<String>,
    },
}
