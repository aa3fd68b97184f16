//! The client's side of the HTTP surface.

use crate::credentials::{Credentials, Tokens};
use anyhow::{Context, bail};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use spinor_api::{
    administration::PluginView,
    problem::{FindingView, Problem},
};
use spinor_model::{finding::innermost, id::Digest};
use std::{fmt, path::Path, time::Duration};

/// A component may take its compiler minutes.
const PUSH_TIME: Duration = Duration::from_secs(600);

/// The server cannot be reached.
#[derive(Debug, thiserror::Error)]
#[error("cannot reach the server at {server}: {why}; is it running, and is SPINOR_URL right?")]
pub struct Unreachable {
    server: String,
    why: String,
}

/// The server said no.
#[derive(Debug)]
pub struct Refused(pub Problem);

impl std::error::Error for Refused {}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { title, detail, findings, .. } = &self.0;
        if findings.is_empty() {
            // Some details begin with the title, as DiracX's do.
            let detail = detail.strip_prefix(&format!("{title}: ")).unwrap_or(detail);
            return write!(f, "{title}: {detail}");
        }
        write!(f, "{title}")?;
        for finding in findings {
            let field = if finding.field.is_empty() { "(as a whole)" } else { &finding.field };
            write!(f, "\n  {field}")?;
            if !finding.value.is_empty() {
                write!(f, " = {}", finding.value)?;
            }
            write!(f, "\n    {}", finding.message)?;
        }
        Ok(())
    }
}

/// Requests to one server under one token.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    server: String,
    token: Token,
}

/// What a client shows.
#[derive(Clone)]
enum Token {
    None,
    Given(String),
    /// That of the last login, renewed when it is old: a client may outlive it.
    Login,
}

