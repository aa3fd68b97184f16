//! Batch systems that are asked over HTTP.

use super::Trouble;
use crate::computing::http::{self, HttpError, Request, Response};

/// A request with no time limit but the grant's.
pub fn request(method: &str, url: String) -> Request {
    Request {
        method: method.to_owned(),
        url,
        headers: Vec::new(),
        body: Vec::new(),
        timeout_ms: 0,
        identity: None,
    }
}

/// One exchange. Whatever status comes back is an answer, if all of it came.
pub fn exchange(request: &Request) -> Result<Response, Trouble> {
    let response = http::send(request).map_err(|error| match error {
        HttpError::Denied(why) | HttpError::NotSent(why) => Trouble::NotRun(why),
        HttpError::Unknown(why) | HttpError::Other(why) => Trouble::Unsure(why),
    })?;
    match response.complete {
        true => Ok(response),
        false => Err(Trouble::Unsure("the answer is larger than the grant's `max_kb`".to_owned())),
    }
}
