//! Bodies of requests, taken apart.

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::policy::question::{Question, QuestionError};

/// How many questions one request may have.
const QUESTIONS_MAX: usize = 1000;

/// The members of a question; one that an evaluation lacks is taken from beside the evaluations.
const MEMBERS: &[&str] = &["subject", "action", "resource", "context"];

/// When a series of questions ends early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Semantics {
    /// Never.
    ExecuteAll,
    /// After the first `false`.
    DenyOnFirstDeny,
    /// After the first `true`.
    PermitOnFirstPermit,
}

impl Semantics {
    fn from_name(name: &str) -> Option<Self> {
        match name {
            "execute_all" => Some(Self::ExecuteAll),
            "deny_on_first_deny" => Some(Self::DenyOnFirstDeny),
            "permit_on_first_permit" => Some(Self::PermitOnFirstPermit),
            _ => None,
        }
    }

    /// Whether this answer is the last.
    pub fn ends_at(self, decision: bool) -> bool {
        match self {
            Self::ExecuteAll => false,
            Self::DenyOnFirstDeny => !decision,
            Self::PermitOnFirstPermit => decision,
        }
    }
}

/// A question, and what authz itself takes from its context.
#[derive(Debug)]
pub struct Asked {
    /// The question.
    pub question: Question,
    /// Whose policy is asked.
    pub session: Option<Uuid>,
    /// The gate does what a rewrite says.
    pub rewrites: bool,
}

/// A whole request.
#[derive(Debug)]
pub enum Request {
    /// One question.
    One(Box<Asked>),
    /// Several. One that is none is answered in its place.
    Several(Vec<Result<Asked, WireError>>, Semantics),
}

