//! The two ways to the server: over HTTP, or where the worker reaches no network, by files that the CE's
//! own channel carries.

use crate::configuration::Configuration;
use reqwest::{Certificate, Method, StatusCode, header::CONTENT_TYPE};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use spinor_model::id::Digest;
use spinor_spool::{Answered, Asked, Key, Name, Side};
use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

/// What is asked.
pub struct Request {
    /// Method of HTTP.
    pub method: Method,
    /// Path at the server.
    pub path: String,
    /// The token that is shown; empty, if there is none yet.
    pub token: String,
    /// Bytes that go with it.
    pub body: Vec<u8>,
    /// How long one attempt may take over HTTP.
    pub timeout: Duration,
}

/// What came back.
pub type Answer = (StatusCode, Vec<u8>);

/// A way to the server.
#[derive(Clone)]
pub enum Channel {
    /// Over HTTP.
    Http(reqwest::Client),
    /// By files.
    Spool(Spool),
}

/// Connections are given up after this.
const CONNECT: Duration = Duration::from_secs(60);

impl Channel {
    /// The one that the pilot was told of.
    pub fn open(configuration: &Configuration) -> anyhow::Result<Self> {
        Ok(match &configuration.spool {
            None => {
                let directory = std::env::var_os("X509_CERT_DIR");
                let own = directory.map(|directory| authorities(directory.as_ref()));
                Self::Http(http(own.unwrap_or_default())?)
            }
            Some(prefix) => Self::Spool(Spool {
                prefix: prefix.clone(),
                key: Key::of(&Digest::of(configuration.secret.as_bytes())),
                last: Arc::default(),
                patience: Duration::from_secs(configuration.patience),
            }),
        })
    }

    /// Makes one attempt.
    pub async fn send(&self, server: &str, request: &Request) -> Result<Answer, String> {
        match self {
            Self::Http(http) => over_http(http, server, request).await.map_err(|e| e.to_string()),
            Self::Spool(spool) => spool.ask(request).await.map_err(|error| error.to_string()),
        }
    }
}

/// A client that believes these authorities beside the machine's, or alone, where the machine has none: small
/// images of distributions are so, and a server may be reached without TLS.
fn http(own: Vec<Certificate>) -> reqwest::Result<reqwest::Client> {
    let builder = || reqwest::Client::builder().connect_timeout(CONNECT);
    builder().tls_certs_merge(own.clone()).build().or_else(|error| {
        tracing::warn!(%error, "the machine's authorities are not to be had");
        builder().tls_certs_only(own).build()
    })
}

/// Certificates of the grid's authorities, beside those that the machine believes. What else is in the directory,
/// and what no server's certificate could come from, is passed over.
fn authorities(directory: &Path) -> Vec<Certificate> {
    let files = fs::read_dir(directory).into_iter().flatten().flatten();
    let of_file = |file: fs::DirEntry| fs::read(file.path()).unwrap_or_default();
    let known = |pem: Vec<u8>| CertificateDer::pem_slice_iter(&pem).flatten().collect::<Vec<_>>();
    let good = |der: &CertificateDer<'static>| RootCertStore::empty().add(der.clone()).is_ok();
    let all = files.map(of_file).flat_map(known).filter(good);
    all.filter_map(|der| Certificate::from_der(&der).ok()).collect()
}

async fn over_http(
    http: &reqwest::Client,
    server: &str,
    request: &Request,
) -> Result<Answer, reqwest::Error> {
    let Request { method, path, token, body, timeout } = request;
    let mut asked = http.request(method.clone(), format!("{server}{path}")).timeout(*timeout);
    // What else goes with a request is a sandbox.
    if *method == Method::POST {
        asked = asked.header(CONTENT_TYPE, "application/json");
    }
    let sent = asked.bearer_auth(token).body(body.clone()).send().await?;
    Ok((sent.status(), sent.bytes().await?.to_vec()))
}

/// Files beside the pilot. Each question has a number of its own.
#[derive(Clone)]
pub struct Spool {
    /// What stands before `.NUMBER.request`: a path.
    prefix: PathBuf,
    key: Key,
    last: Arc<AtomicU32>,
    patience: Duration,
}

/// Between looks for an answer.
const LOOK: Duration = Duration::from_millis(200);

