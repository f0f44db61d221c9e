//! Agents' own hooks: what an agent writes on the standard input of a hook becomes an [`Event`], what was decided
//! becomes what that agent understands on standard output. One adapter an agent, pure: nothing is asked, nothing
//! printed here.
//!
//! The three formats look alike and are not: `ask` is a question in one agent, lets the tool run in another and
//! hangs a third; nothing on standard output is consent in two and a warning in one. What was measured with the
//! agents themselves is what each adapter does; none of them answers with what its agent does not know.

mod claude;
mod codex;
mod gemini;
pub mod settings;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

/// How long an agent is told to wait for a hook. After that the tool runs, so a hook answers before: see [`PATIENCE`].
pub const HOOK_TIMEOUT: Duration = Duration::from_secs(600);

/// How long a hook takes at most, a human's answer included.
pub const PATIENCE: Duration = Duration::from_secs(580);

/// How long it waits where no tool is at stake.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);

/// An agent that has hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Agent {
    /// Claude Code.
    Claude,
    /// Codex.
    Codex,
    /// Gemini CLI.
    Gemini,
}

/// What happened in the agent.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// It is about to call a tool.
    Before(Call),
    /// Its user says something: no tool of this session runs now, but for those of subagents.
    Turn {
        /// The agent's session.
        session: String,
    },
    /// A tool call is over.
    After {
        /// The agent's session.
        session: String,
        /// The call, as [`Call::id`] named it.
        id: String,
        /// How it ended.
        end: End,
        /// The agent's name of this event, which its answer repeats.
        event: &'static str,
    },
}

/// How a tool call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With a result.
    Ok,
    /// With an error.
    Error,
    /// Somebody stopped it.
    Cancelled,
}

/// A tool call, as the agent states it.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The MCP server that offers the tool; for the agent's own tools the agent's name.
    pub server: String,
    /// The tool.
    pub name: String,
    /// The agent's session, as it claims.
    pub session: String,
    /// What the event after the call will name it by, too.
    pub id: String,
    /// What the tool is called with.
    pub arguments: Value,
    /// What relative paths in the arguments are below.
    pub cwd: PathBuf,
    /// What else the agent says of itself: its turn and subagent.
    pub claimed: Map<String, Value>,
    /// Whether the agent can put a question to its user, and does not just run the tool.
    pub asks: bool,
}

/// What becomes of a tool call.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It goes its way.
    Allow,
    /// It goes its way with these arguments.
    Compute(Value),
    /// The agent asks its user, with this question. Only if [`Call::asks`].
    Ask(String),
    /// It does not happen, for this reason, which is not empty.
    Deny(String),
}

/// Why an event is not understood. The tool must not run then.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// Not JSON, or fields are missing or of another type.
    #[error("the event on standard input is not understood: {0}")]
    Malformed(String),
    /// An event that authz has no answer for.
    #[error("event {0:?} is none that authz answers; install the hook with `authz install`")]
    Unexpected(String),
    /// A tool that cannot be told from another one.
    #[error("tool {tool:?}: {why}")]
    Tool {
        /// Its name.
        tool: String,
        /// Why.
        why: &'static str,
    },
}

/// The members of an event that are used, of any agent; others are skipped.
#[derive(Debug, Deserialize)]
struct Wire {
    hook_event_name: String,
    session_id: String,
    cwd: PathBuf,
    #[serde(default)]
    tool_name: String,
    /// None where there is no tool, which is not `null`.
    #[serde(default, deserialize_with = "present")]
    tool_input: Option<Value>,
    #[serde(default)]
    tool_use_id: Option<String>,
    #[serde(default)]
    permission_mode: Option<String>,
    #[serde(default)]
    turn_id: Option<String>,
    #[serde(default)]
    agent_id: Option<String>,
    #[serde(default)]
    is_interrupt: Option<bool>,
    #[serde(default)]
    mcp_context: Option<McpContext>,
    #[serde(default)]
    tool_response: Value,
}

#[derive(Debug, Deserialize)]
struct McpContext {
    server_name: String,
    tool_name: String,
}

