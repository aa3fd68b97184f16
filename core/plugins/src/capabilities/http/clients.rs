//! Clients of granted servers: whose certificates they believe, and which they show.

use super::super::address::Resolver;
use crate::bindings::host::spinor::host::http::HttpError;
use reqwest::{Certificate, Client, Identity, Url, redirect::Policy};
use spinor_model::{
    id::Digest,
    registry::{Grants, HttpGrant},
};
use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

/// By files among the VO's secrets that clients were made from.
type Made = HashMap<(Option<String>, Option<String>), (MadeOf, Client)>;

/// When those were written, and which secrets went with the requests.
type MadeOf = ([Option<SystemTime>; 2], Digest);

/// Clients, made when they are needed, and anew when what they were made from is renewed.
#[derive(Debug)]
pub struct Clients {
    /// Where the VO's secrets lie, a file each.
    directory: PathBuf,
    /// Hosts that may be on private networks.
    private: Vec<String>,
    made: Mutex<Made>,
}

impl Clients {
    /// For these grants.
    pub fn new(grants: &Grants, directory: PathBuf) -> Self {
        let private = grants.http.iter().filter(|grant| grant.private);
        let hosts =
            private.filter_map(|g| Some(Url::parse(&g.origin).ok()?.host_str()?.to_owned()));
        Self { directory, private: hosts.collect(), made: Mutex::default() }
    }

    /// The client for a granted server that shows a certificate, or none. There are servers to which a
    /// connection is whoever spoke on it first: with other secrets, connections are new.
    pub fn client(
        &self,
        grant: &HttpGrant,
        identity: Option<&str>,
        secrets: &[(String, String)],
    ) -> Result<Client, HttpError> {
        let secrets = secrets.iter().flat_map(|(_, secret)| [secret.as_bytes(), b"\0"].concat());
        let secrets = Digest::of(&secrets.collect::<Vec<u8>>());
        let key = (grant.authorities.clone(), identity.map(str::to_owned));
        let files = [key.0.as_deref(), key.1.as_deref()];
        let written = files.map(|name| name.and_then(|name| self.written(name)));
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, client)) = made.get(&key)
            && *of == (written, secrets)
        {
            return Ok(client.clone());
        }
        let client = self.make(files)?;
        made.insert(key, ((written, secrets), client.clone()));
        Ok(client)
    }

    fn written(&self, name: &str) -> Option<SystemTime> {
        self.directory.join(name).metadata().ok()?.modified().ok()
    }

    fn make(&self, [authorities, identity]: [Option<&str>; 2]) -> Result<Client, HttpError> {
        let mut builder = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .dns_resolver(Arc::new(Resolver::new(self.private.iter().cloned().collect())));
        if let Some(name) = authorities {
            let bad = |error: reqwest::Error| unusable(name, &error.to_string());
            let certificates = Certificate::from_pem_bundle(&self.read(name)?).map_err(bad)?;
            builder = builder.tls_certs_only(certificates);
        }
        if let Some(name) = identity {
            let bad = |error: reqwest::Error| unusable(name, &error.to_string());
            builder = builder.identity(Identity::from_pem(&self.read(name)?).map_err(bad)?);
        }
        builder.build().map_err(|error| HttpError::Other(error.to_string()))
    }

    /// A file among the VO's secrets.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, HttpError> {
        if name.contains(['/', '\0']) || name.starts_with('.') {
            return Err(HttpError::Denied(format!("`{name}` is no name of a secret")));
        }
        let file = self.directory.join(name);
        std::fs::read(&file).map_err(|error| {
            tracing::warn!(file = %file.display(), %error, "secret not readable");
            HttpError::Denied(format!(
                "secret `{name}` is granted, but the operator has not put it there"
            ))
        })
    }
}

fn unusable(name: &str, why: &str) -> HttpError {
    HttpError::Denied(format!("`{name}` among the VO's secrets is not usable: {why}"))
}

/// Identities by name, and where they may be shown.
pub fn identities(grants: &Grants) -> BTreeMap<String, String> {
    let shown = |(name, grant): (&String, &spinor_model::registry::IdentityGrant)| {
        let mut origin = grant.origin.clone();
        super::plain(&mut origin);
        (name.clone(), origin)
    };
    grants.identity.iter().map(shown).collect()
}
