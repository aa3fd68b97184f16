//! Downtimes as GOCDB tells them: `get_downtime` of its programmatic interface, in XML. Other
//! databases of sites speak the same.

use anyhow::Context;
use serde::Deserialize;
use spinor_lifecycle::{Lifecycle, downtimes::Downtime};
use spinor_model::time::Timestamp;
use std::{sync::Arc, time::Duration};

/// Where downtimes are told.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feed {
    /// The address, with the query.
    pub url: String,
    /// Seconds between looks.
    #[serde(default = "often")]
    pub every: u64,
}

impl Feed {
    /// It, if it can be asked.
    pub fn checked(self) -> anyhow::Result<Self> {
        let Self { url, every } = &self;
        let parsed = reqwest::Url::parse(url);
        let parsed = parsed.with_context(|| format!("downtimes.url `{url}` is no address"))?;
        let known = matches!(parsed.scheme(), "http" | "https");
        anyhow::ensure!(known, "downtimes.url `{url}`: give one that begins with http(s)://");
        anyhow::ensure!(*every > 0, "downtimes.every is 0: give seconds between looks");
        Ok(self)
    }
}

fn often() -> u64 {
    600
}

const TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes of an answer.
const MOST: usize = 64 << 20;

#[derive(Deserialize)]
struct Results {
    #[serde(default, rename = "DOWNTIME")]
    downtimes: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
struct Entry {
    #[serde(default)]
    hostname: String,
    #[serde(default)]
    severity: String,
    #[serde(default)]
    description: String,
    start_date: i64,
    end_date: i64,
}

/// Downtimes in which something is out of service; those in which it may be (`WARNING`) are none.
fn read(xml: &str) -> anyhow::Result<Vec<Downtime>> {
    let results: Results = quick_xml::de::from_str(xml).context("no list of downtimes")?;
    let out = results.downtimes.into_iter().filter(|entry| entry.severity == "OUTAGE");
    let seconds = |seconds: i64| Timestamp(seconds.saturating_mul(1000));
    let downtime = |entry: Entry| Downtime {
        host: entry.hostname.trim().to_owned(),
        start: seconds(entry.start_date),
        end: seconds(entry.end_date),
        reason: entry.description.chars().take(200).collect(),
    };
    Ok(out.map(downtime).collect())
}

async fn fetch(http: &reqwest::Client, url: &str) -> anyhow::Result<Vec<Downtime>> {
    let mut answer = http.get(url).send().await?.error_for_status()?;
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await? {
        body.extend_from_slice(&part);
        anyhow::ensure!(body.len() <= MOST, "more than {MOST} bytes");
    }
    read(&String::from_utf8(body)?)
}

/// Keeps what is told of downtimes up to date. While nothing is told, what was told last counts.
pub async fn follow(lifecycle: Arc<Lifecycle>, feed: Feed) {
    let every = Duration::from_secs(feed.every);
    let http = reqwest::Client::builder().timeout(TIMEOUT).build();
    let Ok(http) = http.inspect_err(|error| tracing::error!(%error, "downtimes")) else { return };
    loop {
        match fetch(&http, &feed.url).await {
            Ok(downtimes) => {
                tracing::debug!(count = downtimes.len(), "downtimes");
                lifecycle.set_downtimes(downtimes);
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(url = feed.url, error, "downtimes are as they were");
            }
        }
        tokio::time::sleep(every).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLD: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<results>
  <DOWNTIME ID="1" PRIMARY_KEY="1G0" CLASSIFICATION="SCHEDULED">
    <PRIMARY_KEY>1G0</PRIMARY_KEY><HOSTNAME>ce.example.org</HOSTNAME>
    <SERVICE_TYPE>org.nordugrid.arex</SERVICE_TYPE><HOSTED_BY>SITE</HOSTED_BY>
    <AFFECTED_ENDPOINTS/><SEVERITY>OUTAGE</SEVERITY><DESCRIPTION>new disks &amp; more</DESCRIPTION>
    <START_DATE>1795900000</START_DATE><END_DATE>1795986400</END_DATE>
  </DOWNTIME>
  <DOWNTIME ID="2" CLASSIFICATION="UNSCHEDULED">
    <HOSTNAME>se.example.org</HOSTNAME><SEVERITY>WARNING</SEVERITY>
    <START_DATE>1795900000</START_DATE><END_DATE>1795986400</END_DATE>
  </DOWNTIME>
</results>"#;

    #[test]
    fn only_what_is_out_of_service_is_read() {
        let told = Downtime {
            host: "ce.example.org".to_owned(),
            start: Timestamp(1_795_900_000_000),
            end: Timestamp(1_795_986_400_000),
            reason: "new disks & more".to_owned(),
        };
        assert_eq!(read(TOLD).unwrap(), [told]);
        assert_eq!(read("<results/>").unwrap(), []);
        assert!(read("<html>no").is_err());
        assert!(read(&TOLD.replace("1795900000", "soon")).is_err());
    }

    #[test]
    fn a_feed_that_cannot_be_asked_is_refused() {
        let checked = |url: &str, every| Feed { url: url.to_owned(), every }.checked();
        assert!(checked("https://goc.example.org/?method=get_downtime", 600).is_ok());
        for (url, every, part) in
            [("nonsense", 1, "downtimes.url"), ("file:///x", 1, "http"), ("http://x", 0, "every")]
        {
            assert!(checked(url, every).unwrap_err().to_string().contains(part), "{url}");
        }
    }

    #[tokio::test]
    async fn it_is_fetched_and_a_refusal_is_an_error() {
        spinor_plugins::tls::install();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let told = axum::Router::new().route("/told", axum::routing::get(async || TOLD));
        tokio::spawn(async move { axum::serve(listener, told).await });
        let http = reqwest::Client::new();
        assert_eq!(fetch(&http, &format!("http://{address}/told")).await.unwrap().len(), 1);
        assert!(fetch(&http, &format!("http://{address}/else")).await.is_err());
    }
}
