//! Codex: `PreToolUse`, `PostToolUse`.
//!
//! Codex takes `ask` for an error and runs the tool, as it does with `deny` without a reason. A patch names its files
//! in its text: they are put beside it, so that a policy can judge them.

use serde_json::{Map, Value};

use super::{Agent, Event, EventError, Verdict, Wire, claude};

/// The member of the arguments of `apply_patch` that [`read`] adds: `{"add": [PATH], "update": [PATH], "delete":
/// [PATH], "move": [PATH]}`. Codex never sees it.
const FILES: &str = "files";

/// How a patch's text names a file, by what becomes of it.
const MARKS: &[(&str, &str)] = &[
    ("*** Add File: ", "add"),
    ("*** Update File: ", "update"),
    ("*** Delete File: ", "delete"),
    ("*** Move to: ", "move"),
];

pub(super) fn read(mut wire: Wire) -> Result<Event, EventError> {
    match wire.hook_event_name.as_str() {
        "PreToolUse" => {
            let (tool, id) = (wire.tool(Agent::Codex)?, wire.id()?);
            if wire.tool_name == "apply_patch" {
                name_files(&mut wire)?;
            }
            Ok(Event::Before(wire.call(tool, id, false)))
        }
        "PostToolUse" => {
            let (id, end) = (wire.id()?, wire.end());
            Ok(Event::After { session: wire.session_id, id, end, event: "PostToolUse" })
        }
        _ => Err(EventError::Unexpected(wire.hook_event_name)),
    }
}

pub(super) fn before(verdict: &Verdict) -> Option<Value> {
    Some(match verdict {
        Verdict::Allow => return None,
        Verdict::Compute(arguments) => {
            claude::answer("allow", "authz rewrote the arguments by policy.", Some(arguments))
        }
        Verdict::Ask(reason) | Verdict::Deny(reason) => claude::answer("deny", reason, None),
    })
}

/// Why a call cannot go on with other arguments.
pub(super) fn fixed(arguments: &Value) -> Option<&'static str> {
    arguments.get(FILES).map(|_| "The policy has other files changed, and a patch cannot be rewritten.")
}

/// Puts the files that a patch names beside its text. A patch that names none cannot be judged.
fn name_files(wire: &mut Wire) -> Result<(), EventError> {
    let refuse = |why| EventError::Tool { tool: "apply_patch".into(), why };
    let arguments = wire
        .tool_input
        .as_mut()
        .and_then(Value::as_object_mut)
        .ok_or_else(|| refuse("its arguments are no object"))?;
    let text = ["command", "input", "patch"].iter().find_map(|name| arguments.get(*name)?.as_str());
    let text = text.ok_or_else(|| refuse("its arguments hold no patch"))?;
    let mut files = Map::new();
    for line in text.lines().map(str::trim) {
        let named = MARKS.iter().find_map(|(mark, kind)| Some((*kind, line.strip_prefix(mark)?.trim())));
        if let Some((kind, path)) = named
            && let Some(paths) = files.entry(kind).or_insert_with(|| Value::Array(Vec::new())).as_array_mut()
        {
            paths.push(path.into());
        }
    }
    if files.is_empty() {
        return Err(refuse("its patch names no file"));
    }
    if arguments.insert(FILES.to_owned(), files.into()).is_some() {
        return Err(refuse("its arguments have a member `files` already"));
    }
    Ok(())
}
