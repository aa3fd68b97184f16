//! Capability `ssh`: granted programs at accounts the operator named, and files below one directory
//! there. Keys stay with the host; a machine with another key than the granted one is not spoken to.

use super::command::{Answer, denied, other, whole};
use crate::{
    bindings::host::spinor::host::{
        command::{CommandError, Completion},
        ssh::{Host, RemoteInvocation},
    },
    state::HostState,
};
use regex::RegexSet;
use russh::{
    ChannelMsg, Preferred,
    client::{self, Handle},
    keys::{PrivateKeyWithHashAlg, PublicKey, ssh_key},
};
use russh_sftp::{
    client::SftpSession,
    protocol::{FileAttributes, OpenFlags},
};
use spinor_model::registry::SshGrant;
use std::{
    borrow::Cow,
    collections::BTreeMap,
    io,
    path::{Component, Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt},
    sync::Mutex,
    time::timeout,
};

/// Granted accounts, by name.
#[derive(Debug)]
pub struct SshCapability(BTreeMap<String, Endpoint>);

struct Endpoint {
    grant: SshGrant,
    host_key: PublicKey,
    key: PathBuf,
    arguments: BTreeMap<String, RegexSet>,
    /// The connection, while it holds.
    session: Mutex<Option<Arc<Handle<Known>>>>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.grant.fmt(f)
    }
}

/// Believes one machine's key.
struct Known(PublicKey);

impl client::Handler for Known {
    type Error = russh::Error;

    async fn check_server_key(&mut self, key: &PublicKey) -> Result<bool, russh::Error> {
        Ok(key.key_data() == self.0.key_data())
    }
}

/// A connection without traffic is asked so often whether it holds.
const KEEPALIVE: Duration = Duration::from_secs(15);

impl SshCapability {
    /// Grants these accounts; keys are read from `secrets` when they are needed.
    pub fn new(grants: &BTreeMap<String, SshGrant>, secrets: &Path) -> io::Result<Self> {
        let endpoint = |(name, grant): (&String, &SshGrant)| {
            Ok((name.clone(), Endpoint::new(grant, secrets)?))
        };
        Ok(Self(grants.iter().map(endpoint).collect::<io::Result<_>>()?))
    }

    fn endpoint(&self, name: &str) -> Answer<&Endpoint> {
        let none = || format!("no grant names endpoint `{name}` (`grants.ssh.{name}`)");
        self.0.get(name).ok_or_else(|| CommandError::Denied(none()))
    }
}

impl Endpoint {
    fn new(grant: &SshGrant, secrets: &Path) -> io::Result<Self> {
        let bad = |what: String| io::Error::new(io::ErrorKind::InvalidInput, what);
        let host_key = PublicKey::from_openssh(&grant.host_key).map_err(|error| {
            bad(format!("host_key `{}` is no public key: {error}", grant.host_key))
        })?;
        if grant.key.contains('/') || grant.key.starts_with('.') {
            return Err(bad(format!("key `{}` is no name of a secret", grant.key)));
        }
        if !grant.directory.starts_with('/') {
            return Err(bad(format!("directory `{}` does not begin with `/`", grant.directory)));
        }
        let arguments = |(name, program): (&String, &spinor_model::registry::RemoteProgram)| {
            Ok((name.clone(), whole(&program.arguments)?))
        };
        let arguments = grant.programs.iter().map(arguments).collect::<io::Result<_>>()?;
        let (key, session) = (secrets.join(&grant.key), Mutex::new(None));
        Ok(Self { grant: grant.clone(), host_key, key, arguments, session })
    }

    /// The command line of a granted program, quoted.
    fn check(&self, command: &[String]) -> Answer<String> {
        let Some((name, arguments)) = command.split_first() else {
            return denied("a command needs a program".to_owned());
        };
        let (Some(program), Some(allowed)) =
            (self.grant.programs.get(name), self.arguments.get(name))
        else {
            return denied(format!("no grant names program `{name}` (`programs.{name}`)"));
        };
        if let Some(bad) = arguments.iter().find(|a| !allowed.is_match(a)) {
            return denied(format!(
                "program `{name}` may not get the argument `{bad}`: no pattern of `programs.{name}.arguments` is met by it"
            ));
        }
        let words = program.program.iter().chain(arguments).map(String::as_str);
        shlex::try_join(words).map_err(|error| CommandError::Denied(error.to_string()))
    }

