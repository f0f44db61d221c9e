//! A shorter policy for one action: without the rules that have no say in decisions about it, without the
//! conditions on the action that hold, and with functions of the host in the place of the library's and of what puts
//! the members of an effect together. It decides as the whole policy does, sooner; where it comes to no decision, the
//! whole policy is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use anyhow::{Context, Result, bail};
use regorus::Value;
use regorus::unstable::{Expr, Module, Query, Ref, Rule, RuleBody, RuleHead, Span};

use super::ast::{PACKAGE, Program, RuleName, Scope, package, rule_name};
use super::{guard, predicates};
use crate::event::Action;

/// The modules of the shorter policy by the names of their files. None: there is none.
pub(super) fn modules(
    program: &Program,
    action: Action,
    modules: &[Ref<Module>],
) -> Option<Vec<(String, String)>> {
    let about = program.about(action);
    about.is_about(action).then_some(())?;
    let mut writer =
        Writer { wanted: wanted(program, &about), written: BTreeSet::new(), action, program: about };
    // One for all files that begin alike: the engine looks through all modules for what a rule refers to.
    let mut texts = Vec::<(String, String, String)>::new();
    let mut places = Vec::new();
    for module in modules {
        let mut head = format!("{}\n", text_of(&module.package.span)?);
        for import in &module.imports {
            head.push_str(&format!("{}\n", text_of(&import.span)?));
        }
        let known = texts.iter().position(|(_, known, _)| *known == head);
        places.push(known.unwrap_or(texts.len()));
        if known.is_none() {
            texts.push((module.package.span.source.file().clone(), head, String::new()));
        }
    }
    for (module, place) in modules.iter().zip(&places) {
        for rule in &module.policy {
            writer.rule(module, rule, &mut texts[*place].2)?;
        }
    }
    // What is named must be there, though it never holds.
    for (module, place) in modules.iter().zip(&places) {
        for rule in &module.policy {
            writer.stub(module, rule, &mut texts[*place].2)?;
        }
    }
    Some(texts.into_iter().map(|(file, head, rules)| (file, head + &rules)).collect())
}

/// The rules that what is written refers to. Of several bodies of a rule all are written or none.
fn wanted(whole: &Program, about: &Program) -> BTreeSet<RuleName> {
    let decision: RuleName = (PACKAGE.to_owned(), "decision".to_owned());
    let mut seen = BTreeSet::from([decision.clone()]);
    let mut queue = vec![decision];
    while let Some(name) = queue.pop() {
        let several = |rule: &Rule| matches!(rule, Rule::Spec { bodies, .. } if bodies.len() > 1);
        let any = about.definitions(&name).any(|(_, rule)| several(rule));
        let uses = if any { whole.uses(&name) } else { about.uses(&name) };
        queue.extend(uses.into_iter().filter(|rule| seen.insert(rule.clone())));
    }
    seen
}

struct Writer {
    program: Program,
    action: Action,
    wanted: BTreeSet<RuleName>,
    written: BTreeSet<RuleName>,
}

impl Writer {
    fn rule(&mut self, module: &Module, rule: &Rule, text: &mut String) -> Option<()> {
        let name = (package(module), rule_name(rule));
        if !self.wanted.contains(&name) {
            return Some(());
        }
        let scope = Scope::of(&name, module);
        let (span, head, bodies) = match rule {
            Rule::Default { span, .. } => {
                text.push_str(&format!("{}\n", text_of(span)?));
                return Some(());
            }
            Rule::Spec { span, head, bodies } => (span, head, bodies),
        };
        // No policy has another rule of these names.
        if name.0 == PACKAGE && predicates::LIBRARY.iter().any(|(function, ..)| name.1 == *function) {
            self.written.insert(name);
            return Some(());
        }
        let held: Vec<bool> =
            bodies.iter().map(|body| self.program.may_hold(&scope, head, &body.query)).collect();
        match bodies.as_slice() {
            _ if !held.contains(&true) && !bodies.is_empty() => return Some(()),
            [body] if !matches!(head, RuleHead::Func { .. }) => {
                let holding = guard::holding(&self.program, &scope, &body.query, self.action);
                without_first(span, &body.query, holding, text)?;
            }
            [_, others @ ..] if others.iter().all(|body| body.is_else) => {
                without_else(span, bodies, &held, text)?
            }
            _ => text.push_str(text_of(span)?),
        }
        text.push('\n');
        self.written.insert(name);
        Some(())
    }

