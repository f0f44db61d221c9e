//! The way to the collector, for the exporters of `opentelemetry_otlp`.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::{BodyExt, Limited};
use hyper::{Request, Response, Uri};
use opentelemetry_http::{Bytes, HttpClient, HttpError};

use crate::web::upstream::Upstream;

/// How long the collector may take for a batch.
const PATIENCE: Duration = Duration::from_secs(10);

/// What of an answer is read.
const ANSWER_MAX: usize = 64 << 10;

/// How the last request failed; the exporters do not tell.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub why: String,
    /// The same could be taken later.
    pub passing: bool,
}

/// The collector.
#[derive(Clone)]
pub(super) struct Client {
    upstream: Arc<Upstream>,
    failure: Arc<Mutex<Option<Failure>>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    pub(super) fn new(upstream: Upstream) -> Self {
        Self { upstream: Arc::new(upstream), failure: Arc::default() }
    }

    /// How the last request failed, if it did.
    pub(super) fn take_failure(&self) -> Option<Failure> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn failed(&self, why: String, passing: bool) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(Failure { why, passing });
    }

    async fn exchange(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, String> {
        let target = request.uri().path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = target.parse::<Uri>().map_err(|error| error.to_string())?;
        let (head, body) = self.upstream.send_to(request, PATIENCE).await?.into_parts();
        let body = tokio::time::timeout(PATIENCE, Limited::new(body, ANSWER_MAX).collect());
        let body = body.await.map_err(|_| "the answer did not end")?.map_err(|error| error.to_string())?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let done = self.exchange(request).await;
        match &done {
            Ok(answer) if answer.status().is_success() => drop(self.take_failure()),
            // As the protocol says which of them pass.
            Ok(answer) => {
                let status = answer.status();
                self.failed(format!("it answers {status}"), [429, 502, 503, 504].contains(&status.as_u16()));
            }
            Err(error) => self.failed(error.clone(), true),
        }
        Ok(done?)
    }
}
