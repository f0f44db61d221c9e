//! Requests of the client, from their arrival to the end of their answer.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Method, Response, StatusCode};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::conversation::Conversation;
use super::headers::{self, Mirrors};
use super::sse::{Event, Events};
use super::{Front, QUEUE, Reply, SESSION_ID, json, plain};
use crate::mcp::gate::Out;
use crate::mcp::lines::LINE_MAX;
use crate::mcp::reply::{self, Code};
use crate::mcp::wire::{Id, Message};
use crate::text::escape;

/// JSON-RPC's code for headers that do not repeat the body.
const HEADER_MISMATCH: i32 = -32020;

/// How long the server may think before it begins to answer.
const THINK: Duration = Duration::from_secs(600);

/// A request of the client on its way through.
struct Exchange {
    front: Rc<Front>,
    conversation: Arc<Conversation>,
    id: Id,
    headers: HeaderMap,
    mirrors: Mirrors,
    /// How the server answered: its status and headers.
    answered: Option<(StatusCode, HeaderMap)>,
    /// The client's end: not begun, or a stream.
    head: Option<oneshot::Sender<Response<Reply>>>,
    parts: Option<mpsc::Sender<Bytes>>,
}

/// What to do after a message.
#[derive(PartialEq)]
enum Then {
    GoOn,
    /// The answer was sent, or nobody wants it.
    End,
}

impl Front {
    pub(super) async fn posted(self: &Rc<Self>, headers: HeaderMap, line: Vec<u8>) -> Response<Reply> {
        let name = match session(&headers) {
            Ok(name) => name,
            Err(line) => return plain(StatusCode::BAD_REQUEST, line),
        };
        // The gate reads it strictly; what it lets pass reads the same here.
        let body: Value = serde_json::from_slice(&line).unwrap_or_default();
        let id = match Message::parse(&line) {
            Ok(Message::Request { id, .. }) => Some(id),
            Ok(_) => None,
            Err((error, id)) => {
                let line =
                    reply::error(id.as_ref(), Code::Malformed, &format!("authz refused a message: {error}"));
                return json(StatusCode::BAD_REQUEST, line);
            }
        };
        let mirrors = match headers::agree(&headers, &body) {
            Ok(mirrors) => mirrors,
            Err(why) => return mismatch(id.as_ref(), &why),
        };
        let conversation = self.conversations.find(name.as_deref());
        let Some(id) = id else { return self.told(conversation, &headers, &mirrors, line).await };
        let (sender, out) = mpsc::unbounded_channel();
        if !conversation.wait_for(&id, sender) {
            let line =
                reply::error(Some(&id), Code::InUse, "the id is that of a request that has no answer yet");
            return json(StatusCode::BAD_REQUEST, line);
        }
        let (head, begun) = oneshot::channel();
        let exchange = Exchange {
            front: self.clone(),
            conversation,
            id,
            headers,
            mirrors,
            answered: None,
            head: Some(head),
            parts: None,
        };
        tokio::task::spawn_local(exchange.run(line, out));
        begun.await.unwrap_or_else(|_| plain(StatusCode::BAD_GATEWAY, "the gate failed"))
    }

    /// A notification, or an answer to the server.
    async fn told(
        &self,
        conversation: Arc<Conversation>,
        headers: &HeaderMap,
        mirrors: &Mirrors,
        line: Vec<u8>,
    ) -> Response<Reply> {
        let mut response = plain(StatusCode::ACCEPTED, "");
        for out in conversation.client(line).await {
            let Out::Server { line, .. } = out else { continue };
            let sent = match headers::onward(headers, mirrors, &line) {
                Ok(headers) => self.upstream.send(Method::POST, headers, Some(line), THINK).await,
                Err(why) => return mismatch(None, &why),
            };
            match sent {
                Ok(answer) => *response.status_mut() = answer.status(),
                Err(error) => return lost(None, &error),
            }
        }
        *response.body_mut() = Reply::Whole(Bytes::new().into());
        response
    }