impl Client {
    fn over(server: &str, token: Token) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(120)).build()?;
        let server = server.trim_end_matches('/').to_owned();
        Ok(Self { http, server, token })
    }

    /// A client that shows `token`.
    pub fn new(server: &str, token: &str) -> anyhow::Result<Self> {
        Self::over(server, Token::Given(token.trim().to_owned()))
    }

    /// A client that shows nothing.
    pub fn anonymous(server: &str) -> anyhow::Result<Self> {
        Self::over(server, Token::None)
    }

    /// Where the server is.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// A client that shows the token in a file, or in the environment's `SPINOR_TOKEN`, or that of the
    /// last login.
    pub async fn from_options(options: &crate::cli::Server) -> anyhow::Result<Self> {
        if let Some(file) = &options.token_file {
            let token = std::fs::read_to_string(file)
                .with_context(|| format!("cannot read the token in {}", file.display()))?;
            return Self::new(&options.server, &token);
        }
        if let Ok(token) = std::env::var("SPINOR_TOKEN") {
            return Self::new(&options.server, &token);
        }
        let client = Self::over(&options.server, Token::Login)?;
        client.token().await?;
        Ok(client)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.server))
    }

    async fn token(&self) -> anyhow::Result<Option<String>> {
        match &self.token {
            Token::None => Ok(None),
            Token::Given(token) => Ok(Some(token.clone())),
            Token::Login => match self.logged_in().await? {
                Some(token) => Ok(Some(token)),
                None => bail!(
                    "nobody is logged in at {}: `spinor login VO`; or put a token into a file and name it with --token-file or SPINOR_TOKEN_FILE, or set SPINOR_TOKEN (`spinor token issue` makes one on the server's machine)",
                    self.server
                ),
            },
        }
    }

    /// The access token of the last login, renewed if need be.
    async fn logged_in(&self) -> anyhow::Result<Option<String>> {
        let server = &self.server;
        if !Credentials::exist() {
            return Ok(None);
        }
        let mut credentials = Credentials::open()?;
        let Some(tokens) = credentials.get(server) else { return Ok(None) };
        if tokens.is_fresh() {
            return Ok(Some(tokens.access_token.clone()));
        }
        let form = [("grant_type", "refresh_token"), ("refresh_token", &tokens.refresh_token)];
        let (status, body) = self.form("/api/auth/token", &form).await?;
        match Tokens::of(&body).filter(|_| status.is_success()) {
            Some(fresh) => {
                let token = fresh.access_token.clone();
                credentials.set(server, Some(fresh))?;
                Ok(Some(token))
            }
            None if [400, 401, 403].contains(&status.as_u16()) => {
                credentials.set(server, None)?;
                let why = body["detail"].as_str().unwrap_or("the login is over").to_owned();
                bail!("{why}; log in again with `spinor login`")
            }
            None => bail!("the login cannot be renewed now: the server answers {status}"),
        }
    }

    async fn answer(&self, request: RequestBuilder) -> anyhow::Result<(StatusCode, Vec<u8>)> {
        let unreachable = |error: reqwest::Error| Unreachable {
            server: self.server.clone(),
            why: innermost(&error),
        };
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        Ok((status, answer.bytes().await.map_err(unreachable)?.to_vec()))
    }

    async fn send(&self, request: RequestBuilder) -> anyhow::Result<Vec<u8>> {
        let request = match self.token().await? {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let (status, body) = self.answer(request).await?;
        match status.is_success() {
            true => Ok(body),
            false => Err(Refused(problem(status, &body)).into()),
        }
    }

    /// Posts a form that shows nothing but itself; what came back, whatever it is.
    pub async fn form(
        &self,
        path: &str,
        form: &[(&str, &str)],
    ) -> anyhow::Result<(StatusCode, Value)> {
        let (status, body) = self.answer(self.request(Method::POST, path).form(form)).await?;
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> anyhow::Result<T> {
        let body = self.send(request).await?;
        serde_json::from_slice(&body).context("the server's answer is not what was expected")
    }

    /// Gets and reads JSON.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.json(self.request(Method::GET, path)).await
    }

    /// Gets JSON with a query.
    pub async fn get_with<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> anyhow::Result<T> {
        self.json(self.request(Method::GET, path).query(query)).await
    }

    /// Gets bytes.
    pub async fn bytes(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        self.send(self.request(Method::GET, path)).await
    }

    /// Posts JSON and reads JSON.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        self.json(self.request(Method::POST, path).json(body)).await
    }

    /// Posts a query alone, and reads JSON.
    pub async fn post_with<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> anyhow::Result<T> {
        self.json(self.request(Method::POST, path).query(query)).await
    }

    /// Posts JSON under a key that makes a repeated request the same request.
    pub async fn post_once<T: DeserializeOwned>(
        &self,
        path: &str,
        key: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        let request = self.request(Method::POST, path).header("Idempotency-Key", key);
        self.json(request.json(body)).await
    }

    /// Posts bytes and reads JSON.
    pub async fn post_bytes<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Vec<u8>,
    ) -> anyhow::Result<T> {
        self.json(self.request(Method::POST, path).body(body)).await
    }

    /// Pushes a component.
    pub async fn push(
        &self,
        component: Vec<u8>,
        vo: Option<&str>,
        source: &str,
        signed: Option<&str>,
    ) -> anyhow::Result<PluginView> {
        let mut request = self
            .request(Method::POST, "/api/plugins")
            .query(&[("source", source)])
            .timeout(PUSH_TIME);
        if let Some(vo) = vo {
            request = request.query(&[("vo", vo)]);
        }
        if let Some(signed) = signed {
            request = request.header("Spinor-Signature", signed);
        }
        self.json(request.body(component)).await
    }

    /// Puts JSON and reads JSON.
    pub async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        self.json(self.request(Method::PUT, path).json(body)).await
    }

    /// Puts text and reads JSON.
    pub async fn put_text<T: DeserializeOwned>(
        &self,
        path: &str,
        text: String,
    ) -> anyhow::Result<T> {
        self.json(self.request(Method::PUT, path).body(text)).await
    }

    /// Deletes and reads JSON.
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.json(self.request(Method::DELETE, path)).await
    }

    /// Deletes, and expects no answer.
    pub async fn delete_only(&self, path: &str) -> anyhow::Result<()> {
        self.send(self.request(Method::DELETE, path)).await.map(drop)
    }

    /// Uploads a sandbox.
    pub async fn upload(&self, content: Vec<u8>) -> anyhow::Result<Digest> {
        let digest = Digest::of(&content);
        let path = format!("/api/sandboxes/{digest}");
        self.send(self.request(Method::PUT, &path).body(content)).await?;
        Ok(digest)
    }

    /// Fetches what a job left into a directory: what its payload sent, and over that what its pilot brought.
    pub async fn fetch_output(&self, job: i64, directory: &Path) -> anyhow::Result<()> {
        let names: Vec<String> = self.get(&format!("/api/jobs/{job}/sandbox/output")).await?;
        let brought = self.bytes(&format!("/api/jobs/{job}/output")).await;
        let mut all = Vec::new();
        // The only one is what its pilot brought, if that is here.
        for name in names.iter().filter(|_| names.len() > 1 || brought.is_err()) {
            let link: Value = self.get_with("/api/jobs/sandbox", &[("pfn", name.clone())]).await?;
            let url = link["url"].as_str().context("the server gives no link")?;
            let answer = self.http.get(url).send().await?.error_for_status()?;
            all.push(answer.bytes().await?.to_vec());
        }
        if let Ok(brought) = &brought {
            all.retain(|content| content != brought);
        }
        match brought {
            Err(error) if all.is_empty() => return Err(error),
            brought => all.extend(brought),
        }
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        for content in &all {
            spinor_pilot::sandbox::unpack(content, directory)?;
        }
        Ok(())
    }
}

fn problem(status: StatusCode, body: &[u8]) -> Problem {
    let text = String::from_utf8_lossy(body).chars().take(300).collect::<String>();
    let title = status.canonical_reason().unwrap_or("Error").to_owned();
    let other = Problem { title, status: status.as_u16(), detail: text, findings: Vec::new() };
    serde_json::from_slice(body).unwrap_or_else(|_| of_each(body).unwrap_or(other))
}

/// Orders for several jobs that none of them obeyed say so of each.
fn of_each(body: &[u8]) -> Option<Problem> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let failed = body["detail"]["failed"].as_object()?;
    let view = |(job, why): (&String, &Value)| FindingView {
        field: format!("job {job}"),
        value: String::new(),
        message: why["detail"].as_str().unwrap_or_default().to_owned(),
    };
    let (title, detail) = ("No job obeyed".to_owned(), String::new());
    Some(Problem { title, status: 400, detail, findings: failed.iter().map(view).collect() })
}

/// A query about a VO, which operators name.
pub fn of(vo: Option<&String>) -> String {
    let url = vo.and_then(|vo| reqwest::Url::parse_with_params("query:", [("vo", vo)]).ok());
    url.and_then(|url| url.query().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_value_whatever_is_in_it() {
        assert_eq!(of(Some(&"a&b=c".to_owned())), "vo=a%26b%3Dc");
        assert_eq!(of(None), "");
    }
}
