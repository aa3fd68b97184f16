//! Answers given before a request's body was read reach who sends it.
//!
//! A server that answers, say, "too large" and closes the connection resets it under a client that
//! is still sending, and the client reads of a broken pipe instead of the reason. What a route
//! leaves of a body is therefore still taken, to some bound, and thrown away.

use axum::{
    body::{Body, BodyDataStream, Bytes, HttpBody},
    extract::Request,
};
use futures::{Stream, StreamExt};
use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

/// Bytes of a body taken after the answer.
const MAX_REST: usize = 256 << 20;
/// How long the rest of a body is waited for.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// A request whose body is taken to its end, whoever drops it.
pub async fn lingering(request: Request) -> Request {
    if request.body().is_end_stream() {
        return request;
    }
    request.map(|body| Body::from_stream(Lingering { rest: Some(body.into_data_stream()) }))
}

struct Lingering {
    rest: Option<BodyDataStream>,
}

impl Stream for Lingering {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
        let item = std::task::ready!(rest.poll_next_unpin(context));
        if !matches!(item, Some(Ok(_))) {
            self.rest = None;
        }
        Poll::Ready(item)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        if let (Some(rest), Ok(runtime)) = (self.rest.take(), tokio::runtime::Handle::try_current())
        {
            runtime.spawn(tokio::time::timeout(MAX_WAIT, thrown_away(rest)));
        }
    }
}

async fn thrown_away(mut rest: BodyDataStream) {
    let mut left = MAX_REST;
    while let Some(Ok(bytes)) = rest.next().await {
        match left.checked_sub(bytes.len()) {
            Some(fewer) => left = fewer,
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{Router, http::StatusCode, routing::post};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test(flavor = "multi_thread")]
    async fn who_sends_too_much_reads_the_reason() {
        let refuse = || async { (StatusCode::PAYLOAD_TOO_LARGE, "64 MiB at most") };
        let app =
            Router::new().route("/", post(refuse)).layer(axum::middleware::map_request(lingering));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });

        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let length = 100 << 20;
        let head = format!(
            "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![0; length]).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 413") && answer.ends_with("at most"), "{answer}");
    }
}