    fn stub(&mut self, module: &Module, rule: &Rule, text: &mut String) -> Option<()> {
        let name = (package(module), rule_name(rule));
        let Rule::Spec { head, .. } = rule else { return Some(()) };
        if !self.wanted.contains(&name) || self.written.contains(&name) {
            return Some(());
        }
        match head {
            RuleHead::Compr { refr, .. } if matches!(refr.as_ref(), Expr::Var { .. }) => {
                text.push_str(&format!("{} if false\n", name.1));
            }
            RuleHead::Set { refr, .. } if matches!(refr.as_ref(), Expr::Var { .. }) => {
                text.push_str(&format!("{} contains 0 if false\n", name.1));
            }
            _ => return None,
        }
        self.written.insert(name);
        Some(())
    }
}

/// Where it begins and ends in its file. The engine places a string between its quotes.
fn range(span: &Span) -> Range<usize> {
    let quoted = |at: Option<usize>| {
        at.and_then(|at| span.source.contents().as_bytes().get(at)).is_some_and(|byte| b"\"`".contains(byte))
    };
    let (start, end) = (span.start as usize, span.end as usize);
    start - usize::from(quoted(start.checked_sub(1)))..end + usize::from(quoted(Some(end)))
}

fn text_of(span: &Span) -> Option<&str> {
    span.source.contents().get(range(span))
}

/// The rule with `true` in the place of the first statements.
fn without_first(span: &Span, body: &Query, holding: usize, text: &mut String) -> Option<()> {
    let contents = span.source.contents();
    let Range { start: mut from, end } = range(span);
    for statement in &body.stmts[..holding] {
        let statement = range(&statement.span);
        text.push_str(contents.get(from..statement.start)?);
        text.push_str("true");
        from = statement.end;
    }
    text.push_str(contents.get(from..end)?);
    Some(())
}

/// The rule without what stands behind an `else` and does not hold.
fn without_else(span: &Span, bodies: &[RuleBody], held: &[bool], text: &mut String) -> Option<()> {
    let contents = span.source.contents();
    let Range { start: mut from, end } = range(span);
    for (number, body) in bodies.iter().enumerate().skip(1).filter(|(number, _)| !held[*number]) {
        let start = body.span.start as usize;
        contents.get(start..)?.starts_with("else").then_some(())?;
        text.push_str(contents.get(from..start)?);
        from = bodies.get(number + 1).map_or(end, |next| next.span.start as usize);
    }
    text.push_str(contents.get(from..end)?);
    Some(())
}

/// `decided` of policies/authz.rego. What is not as it should be is an error, and left to Rego.
pub(super) fn decided(arguments: &[Value]) -> Result<Value> {
    let [effect, members] = arguments else { bail!("decided(effect, members) has two arguments") };
    let members = members.as_set().context("the members of an effect are a set")?;
    let mut rules = Vec::with_capacity(members.len());
    let mut pairs = BTreeSet::new();
    for member in members.iter_sorted() {
        let field = |name: &str, otherwise: &str| match &member[name] {
            Value::Undefined => Value::from(otherwise),
            value => value.clone(),
        };
        let (id, reason, advice) = match member {
            Value::Object(_) => (field("id", "unnamed"), field("reason", ""), field("advice", "")),
            Value::String(_) => (member.clone(), Value::from(""), Value::from("")),
            _ => bail!("a member of an effect is neither object nor text"),
        };
        rules.push(object([("id", id), ("reason", reason), ("advice", advice)]));
        match &member["constraints"] {
            Value::Undefined => {}
            Value::Object(constraints) => {
                pairs.extend(constraints.iter().map(|(name, value)| (name.clone(), value.clone())));
            }
            _ => bail!("the constraints of a member are no object"),
        }
    }
    let mut constraints = BTreeMap::<Value, Vec<Value>>::new();
    for (name, value) in pairs {
        constraints.entry(name).or_default().push(value);
    }
    let one_or_all = |mut values: Vec<Value>| match values.len() {
        1 => values.remove(0),
        _ => Value::from(values),
    };
    let constraints: BTreeMap<Value, Value> =
        constraints.into_iter().map(|(name, values)| (name, one_or_all(values))).collect();
    Ok(object([
        ("effect", effect.clone()),
        ("rules", Value::from(rules)),
        ("constraints", Value::from(constraints)),
        ("rewrite", Value::Null),
    ]))
}

fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::from(
        fields.into_iter().map(|(name, value)| (Value::from(name), value)).collect::<BTreeMap<_, _>>(),
    )
}

#[cfg(test)]
mod tests;
