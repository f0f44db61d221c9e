//! What Rego accepts in silence and its author did not mean: a rule nobody reads is a rule that never
//! denies.

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{BUILTINS, Expr, Module, Ref, Rule, RuleHead};
use serde_json::Value;

use super::ast::{self, PACKAGE, Program, Reference, RuleName, Target, literal, location, place};
use super::builtins;
use super::bundle::Bundle;
use super::error::{Finding, Location, PolicyError};
use crate::event::{ACTIONS, ActionName};

/// The sets a policy adds to.
const SETS: &[&str] = &["deny", "escalate", "compute", "allow"];

/// The rules that authz itself looks at.
const ENTRIES: &[&str] = &["decision", FLOOR];

/// What holds without decisions (data.authz.floor).
const FLOOR: &str = "floor";

/// What a member of these sets may say.
const MEMBER: &[&str] = &["id", "reason", "advice", "constraints", "rewrite"];

/// What the constraints of a member may say.
const CONSTRAINTS: &[&str] = &["ttl", "max_uses", "rate"];

/// Data that need not be there.
const OPTIONAL_DATA: &[&str] = &["default", "protected", "workspace", "tools", "actions"];

/// The fields of the input by the field they are in. What is not named here may hold anything.
const INPUT: &[(&str, &[&str])] = &[
    ("", &["subject", "action", "resource", "context"]),
    ("subject", &["type", "id", "properties"]),
    ("action", &["name", "properties"]),
    ("resource", &["type", "id", "properties"]),
    ("context", &["layer", "mode", "session", "trace_id", "span_id", "tool", "request"]),
    ("context.tool", &["server", "name", "call_id", "arguments"]),
];

/// Everything that is wrong with the files of the user's own.
pub(super) fn check(program: &Program, modules: &[Ref<Module>], bundle: &Bundle) -> Vec<Finding> {
    let library: BTreeSet<&str> =
        bundle.policies.iter().filter(|file| file.library).map(|file| file.origin.as_str()).collect();
    let mut lint = Lint { program, bundle, library, findings: BTreeSet::new() };
    lint.packages(modules);
    lint.rules();
    lint.references();
    lint.recursion();
    lint.floor_input();
    lint.findings.into_iter().collect()
}

struct Lint<'a> {
    program: &'a Program,
    bundle: &'a Bundle,
    library: BTreeSet<&'a str>,
    findings: BTreeSet<Finding>,
}

