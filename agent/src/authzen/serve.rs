//! The listeners. On the Unix socket the same peers may ask as on the control socket: root and a session's owner,
//! no process of a session. Over loopback it takes the bearer token, and who has it asks as the daemon's own user;
//! the `Host` must name the loopback address, and there must be no `Origin`, so that no web page can ask.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, ORIGIN};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, oneshot};

use super::answer;
use super::token::Token;
use super::wire::{self, Asked, Semantics, WireError};
use crate::control;
use crate::sys::peer::{Peer, peer_of};
use crate::web;

/// The longest body, in bytes.
const BODY_MAX: usize = 1 << 20;

/// How long a request may take to arrive, headers and body each.
const ARRIVAL: Duration = Duration::from_secs(10);

/// How many connections are served at once; the rest waits.
const CONNECTIONS: usize = 64;

const EVALUATION: &str = "/access/v1/evaluation";
const EVALUATIONS: &str = "/access/v1/evaluations";
const CONFIGURATION: &str = "/.well-known/authzen-configuration";
const REQUEST_ID: &str = "x-request-id";

/// Where questions come in.
pub struct Listeners {
    /// The socket beside the control socket.
    pub unix: UnixListener,
    /// Loopback, with its secret.
    pub http: Option<(TcpListener, Token)>,
}

/// How a connection came.
struct Door<A> {
    ask: A,
    peer: Peer,
    /// Over loopback: where, and the secret.
    http: Option<(SocketAddr, Token)>,
}

/// A response that is no answer: the status and a line.
struct Refused(StatusCode, String);

impl From<WireError> for Refused {
    fn from(error: WireError) -> Self {
        Self(StatusCode::BAD_REQUEST, error.to_string())
    }
}

/// Serves until the process ends. `ask` hands a request to the loop.
pub async fn serve(listeners: Listeners, ask: impl Fn(control::Asked) + Clone + 'static) -> io::Result<()> {
    let Listeners { unix, http } = listeners;
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let address = http.as_ref().map(|(listener, _)| listener.local_addr()).transpose()?;
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async move {
            loop {
                // Never closed.
                let Ok(place) = room.clone().acquire_owned().await else { return Ok(()) };
                let accept_tcp = async {
                    match &http {
                        Some((listener, _)) => listener.accept().await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    accepted = unix.accept() => {
                        let Some((stream, _)) = web::or_later(accepted).await else { continue };
                        // A peer that is gone has nothing to ask.
                        let Ok(peer) = peer_of(&stream) else { continue };
                        let door = Door { ask: ask.clone(), peer, http: None };
                        tokio::task::spawn_local(async move { connection(stream, door).await; drop(place) });
                    }
                    accepted = accept_tcp => {
                        let Some((stream, _)) = web::or_later(accepted).await else { continue };
                        let http = address.zip(http.as_ref().map(|(_, token)| token.clone()));
                        let door = Door { ask: ask.clone(), peer: Peer::own()?, http };
                        tokio::task::spawn_local(async move { connection(stream, door).await; drop(place) });
                    }
                }
            }
        })
        .await
}

async fn connection<A: Fn(control::Asked)>(stream: impl AsyncRead + AsyncWrite + Unpin, door: Door<A>) {
    let door = &door;
    let service =
        hyper::service::service_fn(|request| async move { Ok::<_, Infallible>(door.respond(request).await) });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ARRIVAL)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection of the decision API ended");
    }
}