    /// The server's own stream.
    pub(super) async fn listened(self: &Rc<Self>, headers: HeaderMap) -> Response<Reply> {
        let Ok(Some(name)) = session(&headers) else {
            return plain(StatusCode::METHOD_NOT_ALLOWED, "without Mcp-Session-Id there is no stream");
        };
        let conversation = self.conversations.find(Some(&name));
        let answer = match self.upstream.send(Method::GET, headers::pass(&headers), None, THINK).await {
            Ok(answer) => answer,
            Err(error) => return lost(None, &error),
        };
        if !is_stream(&answer) {
            return passed(answer).await;
        }
        let (parts, body) = mpsc::channel(QUEUE);
        let response = streaming(answer.headers(), body);
        let front = self.clone();
        tokio::task::spawn_local(async move {
            let mut stream = Stream::new(answer.into_body());
            while let Some(event) = stream.next().await {
                let Some(message) = event.message() else {
                    if parts.send(event.encode().into()).await.is_err() {
                        return;
                    }
                    continue;
                };
                for out in conversation.server(message.as_bytes().to_vec()).await {
                    match out {
                        Out::Client { line, .. } => {
                            if parts.send(event.with(&line).encode().into()).await.is_err() {
                                return;
                            }
                        }
                        Out::Server { line, .. } => front.tell_server(&headers, line).await,
                        Out::Note(_) => {}
                    }
                }
            }
        });
        response
    }

    /// The client ends the conversation.
    pub(super) async fn ended(&self, headers: HeaderMap) -> Response<Reply> {
        let name = session(&headers).ok().flatten();
        match self.upstream.send(Method::DELETE, headers::pass(&headers), None, THINK).await {
            Ok(answer) => {
                if let Some(name) = name.filter(|_| answer.status().is_success()) {
                    self.conversations.end(&name);
                }
                passed(answer).await
            }
            Err(error) => lost(None, &error),
        }
    }

    /// An answer of the gate's own to a request of the server.
    async fn tell_server(&self, headers: &HeaderMap, line: Vec<u8>) {
        let mut own = HeaderMap::new();
        for name in [SESSION_ID, "authorization", "mcp-protocol-version", "accept"] {
            if let Some(value) = headers.get(name) {
                own.insert(hyper::header::HeaderName::from_static(name), value.clone());
            }
        }
        if let Err(error) = self.upstream.send(Method::POST, own, Some(line), THINK).await {
            eprintln!("authz: the server could not be told: {}", escape(&error));
        }
    }
}

impl Exchange {
    async fn run(mut self, line: Vec<u8>, mut queue: mpsc::UnboundedReceiver<Out>) {
        for out in self.conversation.client(line).await {
            self.deliver(out, None).await;
        }
        let mut then = Then::GoOn;
        while then == Then::GoOn {
            // A client that is gone waits for nothing that is held; what has come for it is dealt with first.
            let next = tokio::select! {
                biased;
                next = queue.recv() => next,
                () = gone(&mut self.head, &self.parts) => None,
            };
            then = match next {
                Some(Out::Server { line, about: Some(_) }) => self.forward(line, &mut queue).await,
                Some(out) => self.deliver(out, None).await,
                None => {
                    self.withdraw().await;
                    Then::End
                }
            };
        }
        self.conversation.forget(&self.id);
        // If it is over with this request, its end asks the daemon.
        let conversation = self.conversation.clone();
        drop(self);
        tokio::task::spawn_blocking(move || drop(conversation));
    }

