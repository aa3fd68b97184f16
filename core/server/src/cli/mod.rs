//! The command line.

mod plugin;

pub use plugin::{Bind, CandidateOptions, Place, Plugin, Replay, Rollout, StageOption, Vo};

use clap::{Args, Parser, Subcommand};
use spinor_plugins::compiler::Sort;
use std::path::PathBuf;

/// A workload manager for scientific communities, with policies as WebAssembly plugins.
///
/// Try `spinor demo` first: it runs two communities' jobs end to end on this machine.
///
/// Exit codes: 0 it worked; 1 what was asked for did not come out well (a job failed, an output is
/// not what it should be); 2 the request is wrong; 3 the server cannot be reached.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Say more: once for information, twice for every call of a plugin.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Run the server
    Serve(Serve),
    /// Run a campaign of two communities on this machine, and swap a policy in the middle
    Demo(Demo),
    /// Submit jobs, watch them, fetch what they made
    Job {
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// What to do.
        #[command(subcommand)]
        command: Job,
    },
    /// Bring plugins in, try them beside what decides, let them decide, and put them back
    Plugin {
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// What to do.
        #[command(subcommand)]
        command: Plugin,
    },
    /// Put a VO's document in force: whole, or not at all
    Apply {
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// The document, in TOML.
        document: PathBuf,
        /// Bind the very versions of this lock file; see `spinor plugin lock`
        #[arg(long)]
        lock: Option<PathBuf>,
    },
    /// See pilots, what they wrote, and end them
    Pilot {
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// What to do.
        #[command(subcommand)]
        command: Pilot,
    },
    /// See sites, ban one and allow it again
    Site {
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// What to do.
        #[command(subcommand)]
        command: Site,
    },
    /// See CEs and why each got no more pilots, ban one and allow it again, and try one
    Ce {
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// What to do.
        #[command(subcommand)]
        command: Ce,
    },
    /// See or put in force what every VO inherits: CEs, sinks, defaults
    Installation {
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// The document, in TOML; without one, what is in force is printed.
        document: Option<PathBuf>,
    },
    /// See a VO's document and its revisions, and go back to one
    Vo {
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// What to do.
        #[command(subcommand)]
        command: Vo,
    },
    /// List the servers on this database, and how far each is
    Servers {
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
    },
    /// Log in with your VO's identity provider, in a browser
    Login {
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// As whom.
        #[command(flatten)]
        login: Login,
    },
    /// Say who is logged in
    Whoami {
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
    },
    /// End the login
    Logout {
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
    },
    /// See a VO's people, shut somebody out, let somebody in again
    User {
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// What to do.
        #[command(subcommand)]
        command: User,
    },
    /// Issue tokens and change the keys that sign them, on the server's own machine
    Token {
        /// What to do.
        #[command(subcommand)]
        command: Token,
    },
    /// Print the OpenAPI document
    Openapi,
    /// Print completions for a shell: `spinor completions bash > /etc/bash_completion.d/spinor`
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Compile a component from standard input (started by the server)
    #[command(hide = true)]
    Compile {
        /// What for: pure or effectful.
        sort: Sort,
        /// MiB of memory it may take.
        memory_mb: u64,
    },
    /// Be a pilot (started by a CE backend)
    #[command(hide = true, name = "run-pilot")]
    RunPilot {
        /// The file that the server wrote for it.
        configuration: PathBuf,
    },
}

/// How to run the server. What is not given is taken from the configuration file, if there is one.
#[derive(Args, Default)]
pub struct Serve {
    /// Configuration file, in TOML
    #[arg(long, env = "SPINOR_CONFIG")]
    pub config: Option<PathBuf>,
    /// Directory of everything the server keeps [default: ./spinor-data]
    #[arg(long, env = "SPINOR_DATA")]
    pub data: Option<PathBuf>,
    /// A PostgreSQL database that several servers share, postgres://USER@HOST/DATABASE
    /// [default: SQLite in the data directory]
    #[arg(long, env = "SPINOR_DATABASE", hide_env_values = true)]
    pub database: Option<String>,
    /// Directory of sandboxes, components and the token key, which servers on one database share
    /// [default: the data directory]
    #[arg(long, env = "SPINOR_FILES")]
    pub files: Option<PathBuf>,
    /// Address to listen on [default: 127.0.0.1:8085]
    #[arg(long)]
    pub listen: Option<String>,
    /// Address that pilots reach the server under [default: http:// and the listening address]
    #[arg(long)]
    pub url: Option<String>,
}

/// The demo.
#[derive(Args)]
pub struct Demo {
    /// A campaign's directory; the one that is built in, if not given
    #[arg(long)]
    pub campaign: Option<PathBuf>,
    /// Keep everything in this directory, which must not exist yet
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// An empty PostgreSQL database to run on, postgres://USER@HOST/DATABASE
    #[arg(long, env = "SPINOR_DATABASE", hide_env_values = true)]
    pub database: Option<String>,
    /// Give up after so many seconds
    #[arg(long, default_value_t = 900)]
    pub timeout: u64,
}

/// How to reach a server.
#[derive(Args, Clone)]
pub struct Server {
    /// The server's address
    #[arg(long, env = "SPINOR_URL", default_value = "http://127.0.0.1:8085", global = true)]
    pub server: String,
    /// File with the token to show; see `spinor token issue`
    #[arg(long, env = "SPINOR_TOKEN_FILE", global = true)]
    pub token_file: Option<PathBuf>,
    /// Print JSON instead of tables
    #[arg(long, global = true)]
    pub json: bool,
}

/// Jobs.
#[derive(Subcommand)]
pub enum Job {
    /// Submit a description: one job, or one for each row of its parameters
    Submit {
        /// The description, in JSON, or a JDL. Files of its input sandbox are looked for beside it.
        description: PathBuf,
        /// Wait for the jobs to end
        #[arg(long)]
        wait: bool,
    },
    /// List jobs
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
    /// With numbers above this
    #[arg(long)]
    pub after: Option<i64>,
    /// At most so many
    #[arg(long, default_value_t = 50)]
    pub limit: u32,
    /// Count by state instead
    #[arg(long)]
    pub summary: bool,
}

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
    /// Send no pilots to a CE; those that are there go on
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
    /// It lives so many hours
    #[arg(long, default_value_t = 12)]
    pub hours: u64,
}
