//! The command line.

mod job;
mod people;
mod plugin;
mod supply;

pub use job::{Job, List};
pub use people::{Issue, Login, Token, User};
pub use plugin::{Bind, CandidateOptions, Place, Plugin, Replay, Rollout, StageOption, Vo};
pub use supply::{Ce, Fact, Pilot, Site, Whom};

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
    /// Tell the server what varies, e.g. the price of power: policies steer pilots by it
    Fact {
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// What to do.
        #[command(subcommand)]
        command: Fact,
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
