//! A question of another gate: an AuthZEN access evaluation request, validated. It becomes the same [`Input`] as an
//! operation that authz sees by itself, so the same rules decide.
//!
//! What names an operation of authz (`file.write`, `net.connect`) must be put as authz puts it, or a rule about
//! `/prod` would not meet `/staging/../prod`. Any other action must be listed in `data.authz.actions`: a name that
//! the policy does not know is denied, whatever its default.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::engine::Engine;
use super::input::{ActionInput, Context, Input, ResourceInput, Subject, address_properties};
use crate::event::ActionName;

/// The longest id, type or name, in bytes.
const NAME_MAX: usize = 4096;

/// A question, whole and well-formed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// Who would act.
    pub subject: Subject,
    /// What it would do.
    pub action: ActionInput,
    /// To what.
    pub resource: ResourceInput,
    /// Under which circumstances, as the gate says.
    #[serde(default)]
    pub context: Map<String, Value>,
}

/// Why something is no question.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// A member that has to be there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A member of another kind.
    #[error("{0} is malformed: {1}")]
    Malformed(&'static str, String),
    /// A name in the name space of authz that is no operation.
    #[error("there is no action {0:?}, and authz keeps such names for itself; choose another")]
    Reserved(String),
    /// The resource is not put as authz puts it.
    #[error("{action} is about {expected}, not {id:?}")]
    Resource {
        /// The action.
        action: &'static str,
        /// What it is about.
        expected: &'static str,
        /// What was named.
        id: String,
    },
}

impl Question {
    /// Takes a request apart. Members that are not known are ignored, as AuthZEN asks for.
    pub fn parse(request: &Map<String, Value>) -> Result<Self, QuestionError> {
        let context = match request.get("context") {
            None => Map::new(),
            Some(Value::Object(context)) => context.clone(),
            Some(_) => return Err(QuestionError::Malformed("context", "not an object".into())),
        };
        let mut question = Self {
            subject: entity(request, "subject", &["type", "id"])?,
            action: entity(request, "action", &["name"])?,
            resource: entity(request, "resource", &["type", "id"])?,
            context,
        };
        question.normalize()?;
        Ok(question)
    }

    /// Puts an operation of authz as authz does, or refuses it.
    fn normalize(&mut self) -> Result<(), QuestionError> {
        let action = match &self.action.name {
            ActionName::Other(name) if ActionName::is_reserved(name) => {
                return Err(QuestionError::Reserved(name.clone()));
            }
            ActionName::Other(_) => return Ok(()),
            ActionName::Own(action) => *action,
        };
        let id = &self.resource.id;
        let (well_put, expected) = match action.resource_type() {
            "file" | "executable" => (canonical(id), "an absolute path without . and .."),
            "address" => (address(id), "an address such as tcp://192.0.2.1:443 or unix:/path"),
            _ => (!id.is_empty(), "something with a name"),
        };
        if !well_put || self.resource.kind != action.resource_type() {
            let expected = if well_put { "a resource of another type" } else { expected };
            return Err(QuestionError::Resource { action: action.as_str(), expected, id: id.clone() });
        }
        // What the name says already is not the gate's to say.
        self.resource.properties.extend(address_properties(id));
        Ok(())
    }

    /// What the policy sees of it. The caller's `context` is what the daemon knows; the gate's own is beside it.
    pub fn input(&self, context: Context) -> Input {
        Input {
            subject: self.subject.clone(),
            action: self.action.clone(),
            resource: self.resource.clone(),
            context: Context { request: Some(self.context.clone()), ..context },
        }
    }

    /// Whether the other question is about the same. Its circumstances, such as the time, are another matter.
    pub fn same_as(&self, other: &Self) -> bool {
        (&self.subject, &self.action, &self.resource) == (&other.subject, &other.action, &other.resource)
    }

    /// Why the policy cannot be asked: it does not know the action.
    pub fn unknown_to(&self, engine: &Engine) -> Option<String> {
        match &self.action.name {
            ActionName::Other(name) if !engine.actions().contains(name) => {
                Some(format!("the policy does not list the action {name:?} in data.authz.actions"))
            }
            _ => None,
        }
    }
}

