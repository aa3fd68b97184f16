//! Requests that came by files are answered by the same routes as those over HTTP.

use async_trait::async_trait;
use axum::{
    Router,
    body::{Body, HttpBody, to_bytes},
    http::{Request, header},
};
use futures::{StreamExt, TryStreamExt, stream};
use spinor_lifecycle::relay::{Bytes, Front, Question, Reply};
use std::io;
use tower::ServiceExt;

/// Bytes of an answer that does not say how long it is.
const MOST: usize = 64 << 20;

/// All routes, without a socket before them.
pub struct Relayed(pub Router);

#[async_trait]
impl Front for Relayed {
    async fn answer(&self, question: Question) -> io::Result<Reply> {
        let Question { method, path, token, length, body } = question;
        let mut request = Request::builder()
            .method(method.as_str())
            .uri(path)
            .header(header::CONTENT_LENGTH, length);
        // What else goes with a request is a sandbox.
        if method == "POST" {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if !token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Body::from_stream(body)).map_err(io::Error::other)?;
        let response = match self.0.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let status = response.status().as_u16();
        let told = response.headers().get(header::CONTENT_LENGTH);
        let told = told.and_then(|value| value.to_str().ok()?.parse().ok());
        let body = response.into_body();
        let (length, body) = match told.or(HttpBody::size_hint(&body).exact()) {
            Some(length) => (length, streamed(body)),
            None => {
                let whole = to_bytes(body, MOST).await.map_err(io::Error::other)?.to_vec();
                let length = whole.len() as u64;
                (length, stream::once(async { Ok(whole) }).boxed())
            }
        };
        Ok(Reply { status, length, body })
    }
}

fn streamed(body: Body) -> Bytes {
    let parts = body.into_data_stream().map_ok(|part| part.to_vec());
    parts.map_err(io::Error::other).boxed()
}
