//! The transport for a server behind Streamable HTTP: a listener on loopback, and one upstream.
//!
//! ```text
//! POST   --> headers and body agree --> Gate --> POST to the server, its answer (JSON or events) --> Gate --> client
//! GET    --> the server's stream of events, each through the gate
//! DELETE --> the server; the conversation is over
//! ```
//!
//! A conversation has a gate of its own: the one that the server names by `Mcp-Session-Id`, and where there is none
//! (2026-07-28) each request. The client's headers pass, but for those of a connection and those that mirror the
//! body, which are written anew from what is sent. Redirects are not followed: the policy knows one upstream.

mod conversation;
mod exchange;
mod headers;
mod sse;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HOST, HeaderValue, ORIGIN};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Semaphore, mpsc};

use super::gate::Options;
use super::lines::LINE_MAX;
use super::reply::{self, Code};
use crate::web;
use crate::web::upstream::Upstream;
use conversation::Conversations;

/// How long a request may take to arrive, headers and body each.
const ARRIVAL: Duration = Duration::from_secs(10);

/// How many connections are served at once; the rest waits.
const CONNECTIONS: usize = 256;

/// Parts of a streamed answer that wait for the client; then the server waits.
const QUEUE: usize = 16;

/// Where the protocol's conversation is named.
const SESSION_ID: &str = "mcp-session-id";

/// What a listener needs to know.
pub struct Setup {
    /// How the gates judge.
    pub gate: Options,
    /// The daemon's socket.
    pub socket: PathBuf,
    /// The server.
    pub upstream: Upstream,
}

/// A body that is whole, or comes in parts.
pub(crate) enum Reply {
    /// At once.
    Whole(Full<Bytes>),
    /// As it comes.
    Parts(mpsc::Receiver<Bytes>),
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(body) => std::pin::Pin::new(body).poll_frame(context),
            Self::Parts(parts) => {
                parts.poll_recv(context).map(|part| part.map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }
}

/// Serves until the process ends. It has to run on one thread's `LocalSet`.
pub async fn serve(listener: tokio::net::TcpListener, setup: Setup) -> std::io::Result<()> {
    let address = listener.local_addr()?;
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let front = Rc::new(Front {
        address,
        conversations: Conversations::new(setup.gate, setup.socket),
        upstream: setup.upstream,
    });
    loop {
        // Never closed.
        let Ok(place) = room.clone().acquire_owned().await else { return Ok(()) };
        let Some((stream, _)) = web::or_later(listener.accept().await).await else { continue };
        let front = front.clone();
        tokio::task::spawn_local(async move {
            let service = hyper::service::service_fn(|request| {
                let front = front.clone();
                async move { Ok::<_, Infallible>(front.respond(request).await) }
            });
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(ARRIVAL)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "a connection of the gate ended");
            }
            drop(place);
        });
    }
}

/// The listener's side of things.
struct Front {
    address: SocketAddr,
    conversations: Conversations,
    upstream: Upstream,
}

impl Front {
    async fn respond(self: &Rc<Self>, request: Request<Incoming>) -> Response<Reply> {
        if !web::is_host(request.headers().get_all(HOST), self.address) {
            return plain(StatusCode::FORBIDDEN, "the Host is not this loopback address");
        }
        if !web::is_local_origin(request.headers().get_all(ORIGIN)) {
            return plain(StatusCode::FORBIDDEN, "web pages of other hosts may not ask");
        }
        if request.uri().path() != self.upstream.path() {
            return plain(StatusCode::NOT_FOUND, "the server is at another path");
        }
        let (head, body) = request.into_parts();
        match head.method {
            Method::POST => match arrived(&head.headers, body).await {
                Ok(line) => self.posted(head.headers, line).await,
                Err(refused) => refused,
            },
            Method::GET => self.listened(head.headers).await,
            Method::DELETE => self.ended(head.headers).await,
            _ => {
                let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "POST, GET or DELETE");
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST, GET, DELETE"));
                response
            }
        }
    }
}

async fn arrived(headers: &HeaderMap, body: Incoming) -> Result<Vec<u8>, Response<Reply>> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        return Err(plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the Content-Type is not application/json"));
    }
    match tokio::time::timeout(ARRIVAL, Limited::new(body, LINE_MAX).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes().to_vec()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            let line = reply::error(None, Code::Malformed, "authz refused a message: it is too long");
            Err(json(StatusCode::PAYLOAD_TOO_LARGE, line))
        }
        Ok(Err(_)) | Err(_) => Err(plain(StatusCode::BAD_REQUEST, "the body does not arrive whole")),
    }
}

fn plain(status: StatusCode, line: &'static str) -> Response<Reply> {
    whole(status, "text/plain; charset=utf-8", format!("{line}\n").into_bytes())
}

fn json(status: StatusCode, line: Vec<u8>) -> Response<Reply> {
    whole(status, "application/json", line)
}

fn whole(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Response<Reply> {
    let mut response = Response::new(Reply::Whole(Full::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
