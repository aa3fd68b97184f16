//! Clients of granted servers: whose certificates they believe, and which they show.

use super::super::address::Resolver;
use crate::{bindings::host::spinor::host::http::HttpError, tls};
use reqwest::{Certificate, Client, Url, redirect::Policy};
use spinor_model::{
    id::Digest,
    registry::{Grants, HttpGrant, IdentityGrant},
};
use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

/// By the file of authorities and the name of the certificate that clients were made with.
type Made = HashMap<(Option<String>, Option<String>), (MadeOf, Client)>;

/// When the former was written, which certificate it was, and which secrets went with the requests.
type MadeOf = (Option<SystemTime>, Option<Digest>, Digest);

/// A certificate that is shown: its name, and what it is, in PEM.
pub struct Shown {
    pub name: String,
    pub pem: Vec<u8>,
}

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
        identity: Option<&Shown>,
        secrets: &[(String, String)],
    ) -> Result<Client, HttpError> {
        let secrets = secrets.iter().flat_map(|(_, secret)| [secret.as_bytes(), b"\0"].concat());
        let secrets = Digest::of(&secrets.collect::<Vec<u8>>());
        let key = (grant.authorities.clone(), identity.map(|shown| shown.name.clone()));
        let written = grant.authorities.as_deref().and_then(|name| self.written(name));
        let made_of = (written, identity.map(|shown| Digest::of(&shown.pem)), secrets);
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, client)) = made.get(&key)
            && *of == made_of
        {
            return Ok(client.clone());
        }
        let client = self.make(grant.authorities.as_deref(), identity)?;
        made.insert(key, (made_of, client.clone()));
        Ok(client)
    }

    fn written(&self, name: &str) -> Option<SystemTime> {
        self.directory.join(name).metadata().ok()?.modified().ok()
    }

    fn make(
        &self,
        authorities: Option<&str>,
        identity: Option<&Shown>,
    ) -> Result<Client, HttpError> {
        let mut builder = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .dns_resolver(Arc::new(Resolver::new(self.private.iter().cloned().collect())));
        let believed = authorities.map(|name| self.read(name)).transpose()?;
        match (identity, authorities, &believed) {
            (Some(Shown { name, pem }), ..) => {
                let config = tls::showing(pem, believed.as_deref());
                let config = config.map_err(|why| unusable(name, &why))?;
                builder = builder.tls_backend_preconfigured(config);
            }
            (None, Some(name), Some(pem)) => {
                let bad = |error: reqwest::Error| unusable(name, &error.to_string());
                let certificates = Certificate::from_pem_bundle(pem).map_err(bad)?;
                builder = builder.tls_certs_only(certificates);
            }
            (None, ..) => {}
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

/// Identities by name.
pub fn identities(grants: &Grants) -> BTreeMap<String, IdentityGrant> {
    let shown = |(name, grant): (&String, &IdentityGrant)| {
        let mut grant = grant.clone();
        super::plain(&mut grant.origin);
        (name.clone(), grant)
    };
    grants.identity.iter().map(shown).collect()
}
