//! What each command does.

mod component;
mod fact;
mod job;
mod lock;
mod login;
mod oci;
mod pilot;
mod plugin;
mod rollout;
mod site;
mod token;
mod vo;

use crate::{
    cli::{Cli, Command, Serve},
    client::{Client, Refused, Unreachable},
    configuration::Configuration,
    demo, show, wiring,
};
use clap::CommandFactory;
use spinor_api::administration::ServerView;
use std::{io::IsTerminal, process::ExitCode};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Sets the log up: to standard error, as JSON if SPINOR_LOG_FORMAT says so.
pub fn log(cli: &Cli) {
    let quiet = if matches!(cli.command, Command::Serve(_)) { "info" } else { "warn" };
    let level = match cli.verbose {
        0 => quiet,
        1 => "info",
        _ => "debug,hyper=info,sqlx=info,h2=info",
    };
    let filter = EnvFilter::try_from_env("SPINOR_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let log = log.with_ansi(std::io::stderr().is_terminal());
    match std::env::var("SPINOR_LOG_FORMAT").as_deref() {
        Ok("json") => log.json().init(),
        _ => log.init(),
    }
}

/// The exit code that an error means.
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    if error.is::<Unreachable>() {
        return ExitCode::from(3);
    }
    match error.downcast_ref::<Refused>() {
        Some(refused) if refused.0.status >= 500 => ExitCode::from(3),
        _ => ExitCode::from(2),
    }
}

/// Does what the command line says.
pub async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Serve(options) => serve(options).await?,
        Command::Demo(options) => return demo::run(options).await,
        Command::Job { server, command } => return job::run(&server, command).await,
        Command::Plugin { server, command } => plugin::run(&server, command).await?,
        Command::Apply { server, document, lock } => {
            vo::apply(&server, &document, lock.as_deref()).await?
        }
        Command::Servers { server } => servers(&server).await?,
        Command::Installation { server, document } => {
            vo::installation(&server, document.as_deref()).await?
        }
        Command::Vo { server, command } => vo::run(&server, command).await?,
        Command::Login { server, login } => login::login(&server, &login).await?,
        Command::Whoami { server } => login::whoami(&server).await?,
        Command::Logout { server } => login::logout(&server).await?,
        Command::User { server, command } => login::user(&server, command).await?,
        Command::Token { command } => token::run(command).await?,
        Command::Openapi => openapi().await?,
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "spinor", &mut std::io::stdout());
        }
        Command::Compile { sort, memory_mb } => component::compile(sort, memory_mb)?,
        Command::Pilot { server, command } => pilot::run(&server, command).await?,
        Command::Fact { server, command } => fact::run(&server, command).await?,
        Command::Site { server, command } => site::site(&server, command).await?,
        Command::Ce { server, command } => return site::ce(&server, command).await,
        Command::RunPilot { configuration } => return Ok(spinor_pilot::run(&configuration)),
    }
    Ok(ExitCode::SUCCESS)
}

async fn serve(options: Serve) -> anyhow::Result<()> {
    let configuration = Configuration::read(options)?;
    let running = wiring::start(&configuration).await?;
    tracing::info!(url = running.url, data = %configuration.data.display(), "ready");
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping; pilots go on and report to the next server");
    };
    running.serve(stop).await
}

async fn servers(server: &crate::cli::Server) -> anyhow::Result<()> {
    let servers: Vec<ServerView> = Client::from_options(server).await?.get("/api/servers").await?;
    if server.json {
        return show::json(&servers);
    }
    show::table(
        ["server", "address", "seen", "converged", "problem"],
        servers.into_iter().map(|s| {
            let converged = if s.converged { "yes" } else { "no" }.to_owned();
            [s.server, s.url, show::time(&s.seen), converged, s.problem]
        }),
    );
    Ok(())
}

async fn openapi() -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let configuration = Configuration::plain(data.path(), None)?;
    let running = wiring::start(&configuration).await?;
    println!("{}", spinor_api::openapi(&running.app));
    Ok(())
}
