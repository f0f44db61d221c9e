//! `authz hook`: what an agent runs before and after each of its tool calls.
//!
//! It ends with 0 and the agent's own answer on standard output, or with 2, nothing there and one line on standard
//! error: every agent takes 2 for a block, and any other status, silence included, for consent. So an error, a panic
//! and an answer that is late all end with 2.

mod door;
mod standalone;
mod words;

use std::io::{Read, Write};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Map, Value};

use super::STATE_HELP;
use super::show::{escape, escape_json};
use crate::adapters::{Agent, Call, End, Event, PATIENCE, Verdict};
use crate::event::Layer;
use crate::pipeline::calls::CallView;
use crate::policy::Effect;
use crate::session::calls::{Outcome, ToolCall};

use door::Door;

/// The status that blocks.
const BLOCK: u8 = 2;

/// The longest event, bytes: the one after a call has the tool's whole output in it.
const EVENT_MAX: u64 = 256 << 20;

/// What a process says of the trace it belongs to: kept as a claim.
const TRACE_VARIABLES: &[&str] = &["TRACEPARENT", "CODEX_TOOL_CALL_ID"];

/// Decide about the tool call that an agent announces on standard input.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 with the agent's answer, or 2, which blocks the tool, whatever went wrong.

Inside a session of `authz exec` the session's policy decides, elsewhere the one named here.

Examples:
  authz install claude
  authz hook claude --policy preset:prod-readonly < event.json"
)]
pub struct Hook {
    /// Whose hook it is
    agent: Agent,
    /// Policy outside of every session: a folder, a file or preset:NAME; may be repeated
    #[arg(long, value_name = "POLICY")]
    policy: Vec<String>,
    #[arg(long, value_name = "DIR", help = STATE_HELP)]
    state: Option<PathBuf>,
}

impl Hook {
    /// Runs it; an error has been told.
    pub fn run(self) -> ExitCode {
        std::panic::set_hook(Box::new(|_| {}));
        watch();
        let answered = std::panic::catch_unwind(AssertUnwindSafe(|| self.answer()));
        let error = match answered {
            Ok(Ok(())) => return ExitCode::SUCCESS,
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => "the hook failed; report this event as an error of authz".to_owned(),
        };
        tell(&error);
        ExitCode::from(BLOCK)
    }

    fn before(&self, call: Call, door: &mut Door) -> anyhow::Result<Verdict> {
        let (asks, session, name) = (call.asks, call.session.clone(), call.id.clone());
        let tool = (call.server.clone(), call.name.clone());
        let view = door.open(&session, tool_call(self.agent, call))?;
        let id = view.call;
        let verdict = verdict(view, asks, door)?;
        if let Verdict::Compute(arguments) = &verdict
            && let Some(why) = self.agent.fixed(arguments)
        {
            // It was decided to go on, and does not.
            door.close(&session, &name, Outcome::Cancelled)?;
            return Ok(Verdict::Deny(format!("authz denies this tool call: {why} (decision {id})")));
        }
        if let Verdict::Compute(arguments) = &verdict
            && let Some(name) = self.agent.renamed(&session, (&tool.0, &tool.1), arguments)
        {
            door.name(id, name)?;
        }
        Ok(verdict)
    }

    fn end_turn(&self, session: &str, started: Instant) -> anyhow::Result<()> {
        match Door::inside(started)? {
            Some(mut door) => door.end_turn(claims(self.agent, session)),
            None => Ok(()),
        }
    }

    fn answer(&self) -> anyhow::Result<()> {
        let started = Instant::now();
        let mut event = Vec::new();
        std::io::stdin().lock().take(EVENT_MAX + 1).read_to_end(&mut event).context("standard input")?;
        if event.len() as u64 > EVENT_MAX {
            bail!("the event is longer than {EVENT_MAX} bytes");
        }
        let event = self.agent.read(&event, |name| std::env::var(name).ok())?;
        if let Event::Turn { session } = &event {
            // No tool is at stake: whatever is wrong, the next one will tell.
            self.end_turn(session, started).unwrap_or_else(|error| tell(&format!("{error:#}")));
            return Ok(());
        }
        let mut door = Door::find(self, started)?;
        let answer = match event {
            Event::Turn { .. } => None,
            Event::Before(call) => self.agent.before(&self.before(call, &mut door)?),
            Event::After { session, id, end, event } => {
                let denials = door.close(&session, &id, outcome(end))?;
                self.agent.after(event, words::denials(&denials).as_deref())
            }
        };
        answer.map_or(Ok(()), |answer| print(&answer))
    }
}

/// What a call claims of whom it belongs to.
fn claims(agent: Agent, session: &str) -> Map<String, Value> {
    let claims = [("agent", agent.as_str()), ("session_id", session)];
    claims.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
}

/// What the agent is told of a decision; waits for a human where the agent cannot ask one.
fn verdict(view: CallView, asks: bool, door: &mut Door) -> anyhow::Result<Verdict> {
    Ok(match (view.effect, view.arguments) {
        (Effect::Allow, None) => Verdict::Allow,
        (Effect::Allow | Effect::Compute, Some(arguments)) => Verdict::Compute(arguments),
        (Effect::Compute, None) => bail!("the decision is compute, and has no arguments"),
        (Effect::Deny, _) => Verdict::Deny(words::refusal(&view.rules, view.call)),
        (Effect::Escalate, _) if asks => {
            // The agent's own dialog is no proof of a human, so the call is not opened by it: what needs the call
            // to be open is denied underneath.
            door.withdraw(view.call)?;
            Verdict::Ask(words::question(&view.rules, view.call))
        }
        (Effect::Escalate, _) => match door.wait(view.call)? {
            Some(answered) if answered.effect != Effect::Escalate => verdict(answered, false, door)?,
            _ => Verdict::Deny(words::unanswered(&view.rules, view.call)),
        },
    })
}

fn tool_call(agent: Agent, call: Call) -> ToolCall {
    let Call { server, name, session, id, arguments, cwd, mut claimed, .. } = call;
    claimed.extend(claims(agent, &session));
    for name in TRACE_VARIABLES {
        if let Ok(value) = std::env::var(name) {
            claimed.insert((*name).to_owned(), value.into());
        }
    }
    ToolCall {
        session: None,
        layer: Layer::Hook,
        server: Some(server),
        name,
        call_id: Some(id),
        arguments,
        annotations: Value::Null,
        cwd: Some(cwd),
        home: std::env::home_dir(),
        // One from the environment is a claim, which the agent can write.
        traceparent: None,
        claimed,
    }
}

fn outcome(end: End) -> Outcome {
    match end {
        End::Ok => Outcome::Ok,
        End::Error => Outcome::Error,
        End::Cancelled => Outcome::Cancelled,
    }
}

/// In one write: an agent that reads half an answer would let the tool run.
fn print(answer: &Value) -> anyhow::Result<()> {
    let mut line = escape_json(&answer.to_string()).into_owned();
    line.push('\n');
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes()).and_then(|()| out.flush()).context("standard output")
}

fn tell(error: &str) {
    // Nobody may be there to read it.
    writeln!(std::io::stderr(), "authz: {}", escape(error)).ok();
}

/// Blocks before the agent loses patience, whatever this process is doing then.
fn watch() {
    let late = || {
        std::thread::sleep(PATIENCE);
        tell("no decision in time");
        std::process::exit(BLOCK.into());
    };
    if std::thread::Builder::new().name("authz-late".into()).spawn(late).is_err() {
        tell("no thread can be started");
        std::process::exit(BLOCK.into());
    }
}