    /// A path below the granted directory.
    fn within(&self, path: &str) -> Answer<String> {
        let asked = Path::new(path);
        let below = asked.starts_with(&self.grant.directory);
        if !below || asked.components().any(|c| matches!(c, Component::ParentDir)) {
            return denied(format!("`{path}` is not below `{}`", self.grant.directory));
        }
        Ok(path.to_owned())
    }

    fn limit(&self, timeout_ms: u32) -> Duration {
        let granted = Duration::from_secs(self.grant.seconds.into());
        let asked = Duration::from_millis(timeout_ms.into());
        if asked.is_zero() { granted } else { granted.min(asked) }
    }

    async fn session(&self) -> Answer<Arc<Handle<Known>>> {
        let mut session = self.session.lock().await;
        if let Some(open) = session.as_ref().filter(|open| !open.is_closed()) {
            return Ok(open.clone());
        }
        let opened = Arc::new(self.connect().await?);
        *session = Some(opened.clone());
        Ok(opened)
    }

    async fn connect(&self) -> Answer<Handle<Known>> {
        let SshGrant { host, port, user, key, .. } = &self.grant;
        let text = tokio::fs::read_to_string(&self.key).await.map_err(|error| {
            tracing::warn!(file = %self.key.display(), %error, "secret not readable");
            CommandError::Denied(format!(
                "key `{key}` is granted, but the operator has not put it there"
            ))
        })?;
        let private = ssh_key::PrivateKey::from_openssh(text.trim())
            .map_err(|_| CommandError::Denied(format!("key `{key}` is no OpenSSH private key")))?;
        // A machine has several keys: it is to show the granted one.
        let preferred =
            Preferred { key: Cow::Owned(vec![self.host_key.algorithm()]), ..Preferred::default() };
        let config =
            client::Config { keepalive_interval: Some(KEEPALIVE), preferred, ..<_>::default() };
        let known = Known(self.host_key.clone());
        let connecting = client::connect(Arc::new(config), (host.as_str(), *port), known);
        let mut session = connecting.await.map_err(|error| match error {
            russh::Error::UnknownKey => CommandError::Denied(format!(
                "{host} shows another key than the granted one: see `ssh-keyscan -p {port} {host}`"
            )),
            error => CommandError::Denied(format!("cannot connect to {host}:{port}: {error}")),
        })?;
        let shown = PrivateKeyWithHashAlg::new(Arc::new(private), None);
        let answer = session.authenticate_publickey(user, shown).await.map_err(other)?;
        match answer.success() {
            true => Ok(session),
            false => denied(format!("{host} does not take key `{key}` for account `{user}`")),
        }
    }

    async fn run(&self, line: String, stdin: Vec<u8>) -> Answer<Completion> {
        let session = self.session().await?;
        let mut channel = session.channel_open_session().await.map_err(other)?;
        channel.exec(true, line).await.map_err(other)?;
        channel.data_bytes(stdin).await.map_err(other)?;
        channel.eof().await.map_err(other)?;
        let max = self.grant.max_kb as usize * 1024;
        let (mut stdout, mut stderr, mut code) = (Vec::new(), Vec::new(), None);
        let mut complete = true;
        let mut keep = |kept: &mut Vec<u8>, data: &[u8]| {
            let room = max.saturating_sub(kept.len());
            kept.extend_from_slice(&data[..data.len().min(room)]);
            complete &= data.len() <= room;
        };
        while let Some(message) = channel.wait().await {
            match message {
                ChannelMsg::Data { data } => keep(&mut stdout, &data),
                ChannelMsg::ExtendedData { data, .. } => keep(&mut stderr, &data),
                ChannelMsg::Failure => return denied("the machine runs no programs".to_owned()),
                ChannelMsg::ExitStatus { exit_status } => code = i32::try_from(exit_status).ok(),
                _ => {}
            }
        }
        Ok(Completion { code, stdout, stderr, complete })
    }

    async fn files(&self) -> Answer<SftpSession> {
        let session = self.session().await?;
        let channel = session.channel_open_session().await.map_err(other)?;
        channel.request_subsystem(true, "sftp").await.map_err(other)?;
        SftpSession::new(channel.into_stream()).await.map_err(other)
    }

