//! The floor of a policy, `data.authz.floor`: what holds whoever decides, and when nobody is left to decide. It is
//! evaluated once, when the policy is loaded, so it may use data but no input.
//!
//! A member that is absent or null restricts nothing. A list, were it empty, is everything that is allowed in that
//! respect: `"write": []` means that nothing is written. `scope` is the other way round: it names what ends at
//! the session's own processes.

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What may be reached at all. `None` is everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Floor {
    /// Files and directories that may be read, with everything below them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read: Option<Vec<PathBuf>>,
    /// Those that may be changed: written, truncated, made, removed, moved, linked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write: Option<Vec<PathBuf>>,
    /// Those that may be executed; a program's interpreter and loader too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execute: Option<Vec<PathBuf>>,
    /// TCP ports that may be connected to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_ports: Option<Vec<u16>>,
    /// TCP ports that may be bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind_ports: Option<Vec<u16>>,
    /// What ends at the session's own processes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scope: Vec<Scope>,
}

/// What can be kept among the processes of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Signals.
    Signals,
    /// Connections to Unix sockets with an abstract name.
    AbstractSockets,
}

const MEMBERS: &[&str] = &["read", "write", "execute", "connect_ports", "bind_ports", "scope"];

/// Why `data.authz.floor` is no floor. Each message says what to write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FloorError {
    /// It is not an object.
    #[error("authz.floor is {0}; write an object such as {{\"write\": [\"/tmp\"]}}")]
    NotAnObject(String),
    /// A member that does not exist.
    #[error("authz.floor has no member {0:?}; there are {known}", known = MEMBERS.join(", "))]
    Unknown(String),
    /// A member that is not a list.
    #[error("authz.floor.{0} is {1}; write a list, or leave it out to restrict nothing")]
    NotAList(&'static str, String),
    /// An element that does not fit.
    #[error("authz.floor.{0} has {1}; write {2}")]
    Element(&'static str, String, &'static str),
}

impl Floor {
    /// From the value of `data.authz.floor`.
    pub(super) fn parse(value: &Value) -> Result<Self, FloorError> {
        let members = match value {
            Value::Null => return Ok(Self::default()),
            Value::Object(members) => members,
            other => return Err(FloorError::NotAnObject(other.to_string())),
        };
        let unknown = members.keys().find(|name| !MEMBERS.contains(&name.as_str()));
        if let Some(name) = unknown {
            return Err(FloorError::Unknown(name.clone()));
        }
        let list = |name| list(name, members.get(name).unwrap_or(&Value::Null));
        let paths = |name| each(name, list(name)?, "an absolute path without ..", path);
        let ports = |name| each(name, list(name)?, "a port from 0 to 65535", port);
        Ok(Self {
            read: paths("read")?,
            write: paths("write")?,
            execute: paths("execute")?,
            connect_ports: ports("connect_ports")?,
            bind_ports: ports("bind_ports")?,
            scope: each("scope", list("scope")?, "signals or abstract_sockets", scope)?.unwrap_or_default(),
        })
    }

    /// Whether it restricts nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn list<'a>(name: &'static str, value: &'a Value) -> Result<Option<&'a [Value]>, FloorError> {
    match value {
        Value::Null => Ok(None),
        Value::Array(elements) => Ok(Some(elements)),
        other => Err(FloorError::NotAList(name, other.to_string())),
    }
}

/// Every element, in order, each once.
fn each<T: Ord>(
    name: &'static str,
    elements: Option<&[Value]>,
    expected: &'static str,
    parse: impl Fn(&Value) -> Option<T>,
) -> Result<Option<Vec<T>>, FloorError> {
    let Some(elements) = elements else { return Ok(None) };
    let parse =
        |value: &Value| parse(value).ok_or_else(|| FloorError::Element(name, value.to_string(), expected));
    let mut parsed = elements.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    parsed.sort();
    parsed.dedup();
    Ok(Some(parsed))
}

fn path(value: &Value) -> Option<PathBuf> {
    let path = Path::new(value.as_str()?);
    let up = path.components().any(|component| component == Component::ParentDir);
    (path.is_absolute() && !up && !value.as_str()?.contains('\0')).then(|| path.to_owned())
}

fn port(value: &Value) -> Option<u16> {
    u16::try_from(value.as_u64()?).ok()
}

fn scope(value: &Value) -> Option<Scope> {
    match value.as_str()? {
        "signals" => Some(Scope::Signals),
        "abstract_sockets" => Some(Scope::AbstractSockets),
        _ => None,
    }
}

/// One line: `writes below /tmp only; no TCP connection; signals stay inside`, or `none`.
impl std::fmt::Display for Floor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let paths = |verb: &str, paths: &Option<Vec<PathBuf>>| match paths.as_deref() {
            None => None,
            Some([]) => Some(format!("{verb} nothing")),
            Some(paths) => {
                let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
                Some(format!("{verb} below {} only", paths.join(", ")))
            }
        };
        let ports = |verb: &str, ports: &Option<Vec<u16>>| match ports.as_deref() {
            None => None,
            Some([]) => Some(format!("{verb} no TCP port")),
            Some(ports) => {
                let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
                Some(format!("{verb} TCP ports {} only", ports.join(", ")))
            }
        };
        let scope = |scope: &Scope| match scope {
            Scope::Signals => "signals stay inside".to_owned(),
            Scope::AbstractSockets => "abstract sockets stay inside".to_owned(),
        };
        let parts: Vec<_> = [
            paths("reads", &self.read),
            paths("writes", &self.write),
            paths("executes", &self.execute),
            ports("connects to", &self.connect_ports),
            ports("binds", &self.bind_ports),
        ]
        .into_iter()
        .flatten()
        .chain(self.scope.iter().map(scope))
        .collect();
        f.write_str(if parts.is_empty() { "none" } else { "" })?;
        f.write_str(&parts.join("; "))
    }
}

#[cfg(test)]
mod tests;