impl Agent {
    /// The name on the command line and in policies.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
            Self::Gemini => "gemini",
        }
    }

    /// What its settings have under `hooks`, by event, so that it runs `command` before and after each call.
    fn hooks(self, line: &str) -> Vec<(&'static str, Value)> {
        // A program that is gone, or was killed, must not let the tool run; a prompt it may let through.
        let command = format!("{line} || exit 2");
        let turn = |timeout: u64| serde_json::json!({ "hooks": [{ "type": "command", "command": line, "timeout": timeout }] });
        let seconds = HOOK_TIMEOUT.as_secs();
        let group = |more: Value| {
            let mut hook = serde_json::json!({ "type": "command", "command": command, "timeout": seconds });
            if let (Some(hook), Value::Object(more)) = (hook.as_object_mut(), more) {
                hook.extend(more);
            }
            serde_json::json!({ "matcher": "*", "hooks": [hook] })
        };
        let plain = || group(Value::Null);
        match self {
            Self::Claude => vec![
                // A hook that does not start or answer in time then blocks, too.
                ("PreToolUse", group(serde_json::json!({ "onFailure": "block" }))),
                ("PostToolUse", plain()),
                ("PostToolUseFailure", plain()),
                ("UserPromptSubmit", turn(TURN_TIMEOUT.as_secs())),
            ],
            Self::Codex => vec![
                ("PreToolUse", plain()),
                ("PostToolUse", plain()),
                ("UserPromptSubmit", turn(TURN_TIMEOUT.as_secs())),
            ],
            Self::Gemini => {
                let milliseconds = || serde_json::json!({ "name": "authz", "timeout": seconds * 1000 });
                vec![
                    ("BeforeTool", group(milliseconds())),
                    ("AfterTool", group(milliseconds())),
                    ("BeforeAgent", turn(TURN_TIMEOUT.as_secs() * 1000)),
                ]
            }
        }
    }

    /// Understands an event. `variable` gives the environment that the agent runs the hook in.
    pub fn read(self, event: &[u8], variable: impl Fn(&str) -> Option<String>) -> Result<Event, EventError> {
        let wire: Wire =
            serde_json::from_slice(event).map_err(|error| EventError::Malformed(error.to_string()))?;
        if !wire.cwd.is_absolute() {
            return Err(EventError::Malformed("cwd is not absolute".into()));
        }
        let turn = match self {
            Self::Claude | Self::Codex => "UserPromptSubmit",
            Self::Gemini => "BeforeAgent",
        };
        if wire.hook_event_name == turn {
            return Ok(Event::Turn { session: wire.session_id });
        }
        if wire.tool_input.is_none() {
            return Err(EventError::Malformed("tool_input is missing".into()));
        }
        match self {
            Self::Claude => claude::read(wire, variable("CLAUDE_CODE_ENTRYPOINT").as_deref()),
            Self::Codex => codex::read(wire),
            Self::Gemini => gemini::read(wire),
        }
    }

    /// What the event after a call names it by, if that depends on the arguments, which were rewritten.
    pub fn renamed(self, session: &str, tool: (&str, &str), arguments: &Value) -> Option<String> {
        (self == Self::Gemini).then(|| gemini::id(session, tool, arguments))
    }

    /// Why the agent cannot run a call with the arguments that a policy has it rewritten to, if it cannot.
    pub fn fixed(self, arguments: &Value) -> Option<&'static str> {
        if self == Self::Codex { codex::fixed(arguments) } else { None }
    }

    /// What the agent is told before a call; none: nothing is printed.
    pub fn before(self, verdict: &Verdict) -> Option<Value> {
        match self {
            Self::Claude => claude::before(verdict),
            Self::Codex => codex::before(verdict),
            Self::Gemini => Some(gemini::before(verdict)),
        }
    }

    /// What the agent is told after a call, for its model to read; none: nothing is printed.
    pub fn after(self, event: &str, context: Option<&str>) -> Option<Value> {
        let told = context.map(|context| {
            serde_json::json!({ "hookSpecificOutput": { "hookEventName": event, "additionalContext": context } })
        });
        match self {
            Self::Claude | Self::Codex => told,
            Self::Gemini => Some(told.unwrap_or_else(|| Value::Object(Map::new()))),
        }
    }
}

impl Wire {
    /// The call, once its tool is known.
    fn call(self, (server, name): (String, String), id: String, asks: bool) -> Call {
        let claims = [("turn_id", self.turn_id), ("agent_id", self.agent_id)];
        let claimed = claims.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.into())));
        let claimed = claimed.collect();
        Call {
            server,
            name,
            session: self.session_id,
            id,
            arguments: self.tool_input.unwrap_or_default(),
            cwd: self.cwd,
            claimed,
            asks,
        }
    }

    /// Whether the tool's response says that it failed.
    fn end(&self) -> End {
        let says = |name: &str| self.tool_response.get(name) == Some(&Value::Bool(true));
        let error = self.tool_response.get("error").is_some_and(|error| !error.is_null());
        if error || says("isError") || says("is_error") { End::Error } else { End::Ok }
    }

    /// The call's own id, which every agent but one gives.
    fn id(&self) -> Result<String, EventError> {
        let id = self.tool_use_id.clone().filter(|id| !id.is_empty());
        id.ok_or_else(|| EventError::Malformed("tool_use_id is missing".into()))
    }

    /// Server and tool: `mcp__SERVER__TOOL`, or one of the agent's own.
    fn tool(&self, agent: Agent) -> Result<(String, String), EventError> {
        let refuse = |why| EventError::Tool { tool: self.tool_name.clone(), why };
        let Some(rest) = self.tool_name.strip_prefix("mcp__") else {
            if self.tool_name.is_empty() {
                return Err(refuse("it has no name"));
            }
            return Ok((agent.as_str().to_owned(), self.tool_name.clone()));
        };
        let named = rest.split_once("__").filter(|(server, tool)| !server.is_empty() && !tool.is_empty());
        let (server, tool) = named.ok_or_else(|| refuse("which MCP server offers it cannot be told"))?;
        foreign(agent, server).map_err(refuse)?;
        Ok((server.to_owned(), tool.to_owned()))
    }
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// No server may pass for the agent itself, whose tools policies know.
fn foreign(agent: Agent, server: &str) -> Result<(), &'static str> {
    if server == agent.as_str() {
        return Err("its MCP server has the agent's own name; give it another one");
    }
    Ok(())
}
