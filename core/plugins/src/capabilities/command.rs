//! Capability `command`: a program the operator named, its arguments of the shapes they granted, in a
//! temporary directory, without a shell.

use super::{credentials::Credentials, http::cut_begun, pilot_secrets::replaced};
use crate::{
    bindings::host::spinor::host::command::{CommandError, Completion, Host, Invocation},
    state::HostState,
};
use regex::{Regex, RegexSet};
use spinor_model::registry::CommandGrant;
use std::{collections::BTreeMap, io, path::Path, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
    time::timeout,
};

/// Granted programs, by name, and where tokens for them come from.
#[derive(Debug)]
pub struct CommandCapability {
    programs: BTreeMap<String, Program>,
    credentials: Credentials,
}

#[derive(Debug)]
struct Program {
    grant: CommandGrant,
    arguments: RegexSet,
}

/// What a capability that runs programs answers.
pub type Answer<T> = Result<T, CommandError>;

/// Nothing was done.
pub fn denied<T>(text: String) -> Answer<T> {
    Err(CommandError::Denied(text))
}

/// Something else went wrong.
pub fn other(error: impl ToString) -> CommandError {
    CommandError::Other(error.to_string())
}

/// Patterns, each to be matched by the whole of an argument.
pub fn whole(patterns: &[String]) -> io::Result<RegexSet> {
    // Each is one by itself: no bracket of it closes what is put around it.
    for pattern in patterns {
        Regex::new(pattern).map_err(io::Error::other)?;
    }
    let anchored = patterns.iter().map(|pattern| format!("^(?s:{pattern})$"));
    RegexSet::new(anchored).map_err(io::Error::other)
}

impl CommandCapability {
    /// Grants these programs.
    pub fn new(
        grants: &BTreeMap<String, CommandGrant>,
        credentials: Credentials,
    ) -> io::Result<Self> {
        let program = |(name, grant): (&String, &CommandGrant)| {
            let arguments = whole(&grant.arguments)?;
            Ok((name.clone(), Program { grant: grant.clone(), arguments }))
        };
        let programs = grants.iter().map(program).collect::<io::Result<_>>()?;
        Ok(Self { programs, credentials })
    }

    fn check(&self, invocation: &Invocation) -> Answer<&Program> {
        let Invocation { program: name, arguments, files, .. } = invocation;
        let Some(program) = self.programs.get(name) else {
            return denied(format!("no grant names program `{name}` (`grants.command.{name}`)"));
        };
        if let Some(bad) = arguments.iter().find(|a| !program.arguments.is_match(a)) {
            return denied(format!(
                "program `{name}` may not get the argument `{bad}`: no pattern of `grants.command.{name}.arguments` is met by it"
            ));
        }
        let plain = |name: &str| !name.is_empty() && !name.starts_with('.') && !name.contains('/');
        match files.iter().find(|(name, _)| !plain(name)) {
            Some((bad, _)) => denied(format!("`{bad}` is no name of a file beside the program")),
            None => Ok(program),
        }
    }
}

type Variables = Vec<(String, String)>;

impl CommandCapability {
    /// A program's variables that are tokens.
    async fn tokens(&self, program: &Program) -> Answer<Variables> {
        let mut variables = Vec::new();
        for (name, wanted) in &program.grant.tokens {
            let token = self.credentials.token(wanted).await;
            let bad = |why| CommandError::Denied(format!("{name}, {wanted}: {why}"));
            variables.push((name.clone(), token.map_err(bad)?));
        }
        Ok(variables)
    }
}

