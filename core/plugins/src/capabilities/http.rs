//! Capabilities `http` and `secret`: one request to a granted server, its redirects not followed, its
//! secrets put in after the grant was checked.
//!
//! A guest writes `{secret:NAME}` in a header's value. The host replaces it if the grant says that
//! this secret may go into this header of a request to this server; nothing else is replaced, and what
//! the server sends back is cleared of the secret.

mod clients;

use super::{address::Private, credentials::Credentials, pilot_secrets::replaced};
use crate::{
    bindings::host::spinor::host::{
        http::{Host, HttpError, Request, Response},
        secret,
    },
    state::HostState,
};
use clients::{Clients, Shown, identities};
use reqwest::{
    Method, Url,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use spinor_model::{
    finding,
    policy::LogLevel,
    registry::{Grants, HttpGrant, IdentityGrant, SecretGrant},
};
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

/// Requests that one call of a plugin may send.
pub const MAX_REQUESTS: u32 = 1_000;

/// Granted servers and secrets.
#[derive(Debug)]
pub struct HttpCapability {
    grants: Vec<HttpGrant>,
    secrets: BTreeMap<String, SecretGrant>,
    /// Certificates by name.
    identities: BTreeMap<String, IdentityGrant>,
    clients: Clients,
    credentials: Credentials,
}

type Answer<T> = Result<T, HttpError>;

fn denied<T>(text: String) -> Answer<T> {
    Err(HttpError::Denied(text))
}

/// Headers that are the host's own: they frame the message or lead it elsewhere.
const OWN_HEADERS: [&str; 13] = [
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A request that may be sent, and the secrets in it.
struct Checked<'a> {
    grant: &'a HttpGrant,
    url: Url,
    origin: String,
    method: Method,
    headers: HeaderMap,
    /// The certificate to show.
    identity: Option<Shown>,
    /// Name and value.
    secrets: Vec<(String, String)>,
}

impl HttpCapability {
    /// Grants what a binding has; secrets are read from `directory` when they are needed.
    pub fn new(grants: &Grants, directory: PathBuf, credentials: Credentials) -> Self {
        let (clients, identities) = (Clients::new(grants, directory), identities(grants));
        let (mut grants, mut secrets) = (grants.http.clone(), grants.secret.clone());
        let origins = grants.iter_mut().map(|grant| &mut grant.origin);
        origins.chain(secrets.values_mut().map(|grant| &mut grant.origin)).for_each(plain);
        Self { grants, secrets, identities, clients, credentials }
    }

    async fn check(&self, request: &Request) -> Answer<Checked<'_>> {
        let (url, origin) = target(&request.url)?;
        let grant = self.grants.iter().find(|grant| {
            grant.origin == origin
                && grant.methods.contains(&request.method)
                && grant.covers(url.path())
        });
        let Some(grant) = grant else {
            return denied(format!(
                "no grant covers {} {origin}{} (`grants.http`: origin, methods, paths)",
                request.method,
                url.path()
            ));
        };
        if let Err(private) = Private::check(&url, grant.private) {
            return denied(private.to_string());
        }
        let method = Method::from_bytes(request.method.as_bytes())
            .map_err(|_| HttpError::Denied(format!("`{}` is no method", request.method)))?;
        let (headers, secrets) = (HeaderMap::new(), Vec::new());
        let identity = match &request.identity {
            Some(name) => Some(self.shown(name, &origin).await?),
            None => None,
        };
        let mut checked = Checked { grant, url, origin, method, headers, identity, secrets };
        for (name, value) in &request.headers {
            self.header(&mut checked, name, value).await?;
        }
        Ok(checked)
    }

    /// The certificate of a name, if it may be shown to a server.
    async fn shown(&self, name: &str, origin: &str) -> Answer<Shown> {
        let granted = self.identities.get(name).filter(|grant| grant.origin == *origin);
        let Some(granted) = granted else {
            return denied(format!(
                "no grant shows certificate `{name}` to {origin} (`grants.identity`)"
            ));
        };
        let pem = match &granted.proxy {
            None => self.clients.read(name)?,
            Some(proxy) => {
                let made = self.credentials.proxy(proxy).await;
                made.map_err(|why| HttpError::NotSent(format!("proxy `{proxy}`: {why}")))?
                    .pem
                    .as_bytes()
                    .to_vec()
            }
        };
        Ok(Shown { name: name.to_owned(), pem })
    }

    async fn header(&self, checked: &mut Checked<'_>, name: &str, value: &str) -> Answer<()> {
        let bad = |what: &str| HttpError::Denied(format!("header `{name}`: {what}"));
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad("no header name"))?;
        if OWN_HEADERS.contains(&header.as_str()) {
            return Err(bad("is the host's own to set"));
        }
        let mut text = String::new();
        let mut rest = value;
        while let Some((before, after)) = rest.split_once("{secret:") {
            let (wanted, after) =
                after.split_once('}').ok_or_else(|| bad("`{secret:` without `}`"))?;
            let secret = self.secret(wanted, checked, &header).await?;
            text.push_str(before);
            text.push_str(&secret);
            checked.secrets.push((wanted.to_owned(), secret));
            rest = after;
        }
        text.push_str(rest);
        let mut value = HeaderValue::from_str(&text)
            .map_err(|_| bad("has characters that no value may have"))?;
        value.set_sensitive(!checked.secrets.is_empty());
        checked.headers.append(header, value);
        Ok(())
    }

    async fn secret(
        &self,
        name: &str,
        checked: &Checked<'_>,
        header: &HeaderName,
    ) -> Answer<String> {
        let Checked { origin, method, .. } = checked;
        let granted = self.secrets.get(name).filter(|grant| {
            grant.origin == *origin
                && grant.header.eq_ignore_ascii_case(header.as_str())
                && (grant.methods.is_empty() || grant.methods.contains(method.as_str()))
        });
        let Some(granted) = granted else {
            return denied(format!(
                "no grant puts secret `{name}` into header `{header}` of {method} {origin} (`grants.secret`)"
            ));
        };
        if let Some(wanted) = &granted.token {
            let token = self.credentials.token(wanted).await;
            return token
                .map_err(|why| HttpError::NotSent(format!("secret `{name}`, {wanted}: {why}")));
        }
        let value = String::from_utf8(self.clients.read(name)?);
        let value = value.map_err(|_| HttpError::Denied(format!("secret `{name}` is no text")))?;
        Ok(value.trim().to_owned())
    }

    async fn send(&self, checked: Checked<'_>, body: Vec<u8>, timeout_ms: u32) -> Answer<Response> {
        let granted = Duration::from_secs(checked.grant.seconds.into());
        let asked = Duration::from_millis(timeout_ms.into());
        let request = self
            .clients
            .client(checked.grant, checked.identity.as_ref(), &checked.secrets)?
            .request(checked.method, checked.url)
            .headers(checked.headers)
            .timeout(if timeout_ms == 0 { granted } else { granted.min(asked) })
            .body(body);
        let answer = request.send().await.map_err(failure)?;
        let status = answer.status().as_u16();
        let clear = |text: &[u8]| cleared(text, &checked.secrets);
        let shown = answer.headers().iter().filter(|(name, _)| *name != "set-cookie");
        let headers = shown
            .map(|(name, value)| {
                let value = clear(value.as_bytes());
                (name.to_string(), String::from_utf8_lossy(&value).into_owned())
            })
            .collect();
        let max = checked.grant.max_kb as usize * 1024;
        // A secret that is cut off must not be shown in part: it is read whole, and cleared first.
        let longest = checked.secrets.iter().map(|(_, value)| value.len()).max().unwrap_or(0);
        let (mut body, complete) = up_to(answer, max + longest).await?;
        if !complete {
            cut_begun(&mut body, &checked.secrets);
        }
        let mut body = clear(&body);
        let complete = complete && body.len() <= max;
        body.truncate(max);
        Ok(Response { status, headers, body, complete })
    }
}

