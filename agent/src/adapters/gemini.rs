//! Gemini CLI: `BeforeTool`, `AfterTool`.
//!
//! Gemini names no call, so its id is made of what both events say: session, tool and arguments. `ask` hangs it where
//! nobody sits before it, so it is never said.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{Agent, Event, EventError, Verdict, Wire, foreign};

pub(super) fn read(wire: Wire) -> Result<Event, EventError> {
    let before = match wire.hook_event_name.as_str() {
        "BeforeTool" => true,
        "AfterTool" => false,
        _ => return Err(EventError::Unexpected(wire.hook_event_name)),
    };
    let (server, name) = tool(&wire)?;
    let arguments = wire.tool_input.as_ref().unwrap_or(&Value::Null);
    let id = id(&wire.session_id, (&server, &name), arguments);
    if before {
        return Ok(Event::Before(wire.call((server, name), id, false)));
    }
    let end = wire.end();
    Ok(Event::After { session: wire.session_id, id, end, event: "AfterTool" })
}

pub(super) fn before(verdict: &Verdict) -> Value {
    match verdict {
        Verdict::Allow => Value::Object(Map::new()),
        // Gemini lays the arguments over its own.
        Verdict::Compute(arguments) => json!({
            "decision": "allow",
            "hookSpecificOutput": { "hookEventName": "BeforeTool", "tool_input": arguments },
        }),
        Verdict::Ask(reason) | Verdict::Deny(reason) => json!({ "decision": "deny", "reason": reason }),
    }
}

/// Gemini joins server and tool to `mcp_SERVER_TOOL`, which cannot be taken apart, and names them beside it.
fn tool(wire: &Wire) -> Result<(String, String), EventError> {
    let refuse = |why| EventError::Tool { tool: wire.tool_name.clone(), why };
    match &wire.mcp_context {
        Some(mcp) if mcp.server_name.is_empty() || mcp.tool_name.is_empty() => {
            Err(refuse("which MCP server offers it cannot be told"))
        }
        Some(mcp) => {
            foreign(Agent::Gemini, &mcp.server_name).map_err(refuse)?;
            Ok((mcp.server_name.clone(), mcp.tool_name.clone()))
        }
        None if wire.tool_name.starts_with("mcp_") && !wire.tool_name.starts_with("mcp__") => {
            Err(refuse("which MCP server offers it cannot be told"))
        }
        None => wire.tool(Agent::Gemini),
    }
}

/// The id of a call of `tool`, its server and name.
pub(super) fn id(session: &str, tool: (&str, &str), arguments: &Value) -> String {
    let mut hash = Sha256::new();
    for part in [session, tool.0, tool.1, &arguments.to_string()] {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
