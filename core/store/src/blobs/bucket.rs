//! An S3 bucket: links, and forms as browsers and DiracX's clients post them.

use crate::StoreError;
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac};
use object_store::{
    ObjectStore,
    aws::{AmazonS3, AmazonS3Builder},
    path::Path,
    signer::{Method, Signer},
};
use serde_json::json;
use sha2::Sha256;
use spinor_model::time::Timestamp;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Which bucket. Credentials come from the environment (`AWS_ACCESS_KEY_ID` and the like).
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BucketSettings {
    /// Its name.
    pub bucket: String,
    /// Folder in it.
    #[serde(default)]
    pub prefix: String,
    /// Address of the service, as clients and this server reach it; Amazon's if not given.
    pub endpoint: Option<String>,
    /// Its region.
    #[serde(default = "default_region")]
    pub region: String,
}

fn default_region() -> String {
    "us-east-1".to_owned()
}

/// A bucket, and this server's rights in it.
#[derive(Debug)]
pub struct Bucket {
    client: Arc<AmazonS3>,
    settings: BucketSettings,
}

/// What to send a file with: the fields go before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    /// Where to.
    pub url: String,
    /// Beside the file.
    pub fields: BTreeMap<String, String>,
}

type HmacSha256 = Hmac<Sha256>;

fn signed(key: &[u8], text: &str) -> Result<Vec<u8>, StoreError> {
    let mut mac = HmacSha256::new_from_slice(key)
        .map_err(|error| StoreError::Files(std::io::Error::other(error)))?;
    mac.update(text.as_bytes());
    Ok(mac.finalize().into_bytes().to_vec())
}

impl Bucket {
    /// Reads the credentials; the bucket itself is not asked.
    pub fn open(settings: BucketSettings) -> Result<Self, StoreError> {
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(&settings.bucket)
            .with_region(&settings.region);
        if let Some(endpoint) = &settings.endpoint {
            let plain = endpoint.starts_with("http://");
            builder = builder.with_endpoint(endpoint.trim_end_matches('/')).with_allow_http(plain);
        }
        Ok(Self { client: Arc::new(builder.build()?), settings })
    }

    pub(super) fn store(&self) -> Arc<dyn ObjectStore> {
        self.client.clone()
    }

    pub(super) fn folder(&self, folder: &str) -> Path {
        let prefix = self.settings.prefix.split('/').filter(|part| !part.is_empty());
        prefix.chain([folder]).collect()
    }

    pub(super) async fn link(&self, path: &Path, valid: Duration) -> Result<String, StoreError> {
        Ok(self.client.signed_url(Method::GET, path, valid).await?.to_string())
    }

    /// A form for a POST policy, as Amazon's Signature Version 4 has it
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-authentication-HTTPPOST.html>).
    pub(super) async fn form(
        &self,
        path: &Path,
        size: u64,
        now: Timestamp,
        valid: Duration,
    ) -> Result<Form, StoreError> {
        let BucketSettings { bucket, region, endpoint, .. } = &self.settings;
        let credential = self.client.credentials().get_credential().await?;
        let instant = jiff::Timestamp::from_millisecond(now.0).unwrap_or_default();
        let (date, time) = (
            instant.strftime("%Y%m%d").to_string(),
            instant.strftime("%Y%m%dT%H%M%SZ").to_string(),
        );
        let scope = format!("{}/{date}/{region}/s3/aws4_request", credential.key_id);
        let mut fields = BTreeMap::from([
            ("key".to_owned(), path.to_string()),
            ("x-amz-algorithm".to_owned(), "AWS4-HMAC-SHA256".to_owned()),
            ("x-amz-credential".to_owned(), scope),
            ("x-amz-date".to_owned(), time),
        ]);
        if let Some(token) = &credential.token {
            fields.insert("x-amz-security-token".to_owned(), token.clone());
        }
        let mut conditions: Vec<_> =
            fields.iter().map(|(name, value)| json!({name: value})).collect();
        conditions.push(json!({"bucket": bucket}));
        conditions.push(json!(["content-length-range", size, size]));
        let policy = json!({"expiration": now.plus(valid).to_string(), "conditions": conditions});
        let policy = STANDARD.encode(policy.to_string());
        let mut key = format!("AWS4{}", credential.secret_key).into_bytes();
        for part in [date.as_str(), region, "s3", "aws4_request", policy.as_str()] {
            key = signed(&key, part)?;
        }
        fields.insert("policy".to_owned(), policy);
        fields.insert("x-amz-signature".to_owned(), hex::encode(key));
        let amazon = || format!("https://s3.{region}.amazonaws.com");
        let endpoint = endpoint.clone().unwrap_or_else(amazon);
        Ok(Form { url: format!("{}/{bucket}", endpoint.trim_end_matches('/')), fields })
    }
}
