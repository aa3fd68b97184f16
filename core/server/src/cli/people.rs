//! Commands about people and their tokens.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// As whom to log in.
#[derive(Args)]
pub struct Login {
    /// The VO
    pub vo: String,
    /// A group of it [default: the VO's default group]
    #[arg(long)]
    pub group: Option<String>,
    /// Properties beside the group's own
    #[arg(long)]
    pub property: Vec<String>,
}

/// People.
#[derive(Subcommand)]
pub enum User {
    /// List those who have logged in, and those who are shut out
    List {
        /// The VO, for operators.
        #[arg(long)]
        vo: Option<String>,
    },
    /// Shut somebody out: tokens end within seconds, jobs are killed
    Ban {
        /// Who.
        user: String,
        /// Why: for the log, and for them
        #[arg(long)]
        reason: String,
        /// The VO, for operators.
        #[arg(long)]
        vo: Option<String>,
    },
    /// Let somebody in again
    Unban {
        /// Who.
        user: String,
        /// The VO, for operators.
        #[arg(long)]
        vo: Option<String>,
    },
}

/// Tokens.
#[derive(Subcommand)]
pub enum Token {
    /// Put a new signing key in force; tokens of the last ones count on
    Rotate {
        /// The server's data directory
        #[arg(long, env = "SPINOR_DATA", default_value = "spinor-data")]
        data: PathBuf,
        /// The servers' shared directory, if it is not the data directory
        #[arg(long, env = "SPINOR_FILES")]
        files: Option<PathBuf>,
        /// Old keys that are kept: tokens of others end
        #[arg(long, default_value_t = 2)]
        keep: usize,
    },
    /// Make a secret for a robot, and what its VO's document says of it
    Robot,
    /// Print a token for an operator or a member of a VO
    Issue(Issue),
}

/// For whom.
#[derive(Args)]
pub struct Issue {
    /// The server's data directory
    #[arg(long, env = "SPINOR_DATA", default_value = "spinor-data")]
    pub data: PathBuf,
    /// The server's database, if it is not in its data directory
    #[arg(long, env = "SPINOR_DATABASE", hide_env_values = true)]
    pub database: Option<String>,
    /// The servers' shared directory, if it is not the data directory
    #[arg(long, env = "SPINOR_FILES")]
    pub files: Option<PathBuf>,
    /// For an operator of this name
    #[arg(long, conflicts_with_all = ["vo", "group", "user"], required_unless_present = "vo")]
    pub operator: Option<String>,
    /// For a member of this VO
    #[arg(long, requires_all = ["group", "user"])]
    pub vo: Option<String>,
    /// In this group
    #[arg(long)]
    pub group: Option<String>,
    /// Of this name
    #[arg(long)]
    pub user: Option<String>,
    /// It lives so many hours, a year at most
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u64).range(1..=8784))]
    pub hours: u64,
}