impl Lint<'_> {
    fn add(&mut self, at: Location, message: String) {
        if !self.library.contains(at.file.as_str()) {
            self.findings.insert(Finding { at, message });
        }
    }

    /// A package that the decision never reaches, most often `authz` misspelt.
    fn packages(&mut self, modules: &[Ref<Module>]) {
        let reached: BTreeSet<String> = ENTRIES
            .iter()
            .flat_map(|entry| self.program.reachable(entry))
            .map(|(package, _)| package)
            .collect();
        for module in modules {
            let package = ast::package(module);
            if package != PACKAGE && !reached.contains(&package) {
                let message =
                    format!("nothing in package {package} is used by a decision; write `package {PACKAGE}`");
                self.add(location(&module.package.span), message);
            }
        }
    }

    fn rules(&mut self) {
        let mut library = BTreeSet::new();
        let mut used: BTreeMap<RuleName, bool> = BTreeMap::new();
        for (name, rule) in self.program.rules() {
            if self.library.contains(location(rule.span()).file.as_str()) {
                library.insert(name.clone());
            }
            used.entry(name.clone()).or_default();
        }
        for name in used.keys().cloned().collect::<Vec<_>>() {
            for other in self.program.uses(&name).into_iter().filter(|other| *other != name) {
                used.insert(other, true);
            }
        }
        let builtins = BUILTINS.keys().copied().chain(builtins::names());
        let namespaces: BTreeSet<&str> =
            builtins.filter_map(|name| name.split_once('.')).map(|(space, _)| space).collect();
        let program = self.program;
        for (name, rule) in program.rules().filter(|((package, _), _)| package == PACKAGE) {
            let at = location(rule.span());
            let (_, text) = name;
            if SETS.contains(&text.as_str()) {
                self.member(text, rule);
            } else if text == "decision" {
                let message = "`decision` is what authz makes of the rules; \
                               write `deny contains {...} if {...}` or another effect instead";
                self.add(at, message.to_owned());
            } else if text == FLOOR {
                self.floor(at);
            } else if library.contains(name) {
                self.add(at, format!("`{text}` belongs to the library of authz; give the rule another name"));
            } else if namespaces.contains(text.as_str()) {
                self.add(at, format!("`{text}` hides the functions `{text}.*`; give the rule another name"));
            } else if !used[name] {
                self.add(at, unused(text));
            }
        }
    }

    /// A rule that adds to one of the sets.
    fn member(&mut self, set: &str, rule: &Rule) {
        let at = location(rule.span());
        let Rule::Spec { head: RuleHead::Set { key: Some(member), .. }, .. } = rule else {
            let message = format!("`{set}` is a set; write `{set} contains {{\"id\": \"...\"}} if {{...}}`");
            return self.add(at, message);
        };
        let Expr::Object { fields, .. } = member.as_ref() else { return };
        let keys: Vec<_> =
            fields.iter().filter_map(|(_, key, value)| Some((literal(key)?, key, value))).collect();
        if keys.len() == fields.len() && !keys.iter().any(|(key, ..)| key == "id") {
            self.add(at, format!("this rule of `{set}` has no id; give it \"id\": \"...\""));
        }
        for (name, key, value) in keys {
            let at = place(key);
            if name == "effect" {
                self.add(at, "the effect is the name of the set; remove \"effect\"".to_owned());
            } else if !MEMBER.contains(&name.as_str()) {
                self.add(at, format!("a rule has no field \"{name}\"{}", suggest(&name, MEMBER)));
            } else if let ("constraints", Expr::Object { fields, .. }) = (name.as_str(), value.as_ref()) {
                for (name, key) in fields.iter().filter_map(|(_, key, _)| Some((literal(key)?, key))) {
                    if !CONSTRAINTS.contains(&name.as_str()) {
                        let hint = suggest(&name, CONSTRAINTS);
                        self.add(place(key), format!("there is no constraint \"{name}\"{hint}"));
                    }
                }
            }
        }
    }

    /// A rule of the floor: data would take its place in silence.
    fn floor(&mut self, at: Location) {
        let data = self.bundle.data.get(PACKAGE).and_then(|authz| authz.get(FLOOR));
        if data.is_some() {
            let message = "a data file states authz.floor too, which Rego does not allow; keep one of them";
            self.add(at, message.to_owned());
        }
    }

    /// What the floor depends on: there is no input yet, and without one its lists would be empty.
    fn floor_input(&mut self) {
        for Reference { target, at } in
            self.program.reachable(FLOOR).iter().flat_map(|name| self.program.references(name))
        {
            if matches!(target, Target::Input(_)) {
                self.add(at, "the floor is laid before there is an input; use data only".to_owned());
            }
        }
    }

    fn references(&mut self) {
        let names: BTreeSet<RuleName> = self.program.rules().map(|(name, _)| name.clone()).collect();
        for Reference { target, at } in names.iter().flat_map(|name| self.program.references(name)) {
            let message = match target {
                Target::Input(path) => self.input(&path),
                Target::Data(path) => self.data(&path),
                Target::Function(name) => self.function(&name),
                Target::Action(name) => self.action(&name),
                Target::Replaced => None,
            };
            if let Some(message) = message {
                self.add(at, message);
            }
        }
    }

    fn input(&self, path: &[String]) -> Option<String> {
        path.iter().enumerate().find_map(|(depth, name)| {
            let within = path[..depth].join(".");
            let (_, known) = INPUT.iter().find(|(field, _)| *field == within)?;
            let full = path[..=depth].join(".");
            (!known.contains(&name.as_str()))
                .then(|| format!("there is no input.{full}{}", suggest(name, known)))
        })
    }

    fn data(&self, path: &[String]) -> Option<String> {
        let (root, rest) = path.split_first()?;
        if path.len() > 2 && root == PACKAGE && path[1] == "glob" {
            let message = "the predicate `glob` hides `glob.match`; write glob(path, pattern)";
            return Some(message.to_owned());
        }
        if !self.program.resolve(path).is_empty() {
            return None;
        }
        let base = self.bundle.data.get(root);
        let full = path.join(".");
        match (base, rest.first()) {
            (_, Some(key)) if root == PACKAGE => {
                let given = base.and_then(Value::as_object).into_iter().flat_map(|data| data.keys());
                let rules = self.program.rules().filter(|((package, _), _)| package == PACKAGE);
                let known: BTreeSet<&str> = (OPTIONAL_DATA.iter().copied())
                    .chain(given.map(String::as_str))
                    .chain(rules.map(|((_, name), _)| name.as_str()))
                    .collect();
                (!known.contains(key.as_str())).then(|| {
                    let hint = suggest(key, &known.iter().copied().collect::<Vec<_>>());
                    format!("no rule and no data file defines data.{full}{hint}")
                })
            }
            (Some(_), _) => None,
            (None, _) => Some(format!("no rule and no data file defines data.{full}; add it to a data file")),
        }
    }

    fn action(&self, name: &str) -> Option<String> {
        let declared = self.bundle.actions();
        let own = ACTIONS.iter().map(|(_, name)| *name);
        let known: Vec<&str> = own.chain(declared.iter().map(String::as_str)).collect();
        (!known.contains(&name)).then(|| {
            let hint = suggest(name, &known);
            let hint = if hint.is_empty() && !ActionName::is_reserved(name) {
                "; if another gate asks about it, list it in data.authz.actions".to_owned()
            } else {
                hint
            };
            format!("there is no action \"{name}\"{hint}")
        })
    }

    fn function(&self, name: &str) -> Option<String> {
        if BUILTINS.contains_key(name) || builtins::known(name) || name == "print" {
            return None;
        }
        let own = self.program.rules().filter(|((package, _), _)| package == PACKAGE);
        let mut known: Vec<&str> = own.map(|((_, name), _)| name.as_str()).collect();
        for name in BUILTINS.keys().copied().chain(builtins::names()) {
            known.push(name);
        }
        Some(format!("there is no function `{name}`{}", suggest(name, &known)))
    }

    /// Rego has no recursion, and the engine would not survive it.
    fn recursion(&mut self) {
        let names: BTreeSet<RuleName> = self.program.rules().map(|(name, _)| name.clone()).collect();
        let uses: BTreeMap<&RuleName, BTreeSet<RuleName>> =
            names.iter().map(|name| (name, self.program.uses(name))).collect();
        for name in &names {
            let mut seen = BTreeSet::new();
            let mut queue: Vec<&RuleName> = uses[name].iter().collect();
            while let Some(next) = queue.pop() {
                if seen.insert(next) {
                    queue.extend(uses.get(next).into_iter().flatten());
                }
            }
            if seen.contains(name) {
                let rules = self.program.rules().filter(|(other, _)| *other == name);
                let places: Vec<_> = rules.map(|(_, rule)| location(rule.span())).collect();
                for at in places {
                    let message = format!(
                        "`{}` depends on itself, which Rego does not allow; break the circle",
                        name.1
                    );
                    self.add(at, message);
                }
            }
        }
    }
}