    /// The client is gone: as if it had taken the request back.
    async fn withdraw(&self) {
        let id = &self.id;
        let line = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
        );
        drop(self.conversation.client(line.into_bytes()).await);
    }

    /// The request goes to the server, and its answer comes back.
    async fn forward(&mut self, line: Vec<u8>, queue: &mut mpsc::UnboundedReceiver<Out>) -> Then {
        let lasts = self.lasts();
        let sent = match headers::onward(&self.headers, &self.mirrors, &line) {
            Ok(headers) => tokio::select! {
                sent = self.front.upstream.send(Method::POST, headers, Some(line), THINK) => sent,
                () = gone(&mut self.head, &self.parts), if !lasts => Err("the client is gone".into()),
            },
            Err(why) => Err(why),
        };
        let answer = match sent {
            Ok(answer) => answer,
            Err(error) => return self.failed(StatusCode::BAD_GATEWAY, &error).await,
        };
        let status = answer.status();
        if let Some(name) = answer.headers().get(SESSION_ID).and_then(|name| name.to_str().ok())
            && status.is_success()
            && !self.headers.contains_key(SESSION_ID)
        {
            self.front.conversations.keep(name, self.conversation.clone());
        }
        self.answered = Some((status, headers::pass(answer.headers())));
        if is_stream(&answer) && status.is_success() {
            return self.stream(answer.into_body(), queue).await;
        }
        let Ok(body) = Limited::new(answer.into_body(), LINE_MAX).collect().await else {
            return self.failed(StatusCode::BAD_GATEWAY, "its answer does not arrive whole").await;
        };
        let body = body.to_bytes().to_vec();
        if status.is_redirection() || !self.is_answer(&body) {
            let status = if status.is_client_error() || status.is_server_error() {
                status
            } else {
                StatusCode::BAD_GATEWAY
            };
            return self.failed(status, &format!("it answered with HTTP {}", status.as_u16())).await;
        }
        // What the gate makes of it comes by the queue.
        drop(self.conversation.server(body).await);
        Then::GoOn
    }

    /// Whether the request may outlive its connection. In a conversation with a name a client that is gone has taken
    /// nothing back: the server goes on, and the call is open until it has answered. Without one, that was all.
    fn lasts(&self) -> bool {
        self.headers.contains_key(SESSION_ID)
    }

    /// The server answers by a stream. It may end before the answer, if the client can come for the rest by GET.
    async fn stream(&mut self, body: Incoming, queue: &mut mpsc::UnboundedReceiver<Out>) -> Then {
        let mut stream = Stream::new(body);
        let (lasts, mut resumable) = (self.lasts(), false);
        loop {
            let event = tokio::select! {
                event = stream.next() => event,
                () = gone(&mut self.head, &self.parts), if !lasts => None,
            };
            let Some(event) = event else { break };
            resumable |= event.resumable();
            let Some(message) = event.message() else {
                if self.send(event.encode()).await == Then::End {
                    return Then::End;
                }
                continue;
            };
            let mut out = self.conversation.server(message.as_bytes().to_vec()).await;
            while let Ok(own) = queue.try_recv() {
                out.push(own);
            }
            for out in out {
                if self.deliver(out, Some(&event)).await == Then::End {
                    return Then::End;
                }
            }
        }
        if lasts && resumable {
            return Then::End;
        }
        self.failed(StatusCode::BAD_GATEWAY, "its stream ended before").await
    }

    /// Something of the gate's for either side.
    async fn deliver(&mut self, out: Out, event: Option<&Event>) -> Then {
        match out {
            Out::Client { line, .. } if self.is_answer(&line) => self.finish(line, event).await,
            Out::Client { line, .. } => {
                let event = event.map_or_else(|| Event::own(&line), |event| event.with(&line));
                self.send(event.encode()).await
            }
            Out::Server { line, .. } => {
                self.front.tell_server(&self.headers, line).await;
                Then::GoOn
            }
            Out::Note(_) => Then::GoOn,
        }
    }

    fn is_answer(&self, line: &[u8]) -> bool {
        match Message::parse(line) {
            Ok(Message::Response { id: Some(id), .. }) => id.key() == self.id.key(),
            _ => false,
        }
    }

    /// The answer: all of a body, or the stream's last event.
    async fn finish(&mut self, line: Vec<u8>, event: Option<&Event>) -> Then {
        if self.parts.is_none() && event.is_none() {
            let (status, passing) = self.answered.take().unwrap_or((StatusCode::OK, HeaderMap::new()));
            let mut response = json(status, line);
            for (name, value) in &passing {
                response.headers_mut().append(name.clone(), value.clone());
            }
            if let Some(head) = self.head.take() {
                // A client that has gone needs no answer.
                head.send(response).ok();
            }
            return Then::End;
        }
        let event = event.map_or_else(|| Event::own(&line), |event| event.with(&line));
        self.send(event.encode()).await;
        Then::End
    }

    /// A part of a stream, which begins with it.
    async fn send(&mut self, part: Vec<u8>) -> Then {
        if let Some(head) = self.head.take() {
            let (parts, body) = mpsc::channel(QUEUE);
            let passing = self.answered.take().map(|(_, passing)| passing).unwrap_or_default();
            // Whoever is gone has dropped the other end of it.
            head.send(streaming(&passing, body)).ok();
            self.parts = Some(parts);
        }
        match &self.parts {
            Some(parts) if parts.send(part.into()).await.is_ok() => Then::GoOn,
            _ if self.lasts() => Then::GoOn,
            _ => Then::End,
        }
    }

    /// The server gave no answer: the gate closes the call, and the client hears it with the server's status.
    async fn failed(&mut self, status: StatusCode, why: &str) -> Then {
        let why = format!("the server gave no answer: {}", escape(why));
        let line = reply::error(Some(&self.id), Code::Lost, &why);
        let passing = self.answered.take().map(|(_, passing)| passing).unwrap_or_default();
        self.answered = Some((status, passing));
        drop(self.conversation.server(line).await);
        Then::GoOn
    }
}

