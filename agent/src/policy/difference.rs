//! What two policies differ in, for whoever puts one in the place of the other: files, rules by set and id, data by
//! path; and whether a floor that was laid allows more or less than another.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::ast::{member_id, package, rule_name};
use super::bundle::Bundle;
use super::engine::compile;
use super::error::PolicyError;
use super::floor::Floor;

/// Names of what came, what went and what is another, each in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// Only the new one has it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<String>,
    /// Only the old one has it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
    /// Both have it, each another.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
}

impl Changes {
    fn between<T: PartialEq>(old: &BTreeMap<String, T>, new: &BTreeMap<String, T>) -> Self {
        let missing = |from: &BTreeMap<String, T>, other: &BTreeMap<String, T>| {
            from.keys().filter(|name| !other.contains_key(*name)).cloned().collect()
        };
        let other = |(name, value): (&String, &T)| {
            new.get(name).is_some_and(|new| new != value).then(|| name.clone())
        };
        Self {
            added: missing(new, old),
            removed: missing(old, new),
            changed: old.iter().filter_map(other).collect(),
        }
    }
}

/// What two policies differ in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// By the path in the bundle; the data are one file.
    pub files: Changes,
    /// By set and id, `deny prod-readonly`; what has no id by its name. A comment in a rule counts.
    pub rules: Changes,
    /// By path, `data.authz.workspace`; a list is one value.
    pub data: Changes,
}

impl Difference {
    /// Of two bundles that can both be compiled.
    pub fn between(old: &Bundle, new: &Bundle) -> Result<Self, PolicyError> {
        Ok(Self {
            files: Changes::between(&old.digests(), &new.digests()),
            rules: Changes::between(&rules(old)?, &rules(new)?),
            data: Changes::between(&values(old.data()), &values(new.data())),
        })
    }
}

/// The texts of all rules of a name.
fn rules(bundle: &Bundle) -> Result<BTreeMap<String, Vec<String>>, PolicyError> {
    let mut engine = compile(bundle, &[])?;
    let mut rules: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for module in engine.get_modules().iter() {
        let package = package(module);
        for rule in &module.policy {
            let name = match (package.as_str(), member_id(rule)) {
                ("authz", Some(id)) => format!("{} {id}", rule_name(rule)),
                ("authz", None) => rule_name(rule),
                _ => format!("{package}.{}", rule_name(rule)),
            };
            rules.entry(name).or_default().push(rule.span().text().trim().to_owned());
        }
    }
    // Which file comes first says nothing.
    rules.values_mut().for_each(|texts| texts.sort());
    Ok(rules)
}

fn values(data: &Map<String, Value>) -> BTreeMap<String, &Value> {
    fn walk<'a>(path: &str, data: &'a Map<String, Value>, values: &mut BTreeMap<String, &'a Value>) {
        for (key, value) in data {
            let path = format!("{path}.{key}");
            match value {
                Value::Object(members) if !members.is_empty() => walk(&path, members, values),
                value => drop(values.insert(path, value)),
            }
        }
    }
    let mut values = BTreeMap::new();
    walk("data", data, &mut values);
    values
}

/// What a policy's floor says of the one that was laid when the session began, which nothing can change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FloorChange {
    /// Members in which it allows more: what was laid stands in the way until the session begins anew.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wider: Vec<String>,
    /// Members in which it allows less: only rules forbid that until then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub narrower: Vec<String>,
}

impl FloorChange {
    /// Of the floor that was laid and the one of another policy.
    pub fn between(laid: &Floor, other: &Floor) -> Self {
        let inside = |path: &PathBuf, root: &PathBuf| path.starts_with(root);
        let same = |a: &u16, b: &u16| a == b;
        let more = |a: &Floor, b: &Floor| {
            let members = [
                ("read", allows_more(&a.read, &b.read, inside)),
                ("write", allows_more(&a.write, &b.write, inside)),
                ("execute", allows_more(&a.execute, &b.execute, inside)),
                ("connect_ports", allows_more(&a.connect_ports, &b.connect_ports, same)),
                ("bind_ports", allows_more(&a.bind_ports, &b.bind_ports, same)),
                ("scope", a.scope.iter().any(|scope| !b.scope.contains(scope))),
            ];
            members.iter().filter(|(_, more)| *more).map(|(name, _)| (*name).to_owned()).collect()
        };
        Self { wider: more(laid, other), narrower: more(other, laid) }
    }