/// What the engine says of a variable that nothing binds, with the name that was probably meant.
pub(super) fn unbound(program: &Program, error: PolicyError) -> PolicyError {
    let PolicyError::Syntax { at, message } = error else { return error };
    let name =
        message.strip_prefix("use of undefined variable `").and_then(|rest| rest.strip_suffix("` is unsafe"));
    let Some(name) = name else { return PolicyError::Syntax { at, message } };
    let rules = program.rules().filter(|((package, _), _)| package == PACKAGE);
    let known: Vec<&str> = rules.map(|((_, name), _)| name.as_str()).collect();
    let message = format!("nothing defines `{name}`{}", suggest(name, &known));
    PolicyError::Lint(vec![Finding { at, message }])
}

fn unused(name: &str) -> String {
    if name.starts_with("test_") {
        return format!("`{name}` is a test; move it to a file named *_test.rego");
    }
    let hint = suggest(name, SETS);
    if hint.is_empty() {
        format!("nothing uses the rule `{name}`, so it has no effect; effects are {}", SETS.join(", "))
    } else {
        format!("nothing uses the rule `{name}`, so it has no effect{hint}")
    }
}

/// `; did you mean X?` for the nearest of the names, if one is near.
fn suggest(name: &str, known: &[&str]) -> String {
    let nearest = known.iter().map(|other| (distance(name, other), *other)).min();
    match nearest {
        Some((distance, other)) if distance > 0 && distance <= 1 + name.len() / 4 => {
            format!("; did you mean `{other}`?")
        }
        _ => String::new(),
    }
}