impl Program {
    async fn run(&self, invocation: Invocation, tokens: Variables) -> Answer<Completion> {
        let directory = tempfile::tempdir().map_err(other)?;
        for (name, content) in &invocation.files {
            tokio::fs::write(directory.path().join(name), content).await.map_err(other)?;
        }
        let granted = Duration::from_secs(self.grant.seconds.into());
        let asked = Duration::from_millis(invocation.timeout_ms.into());
        let limit = if asked.is_zero() { granted } else { granted.min(asked) };
        let program = self.grant.program.first().map(String::as_str).unwrap_or_default();
        let child =
            self.start(&invocation.arguments, directory.path(), &tokens).map_err(|error| {
                CommandError::Denied(format!("`{program}` cannot be started: {error}"))
            })?;
        let mut group = Group(child.id());
        let max = self.grant.max_kb as usize * 1024;
        let completion = timeout(limit, completed(child, invocation.stdin, max)).await;
        let completion = completion.map_err(|_| CommandError::TimedOut)?;
        group.0 = None;
        let mut completion = completion.map_err(other)?;
        for stream in [&mut completion.stdout, &mut completion.stderr] {
            if !completion.complete {
                cut_begun(stream, &tokens);
            }
            for (name, token) in &tokens {
                let mark = format!("{{token:{name}}}");
                *stream = replaced(std::mem::take(stream), token.as_bytes(), mark.as_bytes());
            }
        }
        Ok(completion)
    }

    fn start(
        &self,
        arguments: &[String],
        directory: &Path,
        tokens: &Variables,
    ) -> io::Result<Child> {
        let (program, first) =
            self.grant.program.split_first().ok_or_else(|| io::Error::other("no program"))?;
        Command::new(program)
            .args(first)
            .args(arguments)
            .current_dir(directory)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()))
            .env("HOME", directory)
            .env("LANG", "C.UTF-8")
            .envs(&self.grant.environment)
            .envs(tokens.iter().cloned())
            .process_group(0)
            .kill_on_drop(true)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    }
}

/// The program and whatever it started, which end when this is dropped.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0.and_then(|id| i32::try_from(id).ok()) {
            let group = nix::unistd::Pid::from_raw(group);
            let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
        }
    }
}

async fn completed(mut child: Child, stdin: Vec<u8>, max: usize) -> io::Result<Completion> {
    let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async move {
        if let Some(mut input) = input {
            // A program need not read what it is given.
            drop(input.write_all(&stdin).await);
        }
    };
    let ((), output, errors, status) =
        tokio::join!(feed, up_to(output, max), up_to(errors, max), child.wait());
    let ((stdout, whole_output), (stderr, whole_errors)) = (output?, errors?);
    let complete = whole_output && whole_errors;
    Ok(Completion { code: status?.code(), stdout, stderr, complete })
}

/// The first `max` bytes, and whether they are all; the rest is read and forgotten.
async fn up_to(stream: Option<impl AsyncRead + Unpin>, max: usize) -> io::Result<(Vec<u8>, bool)> {
    let mut kept = Vec::new();
    let Some(mut stream) = stream else { return Ok((kept, true)) };
    (&mut stream).take(max as u64).read_to_end(&mut kept).await?;
    let rest = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    Ok((kept, rest == 0))
}

impl HostState {
    async fn command(&mut self, mut invocation: Invocation) -> Answer<Completion> {
        let Some(commands) = self.capabilities.command.clone() else {
            return denied("capability `command` is not granted".to_owned());
        };
        self.count_request()?;
        let program = commands.check(&invocation)?;
        let tokens = commands.tokens(program).await?;
        for (name, _) in &tokens {
            self.audit(&format!("token `{name}` given to program `{}`", invocation.program));
        }
        invocation.stdin = self.secrets.put_in(&invocation.stdin);
        for (_, content) in &mut invocation.files {
            *content = self.secrets.put_in(content);
        }
        let mut done = program.run(invocation, tokens).await?;
        done.stdout = self.secrets.take_out(done.stdout);
        done.stderr = self.secrets.take_out(done.stderr);
        Ok(done)
    }

    /// One more of what a call may do on other programs and machines.
    pub(crate) fn count_request(&mut self) -> Answer<()> {
        match self.requests.checked_sub(1) {
            Some(left) => self.requests = left,
            None => {
                return denied(format!("a call may run {} programs", super::http::MAX_REQUESTS));
            }
        }
        Ok(())
    }
}

impl Host for HostState {
    async fn run(&mut self, invocation: Invocation) -> wasmtime::Result<Answer<Completion>> {
        let mut tape = std::mem::take(&mut self.tape);
        let asked = invocation.clone();
        let result = tape.exchange("command.run", &asked, self.command(invocation)).await;
        self.tape = tape;
        result
    }
}

#[cfg(test)]
mod tests;
