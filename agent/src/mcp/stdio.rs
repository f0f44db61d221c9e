//! The transport for a server that speaks on its standard input and output: one loop, a thread for each stream.
//!
//! When the client closes its end, the server's input is closed, as the client would have; a server that stays gets
//! SIGTERM after a while, and then SIGKILL. When the server ends, nobody is left waiting.

use std::io::{BufReader, Read, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use uuid::Uuid;

use super::gate::{Gate, Out};
use super::judge::{CallView, Judge};
use super::lines::{self, LINE_MAX, Line};
use crate::text::escape;

/// How long a server may stay after its input was closed, and after a signal.
const GRACE: Duration = Duration::from_secs(5);

/// How long what a server has left behind is read after its end.
const REST: Duration = Duration::from_millis(500);

/// Messages that wait for the loop or for a stream; who sends more waits.
const QUEUE: usize = 256;

/// What the loop sees.
#[derive(Debug)]
pub enum Event {
    /// A line of the client; none: it sends no more.
    Client(Option<Line>),
    /// A line of the server; none: it sends no more.
    Server(Option<Line>),
    /// The answer to a call that was held.
    Answered(Uuid, Result<CallView, String>),
    /// The server's process has ended.
    Ended,
}

/// The four ends of two conversations.
pub struct Ends<R, W, S, T> {
    /// What the client says.
    pub client_in: R,
    /// What it hears.
    pub client_out: W,
    /// What the server says.
    pub server_out: S,
    /// What it hears.
    pub server_in: T,
}

/// The loop's mailbox.
pub fn mailbox() -> (SyncSender<Event>, Receiver<Event>) {
    sync_channel(QUEUE)
}

struct Relay<J> {
    gate: Gate<J>,
    client: Option<SyncSender<Vec<u8>>>,
    server: Option<SyncSender<Vec<u8>>>,
    /// When to be less patient with the server.
    deadline: Option<Instant>,
    ended: bool,
    server_silent: bool,
}

/// Carries messages until the server has ended (an [`Event::Ended`] says so). `signal` sends it one.
pub fn relay<J: Judge>(
    gate: Gate<J>,
    ends: Ends<
        impl Read + Send + 'static,
        impl Write + Send + 'static,
        impl Read + Send + 'static,
        impl Write + Send + 'static,
    >,
    (sender, events): (SyncSender<Event>, Receiver<Event>),
    signal: impl Fn(Signal),
) -> std::io::Result<()> {
    reader("authz-client", ends.client_in, sender.clone(), Event::Client)?;
    reader("authz-server", ends.server_out, sender, Event::Server)?;
    let (client, client_writer) = writer("authz-to-client", ends.client_out)?;
    let (server, _) = writer("authz-to-server", ends.server_in)?;
    let mut relay = Relay {
        gate,
        client: Some(client),
        server: Some(server),
        deadline: None,
        ended: false,
        server_silent: false,
    };
    let mut signals = [Signal::SIGTERM, Signal::SIGKILL].into_iter();
    while !(relay.ended && relay.server_silent) {
        let wait = relay.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let event = match wait {
            Some(wait) => events.recv_timeout(wait),
            None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match event {
            Ok(event) => relay.event(event),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) if relay.ended => relay.server_is_silent(),
            Err(RecvTimeoutError::Timeout) => {
                relay.deadline = signals.next().map(|next| {
                    signal(next);
                    Instant::now() + GRACE
                });
            }
        }
    }
    // What is written to the client is written before this process ends.
    drop(relay);
    client_writer.join().ok();
    Ok(())
}

impl<J: Judge> Relay<J> {
    fn event(&mut self, event: Event) {
        match event {
            Event::Client(Some(Line::Whole(line))) => {
                let out = self.gate.client(&line);
                self.send(out);
            }
            Event::Client(Some(Line::TooLong)) => {
                let out = self.gate.unreadable();
                self.send(out);
            }
            Event::Client(None) => self.client_is_gone(),
            Event::Server(Some(Line::Whole(line))) => {
                let out = self.gate.server(&line);
                self.send(out);
            }
            Event::Server(Some(Line::TooLong)) => {
                // Somebody waits for it, and nobody can tell who.
                note("the server sent a message that is too long; nothing more is taken from it");
                self.server_is_silent();
            }
            Event::Server(None) => self.server_is_silent(),
            Event::Answered(call, view) => {
                let out = self.gate.answered(call, view);
                self.send(out);
            }
            Event::Ended => {
                self.ended = true;
                self.deadline = Some(Instant::now() + REST);
            }
        }
    }

    fn client_is_gone(&mut self) {
        let out = self.gate.client_gone();
        self.send(out);
        self.server = None;
        self.deadline.get_or_insert(Instant::now() + GRACE);
    }

    fn server_is_silent(&mut self) {
        if !std::mem::replace(&mut self.server_silent, true) {
            let out = self.gate.server_gone();
            self.gate.server_ended();
            self.send(out);
            self.server = None;
            self.deadline.get_or_insert(Instant::now() + GRACE);
        }
    }

    fn send(&mut self, out: Vec<Out>) {
        for message in out {
            match message {
                Out::Note(text) => note(&text),
                Out::Server { line, .. } => pass(&mut self.server, line),
                Out::Client { line, .. } => {
                    pass(&mut self.client, line);
                    if self.client.is_none() && self.server.is_some() {
                        // It does not listen any more: as if it had closed its end.
                        self.server = None;
                        self.deadline.get_or_insert(Instant::now() + GRACE);
                    }
                }
            }
        }
    }
}

fn note(text: &str) {
    eprintln!("authz: {}", escape(text));
}

/// Hands a line to a writer; one that has failed is no more.
fn pass(to: &mut Option<SyncSender<Vec<u8>>>, line: Vec<u8>) {
    if to.as_ref().is_some_and(|queue| queue.send(line).is_err()) {
        *to = None;
    }
}

fn reader(
    name: &str,
    stream: impl Read + Send + 'static,
    to: SyncSender<Event>,
    event: fn(Option<Line>) -> Event,
) -> std::io::Result<()> {
    let read = move || {
        let mut stream = BufReader::with_capacity(1 << 16, stream);
        // A stream that fails has ended.
        while let Ok(Some(line)) = lines::next(&mut stream, LINE_MAX) {
            if to.send(event(Some(line))).is_err() {
                return;
            }
        }
        to.send(event(None)).ok();
    };
    Builder::new().name(name.into()).spawn(read).map(drop)
}

fn writer(
    name: &str,
    mut stream: impl Write + Send + 'static,
) -> std::io::Result<(SyncSender<Vec<u8>>, JoinHandle<()>)> {
    let (queue, lines) = sync_channel::<Vec<u8>>(QUEUE);
    let write = move || {
        for mut line in lines {
            line.push(b'\n');
            if stream.write_all(&line).and_then(|()| stream.flush()).is_err() {
                return;
            }
        }
    };
    Ok((queue, Builder::new().name(name.into()).spawn(write)?))
}