/// An origin as requests have it.
fn plain(origin: &mut String) {
    if let Ok(url) = Url::parse(origin) {
        *origin = url.origin().ascii_serialization();
    }
}

/// The URL without its tricks, and its origin.
fn target(text: &str) -> Answer<(Url, String)> {
    let url = Url::parse(text)
        .map_err(|error| HttpError::Denied(format!("`{text}` is no URL: {error}")))?;
    if !url.username().is_empty() || url.password().is_some() {
        return denied("a URL must not carry a user or a password".to_owned());
    }
    let path = url.path().to_ascii_lowercase();
    if path.contains("%2f") || path.contains("%5c") || path.contains('\\') {
        return denied(format!("the path {} hides a slash", url.path()));
    }
    let origin = url.origin().ascii_serialization();
    Ok((url, origin))
}

/// Takes away the beginning of a secret that a body was cut off in: clearing others makes room for it.
pub(super) fn cut_begun(body: &mut Vec<u8>, secrets: &[(String, String)]) {
    let begun = |secret: &String| {
        let lengths = (1..secret.len()).rev();
        lengths.into_iter().find(|n| body.ends_with(&secret.as_bytes()[..*n])).unwrap_or(0)
    };
    let longest = secrets.iter().map(|(_, secret)| begun(secret)).max().unwrap_or(0);
    body.truncate(body.len() - longest);
}

