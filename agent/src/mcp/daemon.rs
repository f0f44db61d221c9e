//! The judge: a daemon, asked over one of its sockets.

use std::path::{Path, PathBuf};
use std::time::Duration;

use uuid::Uuid;

use super::judge::{CallView, DenialView, Judge, Outcome, ToolCall};
use crate::control::{Client, REQUEST_MAX, Request, Response};

/// How long the daemon may take to decide.
const PATIENCE: Duration = Duration::from_secs(30);

/// A daemon. `answered` is called, in a thread of its own, with the answer to a call that was held.
pub struct Daemon<F> {
    socket: PathBuf,
    client: Option<Client>,
    answered: F,
}

impl<F> Daemon<F> {
    /// The daemon behind a socket.
    pub fn new(socket: &Path, answered: F) -> Self {
        Self { socket: socket.to_owned(), client: None, answered }
    }

    fn ask(&mut self, request: &Request) -> Result<Response, String> {
        let gone = |error: std::io::Error| format!("the daemon cannot be asked: {error}");
        let size = serde_json::to_vec(request).map_err(|error| error.to_string())?.len() as u64;
        if size >= REQUEST_MAX {
            return Err(format!("the call has {size} bytes, and at most {REQUEST_MAX} can be decided"));
        }
        let mut client = match self.client.take() {
            Some(client) => client,
            None => Client::within(&self.socket, PATIENCE).map_err(gone)?,
        };
        let response = client.ask(request).map_err(gone)?;
        // After an error the next response could be that to this request.
        self.client = Some(client);
        match response {
            Response::Error { error } => Err(error),
            response => Ok(response),
        }
    }

    fn tell(&mut self, request: &Request) {
        if let Err(error) = self.ask(request) {
            tracing::warn!(%error, ?request, "the daemon was not told");
        }
    }
}

impl<F: Fn(Uuid, Result<CallView, String>) + Clone + Send + 'static> Judge for Daemon<F> {
    fn open(&mut self, call: ToolCall) -> Result<CallView, String> {
        view(self.ask(&Request::OpenCall(Box::new(call)))?)
    }

    fn wait(&mut self, call: Uuid) {
        let (socket, answered) = (self.socket.clone(), self.answered.clone());
        let wait = move || {
            // The daemon has the deadline.
            let response =
                Client::connect(&socket).and_then(|mut client| client.ask(&Request::AwaitCall { call }));
            answered(call, response.map_err(|error| format!("the daemon is gone: {error}")).and_then(view));
        };
        let started = std::thread::Builder::new().name("authz-wait".into()).spawn(wait);
        if let Err(error) = started {
            (self.answered)(call, Err(format!("cannot wait: {error}")));
        }
    }

    fn withdraw(&mut self, call: Uuid) {
        self.tell(&Request::WithdrawCall { call });
    }

    fn elicited(&mut self, call: Uuid, action: &str) {
        self.tell(&Request::ElicitedCall { call, action: action.to_owned() });
    }

    fn close(&mut self, call: Uuid, outcome: Outcome) -> Vec<DenialView> {
        match self.ask(&Request::CloseCall { call: call.to_string(), outcome }) {
            Ok(Response::Closed { denials }) => denials,
            Ok(_) => Vec::new(),
            Err(error) => {
                tracing::warn!(%error, %call, "a call could not be closed");
                Vec::new()
            }
        }
    }
}

fn view(response: Response) -> Result<CallView, String> {
    match response {
        Response::Call(view) => Ok(view),
        Response::Error { error } => Err(error),
        _ => Err("the daemon gave a response of another kind".into()),
    }
}