/// Why a body, or one evaluation of it, is no question. A line for who wrote the gate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Not JSON.
    #[error("the body is not JSON: {0}")]
    Json(String),
    /// Not an object.
    #[error("{0} is not an object")]
    NoObject(&'static str),
    /// Not a question.
    #[error(transparent)]
    Question(#[from] QuestionError),
    /// What is for authz is malformed.
    #[error("{0}")]
    Malformed(&'static str),
    /// Too many at once.
    #[error("{0} evaluations, more than {QUESTIONS_MAX}; ask in several requests")]
    TooMany(usize),
}

/// The body of `/access/v1/evaluation`.
pub fn evaluation(body: &[u8]) -> Result<Request, WireError> {
    Ok(Request::One(Box::new(asked(&object(body)?)?)))
}

/// The body of `/access/v1/evaluations`; without evaluations it is that of the other one.
pub fn evaluations(body: &[u8]) -> Result<Request, WireError> {
    let body = object(body)?;
    let items = match body.get("evaluations") {
        None => return Ok(Request::One(Box::new(asked(&body)?))),
        Some(Value::Array(items)) if items.is_empty() => return Ok(Request::One(Box::new(asked(&body)?))),
        Some(Value::Array(items)) if items.len() > QUESTIONS_MAX => {
            return Err(WireError::TooMany(items.len()));
        }
        Some(Value::Array(items)) => items,
        Some(_) => return Err(WireError::Malformed("evaluations is not an array")),
    };
    let semantics = semantics(body.get("options"))?;
    Ok(Request::Several(items.iter().map(|item| merged(&body, item)).collect(), semantics))
}

fn object(body: &[u8]) -> Result<Map<String, Value>, WireError> {
    // Nesting is bounded by the parser, to 128.
    match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(WireError::NoObject("the body")),
        Err(error) => Err(WireError::Json(error.to_string())),
    }
}

fn semantics(options: Option<&Value>) -> Result<Semantics, WireError> {
    let options = match options {
        None => return Ok(Semantics::ExecuteAll),
        Some(options) => options.as_object().ok_or(WireError::NoObject("options"))?,
    };
    match options.get("evaluations_semantic") {
        None => Ok(Semantics::ExecuteAll),
        Some(name) => name.as_str().and_then(Semantics::from_name).ok_or(WireError::Malformed(
            "evaluations_semantic is one of execute_all, deny_on_first_deny, permit_on_first_permit",
        )),
    }
}

/// An evaluation with what it lacks taken from beside it: members whole, but of subject and resource `type` and `id`.
fn merged(body: &Map<String, Value>, item: &Value) -> Result<Asked, WireError> {
    let mut item = item.as_object().ok_or(WireError::NoObject("an evaluation"))?.clone();
    for name in MEMBERS {
        let Some(default) = body.get(*name) else { continue };
        let own = item.entry(*name).or_insert_with(|| default.clone());
        if let (Value::Object(own), Value::Object(default)) = (own, default)
            && *name != "context"
        {
            for string in ["type", "id", "name"] {
                if let Some(value) = default.get(string) {
                    own.entry(string).or_insert_with(|| value.clone());
                }
            }
        }
    }
    asked(&item)
}

fn asked(request: &Map<String, Value>) -> Result<Asked, WireError> {
    let question = Question::parse(request)?;
    let session =
        match question.context.get("session") {
            None => None,
            Some(id) => Some(id.as_str().and_then(|id| id.parse().ok()).ok_or(WireError::Malformed(
                "context.session is not the id of a session; see authz sessions",
            ))?),
        };
    let rewrites = match question.context.get("understands") {
        None => false,
        Some(Value::Array(words)) => words.iter().any(|word| word == "rewrite"),
        Some(_) => return Err(WireError::Malformed("context.understands is not an array")),
    };
    Ok(Asked { question, session, rewrites })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn several(body: &Value) -> (Vec<Result<Asked, WireError>>, Semantics) {
        match evaluations(body.to_string().as_bytes()).unwrap() {
            Request::Several(asked, semantics) => (asked, semantics),
            Request::One(_) => panic!("one"),
        }
    }

    #[test]
    fn what_an_evaluation_lacks_is_taken_from_beside_it() {
        let (asked, semantics) = several(&json!({
            "subject": {"type": "user", "id": "alice", "properties": {"role": "admin"}},
            "action": {"name": "write"},
            "resource": {"type": "record"},
            "options": {"evaluations_semantic": "deny_on_first_deny"},
            "evaluations": [
                {"resource": {"id": "1", "properties": {"status": "new"}}},
                {"subject": {"id": "bob"}, "resource": {"type": "list", "id": "2"}},
                {},
                "none",
            ],
        }));
        assert_eq!(semantics, Semantics::DenyOnFirstDeny);
        let first = &asked[0].as_ref().unwrap().question;
        assert_eq!((first.resource.kind.as_str(), first.resource.id.as_str()), ("record", "1"));
        assert_eq!(first.subject.properties.other["role"], "admin");
        let second = &asked[1].as_ref().unwrap().question;
        assert_eq!((second.subject.kind.as_str(), second.subject.id.as_str()), ("user", "bob"));
        assert!(second.subject.properties.other.is_empty(), "properties are alice's, not bob's");
        assert_eq!(second.resource.kind, "list");
        assert!(asked[2].is_err() && asked[3].is_err());
    }

    #[test]
    fn a_series_ends_as_it_says() {
        use Semantics::*;
        let ends = |semantics: Semantics| [true, false].map(|decision| semantics.ends_at(decision));
        assert_eq!(
            [ends(ExecuteAll), ends(DenyOnFirstDeny), ends(PermitOnFirstPermit)],
            [[false, false], [false, true], [true, false]]
        );
    }

    #[test]
    fn bodies_that_are_no_requests_are_refused() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        let many = json!({"evaluations": vec![json!({}); QUESTIONS_MAX + 1]}).to_string();
        for body in ["", "[]", "{", "{}", "null", r#"{"evaluations": {}}"#, deep.as_str(), many.as_str()] {
            assert!(evaluations(body.as_bytes()).is_err(), "{body:.40}");
        }
        let odd = r#"{"evaluations": [{}], "options": {"evaluations_semantic": "some"}}"#;
        assert!(evaluations(odd.as_bytes()).is_err());
    }
}
