//! JSON-RPC as it comes over the wire, read so that nobody else can read it differently: what a duplicate key, a
//! variant of a known key or a strange number could make another parser see is refused, never guessed.
//!
//! Only what is judged is parsed to values ([`value`]); of anything else the envelope is looked at, and the
//! bytes pass as they are.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::text;

/// The longest id, in bytes as written.
const ID_MAX: usize = 256;

/// The members of an envelope. Of a key that others could take for one of them nothing is forwarded.
const ENVELOPE: &[&str] = &["jsonrpc", "id", "method", "params", "result", "error"];

/// A message that is refused, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// It is no JSON, or nested too deep.
    #[error("not JSON that can be judged: {0}")]
    Json(String),
    /// It is a batch.
    #[error("a JSON array: batches are not taken")]
    Batch,
    /// It is no object.
    #[error("not a JSON object")]
    NotAnObject,
    /// A key stands twice.
    #[error("the member {0:?} stands twice")]
    Duplicate(String),
    /// A key looks like another one, or like a known one.
    #[error("the member {0:?} could be taken for {1:?}")]
    Variant(String, String),
    /// A key has control characters.
    #[error("the member {0:?} has control characters")]
    Control(String),
    /// Something is missing or of the wrong type.
    #[error("{0}")]
    Shape(&'static str),
    /// A whole number that would change on the way.
    #[error("the number {0} is beyond 64 bits")]
    Number(String),
}

/// The id of a request: its text as written, and what it is equal by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Id {
    raw: String,
    key: Key,
}

/// What two ids are equal by: `1`, `1.0` and `1e0` are one id, `"1"` is another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    /// A string, decoded.
    Text(String),
    /// A number: sign, digits without zeros at either end, and the power of ten of the last digit.
    Number(bool, String, i64),
}

impl Id {
    /// An id of the gate's own.
    pub fn text(text: &str) -> Self {
        Self { raw: Value::from(text).to_string(), key: Key::Text(text.to_owned()) }
    }

    /// Reads an id: a string or a number.
    pub fn parse(raw: &str) -> Result<Self, WireError> {
        let wrong = WireError::Shape("an id is a string or a number, of at most 256 bytes");
        let key = match raw.as_bytes().first() {
            _ if raw.len() > ID_MAX => None,
            Some(b'"') => serde_json::from_str(raw).ok().map(Key::Text),
            Some(b'-' | b'0'..=b'9') => number(raw),
            _ => None,
        };
        Ok(Self { key: key.ok_or(wrong)?, raw: raw.to_owned() })
    }

    /// As it was written.
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// What it is equal by.
    pub fn key(&self) -> &Key {
        &self.key
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.raw)
    }
}

/// The value of a JSON number, exactly; none if a double does not reach so far.
fn number(raw: &str) -> Option<Key> {
    // What is infinite to others would be one id to them.
    raw.parse::<f64>().ok().filter(|value| value.is_finite())?;
    let (negative, rest) = raw.strip_prefix('-').map_or((false, raw), |rest| (true, rest));
    let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let exponent: i64 = exponent.parse().ok()?;
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        return Some(Key::Number(false, String::new(), 0));
    }
    let dropped = i64::try_from(digits.len() - significant.len()).ok()?;
    let exponent = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?.checked_add(dropped)?;
    Some(Key::Number(negative, significant.trim_start_matches('0').to_owned(), exponent))
}

/// A message, borrowed from its line.
#[derive(Debug)]
pub enum Message<'a> {
    /// Wants an answer.
    Request {
        /// Its id.
        id: Id,
        /// What is asked.
        method: Cow<'a, str>,
        /// Its parameters.
        params: Option<&'a RawValue>,
    },
    /// Wants none.
    Notification {
        /// What is told.
        method: Cow<'a, str>,
        /// Its parameters.
        params: Option<&'a RawValue>,
    },
    /// An answer.
    Response {
        /// To which request; none if its sender could not read it.
        id: Option<Id>,
        /// What it answers.
        answer: Answer<'a>,
    },
}