/// How many characters to insert, remove, replace or swap to make one name of the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::bundle::PolicyFile;
    use crate::policy::{Engine, Generated};

    /// What loading a policy says.
    fn load(text: &str) -> Vec<String> {
        let mut bundle = Bundle::load(&[], &Generated::default()).unwrap();
        bundle.policies.push(PolicyFile {
            path: "policy/p.rego".into(),
            origin: "p.rego".into(),
            text: format!("package authz\n{text}\n"),
            library: false,
        });
        match Engine::load(&bundle) {
            Ok(_) => Vec::new(),
            Err(error) => error.to_string().lines().map(str::to_owned).collect(),
        }
    }

    #[test]
    fn what_is_meant_passes() {
        for text in [
            "deny contains {\"id\": \"x\"} if { writes; under(input.resource.id, \"/prod\") }",
            "deny contains {\"id\": \"x\", \"reason\": r} if { r := sprintf(\"no %s\", [input.resource.id]) }",
            "office if time.weekday(time.now_ns()) != \"Sunday\"\nallow contains {\"id\": \"x\"} if office",
            "allow contains {\"id\": \"x\"} if { some path in [\"/a\"]; is(input.resource.id, path) }",
            "path := input.resource.id\nallow contains {\"id\": \"x\"} if under(path, {\"/a\"})",
            "allow contains {\"id\": \"x\"} if every p in input.subject.properties.parents { p != \"/bin/sh\" }",
            "allow contains {\"id\": \"x\"} if input.action.name in {\"file.read\", \"tool.call\"}",
            "allow contains {\"id\": \"x\"} if not data.authz.tools.x",
            "sizes := {n: count(n) | some n in {\"a\"}}\nallow contains {\"id\": \"x\"} if sizes[input.subject.id] > 0",
        ] {
            assert_eq!(load(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn what_is_not_meant_is_named_with_its_place() {
        let mut wrong = Vec::new();
        for (text, expected) in [
            (
                "denny contains {\"id\": \"x\"} if writes",
                "p.rego:2:1: nothing uses the rule `denny`, so it has no effect; did you mean `deny`?",
            ),
            (
                "block contains {\"id\": \"x\"} if writes",
                "p.rego:2:1: nothing uses the rule `block`, so it has no effect; effects are deny, escalate, compute, allow",
            ),
            (
                "decision := {\"effect\": \"allow\"}",
                "p.rego:2:1: `decision` is what authz makes of the rules; write `deny contains {...} if {...}` or another effect instead",
            ),
            (
                "writes if true",
                "p.rego:2:1: `writes` belongs to the library of authz; give the rule another name",
            ),
            (
                "deny if writes",
                "p.rego:2:1: `deny` is a set; write `deny contains {\"id\": \"...\"} if {...}`",
            ),
            (
                "default allow := true",
                "p.rego:2:1: `allow` is a set; write `allow contains {\"id\": \"...\"} if {...}`",
            ),
            (
                "deny contains {\"reason\": \"x\"} if writes",
                "p.rego:2:1: this rule of `deny` has no id; give it \"id\": \"...\"",
            ),
            (
                "deny contains {\"id\": \"x\", \"reson\": \"x\"} if writes",
                "p.rego:2:27: a rule has no field \"reson\"; did you mean `reason`?",
            ),
            (
                "deny contains {\"id\": \"x\", \"effect\": \"block\"} if writes",
                "p.rego:2:27: the effect is the name of the set; remove \"effect\"",
            ),
            (
                "allow contains {\"id\": \"x\", \"constraints\": {\"tll\": \"1h\"}} if reads",
                "p.rego:2:44: there is no constraint \"tll\"; did you mean `ttl`?",
            ),
            (
                "deny contains {\"id\": \"x\"} if undr(input.resource.id, \"/prod\")",
                "p.rego:2:30: there is no function `undr`; did you mean `under`?",
            ),
            (
                "deny contains {\"id\": \"x\"} if input.resorce.id == \"/x\"",
                "p.rego:2:30: there is no input.resorce; did you mean `resource`?",
            ),
            (
                "deny contains {\"id\": \"x\"} if input.context.tol",
                "p.rego:2:30: there is no input.context.tol; did you mean `tool`?",
            ),
            (
                "deny contains {\"id\": \"x\"} if not data.authz.alow",
                "p.rego:2:34: no rule and no data file defines data.authz.alow; did you mean `allow`?",
            ),
            (
                "deny contains {\"id\": \"x\"} if data.inventory[input.resource.id]",
                "p.rego:2:30: no rule and no data file defines data.inventory; add it to a data file",
            ),
            (
                "deny contains {\"id\": \"x\"} if input.action.name == \"file.wirte\"",
                "p.rego:2:51: there is no action \"file.wirte\"; did you mean `file.write`?",
            ),
            (
                "deny contains {\"id\": \"x\"} if f(1)\nf(x) if g(x)\ng(x) if f(x)",
                "p.rego:3:1: `f` depends on itself, which Rego does not allow; break the circle",
            ),
            (
                "time := 1\nallow contains {\"id\": \"x\"} if time == 1",
                "p.rego:2:1: `time` hides the functions `time.*`; give the rule another name",
            ),
            (
                "allow contains {\"id\": \"x\"} if glob.match(\"/*\", [], input.resource.id)",
                "p.rego:2:31: the predicate `glob` hides `glob.match`; write glob(path, pattern)",
            ),
            ("test_x if writes", "p.rego:2:1: `test_x` is a test; move it to a file named *_test.rego"),
            (
                "deny contains {\"id\": \"x\"} if wirtes",
                "p.rego:2:30: nothing defines `wirtes`; did you mean `writes`?",
            ),
            ("deny contains {\"id\": \"x\"} if {", "p.rego:3:1: expecting expression; correct the rule"),
        ] {
            let found = load(text).first().cloned().unwrap_or_default();
            if found != expected {
                wrong.push(format!("{text}\n    {found}\n    {expected}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn a_package_nobody_reads_is_named() {
        let mut bundle = Bundle::load(&[], &Generated::default()).unwrap();
        bundle.policies.push(PolicyFile {
            path: "policy/p.rego".into(),
            origin: "p.rego".into(),
            text: "package auth\ndeny contains {\"id\": \"x\"} if true".into(),
            library: false,
        });
        let error = Engine::load(&bundle).unwrap_err().to_string();
        assert_eq!(error, "p.rego:1:1: nothing in package auth is used by a decision; write `package authz`");
    }
}