impl Spool {
    fn file(&self, name: impl std::fmt::Display) -> PathBuf {
        let mut path = self.prefix.clone().into_os_string();
        path.push(format!(".{name}"));
        path.into()
    }

    /// Asks once, and waits: the question lies there until it is answered, whoever may be away.
    async fn ask(&self, request: &Request) -> io::Result<Answer> {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let Request { method, path, token, body, .. } = request;
        let (method, path, token) = (method.to_string(), path.clone(), token.clone());
        let head = Asked { method, path, token };
        let content = spinor_spool::write(&self.key, Side::Request, number, &head, body);
        let (question, answer) =
            (self.file(Name::Request(number)), self.file(Name::Response(number)));
        let draft = self.file(format!("{number}.draft"));
        fs::write(&draft, content.map_err(io::Error::other)?)?;
        fs::rename(draft, &question)?;
        let asked = Instant::now();
        let content = loop {
            tokio::time::sleep(LOOK).await;
            if let Some(content) = whole(&answer)? {
                break content;
            }
            if asked.elapsed() > self.patience {
                drop(fs::remove_file(question));
                return Err(io::Error::other("nobody answered"));
            }
        };
        let read = spinor_spool::read(&self.key, Side::Answer, number, &content);
        for file in [question, answer] {
            drop(fs::remove_file(file));
        }
        let (Answered { status }, body) = read.map_err(io::Error::other)?;
        Ok((StatusCode::from_u16(status).map_err(io::Error::other)?, body))
    }
}

/// What is in a file, once all of it is there.
fn whole(file: &Path) -> io::Result<Option<Vec<u8>>> {
    // To list a directory is to look: a shared file system may remember for long that a file was not there.
    drop(file.parent().map(fs::read_dir));
    let mut file = match fs::File::open(file) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut content = vec![0; 8];
    let there = file.metadata()?.len();
    if there < 8 {
        return Ok(None);
    }
    file.read_exact(&mut content)?;
    let size = spinor_spool::told_size(&content).filter(|size| (8..=there).contains(size));
    let Some(size) = size else { return Ok(None) };
    // A server before may have left more.
    file.take(size - 8).read_to_end(&mut content)?;
    Ok(Some(content))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spool(prefix: PathBuf) -> Spool {
        let key = Key::of(&Digest::of(b"secret"));
        Spool { prefix, key, last: Arc::default(), patience: Duration::from_secs(60) }
    }

    #[test]
    fn of_a_directory_of_authorities_what_is_one_is_believed() {
        let directory = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &[u8]| fs::write(directory.path().join(name), text).unwrap();
        put("0a1b2c3d.0", include_bytes!("../tests/authority.pem"));
        put("0a1b2c3d.signing_policy", b"access_id_CA X509 '/CN=x'");
        put("broken.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        fs::create_dir(directory.path().join("more")).unwrap();
        assert_eq!(authorities(directory.path()).len(), 1);
        assert!(authorities(&directory.path().join("none")).is_empty());
    }

    #[tokio::test]
    async fn a_question_lies_there_until_it_is_answered() {
        let directory = tempfile::tempdir().unwrap();
        let own = spool(directory.path().join("spinor-ab"));
        let request = Request {
            method: Method::PUT,
            path: "/x".to_owned(),
            token: "t".to_owned(),
            body: vec![7; 300_000],
            timeout: Duration::ZERO,
        };
        let asking = {
            let own = own.clone();
            tokio::spawn(async move { own.ask(&request).await })
        };
        let question = directory.path().join("spinor-ab.1.request");
        while !question.exists() {
            tokio::time::sleep(LOOK).await;
        }
        let content = fs::read(&question).unwrap();
        let (asked, body): (Asked, _) =
            spinor_spool::read(&own.key, Side::Request, 1, &content).unwrap();
        assert_eq!(
            (asked.method.as_str(), asked.path.as_str(), body.len()),
            ("PUT", "/x", 300_000)
        );
        let content =
            spinor_spool::write(&own.key, Side::Answer, 1, &Answered { status: 204 }, b"y")
                .unwrap();
        let answer = directory.path().join("spinor-ab.1.response");
        // It comes in parts.
        fs::write(&answer, &content[..20]).unwrap();
        tokio::time::sleep(LOOK * 2).await;
        fs::write(&answer, &content).unwrap();
        assert_eq!(asking.await.unwrap().unwrap(), (StatusCode::NO_CONTENT, b"y".to_vec()));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