async fn up_to(mut answer: reqwest::Response, max: usize) -> Answer<(Vec<u8>, bool)> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(failure)? {
        let room = max - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            return Ok((body, false));
        }
    }
    Ok((body, true))
}

/// A server that sends a secret back does not make it known to the guest.
fn cleared(bytes: &[u8], secrets: &[(String, String)]) -> Vec<u8> {
    let given = secrets.iter().filter(|(_, value)| !value.is_empty());
    given.fold(bytes.to_vec(), |bytes, (name, value)| {
        replaced(bytes, value.as_bytes(), format!("{{secret:{name}}}").as_bytes())
    })
}

/// What became of a request that failed: only one that had no connection was surely not sent.
fn failure(error: reqwest::Error) -> HttpError {
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    while let Some(inner) = cause {
        if let Some(private) = inner.downcast_ref::<Private>() {
            return HttpError::Denied(private.to_string());
        }
        cause = inner.source();
    }
    let connecting = error.is_connect();
    let text = finding::causes(&error.without_url());
    match connecting {
        true => HttpError::NotSent(text),
        false => HttpError::Unknown(text),
    }
}

impl HostState {
    /// The VO's people read which of their secrets went where.
    fn tell_of_secrets(&self, checked: &Checked<'_>) {
        let Checked { method, origin, url, .. } = checked;
        for (name, _) in &checked.secrets {
            let text = format!("secret `{name}` put into {method} {origin}{}", url.path());
            self.audit(&text);
            // Not among the lines of its own that it may write: it cannot use those up first.
            self.tell(LogLevel::Info, text);
        }
        if let Some(Shown { name, .. }) = &checked.identity {
            self.audit(&format!("certificate `{name}` shown to {method} {origin}{}", url.path()));
        }
    }

    async fn request(&mut self, request: Request) -> Answer<Response> {
        let Some(http) = self.capabilities.http.clone() else {
            return denied("capability `http` is not granted".to_owned());
        };
        if self.requests == 0 {
            return denied(format!("a call may send {MAX_REQUESTS} requests"));
        }
        self.requests -= 1;
        let checked = http.check(&request).await?;
        self.tell_of_secrets(&checked);
        let body = self.secrets.put_in(&request.body);
        let mut answer = http.send(checked, body, request.timeout_ms).await?;
        answer.body = self.secrets.take_out(answer.body);
        for (_, value) in &mut answer.headers {
            let cleared = self.secrets.take_out(std::mem::take(value).into_bytes());
            *value = String::from_utf8_lossy(&cleared).into_owned();
        }
        Ok(answer)
    }
}

impl Host for HostState {
    async fn send(&mut self, request: Request) -> wasmtime::Result<Answer<Response>> {
        let mut tape = std::mem::take(&mut self.tape);
        let asked = request.clone();
        let result = tape.exchange("http.send", &asked, self.request(request)).await;
        self.tape = tape;
        result
    }
}

impl secret::Host for HostState {
    async fn names(&mut self) -> wasmtime::Result<Vec<String>> {
        let http = self.capabilities.http.clone();
        let names =
            async move { http.map(|h| h.secrets.keys().cloned().collect()).unwrap_or_default() };
        self.tape.exchange("secret.names", &(), names).await
    }
}

#[cfg(test)]
mod tests;
