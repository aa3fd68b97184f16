//! VOMS servers: who says which groups and roles a certificate has. Their interface over HTTPS, which
//! VOMS's own server and INDIGO IAM have alike: `GET /generate-ac?fqans=..&lifetime=..`. VOMS's own server
//! decodes no percent signs, and may have a certificate in an answer whose status is 500, with a warning.

use crate::provider::limited;
use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::{Certificate, Client, Identity, Url, redirect::Policy};
use serde::Deserialize;
use std::time::{Duration, SystemTime};
use x509_cert::der::{
    self, Decode, Encode,
    asn1::{Any, GeneralizedTime},
};

/// A call of a plugin may wait for it, and for another server after it.
const TIMEOUT: Duration = Duration::from_secs(8);

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    ac: Option<String>,
    #[serde(default)]
    error: Vec<Refusal>,
    #[serde(default)]
    warning: Vec<String>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// What a VOMS server vouches for.
pub struct Attributes {
    /// An attribute certificate, in DER.
    pub der: Vec<u8>,
    /// Its end.
    pub until: SystemTime,
}

/// What is asked of a VOMS server.
pub struct Question<'a> {
    /// Where: `https://HOST:PORT`.
    pub server: &'a str,
    /// Groups and roles, e.g. `/auger/Role=pilot`; what the server gives by itself if there are none.
    pub attributes: &'a [String],
    /// How long.
    pub life: Duration,
    /// Who asks: certificate, chain and key in PEM.
    pub robot: &'a [u8],
    /// Whose certificates are believed, in PEM; those that browsers believe if nothing is said.
    pub authorities: Option<&'a [u8]>,
}

impl Question<'_> {
    /// What it vouches for, or why for nothing.
    pub async fn ask(&self) -> Result<Attributes, String> {
        let text = |error: reqwest::Error| spinor_model::finding::causes(&error.without_url());
        let mut builder = Client::builder().timeout(TIMEOUT).redirect(Policy::none()).no_proxy();
        if let Some(authorities) = self.authorities {
            builder =
                builder.tls_certs_only(Certificate::from_pem_bundle(authorities).map_err(text)?);
        }
        let client = builder.identity(Identity::from_pem(self.robot).map_err(text)?).build();
        let answer = client.map_err(text)?.get(self.address()?).send().await.map_err(text)?;
        let status = answer.status();
        let body = limited(answer).await.map_err(|error| spinor_model::finding::causes(&error))?;
        let der =
            read(&String::from_utf8_lossy(&body)).map_err(|why| format!("{status}: {why}"))?;
        let until = end(&der).map_err(|error| format!("a broken certificate: {error}"))?;
        Ok(Attributes { der, until })
    }

    fn address(&self) -> Result<Url, String> {
        let mut url = Url::parse(self.server).map_err(|error| error.to_string())?;
        url.path_segments_mut()
            .map_err(|()| "is no address of a server".to_owned())?
            .pop_if_empty()
            .push("generate-ac");
        let names = match self.attributes {
            [] => String::new(),
            names => format!("fqans={}&", names.join(",")),
        };
        // Without a lifetime, what is given has ended.
        url.set_query(Some(&format!("{names}lifetime={}", self.life.as_secs())));
        Ok(url)
    }
}

/// The end of an attribute certificate: RFC 5755, section 4.1.
fn end(der: &[u8]) -> der::Result<SystemTime> {
    let parts = |der: &[u8]| Vec::<Any>::from_der(der);
    let part = |parts: &[Any], i: usize| {
        parts.get(i).ok_or_else(|| der::Error::incomplete(der::Length::ZERO))?.to_der()
    };
    let info = parts(&part(&parts(der)?, 0)?)?;
    // version, holder, issuer, signature, serialNumber, attrCertValidityPeriod
    let period = Vec::<GeneralizedTime>::from_der(&part(&info, 5)?)?;
    let until = period.get(1).ok_or_else(|| der::Error::incomplete(der::Length::ZERO))?;
    Ok(until.to_system_time())
}

fn read(xml: &str) -> Result<Vec<u8>, String> {
    let said: String = xml.trim().chars().take(200).collect();
    let answer: Answer =
        quick_xml::de::from_str(xml).map_err(|_| format!("no answer of VOMS's: {said}"))?;
    for warning in answer.warning {
        tracing::warn!(warning, "VOMS");
    }
    if let Some(certificate) = answer.ac {
        let packed: String = certificate.split_whitespace().collect();
        return STANDARD.decode(packed).map_err(|error| format!("a broken certificate: {error}"));
    }
    let refusal = |Refusal { code, message }| format!("{code}: {message}");
    match answer.error.into_iter().map(refusal).collect::<Vec<_>>().join("; ") {
        none if none.is_empty() => Err(format!("neither a certificate nor an error: {said}")),
        refusals => Err(refusals),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_certificates_or_errors() {
        assert_eq!(read("<voms><ac>aGVs\nbG8=</ac></voms>").unwrap(), b"hello");
        let refused =
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><voms><error><code>NoSuchUser</code>
            <message>User unknown to this VO.</message></error></voms>";
        assert_eq!(read(refused).unwrap_err(), "NoSuchUser: User unknown to this VO.");
        let warned = "<voms><ac>aGVsbG8=</ac><warning>one</warning><warning>two</warning></voms>";
        assert_eq!(read(warned).unwrap(), b"hello");
        assert!(read("<html><body>hello</body></html>").unwrap_err().contains("neither"));
        assert!(read("nonsense").is_err());
    }

    #[test]
    fn names_are_asked_for_as_they_are() {
        let question = Question {
            server: "https://voms.example.org:8443",
            attributes: &["/auger/Role=pilot".to_owned(), "/auger".to_owned()],
            life: Duration::from_secs(3600),
            robot: b"",
            authorities: None,
        };
        let address = question.address().unwrap().to_string();
        assert_eq!(
            address,
            "https://voms.example.org:8443/generate-ac?fqans=/auger/Role=pilot,/auger&lifetime=3600"
        );
    }
}
