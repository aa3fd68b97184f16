//! The command line of plugins and VO documents.

use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Plugins.
#[derive(Subcommand)]
pub enum Plugin {
    /// Bring components in: files, directories of them, or oci://HOST/REPOSITORY:TAG
    Push {
        /// From where.
        #[arg(required = true)]
        sources: Vec<String>,
        /// For this VO alone, for operators; policy managers push for their own
        #[arg(long)]
        vo: Option<String>,
        /// File with the secret key to sign with; see `spinor plugin keygen`
        #[arg(long)]
        key: Option<PathBuf>,
    },
    /// List bindings in force, and versions that are loaded
    List,
    /// Show a version, or what a component's file is and whether the server could run it
    Inspect {
        /// Name, name@version, the beginning of a digest, or a file.
        plugin: String,
    },
    /// Bind a plugin in a place of a VO, or take it away
    Bind(Bind),
    /// Ask a candidate what was decided of late: what would change?
    Replay(Replay),
    /// Let a candidate in beside what is bound: as a shadow, or as a canary
    Rollout(Rollout),
    /// Put the candidate in the place of what is bound
    Promote(Place),
    /// Take the candidate away; else put back what was bound before
    Rollback {
        /// Where.
        #[command(flatten)]
        place: Place,
        /// Put back what was bound in this revision
        #[arg(long)]
        to: Option<i64>,
    },
    /// Switch a place off: what it would decide is held
    Disable(Place),
    /// Show each place: what decides, what stands by, how a rollout goes
    Status {
        /// In this VO.
        vo: Option<String>,
        /// In this place.
        path: Option<String>,
        /// Show it again every two seconds
        #[arg(long)]
        watch: bool,
    },
    /// Show who did what to a VO's plugins, and what these did by themselves
    History {
        /// The VO.
        vo: String,
        /// In this place.
        path: Option<String>,
        /// At most so many entries
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Print what a VO's plugins wrote
    Logs {
        /// The VO, for operators
        #[arg(long)]
        vo: Option<String>,
        /// Of plugins whose name and version begin with this
        #[arg(long)]
        plugin: Option<String>,
        /// At most so many lines
        #[arg(long, default_value_t = 200)]
        limit: u32,
        /// Go on printing what comes
        #[arg(short, long)]
        follow: bool,
    },
    /// Take away versions that nothing needs any more
    Gc {
        /// Only say which
        #[arg(long)]
        dry_run: bool,
    },
    /// Write down which bytes every place runs, so that another installation can run the same
    Lock {
        /// Put the components into this directory too, for `spinor plugin push DIRECTORY`
        #[arg(long)]
        components: Option<PathBuf>,
    },
    /// Print a fresh key pair: the secret key is for `push --key`, the public one for a VO's document
    Keygen,
    /// Put a component into an OCI registry
    Publish {
        /// The component's file.
        component: PathBuf,
        /// oci://HOST/REPOSITORY:TAG
        target: String,
    },
}

/// A place in a VO.
#[derive(Args, Clone)]
pub struct Place {
    /// The VO.
    pub vo: String,
    /// The place: matching, supply, handling.JOB-TYPE, computing.CE or accounting.SINK.
    pub path: String,
}

/// A plugin's new place.
#[derive(Args)]
pub struct Bind {
    /// Where.
    #[command(flatten)]
    pub place: Place,
    /// Name, name@version range, or a component's file, which is pushed first.
    #[arg(required_unless_present = "remove")]
    pub plugin: Option<String>,
    /// Settings as JSON; those in force if not given
    #[arg(long)]
    pub settings: Option<String>,
    /// What takes over when it trips: previous, built-in or hold
    #[arg(long)]
    pub fallback: Option<String>,
    /// Take the plugin in this place away
    #[arg(long, conflicts_with = "plugin")]
    pub remove: bool,
}

/// A candidate.
#[derive(Args)]
pub struct CandidateOptions {
    /// Name, name@version range, or a component's file, which is pushed first.
    pub plugin: String,
    /// Settings as JSON; those in force if not given
    #[arg(long)]
    pub settings: Option<String>,
}

/// A replay.
#[derive(Args)]
pub struct Replay {
    /// Where.
    #[command(flatten)]
    pub place: Place,
    /// Who.
    #[command(flatten)]
    pub candidate: CandidateOptions,
    /// Of how long: 90m, 24h, 7d
    #[arg(long, default_value = "24h")]
    pub since: String,
}

/// A rollout.
#[derive(Args)]
pub struct Rollout {
    /// Where.
    #[command(flatten)]
    pub place: Place,
    /// Who.
    #[command(flatten)]
    pub candidate: CandidateOptions,
    /// How far it is let in
    #[arg(long, value_enum, default_value_t = StageOption::Canary)]
    pub stage: StageOption,
    /// Percent that a canary decides for
    #[arg(long, default_value_t = 10)]
    pub share: u8,
    /// Percent of answers that may differ before a canary goes by itself
    #[arg(long, default_value_t = 20)]
    pub max_drift: u8,
}

/// How far a candidate is let in.
#[derive(Clone, Copy, ValueEnum)]
pub enum StageOption {
    /// It is asked beside the other and decides nothing.
    Shadow,
    /// It decides for a fixed share of pilots, submissions or queues.
    Canary,
}

/// VO documents.
#[derive(Subcommand)]
pub enum Vo {
    /// Print a VO's document, in force or of a revision
    Show {
        /// The VO.
        vo: String,
        /// Which revision
        #[arg(long)]
        revision: Option<i64>,
    },
    /// List the revisions of a VO's document
    Revisions {
        /// The VO.
        vo: String,
    },
    /// Print what differs between two revisions
    Diff {
        /// The VO.
        vo: String,
        /// The earlier revision.
        from: i64,
        /// The later one; the one in force if not given.
        to: Option<i64>,
    },
    /// Put a VO's document back as it was in a revision: code, settings and grants together
    Rollback {
        /// The VO.
        vo: String,
        /// The revision
        #[arg(long)]
        to: i64,
    },
}
