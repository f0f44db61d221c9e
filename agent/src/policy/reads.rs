//! Which fields of the input a policy looks at: found by walking the rules from the entry point. What
//! the policy does not look at cannot change the decision.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::ast::{Program, Target};
use super::builtins::NONDETERMINISTIC;
use super::error::Location;

/// A field of the input: the names that lead to it.
pub(super) type Field = Vec<String>;

/// The fields of the input that a policy looks at, each with everything below it.
#[derive(Debug, Clone, Default)]
pub struct Reads {
    fields: BTreeMap<Field, BTreeSet<Location>>,
    time_or_chance: BTreeSet<Location>,
}

impl Reads {
    pub(super) fn of(program: &Program) -> Self {
        let mut reads = Self::default();
        for reference in program.reachable("decision").iter().flat_map(|rule| program.references(rule)) {
            match reference.target {
                Target::Input(field) => {
                    reads.fields.entry(field).or_default().insert(reference.at);
                }
                Target::Function(name) if NONDETERMINISTIC.contains(&name.as_str()) => {
                    reads.time_or_chance.insert(reference.at);
                }
                Target::Data(_) | Target::Function(_) | Target::Action(_) | Target::Replaced => {}
            }
        }
        reads
    }

    /// The policy looks at the input as a whole, or in a way that is not understood.
    pub fn is_all(&self) -> bool {
        self.fields.contains_key(&Vec::new())
    }

    /// Whether the policy looks at the field, at something in it, or at something that it is in. A fact
    /// that is not needed need not be found out. `path` is dotted: `subject.properties.exe`.
    pub fn needs(&self, path: &str) -> bool {
        self.fields
            .keys()
            .any(|field| field.iter().map(String::as_str).zip(path.split('.')).all(|(a, b)| a == b))
    }

    /// The same for a JSON pointer such as `/subject/properties/exe`.
    pub fn needs_pointer(&self, pointer: &str) -> bool {
        let names = || pointer.split('/').skip(1).map(|name| name.replace("~1", "/").replace("~0", "~"));
        self.fields.keys().any(|field| field.iter().zip(names()).all(|(a, b)| *a == b))
    }

    /// What two policies look at together.
    pub fn union(&self, other: &Self) -> Self {
        let mut both = self.clone();
        for (field, places) in &other.fields {
            both.fields.entry(field.clone()).or_default().extend(places.iter().cloned());
        }
        both.time_or_chance.extend(other.time_or_chance.iter().cloned());
        both
    }

    /// The input without what the policy does not look at: it is decided alike.
    pub fn project(&self, input: &Value) -> Value {
        let mut kept = Value::Object(Map::new());
        for field in self.widest() {
            let Some(value) = field.iter().try_fold(input, |value, name| value.get(name)) else { continue };
            // Of each name a member is made: no field lies within another one, so none is in the way.
            *field.iter().fold(&mut kept, |place, name| &mut place[name]) = value.clone();
        }
        kept
    }

    /// The fields, dotted, without those within another one; `input` alone means all of it.
    pub fn paths(&self) -> BTreeSet<String> {
        self.widest().map(|field| dotted(field)).collect()
    }

    /// Where the policy looks at time or draws by chance.
    pub fn time_or_chance(&self) -> impl Iterator<Item = &Location> {
        self.time_or_chance.iter()
    }

    /// Where the policy looks at a field that [`Reads::paths`] names.
    pub fn places(&self, path: &str) -> BTreeSet<&Location> {
        let named = self.fields.iter().filter(|(field, _)| dotted(field) == path);
        named.flat_map(|(_, places)| places).collect()
    }

    /// The fields without those within another one.
    pub(super) fn widest(&self) -> impl Iterator<Item = &Field> {
        self.fields
            .keys()
            .filter(|field| !(0..field.len()).any(|length| self.fields.contains_key(&field[..length])))
    }
}

pub(super) fn dotted(field: &[String]) -> String {
    if field.is_empty() { "input".to_owned() } else { field.join(".") }
}
