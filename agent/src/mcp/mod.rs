//! The gate between an agent and an MCP server: it judges what the agent asks of the server, before the server
//! sees it, and tells the agent what was denied underneath.
//!
//! ```text
//! client --> wire::Message --> Gate --> Out::Server      a line, byte for byte or from the judged value
//!        <-- Out::Client  <--  Gate <-- wire::Message    the server's line, or an answer of the gate's own
//!                               |
//!                             Judge                      the daemon: open, wait, withdraw, close
//! ```
//!
//! [`Gate`] is a state machine without a transport or a thread, and looks at a clock only to give up tasks that are
//! silent: each of its methods takes one event and returns what is to be sent. A transport has one gate for each connection and
//!
//! * hands every message of the client to [`Gate::client`] and every one of the server to [`Gate::server`], as
//!   bytes without the line's end ([`lines`] reads them bounded; [`Gate::unreadable`] for one that was too long),
//! * runs [`Judge::wait`] in the background, and hands the answer to [`Gate::answered`],
//! * says when either side is gone: [`Gate::client_gone`], [`Gate::server_gone`]; and
//!   [`Gate::server_ended`], where that is the end of the server itself,
//! * sends what comes back, in order. [`Out`] names the client's request that a message is about, for transports
//!   where an answer has a place of its own.
//!
//! Gates of one listener share a [`Shared`]: the questions that were answered with `input_required`, whose retry may
//! come by another connection, the tasks that calls have become, and what the server's tools say of themselves.
//!
//! Both generations of the protocol are spoken, by what each message says of itself: 2026-07-28 has its version in
//! every request's `_meta`, anything else is the older kind.
//!
//! | module | has |
//! |---|---|
//! | [`wire`] | JSON-RPC, read so that nobody can read it differently |
//! | [`lines`] | lines of a stream that may never end one |
//! | [`methods`] | what is judged, what passes; the rest is refused |
//! | [`judge`] | what the gate asks of the daemon |
//! | [`reply`] | the messages that the gate makes itself |
//! | [`request`] | a request that is judged: validated, and written anew |
//! | [`shared`] | what the gates of one listener have in common |
//! | [`gate`] | the state machine |
//! | [`daemon`] | the judge: a connection to the daemon |
//! | [`stdio`] | the transport for a server that speaks on its standard input and output |
//! | [`http`] | the transport for a server behind Streamable HTTP |

pub mod daemon;
pub mod gate;
pub mod http;
pub mod judge;
pub mod lines;
pub mod methods;
pub mod reply;
pub mod request;
pub mod shared;
pub mod stdio;
pub mod wire;

pub use gate::{Gate, Options, Out};
pub use judge::Judge;
pub use shared::Shared;