    /// Whether the two allow the same.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Whether `b` allows something that `a` does not. `None` allows everything.
fn allows_more<T>(a: &Option<Vec<T>>, b: &Option<Vec<T>>, covered: impl Fn(&T, &T) -> bool) -> bool {
    match (a, b) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(a), Some(b)) => b.iter().any(|new| !a.iter().any(|old| covered(new, old))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::policy::{Generated, PolicySource};

    fn bundle(files: &[(&str, &str)]) -> Bundle {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        Bundle::load(&[PolicySource::Path(folder.path().to_owned())], &Generated::default()).unwrap()
    }

    fn changes(added: &[&str], removed: &[&str], changed: &[&str]) -> Changes {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Changes { added: names(added), removed: names(removed), changed: names(changed) }
    }

    const OLD: &str = "package authz

# Comments outside of rules are no part of them.
deny contains {\"id\": \"prod\", \"reason\": \"r\"} if {
\twrites
\tunder(input.resource.id, \"/prod\")
}

allow contains {\"id\": \"tmp\"} if mine

mine if under(input.resource.id, \"/tmp\")
";

    #[test]
    fn a_policy_does_not_differ_from_itself() {
        let (old, moved) = (bundle(&[("p.rego", OLD)]), bundle(&[("q.rego", OLD)]));
        assert_eq!(Difference::between(&old, &old).unwrap(), Difference::default());
        let renamed = Difference::between(&old, &moved).unwrap();
        assert_eq!(renamed.files, changes(&["policy/q.rego"], &["policy/p.rego"], &[]));
        assert_eq!((renamed.rules, renamed.data), Default::default(), "the rules are the same");
    }

    #[test]
    fn rules_are_told_by_set_and_id_and_helpers_by_name() {
        let new = OLD
            .replace("\"/prod\"", "\"/production\"")
            .replace("allow contains {\"id\": \"tmp\"}", "escalate contains {\"id\": \"tmp\"}")
            .replace("# Comments", "# Other comments");
        let difference =
            Difference::between(&bundle(&[("p.rego", OLD)]), &bundle(&[("p.rego", &new)])).unwrap();
        assert_eq!(difference.rules, changes(&["escalate tmp"], &["allow tmp"], &["deny prod"]));
        assert_eq!(difference.files, changes(&[], &[], &["policy/p.rego"]));
        let helper = OLD.replace("\"/tmp\"", "\"/var/tmp\"");
        let difference =
            Difference::between(&bundle(&[("p.rego", OLD)]), &bundle(&[("p.rego", &helper)])).unwrap();
        assert_eq!(difference.rules, changes(&[], &[], &["mine"]));
        let twice = format!("{OLD}\ndeny contains {{\"id\": \"prod\"}} if reads\n");
        let difference =
            Difference::between(&bundle(&[("p.rego", OLD)]), &bundle(&[("p.rego", &twice)])).unwrap();
        assert_eq!(difference.rules, changes(&[], &[], &["deny prod"]), "one more of the same id");
    }

    #[test]
    fn data_are_told_by_path() {
        let data = |data: Value| bundle(&[("p.rego", OLD), ("data.json", &data.to_string())]);
        let old = data(json!({"a": {"b": [1, 2], "c": "x"}, "gone": {}}));
        let new = data(json!({"a": {"b": [1, 3], "c": "x", "d": null}, "e": {"f": 1}}));
        let difference = Difference::between(&old, &new).unwrap();
        assert_eq!(difference.data, changes(&["data.a.d", "data.e.f"], &["data.gone"], &["data.a.b"]));
        assert_eq!(difference.rules, Changes::default());
    }

    #[test]
    fn a_floor_is_wider_or_narrower_in_each_member() {
        let floor = |value: Value| Floor::parse(&value).unwrap();
        let between = |laid, other| {
            let change = FloorChange::between(&floor(laid), &floor(other));
            (change.wider, change.narrower)
        };
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let none = Vec::<String>::new;
        assert_eq!(between(json!({"write": ["/tmp"]}), json!({"write": ["/tmp"]})), (none(), none()));
        assert_eq!(
            between(json!({"write": ["/tmp"]}), json!({"write": ["/tmp/a"]})),
            (none(), names(&["write"]))
        );
        assert_eq!(between(json!({"write": ["/tmp"]}), json!({})), (names(&["write"]), none()));
        assert_eq!(between(json!({}), json!({"connect_ports": []})), (none(), names(&["connect_ports"])));
        assert_eq!(
            between(
                json!({"read": ["/a"], "bind_ports": [1]}),
                json!({"read": ["/ab"], "bind_ports": [1, 2]})
            ),
            (names(&["read", "bind_ports"]), names(&["read"]))
        );
        assert_eq!(between(json!({"scope": ["signals"]}), json!({})), (names(&["scope"]), none()));
    }

    proptest! {
        #[test]
        fn what_came_one_way_went_the_other(old: BTreeMap<String, u8>, new: BTreeMap<String, u8>) {
            let (there, back) = (Changes::between(&old, &new), Changes::between(&new, &old));
            prop_assert_eq!(&there.added, &back.removed);
            prop_assert_eq!(&there.removed, &back.added);
            prop_assert_eq!(&there.changed, &back.changed);
            prop_assert_eq!(there == Changes::default(), old == new);
        }
    }
}