/// What a response holds.
#[derive(Debug, Clone, Copy)]
pub enum Answer<'a> {
    /// A result.
    Result(&'a RawValue),
    /// An error.
    Error(&'a RawValue),
}

impl<'a> Message<'a> {
    /// Reads one message. With an error comes the id to answer to, if the message is a request that has one.
    pub fn parse(line: &'a [u8]) -> Result<Self, (WireError, Option<Id>)> {
        let members = Members::of_line(line).map_err(|error| (error, None))?;
        let id = members.get("id").map(|raw| Id::parse(raw.get()));
        let answerable = match &id {
            Some(Ok(id)) if members.get("method").is_some() => Some(id.clone()),
            _ => None,
        };
        Self::of(&members, id).map_err(|error| (error, answerable))
    }

    fn of(members: &Members<'a>, id: Option<Result<Id, WireError>>) -> Result<Self, WireError> {
        members.refuse_variants(ENVELOPE)?;
        if members.get("jsonrpc").is_none_or(|version| version.get() != "\"2.0\"") {
            return Err(WireError::Shape("\"jsonrpc\" is not \"2.0\""));
        }
        let params = members.get("params");
        let answer = match (members.get("result"), members.get("error")) {
            (None, None) => None,
            (Some(result), None) => Some(Answer::Result(result)),
            (None, Some(error)) => Some(Answer::Error(error)),
            (Some(_), Some(_)) => return Err(WireError::Shape("a result and an error in one message")),
        };
        match (members.get("method"), answer) {
            (Some(_), Some(_)) => Err(WireError::Shape("a method and an answer in one message")),
            (None, None) => Err(WireError::Shape("neither a method nor an answer")),
            (Some(method), None) => {
                let method = text(method).ok_or(WireError::Shape("\"method\" is not a string"))?;
                match id {
                    Some(id) => Ok(Self::Request { id: id?, method, params }),
                    None => Ok(Self::Notification { method, params }),
                }
            }
            (None, Some(answer)) => {
                if params.is_some() {
                    return Err(WireError::Shape("an answer with \"params\""));
                }
                let null = members.get("id").is_some_and(|id| id.get() == "null");
                match id {
                    Some(_) if null => Ok(Self::Response { id: None, answer }),
                    Some(id) => Ok(Self::Response { id: Some(id?), answer }),
                    None => Err(WireError::Shape("an answer without \"id\"")),
                }
            }
        }
    }
}

fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    if !raw.get().starts_with('"') {
        return None;
    }
    serde_json::from_str(raw.get()).map(Cow::Owned).ok()
}

/// The members of one object, in order, their values unread.
#[derive(Debug)]
pub struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Members<'a> {
    fn of_line(line: &'a [u8]) -> Result<Self, WireError> {
        let line = std::str::from_utf8(line).map_err(|_| WireError::Json("it is not UTF-8".into()))?;
        match line.trim_start().as_bytes().first() {
            Some(b'[') => Err(WireError::Batch),
            Some(b'{') => Self::read(line),
            _ => Err(WireError::NotAnObject),
        }
    }

    /// Those of an object.
    pub fn of(raw: &'a RawValue) -> Result<Self, WireError> {
        if raw.get().starts_with('{') { Self::read(raw.get()) } else { Err(WireError::NotAnObject) }
    }

    fn read(text: &'a str) -> Result<Self, WireError> {
        let mut refused = None;
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let members = deserializer.deserialize_map(MembersVisitor { refused: &mut refused });
        let members = members.and_then(|members| deserializer.end().map(|()| members));
        members.map_err(|error| refused.unwrap_or_else(|| WireError::Json(error.to_string())))
    }

    /// A member's value.
    pub fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| *value)
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(key, value)| (key.as_str(), *value))
    }

    /// Refuses keys that could be taken for one of those known.
    pub fn refuse_variants(&self, known: &[&str]) -> Result<(), WireError> {
        self.0.iter().try_for_each(|(key, _)| refuse_variant(key, known.iter().copied()))
    }
}

