//! Where the name of the resource goes in a policy. A verdict holds beyond one name only if every use of the
//! name is one that the [`super::recorder`] hears of: a test by a predicate, or a cut before one. Whatever is not
//! understood is a use that it does not hear of, and keeps verdicts to the exact name.

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{AssignOp, BoolOp, Expr, Literal, Query, Ref, Rule, RuleBody, RuleHead};
use serde_json::{Map, Value};

use super::ast::{Program, RuleName, Scope, bind, bound, chain, literal, place};
use super::error::Location;

/// What of the resource a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    /// `input.resource.id`.
    Name,
    /// The name, perhaps without its beginning.
    Rest,
    /// `input.resource.properties.ip`.
    Address,
}

/// A use that keeps verdicts to the exact name or address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Obstacle {
    /// Where.
    pub at: Location,
    /// What the name is used in.
    pub used_in: String,
    /// What to write instead.
    pub instead: &'static str,
}

/// How the decisions about one action use the name of the resource.
#[derive(Debug, Clone, Default)]
pub(super) struct Flow {
    /// Uses that are not recorded.
    pub(super) obstacles: BTreeSet<Obstacle>,
    /// What the name is compared with by `==` and `in`, which nothing records.
    pub(super) literals: BTreeSet<String>,
    /// Names that are looked for in paths, each group together.
    pub(super) groups: BTreeSet<BTreeSet<String>>,
}

/// Functions that record what they test, and which of their arguments may be the name.
const TESTS: &[(&str, &[usize])] = &[
    ("startswith", &[0]),
    ("strings.any_prefix_match", &[0]),
    ("glob.match", &[2]),
    (UNDER, &[0, 1]),
    ("authz_native.is", &[0]),
    ("authz_native.glob", &[0]),
    ("authz_native.has_name", &[0]),
    ("authz_native.named", &[0]),
];

/// It hears of both of its arguments, and of the name in both.
const UNDER: &str = "authz_native.under";

/// Functions whose result is the name without its beginning.
const CUTS: &[&str] = &["trim_prefix", "substring"];

/// Rules and arguments that stand for something of the resource.
#[derive(Default, PartialEq, Clone)]
struct Aliases {
    rules: BTreeMap<RuleName, Origin>,
    arguments: BTreeMap<(RuleName, usize), Origin>,
}

impl Flow {
    /// Of the rules that the decision about an action depends on.
    pub(super) fn of(program: &Program, data: &Map<String, Value>) -> Self {
        let rules = program.reachable("decision");
        let mut aliases = Aliases::default();
        loop {
            let (found, flow) = Self::pass(program, data, &rules, &aliases);
            if found == aliases {
                return flow;
            }
            aliases = found;
        }
    }

    fn pass(
        program: &Program,
        data: &Map<String, Value>,
        rules: &BTreeSet<RuleName>,
        aliases: &Aliases,
    ) -> (Aliases, Self) {
        let mut walk = Walk {
            program,
            data,
            aliases,
            found: aliases.clone(),
            flow: Self::default(),
            scope: Scope::default(),
            locals: Vec::new(),
        };
        for name in rules {
            for (module, rule) in program.definitions(name) {
                walk.scope = Scope::of(name, module);
                walk.rule(name, rule);
            }
        }
        (walk.found, walk.flow)
    }
}

type Locals = BTreeMap<String, Option<Origin>>;

struct Walk<'a> {
    program: &'a Program,
    data: &'a Map<String, Value>,
    aliases: &'a Aliases,
    found: Aliases,
    flow: Flow,
    scope: Scope,
    /// What the names stand for that are bound here, the innermost last.
    locals: Vec<Locals>,
}

