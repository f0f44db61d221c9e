//! `authz mcp --listen`: the gate in front of a server behind Streamable HTTP. The server runs elsewhere, so the
//! session is one of the policy alone.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use crate::daemon;
use crate::mcp::Options;
use crate::mcp::http::{self, Setup};
use crate::web::upstream::Upstream;

/// Serves until SIGTERM or SIGINT.
pub fn run(
    daemon: daemon::Options,
    gate: Options,
    address: SocketAddr,
    url: &str,
) -> anyhow::Result<ExitCode> {
    if !address.ip().is_loopback() {
        bail!("--listen {address} is not on loopback; use 127.0.0.1:{}", address.port());
    }
    let upstream = Upstream::new(url)?;
    let listener =
        std::net::TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    listener.set_nonblocking(true)?;
    let listening = format!("http://{}{}", listener.local_addr()?, upstream.path());
    daemon::run(daemon, |ready| {
        let setup = Setup { gate, socket: ready.socket.clone(), upstream };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        std::thread::Builder::new().name("authz-gate".into()).spawn(move || {
            let local = tokio::task::LocalSet::new();
            let served = local.block_on(&runtime, async {
                http::serve(tokio::net::TcpListener::from_std(listener)?, setup).await
            });
            if let Err(error) = served {
                eprintln!("authz: the gate failed: {error}");
            }
        })?;
        println!("{}", serde_json::json!({ "listening": listening, "socket": ready.socket }));
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}