/// Ends when the client is gone.
async fn gone(head: &mut Option<oneshot::Sender<Response<Reply>>>, parts: &Option<mpsc::Sender<Bytes>>) {
    match (head, parts) {
        (Some(head), _) => head.closed().await,
        (None, Some(parts)) => parts.closed().await,
        (None, None) => std::future::pending().await,
    }
}

/// Events of a body.
struct Stream {
    body: Incoming,
    events: Events,
}

impl Stream {
    fn new(body: Incoming) -> Self {
        Self { body, events: Events::default() }
    }

    /// The next one; none at the end, or if the stream broke.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.events.next() {
                return Some(event);
            }
            let frame = self.body.frame().await?.ok()?;
            if let Some(part) = frame.data_ref()
                && let Err(error) = self.events.push(part, LINE_MAX)
            {
                eprintln!("authz: a stream of the server was ended: {error}");
                return None;
            }
        }
    }
}

/// The conversation that the client names.
fn session(headers: &HeaderMap) -> Result<Option<String>, &'static str> {
    let mut names = headers.get_all(SESSION_ID).iter();
    match (names.next(), names.next()) {
        (None, _) => Ok(None),
        (Some(name), None) => {
            name.to_str().map(|name| Some(name.to_owned())).map_err(|_| "Mcp-Session-Id is not text")
        }
        _ => Err("Mcp-Session-Id stands twice"),
    }
}

fn is_stream(answer: &Response<Incoming>) -> bool {
    let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/event-stream")
}

fn streaming(passing: &HeaderMap, body: mpsc::Receiver<Bytes>) -> Response<Reply> {
    let mut response = Response::new(Reply::Parts(body));
    *response.headers_mut() = headers::pass(passing);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// An answer without a message, as the server gave it.
async fn passed(answer: Response<Incoming>) -> Response<Reply> {
    let (status, headers) = (answer.status(), headers::pass(answer.headers()));
    if status.is_redirection() {
        return lost(None, "it redirects, which is not followed");
    }
    let body = Limited::new(answer.into_body(), LINE_MAX).collect().await.map(|body| body.to_bytes());
    let mut response = Response::new(Reply::Whole(body.unwrap_or_default().into()));
    (*response.status_mut(), *response.headers_mut()) = (status, headers);
    response
}

fn mismatch(id: Option<&Id>, why: &str) -> Response<Reply> {
    let id = id.map_or("null", Id::raw);
    let error = serde_json::json!({ "code": HEADER_MISMATCH, "message": format!("Header mismatch: {}", escape(why)) });
    json(StatusCode::BAD_REQUEST, format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#).into_bytes())
}

fn lost(id: Option<&Id>, why: &str) -> Response<Reply> {
    let line = reply::error(id, Code::Lost, &format!("the server cannot be reached: {}", escape(why)));
    json(StatusCode::BAD_GATEWAY, line)
}