/// Refuses a key that is none of those known, but could be taken for one: by another case, or by a sign between.
pub fn refuse_variant<'k>(key: &str, known: impl IntoIterator<Item = &'k str>) -> Result<(), WireError> {
    let folded = text::fold(key);
    let mut similar = None;
    for name in known {
        if name == key {
            return Ok(());
        }
        if text::fold(name) == folded {
            similar = Some(name);
        }
    }
    match similar {
        Some(name) => Err(WireError::Variant(key.to_owned(), name.to_owned())),
        None => Ok(()),
    }
}

/// Keeps the keys of one object; tells of one that stands twice or holds what ends a string elsewhere.
#[derive(Default)]
struct Keys(std::collections::HashMap<String, String>);

impl Keys {
    fn add(&mut self, key: &str) -> Result<(), WireError> {
        if key.chars().any(char::is_control) {
            return Err(WireError::Control(key.to_owned()));
        }
        // Only case here: arguments may well have both `a_b` and `ab`.
        let caseless: String =
            key.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect();
        match self.0.insert(caseless, key.to_owned()) {
            None => Ok(()),
            Some(other) if other == key => Err(WireError::Duplicate(other)),
            Some(other) => Err(WireError::Variant(key.to_owned(), other)),
        }
    }
}

struct MembersVisitor<'e> {
    refused: &'e mut Option<WireError>,
}

impl<'de> Visitor<'de> for MembersVisitor<'_> {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut members, mut keys) = (Vec::new(), Keys::default());
        while let Some(key) = map.next_key::<String>()? {
            if let Err(error) = keys.add(&key) {
                *self.refused = Some(error);
                return Err(de::Error::custom("refused"));
            }
            members.push((key, map.next_value()?));
        }
        Ok(Members(members))
    }
}

/// The value of a text that is judged. At every level a key that stands twice, in whatever case, is refused, and so
/// is a whole number that 64 bits do not hold: it would be another one when it is sent on.
pub fn value(raw: &RawValue) -> Result<Value, WireError> {
    refuse_large_integers(raw.get())?;
    let mut refused = None;
    let mut deserializer = serde_json::Deserializer::from_str(raw.get());
    let value = Strict { refused: &mut refused }.deserialize(&mut deserializer);
    value.map_err(|error| refused.unwrap_or_else(|| WireError::Json(error.to_string())))
}

/// The members of an object that is judged, `known` to the reader.
pub fn object(raw: &RawValue, known: &[&str]) -> Result<Map<String, Value>, WireError> {
    match value(raw)? {
        Value::Object(map) => {
            map.keys().try_for_each(|key| refuse_variant(key, known.iter().copied()))?;
            Ok(map)
        }
        _ => Err(WireError::Shape("\"params\" is not an object")),
    }
}

fn refuse_large_integers(json: &str) -> Result<(), WireError> {
    let mut rest = json.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = match byte {
            b'"' => after_string(tail),
            b'-' | b'0'..=b'9' => {
                let more = |byte: &u8| !matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                let length = rest.iter().position(more).unwrap_or(rest.len());
                let (token, tail) = rest.split_at(length);
                let token = String::from_utf8_lossy(token);
                let whole = !token.contains(['.', 'e', 'E']);
                if whole && token.parse::<i64>().is_err() && token.parse::<u64>().is_err() {
                    return Err(WireError::Number(token.chars().take(40).collect()));
                }
                tail
            }
            _ => tail,
        };
    }
    Ok(())
}

/// What follows the string that `rest` is in.
fn after_string(mut rest: &[u8]) -> &[u8] {
    loop {
        rest = match rest {
            [b'\\', _, tail @ ..] => tail,
            [b'"', tail @ ..] => return tail,
            [_, tail @ ..] => tail,
            [] => return rest,
        };
    }
}

/// Builds a value, refusing on the way.
struct Strict<'e> {
    refused: &'e mut Option<WireError>,
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(Strict { refused: self.refused })? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let (mut members, mut keys) = (Map::new(), Keys::default());
        while let Some(key) = map.next_key::<String>()? {
            if let Err(error) = keys.add(&key) {
                *self.refused = Some(error);
                return Err(de::Error::custom("refused"));
            }
            let value = map.next_value_seed(Strict { refused: self.refused })?;
            members.insert(key, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