/// A member that is an object with these strings. (A JSON array would pass for a struct, too.)
fn entity<T: for<'de> Deserialize<'de>>(
    request: &Map<String, Value>,
    name: &'static str,
    strings: &[&str],
) -> Result<T, QuestionError> {
    let malformed = |why: String| QuestionError::Malformed(name, why);
    let value = request.get(name).ok_or(QuestionError::Missing(name))?;
    let members = value.as_object().ok_or_else(|| malformed("not an object".into()))?;
    for string in strings {
        match members.get(*string) {
            Some(Value::String(text)) if text.is_empty() => {
                return Err(malformed(format!("{string} is empty")));
            }
            Some(Value::String(text)) if text.len() > NAME_MAX => {
                return Err(malformed(format!("{string} is longer than {NAME_MAX} bytes")));
            }
            Some(Value::String(_)) => {}
            Some(_) => return Err(malformed(format!("{string} is not a string"))),
            None => return Err(malformed(format!("{string} is missing"))),
        }
    }
    T::deserialize(value).map_err(|error| malformed(error.to_string()))
}

fn canonical(path: &str) -> bool {
    let names = path.strip_prefix('/').map(|names| names.split('/'));
    path == "/"
        || names.is_some_and(|mut names| {
            names.all(|name| !name.is_empty() && name != "." && name != ".." && !name.contains('\0'))
        })
}

fn address(id: &str) -> bool {
    match id.strip_prefix("unix:") {
        Some(path) => path.starts_with('@') || canonical(path),
        // As authz writes it itself: no other text of the same address.
        None => id.split_once("://").is_some_and(|(protocol, address)| {
            let parsed = address.parse::<SocketAddr>();
            ["tcp", "udp"].contains(&protocol) && parsed.is_ok_and(|parsed| parsed.to_string() == address)
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn question(action: &str, kind: &str, id: &str) -> Result<Question, QuestionError> {
        let request = json!({
            "subject": {"type": "user", "id": "alice"},
            "action": {"name": action},
            "resource": {"type": kind, "id": id, "properties": {"port": 1, "status": "new"}},
            "later": true,
        });
        Question::parse(request.as_object().unwrap())
    }

    #[test]
    fn an_operation_is_put_as_authz_puts_it() {
        assert!(question("file.write", "file", "/prod/x").is_ok());
        for path in ["prod", "/staging/../prod", "/./x", "//x", "/x/", "", "/a\0b"] {
            assert!(question("file.write", "file", path).is_err(), "{path:?}");
        }
        let asked = question("net.connect", "address", "tcp://[::1]:443").unwrap();
        assert_eq!(asked.resource.properties["port"], 443, "not the gate's to say");
        assert_eq!(asked.resource.properties["status"], "new");
        for id in
            ["tcp://[0:0:0:0:0:0:0:1]:443", "tcp://localhost:1", "http://1.2.3.4:1", "unix:x", "1.2.3.4:1"]
        {
            assert!(question("net.connect", "address", id).is_err(), "{id:?}");
        }
        assert!(question("file.write", "record", "/prod/x").is_err(), "another type");
    }

    #[test]
    fn other_actions_stay_out_of_the_names_of_authz() {
        assert!(question("can_read", "record", "../anything").is_ok());
        assert_eq!(question("file.wirte", "file", "/x"), Err(QuestionError::Reserved("file.wirte".into())));
    }

    #[test]
    fn what_is_missing_or_of_another_kind_is_an_error() {
        let whole = json!({
            "subject": {"type": "user", "id": "alice"}, "action": {"name": "read"},
            "resource": {"type": "record", "id": "1"},
        });
        let with = |name: &str, value: Value| {
            let mut request = whole.clone();
            request[name] = value;
            Question::parse(request.as_object().unwrap())
        };
        for (name, value) in [
            ("subject", json!("alice")),
            ("subject", json!(["user", "alice"])),
            ("subject", json!({"id": "alice"})),
            ("subject", json!({"type": "user", "id": ""})),
            ("action", json!({"name": 123})),
            ("action", json!({})),
            ("resource", json!({"type": "record"})),
            ("resource", json!({"type": "record", "id": "1", "properties": 5})),
            ("context", json!("now")),
        ] {
            assert!(with(name, value.clone()).is_err(), "{name}: {value}");
        }
        assert!(Question::parse(&Map::new()).is_err());
        assert!(with("context", json!({"time": "now"})).is_ok());
    }
}
