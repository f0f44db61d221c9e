//! An agent's settings file, with authz's hook in it or without. Pure: text in, text out. What is not authz's keeps its
//! bytes, comments and order; a file that is not understood is not touched.

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstArray, CstInputValue, CstObject, CstRootNode};
use serde_json::Value;

use super::Agent;

/// Why settings are left alone.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Not JSON.
    #[error("it is not JSON ({0}); correct it, or move it away")]
    Malformed(String),
    /// JSON of another shape than the agent's.
    #[error("{0} is not what {1} expects there; correct it, or move the file away")]
    Shape(String, &'static str),
    /// A member twice: agents take the last one, and nobody sees that.
    #[error("it has the member {0:?} twice; remove one")]
    Twice(String),
    /// The command cannot be written for a shell.
    #[error("{0:?} cannot be part of a shell command")]
    Quote(String),
}

/// Nested deeper is no settings file.
const DEPTH_MAX: usize = 100;

/// The command of the hook, the program by its absolute path.
pub fn command(program: &str, agent: Agent, policy: &[String]) -> Result<String, SettingsError> {
    let policy = policy.iter().flat_map(|source| ["--policy", source]);
    let words = [program, "hook", agent.as_str()].into_iter().chain(policy);
    let quoted = |word: &str| shlex::try_quote(word).map(Into::into);
    let line: Result<Vec<String>, _> = words.clone().map(quoted).collect();
    let line = line.map_err(|_| SettingsError::Quote(words.collect::<Vec<_>>().join(" ")))?;
    Ok(line.join(" "))
}

/// The settings with authz's hook as it is wanted, or without if nothing is. The same text if that is how it is;
/// a blank one counts as `{}`.
pub fn edit(text: &str, agent: Agent, command: Option<&str>) -> Result<String, SettingsError> {
    let wanted = command.map(|command| agent.hooks(command)).unwrap_or_default();
    let text = if text.trim().is_empty() { "{}\n" } else { text };
    let root = parse(text, agent)?;
    let shape = || SettingsError::Shape("the whole".into(), "an object");
    let settings = root.object_value().ok_or_else(shape)?;
    let mut ours = Vec::new();
    if let Some(hooks) = member_object(&settings, "hooks")? {
        for event in hooks.properties() {
            let name = event.decoded_name().unwrap_or_default();
            once(&hooks, &name)?;
            if let Some(groups) = event.array_value() {
                ours.extend(groups_of(&groups, agent).into_iter().map(|group| (name.clone(), group)));
            }
        }
    }
    if ours
        .iter()
        .map(|(name, group)| (name.as_str(), group))
        .eq(wanted.iter().map(|(name, group)| (*name, group)))
    {
        return Ok(text.to_owned());
    }
    remove(&settings, agent);
    for (event, group) in &wanted {
        let shape = |what: &str, expected| SettingsError::Shape(what.to_owned(), expected);
        let hooks = settings.object_value_or_create("hooks").ok_or_else(|| shape("hooks", "an object"))?;
        let groups = hooks.array_value_or_create(event).ok_or_else(|| shape(event, "a list"))?;
        groups.ensure_multiline();
        groups.append(input(group));
    }
    Ok(root.to_string())
}

/// What keeps the agent from running any hook, if its settings say so.
pub fn switched_off(text: &str, agent: Agent) -> Option<&'static str> {
    let settings = parse(text, agent).ok()?.to_serde_value()?;
    match agent {
        Agent::Claude => (settings["disableAllHooks"] == true).then_some("disableAllHooks is true"),
        Agent::Codex => None,
        Agent::Gemini => {
            (settings["hooksConfig"]["enabled"] == false).then_some("hooksConfig.enabled is false")
        }
    }
}

fn parse(text: &str, agent: Agent) -> Result<CstRootNode, SettingsError> {
    // Its parser calls itself for each level.
    if depth(text) > DEPTH_MAX {
        return Err(SettingsError::Malformed("nested too deep".into()));
    }
    let malformed = |error: &dyn std::fmt::Display| SettingsError::Malformed(error.to_string());
    if agent != Agent::Gemini {
        serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(|error| malformed(&error))?;
    }
    let options = ParseOptions {
        allow_comments: true, // of Gemini; the others have none, see above
        allow_loose_object_property_names: false,
        allow_trailing_commas: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    CstRootNode::parse(text, &options).map_err(|error| malformed(&error))
}

/// At least as deep as the text is nested: brackets in strings count too.
fn depth(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut deepest = 0;
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn member_object(object: &CstObject, name: &str) -> Result<Option<CstObject>, SettingsError> {
    once(object, name)?;
    let Some(member) = object.get(name) else { return Ok(None) };
    let shape = || SettingsError::Shape(name.to_owned(), "an object");
    member.object_value().ok_or_else(shape).map(Some)
}

fn once(object: &CstObject, name: &str) -> Result<(), SettingsError> {
    let named = |member: &jsonc_parser::cst::CstObjectProp| member.decoded_name().as_deref() == Some(name);
    if object.properties().iter().filter(|member| named(member)).count() > 1 {
        return Err(SettingsError::Twice(name.to_owned()));
    }
    Ok(())
}

/// The groups of an event that hold a hook of ours.
fn groups_of(groups: &CstArray, agent: Agent) -> Vec<Value> {
    let values = groups.elements().into_iter().filter_map(|group| group.to_serde_value());
    values
        .filter(|group| {
            group["hooks"].as_array().is_some_and(|all| all.iter().any(|hook| is_ours(hook, agent)))
        })
        .collect()
}

/// Takes out our hooks, and what only held them.
fn remove(settings: &CstObject, agent: Agent) {
    let Some(hooks) = settings.object_value("hooks") else { return };
    let mut emptied = false;
    for event in hooks.properties() {
        let Some(groups) = event.array_value() else { continue };
        let mut removed = false;
        for group in groups.elements() {
            let Some(list) = group.as_object().and_then(|group| group.array_value("hooks")) else { continue };
            let ours = |hook: &jsonc_parser::cst::CstNode| {
                hook.to_serde_value().is_some_and(|hook| is_ours(&hook, agent))
            };
            let (gone, kept): (Vec<_>, Vec<_>) = list.elements().into_iter().partition(ours);
            if gone.is_empty() {
                continue;
            }
            removed = true;
            if kept.is_empty() {
                group.remove();
            } else {
                gone.into_iter().for_each(jsonc_parser::cst::CstNode::remove);
            }
        }
        if removed && groups.elements().is_empty() {
            event.remove();
            emptied = true;
        }
    }
    if emptied && hooks.properties().is_empty() {
        hooks.parent().into_iter().for_each(|member| jsonc_parser::cst::CstNode::from(member).remove());
    }
}

/// A hook whose command is `…/authz hook AGENT …`.
fn is_ours(hook: &Value, agent: Agent) -> bool {
    let words = hook["command"].as_str().and_then(shlex::split).unwrap_or_default();
    let [program, verb, name, ..] = &words[..] else { return false };
    let program = std::path::Path::new(program).file_name();
    program.is_some_and(|program| program == "authz") && verb == "hook" && name == agent.as_str()
}

fn input(value: &Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(value) => CstInputValue::Bool(*value),
        Value::Number(value) => CstInputValue::Number(value.to_string()),
        Value::String(value) => CstInputValue::String(value.clone()),
        Value::Array(items) => CstInputValue::Array(items.iter().map(input).collect()),
        Value::Object(members) => {
            CstInputValue::Object(members.iter().map(|(name, value)| (name.clone(), input(value))).collect())
        }
    }
}

#[cfg(test)]
mod tests;
