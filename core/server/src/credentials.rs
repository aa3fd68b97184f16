//! What `spinor login` keeps: tokens by server, in a file that nobody else reads, renewed by whoever needs
//! them, one process at a time.

use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

/// Tokens for one server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Tokens {
    /// Shown with each request.
    pub access_token: String,
    /// Gets the next ones, once.
    pub refresh_token: String,
    /// Seconds since 1970-01-01 UTC until the access token is old.
    pub expires_on: u64,
}

/// An access token is renewed so many seconds before it ends.
const MARGIN: u64 = 60;

impl Tokens {
    /// Of a token endpoint's answer.
    pub fn of(answer: &serde_json::Value) -> Option<Self> {
        Some(Self {
            access_token: answer["access_token"].as_str()?.to_owned(),
            refresh_token: answer["refresh_token"].as_str()?.to_owned(),
            expires_on: now() + answer["expires_in"].as_u64()?,
        })
    }

    /// Whether the access token is good for a while.
    pub fn is_fresh(&self) -> bool {
        self.expires_on > now() + MARGIN
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The file, locked until it is dropped.
pub struct Credentials {
    file: File,
    tokens: BTreeMap<String, Tokens>,
}

fn path() -> anyhow::Result<PathBuf> {
    let variable =
        |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(file) = variable("SPINOR_CREDENTIALS") {
        return Ok(file);
    }
    let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    let cache =
        cache.context("neither HOME nor SPINOR_CREDENTIALS is set: where to keep the login?")?;
    Ok(cache.join("spinor/credentials.json"))
}

impl Credentials {
    /// Opens the file, made if it is missing, and waits for whoever else has it.
    pub fn open() -> anyhow::Result<Self> {
        let path = path()?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file =
            options.open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        file.lock()?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let tokens = if text.is_empty() { BTreeMap::new() } else { serde_json::from_str(&text)? };
        Ok(Self { file, tokens })
    }

    /// Whether somebody has ever logged in from here.
    pub fn exist() -> bool {
        path().is_ok_and(|path| path.exists())
    }

    /// Tokens for a server.
    pub fn get(&self, server: &str) -> Option<&Tokens> {
        self.tokens.get(server)
    }

    /// Keeps tokens for a server, or forgets them.
    pub fn set(&mut self, server: &str, tokens: Option<Tokens>) -> anyhow::Result<()> {
        match tokens {
            Some(tokens) => drop(self.tokens.insert(server.to_owned(), tokens)),
            None => drop(self.tokens.remove(server)),
        }
        let text = serde_json::to_vec_pretty(&self.tokens)?;
        self.file.rewind()?;
        self.file.write_all(&text)?;
        self.file.set_len(text.len() as u64)?;
        Ok(self.file.sync_all()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_becomes_tokens() {
        let answer =
            serde_json::json!({"access_token": "a", "refresh_token": "r", "expires_in": 1200});
        let tokens = Tokens::of(&answer).unwrap();
        assert!(tokens.is_fresh() && tokens.refresh_token == "r");
        assert!(Tokens::of(&serde_json::json!({"detail": "no"})).is_none());
    }
}
