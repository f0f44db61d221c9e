//! Claude Code: `PreToolUse`, `PostToolUse`, `PostToolUseFailure`.
//!
//! Nothing on standard output leaves the call to Claude's own permissions; `allow` would skip them, so it is used
//! where a rewrite needs it only.

use serde_json::{Value, json};

use super::{Agent, End, Event, EventError, Verdict, Wire};

/// Modes in which somebody sits before Claude and is asked if a hook says `ask`.
const ATTENDED: &[&str] = &["default", "acceptEdits", "plan"];

/// `entrypoint` is `cli` if a terminal was there when Claude started, and `sdk-…` if it runs headless.
pub(super) fn read(wire: Wire, entrypoint: Option<&str>) -> Result<Event, EventError> {
    let event = match wire.hook_event_name.as_str() {
        "PreToolUse" => {
            let attended = wire.permission_mode.as_deref().is_some_and(|mode| ATTENDED.contains(&mode));
            let (tool, id) = (wire.tool(Agent::Claude)?, wire.id()?);
            return Ok(Event::Before(wire.call(tool, id, attended && entrypoint == Some("cli"))));
        }
        "PostToolUse" => "PostToolUse",
        "PostToolUseFailure" => "PostToolUseFailure",
        _ => return Err(EventError::Unexpected(wire.hook_event_name)),
    };
    let end = match (event, wire.is_interrupt) {
        ("PostToolUse", _) => wire.end(),
        (_, Some(true)) => End::Cancelled,
        _ => End::Error,
    };
    Ok(Event::After { id: wire.id()?, session: wire.session_id, end, event })
}

pub(super) fn before(verdict: &Verdict) -> Option<Value> {
    let (decision, reason, input) = match verdict {
        Verdict::Allow => return None,
        Verdict::Compute(arguments) => ("allow", "authz rewrote the arguments by policy.", Some(arguments)),
        Verdict::Ask(question) => ("ask", question.as_str(), None),
        Verdict::Deny(reason) => ("deny", reason.as_str(), None),
    };
    Some(answer(decision, reason, input))
}

/// The answer to `PreToolUse`, which Codex reads alike.
pub(super) fn answer(decision: &str, reason: &str, input: Option<&Value>) -> Value {
    let mut answer = json!({
        "hookEventName": "PreToolUse",
        "permissionDecision": decision,
        "permissionDecisionReason": reason,
    });
    if let Some(input) = input {
        answer["updatedInput"] = input.clone();
    }
    json!({ "hookSpecificOutput": answer })
}