impl Walk<'_> {
    fn rule(&mut self, name: &RuleName, rule: &Rule) {
        let Rule::Spec { head, bodies, .. } = rule else {
            if let Rule::Default { args, value, .. } = rule {
                args.iter().chain([value]).for_each(|expr| self.expr(expr));
            }
            return;
        };
        let bodies: Vec<&RuleBody> =
            bodies.iter().filter(|body| self.program.may_hold(&self.scope, head, &body.query)).collect();
        if bodies.is_empty() && !matches!(rule, Rule::Spec { bodies, .. } if bodies.is_empty()) {
            return;
        }
        let mut arguments = Locals::new();
        if let RuleHead::Func { args, .. } = head {
            for (index, argument) in args.iter().enumerate() {
                let mut names = BTreeSet::new();
                bind(argument, &mut names);
                let origin = self.aliases.arguments.get(&(name.clone(), index)).copied();
                let whole = matches!(argument.as_ref(), Expr::Var { .. });
                if origin.is_some() && !whole {
                    self.obstacle(argument, "a pattern of an argument", "take the argument by a name");
                }
                arguments.extend(names.into_iter().map(|name| (name, origin.filter(|_| whole))));
            }
        }
        self.locals.push(arguments);
        let value = |head: &RuleHead| match head {
            RuleHead::Compr { assign, .. } | RuleHead::Func { assign, .. } => {
                assign.as_ref().map(|assign| assign.value.clone())
            }
            RuleHead::Set { .. } => None,
        };
        // The head sees what a body binds.
        let value = value(head);
        let mut heads: Vec<Locals> = Vec::new();
        for body in bodies.iter().filter(|body| body.assign.is_none()) {
            heads.push(self.bind_query(&body.query));
        }
        for locals in if heads.is_empty() { vec![Locals::new()] } else { heads } {
            self.locals.push(locals);
            self.head(name, head, value.as_deref());
            self.locals.pop();
        }
        for body in bodies {
            let locals = self.bind_query(&body.query);
            self.locals.push(locals);
            if let Some(assign) = &body.assign {
                self.value(name, head, &assign.value);
            }
            self.statements(&body.query);
            self.locals.pop();
        }
        self.locals.pop();
    }

    fn head(&mut self, name: &RuleName, head: &RuleHead, value: Option<&Expr>) {
        let (RuleHead::Compr { refr, .. } | RuleHead::Set { refr, .. } | RuleHead::Func { refr, .. }) = head;
        if let Some((.., keys)) = chain(refr) {
            keys.into_iter().for_each(|key| self.expr(key));
        }
        if let RuleHead::Set { key: Some(key), .. } = head {
            self.expr(key);
        }
        if let Some(value) = value {
            self.value(name, head, value);
        }
    }

    /// A rule's value: the rule may stand for the name.
    fn value(&mut self, name: &RuleName, head: &RuleHead, value: &Expr) {
        let plain = matches!(head, RuleHead::Compr { refr, .. } if matches!(refr.as_ref(), Expr::Var { .. }));
        match self.origin(value) {
            Some(origin) if plain => {
                self.parts(value);
                let known = self.found.rules.entry(name.clone()).or_insert(origin);
                *known = join(*known, origin);
            }
            _ => self.expr(value),
        }
    }

    /// The names that a query binds, and what they stand for.
    fn bind_query(&mut self, query: &Query) -> Locals {
        let mut locals: Locals = bound(query).into_iter().map(|name| (name, None)).collect();
        // An assignment may use one that stands behind it.
        for _ in 0..=query.stmts.len() {
            let before = locals.clone();
            self.locals.push(locals);
            let mut found = Vec::new();
            for statement in &query.stmts {
                if let Literal::Expr { expr, .. } = &statement.literal
                    && let Expr::AssignExpr { op: AssignOp::ColEq, lhs, rhs, .. } = expr.as_ref()
                    && let Expr::Var { .. } = lhs.as_ref()
                    && let Some((name, ..)) = chain(lhs)
                    && let Some(origin) = self.origin(rhs)
                {
                    found.push((name, origin));
                }
            }
            locals = self.locals.pop().unwrap_or_default();
            for (name, origin) in found {
                locals.insert(name, Some(origin));
            }
            if locals == before {
                break;
            }
        }
        locals
    }

    fn query(&mut self, query: &Query, names: BTreeSet<String>, terms: &[&Expr]) {
        self.locals.push(names.into_iter().map(|name| (name, None)).collect());
        let locals = self.bind_query(query);
        self.locals.push(locals);
        terms.iter().for_each(|term| self.expr(term));
        self.statements(query);
        self.locals.truncate(self.locals.len() - 2);
    }

    fn statements(&mut self, query: &Query) {
        for statement in &query.stmts {
            for with in &statement.with_mods {
                self.obstacle(&with.refr, "`with`", "decide without changing the input");
                self.expr(&with.r#as);
            }
            match &statement.literal {
                Literal::SomeVars { .. } => {}
                Literal::SomeIn { key, value, collection, .. } => {
                    key.iter().for_each(|key| self.expr(key));
                    self.expr(value);
                    self.expr(collection);
                }
                // That there is a name says nothing about it.
                Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } if self.origin(expr).is_some() => {
                    self.parts(expr)
                }
                Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => self.expr(expr),
                Literal::Every { key, value, domain, query, .. } => {
                    self.expr(domain);
                    let names = key.iter().chain([value]).map(|span| span.text().to_owned()).collect();
                    self.query(query, names, &[]);
                }
            }
        }
    }

    /// What an expression stands for, if it is nothing but something of the resource.
    fn origin(&self, expr: &Expr) -> Option<Origin> {
        if let Expr::Call { fcn, params, .. } = expr {
            let name = self.function(fcn).err()?;
            let first = self.origin(params.first()?)?;
            let cuts = CUTS.contains(&name.as_str()) && first != Origin::Address;
            return (cuts && params[1..].iter().all(|argument| self.origin(argument).is_none()))
                .then_some(Origin::Rest);
        }
        let (name, path, whole, _) = chain(expr)?;
        if let Some(local) = self.locals.iter().rev().find_map(|locals| locals.get(&name)) {
            return local.filter(|_| path.is_empty() && whole);
        }
        let full = self.scope.full(&name, path);
        match full.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["input", "resource", "id"] if whole => Some(Origin::Name),
            ["input", "resource", "properties", "ip"] if whole => Some(Origin::Address),
            _ => {
                let path = self.rule_path(&full)?;
                let rules = self.program.resolve(&path);
                match &rules[..] {
                    [rule] if whole && is_path_of(&path, rule) => self.aliases.rules.get(rule).copied(),
                    _ => None,
                }
            }
        }
    }

    /// The path below `data` of a reference to rules.
    fn rule_path(&self, full: &[String]) -> Option<Vec<String>> {
        match full.split_first()? {
            (root, rest) if root == "data" => Some(rest.to_vec()),
            (root, _) if root == "input" => None,
            _ => Some([self.scope.package(), full.to_vec()].concat()),
        }
    }

    /// The rules behind a function's name, or the name of a built-in.
    fn function(&self, function: &Expr) -> Result<Vec<RuleName>, String> {
        let Some((name, path, ..)) = chain(function) else { return Err(String::new()) };
        let full = self.scope.full(&name, path);
        let rules = self.rule_path(&full).map(|path| self.program.resolve(&path)).unwrap_or_default();
        if rules.is_empty() { Err(full.join(".")) } else { Ok(rules) }
    }

    /// The parts of an expression that itself is well used.
    fn parts(&mut self, expr: &Expr) {
        if let Expr::Call { params, .. } = expr {
            for (index, argument) in params.iter().enumerate() {
                if index == 0 { self.parts(argument) } else { self.expr(argument) }
            }
        }
    }

    fn expr(&mut self, expr: &Expr) {
        if self.origin(expr).is_some() {
            self.parts(expr);
            self.obstacle(
                expr,
                "something that no predicate tests",
                "test it by a predicate such as under, is or glob",
            );
            return;
        }
        match expr {
            Expr::String { .. }
            | Expr::RawString { .. }
            | Expr::Number { .. }
            | Expr::Bool { .. }
            | Expr::Null { .. } => {}
            Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => self.reference(expr),
            Expr::Array { items, .. } | Expr::Set { items, .. } => {
                items.iter().for_each(|item| self.expr(item))
            }
            Expr::Object { fields, .. } => {
                for (_, key, value) in fields {
                    self.expr(key);
                    self.expr(value);
                }
            }
            Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
                self.query(query, BTreeSet::new(), &[term]);
            }
            Expr::ObjectCompr { key, value, query, .. } => self.query(query, BTreeSet::new(), &[key, value]),
            Expr::Call { fcn, params, .. } => self.call(expr, fcn, params),
            Expr::UnaryExpr { expr, .. } => self.expr(expr),
            Expr::BoolExpr { op: BoolOp::Eq | BoolOp::Ne, lhs, rhs, .. } => self.compare(lhs, rhs),
            Expr::AssignExpr { op: AssignOp::ColEq, lhs, rhs, .. } if self.origin(rhs).is_some() => {
                self.parts(rhs);
                if !matches!(lhs.as_ref(), Expr::Var { .. }) {
                    self.obstacle(rhs, "a pattern", "assign it to one name");
                }
            }
            Expr::AssignExpr { op: AssignOp::ColEq, rhs, .. } => self.expr(rhs),
            Expr::AssignExpr { lhs, rhs, .. } => self.compare(lhs, rhs),
            Expr::BoolExpr { lhs, rhs, .. }
            | Expr::BinExpr { lhs, rhs, .. }
            | Expr::ArithExpr { lhs, rhs, .. } => {
                self.expr(lhs);
                self.expr(rhs);
            }
            Expr::Membership { key, value, collection, .. } => {
                key.iter().for_each(|key| self.expr(key));
                match self.texts(collection) {
                    Some(texts) if self.origin(value) == Some(Origin::Name) => {
                        self.flow.literals.extend(texts)
                    }
                    _ => self.expr(value),
                }
                self.expr(collection);
            }
        }
    }

    fn compare(&mut self, lhs: &Expr, rhs: &Expr) {
        for (one, other) in [(lhs, rhs), (rhs, lhs)] {
            if self.origin(one) == Some(Origin::Name)
                && let Some(texts) = self.text(other)
            {
                self.flow.literals.extend(texts);
                self.expr(other);
                return;
            }
        }
        self.expr(lhs);
        self.expr(rhs);
    }

    fn call(&mut self, expr: &Expr, function: &Expr, arguments: &[Ref<Expr>]) {
        let name = match self.function(function) {
            Ok(rules) => {
                for (index, argument) in arguments.iter().enumerate() {
                    let Some(origin) = self.origin(argument) else {
                        self.expr(argument);
                        continue;
                    };
                    self.parts(argument);
                    for rule in &rules {
                        let known = self.found.arguments.entry((rule.clone(), index)).or_insert(origin);
                        *known = join(*known, origin);
                    }
                }
                if let [rule] = &rules[..] {
                    self.group(&rule.1, arguments);
                }
                return;
            }
            Err(name) => name,
        };
        let may = |index: usize, origin: Origin| match origin {
            Origin::Address => name == "net.cidr_contains" && index == 1,
            Origin::Name | Origin::Rest => {
                TESTS.iter().any(|(test, places)| *test == name && places.contains(&index))
            }
        };
        let mut tested = 0;
        for (index, argument) in arguments.iter().enumerate() {
            match self.origin(argument) {
                Some(origin) if may(index, origin) => {
                    tested += 1;
                    self.parts(argument);
                }
                Some(_) => {
                    self.parts(argument);
                    self.obstacle(argument, &name, instead_of(&name));
                }
                None => self.expr(argument),
            }
        }
        if tested > 1 && name != UNDER {
            self.obstacle(expr, &name, "compare the name with something else than itself");
        }
    }

    /// Notes the names that a call looks for in the path.
    fn group(&mut self, function: &str, arguments: &[Ref<Expr>]) {
        let Some(texts) =
            arguments.get(1).and_then(|argument| self.texts(argument).or_else(|| self.text(argument)))
        else {
            return;
        };
        let group = match function {
            "has_name" | "named" => texts.into_iter().collect(),
            "glob" => texts.iter().filter_map(|pattern| super::glob::required_name(pattern)).collect(),
            _ => return,
        };
        self.flow.groups.insert(group);
    }

    fn reference(&mut self, expr: &Expr) {
        let Some((name, path, whole, inner)) = chain(expr) else {
            if let Expr::RefDot { refr, .. } = expr {
                self.expr(refr);
            } else if let Expr::RefBrack { refr, index, .. } = expr {
                self.expr(refr);
                self.expr(index);
            }
            return;
        };
        inner.into_iter().for_each(|index| self.expr(index));
        if let Some(local) = self.locals.iter().rev().find_map(|locals| locals.get(&name)) {
            if local.is_some() {
                self.obstacle(expr, "a reference into it", "test it by a predicate");
            }
            return;
        }
        let full = self.scope.full(&name, path);
        let above = |field: &[&str]| full.len() < field.len() && full.iter().zip(field).all(|(a, b)| a == b);
        if above(&["input", "resource", "id"]) || above(&["input", "resource", "properties", "ip"]) {
            self.obstacle(expr, "an object that holds it", "name the field: input.resource.id");
        } else if let Some(path) = self.rule_path(&full) {
            let rules = self.program.resolve(&path);
            let stands = |rule: &RuleName| self.aliases.rules.contains_key(rule);
            let one = whole && rules.len() == 1 && is_path_of(&path, &rules[0]);
            if !one && rules.iter().any(stands) {
                self.obstacle(expr, "a reference to many rules", "name the rule");
            }
        }
    }

    /// A literal text, or one of the data.
    fn text(&self, expr: &Expr) -> Option<Vec<String>> {
        literal(expr)
            .map(|text| vec![text])
            .or_else(|| self.fixed(expr)?.as_str().map(|text| vec![text.to_owned()]))
    }

    /// The members of a literal array or set of texts, or of one in the data.
    fn texts(&self, expr: &Expr) -> Option<Vec<String>> {
        match expr {
            Expr::Array { items, .. } | Expr::Set { items, .. } => {
                items.iter().map(|item| literal(item)).collect()
            }
            _ => self.fixed(expr)?.as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect(),
        }
    }

    /// What the data have there, where no rule has a say.
    fn fixed(&self, expr: &Expr) -> Option<Value> {
        let (name, path, whole, _) = chain(expr)?;
        let local = self.locals.iter().any(|locals| locals.contains_key(&name));
        let full = self.scope.full(&name, path);
        let (root, path) = full.split_first()?;
        if local || !whole || root != "data" || !self.program.resolve(path).is_empty() {
            return None;
        }
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(self.data.get(first)?, |value, name| value.get(name)).cloned()
    }

    fn obstacle(&mut self, expr: &Expr, used_in: &str, instead: &'static str) {
        self.flow.obstacles.insert(Obstacle { at: place(expr), used_in: used_in.to_owned(), instead });
    }
}

fn join(one: Origin, other: Origin) -> Origin {
    if one == other { one } else { Origin::Rest }
}

fn is_path_of(path: &[String], (package, name): &RuleName) -> bool {
    path.iter().map(String::as_str).eq(package.split('.').chain([name.as_str()]))
}

fn instead_of(function: &str) -> &'static str {
    match function {
        "split" => "use has_name(path, names) or named(path, names)",
        "contains" | "endswith" | "regex.match" => "use under, glob, has_name or named",
        "sprintf" | "concat" => "leave the name out of texts; the record has it",
        "object.get" => "name the field: input.resource.id",
        _ => "use under, is, glob, has_name, named, startswith or trim_prefix",
    }
}