    async fn put(&self, path: String, content: Vec<u8>, mode: u32) -> Answer<()> {
        let files = self.files().await?;
        let flags = OpenFlags::CREATE | OpenFlags::TRUNCATE | OpenFlags::WRITE;
        let mut attributes = FileAttributes::empty();
        attributes.permissions = Some(mode & 0o777);
        let opening = files.open_with_flags_and_attributes(path, flags, attributes);
        let mut file = opening.await.map_err(other)?;
        file.write_all(&content).await.map_err(other)?;
        file.shutdown().await.map_err(other)
    }

    async fn get(&self, path: String, offset: u64, max: u32) -> Answer<Vec<u8>> {
        let max = u64::from(max.min(self.grant.max_kb.saturating_mul(1024)));
        let files = self.files().await?;
        let mut file = files.open(path).await.map_err(other)?;
        file.seek(io::SeekFrom::Start(offset)).await.map_err(other)?;
        let mut content = Vec::new();
        file.take(max).read_to_end(&mut content).await.map_err(other)?;
        Ok(content)
    }
}

async fn within<T>(limit: Duration, act: impl Future<Output = Answer<T>>) -> Answer<T> {
    timeout(limit, act).await.unwrap_or(Err(CommandError::TimedOut))
}

impl HostState {
    fn remote(&mut self) -> Answer<Arc<SshCapability>> {
        self.count_request()?;
        let granted = self.capabilities.ssh.clone();
        granted.ok_or_else(|| CommandError::Denied("capability `ssh` is not granted".to_owned()))
    }

    async fn run_remote(&mut self, invocation: RemoteInvocation) -> Answer<Completion> {
        let remote = self.remote()?;
        let endpoint = remote.endpoint(&invocation.endpoint)?;
        let line = endpoint.check(&invocation.command)?;
        let stdin = self.secrets.put_in(&invocation.stdin);
        let mut done =
            within(endpoint.limit(invocation.timeout_ms), endpoint.run(line, stdin)).await?;
        done.stdout = self.secrets.take_out(done.stdout);
        done.stderr = self.secrets.take_out(done.stderr);
        Ok(done)
    }

    async fn put_remote(
        &mut self,
        endpoint: &str,
        path: &str,
        content: &[u8],
        mode: u32,
    ) -> Answer<()> {
        let remote = self.remote()?;
        let endpoint = remote.endpoint(endpoint)?;
        let path = endpoint.within(path)?;
        let content = self.secrets.put_in(content);
        within(endpoint.limit(0), endpoint.put(path, content, mode)).await
    }

    async fn get_remote(
        &mut self,
        endpoint: &str,
        path: &str,
        offset: u64,
        max: u32,
    ) -> Answer<Vec<u8>> {
        let remote = self.remote()?;
        let endpoint = remote.endpoint(endpoint)?;
        let path = endpoint.within(path)?;
        let content = within(endpoint.limit(0), endpoint.get(path, offset, max)).await?;
        Ok(self.secrets.take_out(content))
    }
}

type Played<T> = wasmtime::Result<Answer<T>>;

impl Host for HostState {
    async fn run(&mut self, invocation: RemoteInvocation) -> Played<Completion> {
        let mut tape = std::mem::take(&mut self.tape);
        let asked = invocation.clone();
        let result = tape.exchange("ssh.run", &asked, self.run_remote(invocation)).await;
        self.tape = tape;
        result
    }

    async fn put(
        &mut self,
        endpoint: String,
        path: String,
        content: Vec<u8>,
        mode: u32,
    ) -> Played<()> {
        let mut tape = std::mem::take(&mut self.tape);
        let asked = (&endpoint, &path, &content, mode);
        let live = self.put_remote(&endpoint, &path, &content, mode);
        let result = tape.exchange("ssh.put", &asked, live).await;
        self.tape = tape;
        result
    }

    async fn get(
        &mut self,
        endpoint: String,
        path: String,
        offset: u64,
        max: u32,
    ) -> Played<Vec<u8>> {
        let mut tape = std::mem::take(&mut self.tape);
        let asked = (&endpoint, &path, offset, max);
        let live = self.get_remote(&endpoint, &path, offset, max);
        let result = tape.exchange("ssh.get", &asked, live).await;
        self.tape = tape;
        result
    }
}

#[cfg(test)]
mod tests;
