//! The decision API as a part of the daemon, and how a daemon that only serves it is ended. It has a thread and a
//! runtime of its own: a slow client cannot delay a decision.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use nix::sys::signal::{SigSet, Signal};

use super::{Mailbox, Message, listen};
use crate::authzen::{self, Listeners, Token};

/// The decision API; the address it got on loopback, if it is to be there too.
pub(super) fn authzen(
    socket: &Path,
    http: Option<&(SocketAddr, PathBuf)>,
    mailbox: Mailbox,
) -> anyhow::Result<Option<SocketAddr>> {
    let unix = listen(socket)?;
    let http = http.map(|(address, token)| loopback(*address, token)).transpose()?;
    let address = http.as_ref().map(|(listener, _)| listener.local_addr()).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    std::thread::Builder::new().name("authz-authzen".into()).spawn(move || {
        let served = runtime.block_on(async {
            let unix = tokio::net::UnixListener::from_std(unix)?;
            let http = match http {
                Some((listener, token)) => Some((tokio::net::TcpListener::from_std(listener)?, token)),
                None => None,
            };
            authzen::serve(Listeners { unix, http }, move |asked| mailbox.send(Message::Asked(asked))).await
        });
        if let Err(error) = served {
            tracing::error!(%error, "the decision API failed: no other gate can ask any more");
        }
    })?;
    Ok(address)
}

/// Keeps SIGTERM and SIGINT for [`signals`]; threads that are made later keep them too.
pub(super) fn block_signals() -> anyhow::Result<SigSet> {
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]);
    signals.thread_block().context("cannot block signals")?;
    Ok(signals)
}

/// SIGHUP has the policies loaded anew, the first of the others ends the daemon in order.
pub(super) fn signals(signals: SigSet, mailbox: Mailbox) -> anyhow::Result<()> {
    std::thread::Builder::new().name("authz-signals".into()).spawn(move || {
        loop {
            match signals.wait() {
                Ok(Signal::SIGHUP) => mailbox.send(Message::Hangup),
                Ok(_) => return mailbox.send(Message::Stop),
                Err(error) => return tracing::error!(%error, "cannot wait for signals"),
            }
        }
    })?;
    Ok(())
}

fn loopback(address: SocketAddr, token: &Path) -> anyhow::Result<(std::net::TcpListener, Token)> {
    if !address.ip().is_loopback() {
        bail!("{address} is not on loopback, and the decision API leaves this machine nowhere");
    }
    let token = Token::read(token)?;
    let listener =
        std::net::TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    listener.set_nonblocking(true)?;
    Ok((listener, token))
}