impl<A: Fn(control::Asked)> Door<A> {
    async fn respond(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let id = request.headers().get(REQUEST_ID).cloned();
        let (status, kind, body) = match self.answer(request).await {
            Ok(value) => (StatusCode::OK, "application/json", value.to_string()),
            Err(Refused(status, line)) => (status, "text/plain; charset=utf-8", format!("{line}\n")),
        };
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(hyper::header::WWW_AUTHENTICATE, scheme);
        }
        if let Some(id) = id {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        response
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Value, Refused> {
        let (head, body) = request.into_parts();
        // Read before anything is refused: a client that still writes would not hear why.
        let body = arrived(body).await?;
        self.guard(&head.headers)?;
        let decide = match (&head.method, head.uri.path()) {
            (&Method::GET, CONFIGURATION) => return Ok(self.configuration()),
            (&Method::POST, EVALUATION) => wire::evaluation,
            (&Method::POST, EVALUATIONS) => wire::evaluations,
            (_, EVALUATION | EVALUATIONS | CONFIGURATION) => {
                return Err(Refused(StatusCode::METHOD_NOT_ALLOWED, "this path has another method".into()));
            }
            _ => return Err(Refused(StatusCode::NOT_FOUND, "there is nothing here".into())),
        };
        self.authorize(&head.headers)?;
        is_json(&head.headers)?;
        self.decide(decide(&body)?).await
    }

    /// What a web page could send is refused before anything else is looked at.
    fn guard(&self, headers: &HeaderMap) -> Result<(), Refused> {
        let Some((address, _)) = &self.http else { return Ok(()) };
        let refused = |line: &str| Err(Refused(StatusCode::FORBIDDEN, line.into()));
        if headers.contains_key(ORIGIN) {
            return refused("web pages may not ask");
        }
        if web::is_host(headers.get_all(HOST), *address) {
            Ok(())
        } else {
            refused("the Host is not this loopback address")
        }
    }

    fn authorize(&self, headers: &HeaderMap) -> Result<(), Refused> {
        let Some((_, token)) = &self.http else { return Ok(()) };
        let mut given = headers.get_all(AUTHORIZATION).iter();
        match (given.next(), given.next()) {
            (Some(header), None) if token.is_in(header.as_bytes()) => Ok(()),
            _ => Err(Refused(StatusCode::UNAUTHORIZED, "send the token: Authorization: Bearer TOKEN".into())),
        }
    }

    fn configuration(&self) -> Value {
        let base = match &self.http {
            Some((address, _)) => format!("http://{address}"),
            None => "http://localhost".to_owned(),
        };
        json!({
            "policy_decision_point": base,
            "access_evaluation_endpoint": format!("{base}{EVALUATION}"),
            "access_evaluations_endpoint": format!("{base}{EVALUATIONS}"),
        })
    }

    async fn decide(&self, request: wire::Request) -> Result<Value, Refused> {
        match request {
            wire::Request::One(asked) => self.ask(*asked).await,
            wire::Request::Several(items, semantics) => self.series(items, semantics).await,
        }
    }

    async fn series(
        &self,
        items: Vec<Result<Asked, WireError>>,
        semantics: Semantics,
    ) -> Result<Value, Refused> {
        let mut answers = Vec::new();
        for item in items {
            let answered = match item {
                Ok(asked) => self.ask(asked).await,
                Err(error) => Err(error.into()),
            };
            let answer =
                answered.unwrap_or_else(|Refused(status, line)| answer::refusal(status.as_u16(), &line));
            let last = semantics.ends_at(answer["decision"] == true);
            answers.push(answer);
            if last {
                break;
            }
        }
        Ok(json!({ "evaluations": answers }))
    }

    /// Hands one question to the loop.
    async fn ask(&self, asked: Asked) -> Result<Value, Refused> {
        let failed = |line: String| Refused(StatusCode::INTERNAL_SERVER_ERROR, line);
        let peer = self.peer.try_clone().map_err(|error| failed(error.to_string()))?;
        let Asked { question, session, rewrites } = asked;
        let request = control::Request::Evaluate { session, question: Box::new(question), rewrites };
        let (reply, response) = oneshot::channel();
        (self.ask)(control::Asked { peer, door: control::Door::Control, request, reply });
        match response.await {
            Ok(control::Response::Evaluated(evaluated)) => Ok(answer::answer(&evaluated)),
            Ok(control::Response::Error { error }) => Err(Refused(StatusCode::FORBIDDEN, error)),
            Ok(_) => Err(failed("a response of another kind".into())),
            Err(_) => Err(failed("the daemon is ending".into())),
        }
    }
}

async fn arrived(body: Incoming) -> Result<Bytes, Refused> {
    match tokio::time::timeout(ARRIVAL, Limited::new(body, BODY_MAX).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let line = format!("the body is longer than {BODY_MAX} bytes");
            Err(Refused(StatusCode::PAYLOAD_TOO_LARGE, line))
        }
        Ok(Err(_)) => Err(Refused(StatusCode::BAD_REQUEST, "the body does not arrive whole".into())),
        Err(_) => Err(Refused(StatusCode::REQUEST_TIMEOUT, "the body takes too long".into())),
    }
}

fn is_json(headers: &HeaderMap) -> Result<(), Refused> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        Ok(())
    } else {
        Err(Refused(StatusCode::BAD_REQUEST, "the Content-Type is not application/json".into()))
    }
}
