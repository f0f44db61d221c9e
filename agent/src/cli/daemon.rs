//! `authz daemon`: the service that decides. Embedded in `authz exec` it is started by that; with a policy it decides
//! for other gates.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;

use super::{STATE_HELP, absolute, parse_duration, state_or_default};
use crate::control::StartSession;
use crate::daemon;
use crate::enforce;
use crate::enforce::level::{Backend, Level};
use crate::event::Mode;
use crate::otlp;

/// The member of its one line that says why the LSM programs do not load.
pub const REFUSED: &str = "refused";

fn say(line: &serde_json::Value) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// The decision API on loopback.
#[derive(Debug, Clone, Args)]
pub struct HttpArgs {
    /// Serve the decision API (AuthZEN) on this loopback address too
    #[arg(long, value_name = "ADDRESS:PORT", requires = "http_token")]
    pub http: Option<SocketAddr>,
    /// File, mode 0600, of the bearer token that is asked for there
    #[arg(long, value_name = "FILE", requires = "http")]
    pub http_token: Option<PathBuf>,
}

/// The record, sent elsewhere too.
#[derive(Debug, Clone, Args)]
pub struct OtlpArgs {
    /// Send the records to an OpenTelemetry collector too, by OTLP over HTTP [default URL: OTEL_EXPORTER_OTLP_ENDPOINT]
    #[arg(long, value_name = "URL", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    otlp: Option<String>,
}

impl OtlpArgs {
    /// The collector's address; it is this process's environment that counts, never that of a command.
    pub fn resolve(&self) -> anyhow::Result<Option<String>> {
        let url = match self.otlp.as_deref() {
            None => return Ok(None),
            Some("") => std::env::var(otlp::ENDPOINT).with_context(|| {
                format!(
                    "--otlp has no URL, and {} none either; write e.g. --otlp=http://localhost:4318",
                    otlp::ENDPOINT
                )
            })?,
            Some(url) => url.to_owned(),
        };
        otlp::check(&url)?;
        Ok(Some(url))
    }
}

/// Decide for other gates, by a policy alone.
#[derive(Debug, Args)]
#[command(
    after_help = "It prints one line of JSON when it is ready: where it listens. SIGHUP has it load its policy anew, SIGTERM ends it.

Examples:
  authz daemon --policy ./records
  curl --unix-socket /run/authz/daemon/authzen.sock http://localhost/access/v1/evaluation \\
    -H 'Content-Type: application/json' -d '{\"subject\": {\"type\": \"user\", \"id\": \"alice\"},
    \"action\": {\"name\": \"file.read\"}, \"resource\": {\"type\": \"file\", \"id\": \"/etc/hosts\"}}'
  authz daemon --policy ./records --http 127.0.0.1:8181 --http-token ~/.config/authz/token
  authz daemon --policy ./records --otlp=http://localhost:4318"
)]
pub struct DaemonCommand {
    /// Folder, file or preset:NAME; may be repeated
    #[arg(long, value_name = "POLICY", required_unless_present = "embedded")]
    policy: Vec<String>,
    /// Whether decisions bind
    #[arg(long, value_enum, default_value = "enforce")]
    mode: Mode,
    /// Name of the instance: of the folders of its sockets and of its ledger
    #[arg(long, default_value = "daemon", value_parser = parse_instance)]
    instance: String,
    #[arg(long, value_name = "DIR", help = STATE_HELP)]
    state: Option<PathBuf>,
    /// How long a human has to answer a question
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = parse_duration)]
    hold_timeout: Duration,
    #[command(flatten)]
    http: HttpArgs,
    #[command(flatten)]
    otlp: OtlpArgs,
    /// Enforce by LSM programs, and end with the last session
    #[arg(long, hide = true)]
    embedded: bool,
}

/// A name that is one folder.
fn parse_instance(text: &str) -> Result<String, String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if !text.is_empty() && text.len() <= 64 && text.chars().all(fine) {
        Ok(text.to_owned())
    } else {
        Err("a name has letters, digits, - and _".into())
    }
}

impl HttpArgs {
    /// The address with the file of its secret, as the daemon, in another folder, must see it.
    pub fn resolve(&self) -> anyhow::Result<Option<(SocketAddr, PathBuf)>> {
        let Some((address, token)) = self.http.zip(self.http_token.as_ref()) else { return Ok(None) };
        if !address.ip().is_loopback() {
            bail!("--http {address} is not on loopback; use 127.0.0.1:{}", address.port());
        }
        let token =
            std::path::absolute(token).with_context(|| format!("--http-token {}", token.display()))?;
        Ok(Some((address, token)))
    }
}

impl DaemonCommand {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        // Away from the terminal: its signals are for the agent.
        if self.embedded
            && let Err(error) = nix::unistd::setsid()
        {
            tracing::debug!(%error, "setsid");
        }
        let options = daemon::Options {
            state: state_or_default(self.state.clone())?,
            instance: self.instance.clone(),
            embedded: self.embedded,
            backend: if self.embedded { Backend::BpfLsm } else { Backend::None },
            session: if self.embedded { None } else { Some(self.session()?) },
            http: self.http.resolve()?,
            otlp: self.otlp.resolve()?,
            loaded: None,
        };
        let mut running = false;
        let ended = daemon::run(options, |ready| {
            running = true;
            say(&serde_json::to_value(ready)?)
        });
        match ended {
            // Who started it may have another back end.
            Err(error) if self.embedded && !running && error.is::<enforce::Error>() => {
                tracing::debug!("{error:#}");
                say(&serde_json::json!({ REFUSED: error.root_cause().to_string() }))?;
                Ok(ExitCode::FAILURE)
            }
            ended => ended.map(|()| ExitCode::SUCCESS),
        }
    }

    /// The session of the policy alone.
    fn session(&self) -> anyhow::Result<StartSession> {
        Ok(StartSession {
            name: self.instance.clone(),
            mode: self.mode,
            policy: absolute(&self.policy)?,
            workspace: Vec::new(),
            hold_timeout_ms: self.hold_timeout.as_millis() as u64,
            owner: nix::unistd::geteuid().as_raw(),
            pid: 0,
            audit_each: false,
            require: Level::None,
            listener: None,
            floor: None,
        })
    }
}
