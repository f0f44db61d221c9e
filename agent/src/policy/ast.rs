//! A view of the policy's syntax tree: its rules by name, and what each of them refers to.
//!
//! Whatever is not understood widens the answer: a reference through a computed name stands for
//! everything its known part may lead to.

use std::collections::{BTreeMap, BTreeSet};

use regorus::Value;
use regorus::unstable::{AssignOp, Expr, Literal, Module, Query, Ref, Rule, RuleBody, RuleHead, Span};

use super::error::Location;
use crate::event::Action;

/// The package of every policy.
pub(super) const PACKAGE: &str = "authz";

/// A rule's package (its names joined by dots) and name.
pub(super) type RuleName = (String, String);

/// What a rule refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// A field of the input and everything below it.
    Input(Vec<String>),
    /// Data or rules and everything below them.
    Data(Vec<String>),
    /// A built-in function.
    Function(String),
    /// A value that `input.action.name` is compared with.
    Action(String),
    /// Input, data or a function that `with` puts something else in the place of.
    Replaced,
}

/// A reference and its place.
#[derive(Debug, Clone)]
pub(super) struct Reference {
    pub(super) target: Target,
    pub(super) at: Location,
}

/// A rule and the module it stands in.
type Definition = (Ref<Module>, Ref<Rule>);

/// All rules of a policy.
#[derive(Clone)]
pub(super) struct Program {
    rules: BTreeMap<RuleName, Vec<Definition>>,
    /// The only action that is asked about.
    action: Option<Action>,
}

impl Program {
    pub(super) fn new(modules: &[Ref<Module>]) -> Self {
        let mut program = Self { rules: BTreeMap::new(), action: None };
        for module in modules {
            let package = package(module);
            for rule in &module.policy {
                let name = (package.clone(), rule_name(rule));
                program.rules.entry(name).or_default().push((module.clone(), rule.clone()));
            }
        }
        program
    }

    /// The same as far as it has a say in decisions about one action. Where the policy replaces something by
    /// `with`, rules may meet another action than the one that is asked about: then all of it.
    pub(super) fn about(&self, action: Action) -> Self {
        let decision = self.reachable("decision");
        let mut references = decision.iter().flat_map(|rule| self.references(rule));
        let replaces = references.any(|reference| reference.target == Target::Replaced);
        Self { action: Some(action).filter(|_| !replaces), ..self.clone() }
    }

    /// Whether it is so far only.
    pub(super) fn is_about(&self, action: Action) -> bool {
        self.action == Some(action)
    }

    /// The definitions of a rule, each with its module.
    pub(super) fn definitions(&self, name: &RuleName) -> impl Iterator<Item = (&Ref<Module>, &Ref<Rule>)> {
        self.rules.get(name).into_iter().flatten().map(|(module, rule)| (module, rule))
    }

    /// Whether a body may hold for the action: no condition on the action that it begins with is false.
    pub(super) fn may_hold(&self, scope: &Scope, head: &RuleHead, body: &Query) -> bool {
        let Some(action) = self.action else { return true };
        // An argument may have the name of a rule.
        if matches!(head, RuleHead::Func { .. }) {
            return true;
        }
        super::guard::leading(self, scope, body, action) != Some(false)
    }

    pub(super) fn rules(&self) -> impl Iterator<Item = (&RuleName, &Ref<Rule>)> {
        self.rules.iter().flat_map(|(name, rules)| rules.iter().map(move |(_, rule)| (name, rule)))
    }

    /// The rules that an entry point depends on, and itself.
    pub(super) fn reachable(&self, entry: &str) -> BTreeSet<RuleName> {
        let entry: RuleName = (PACKAGE.to_owned(), entry.to_owned());
        let mut seen = BTreeSet::from([entry.clone()]);
        let mut queue = vec![entry];
        while let Some(name) = queue.pop() {
            queue.extend(self.uses(&name).into_iter().filter(|rule| seen.insert(rule.clone())));
        }
        seen
    }

    /// The rules that a rule refers to.
    pub(super) fn uses(&self, name: &RuleName) -> BTreeSet<RuleName> {
        let targets = self.references(name).into_iter().map(|reference| reference.target);
        let paths =
            targets.filter_map(|target| if let Target::Data(path) = target { Some(path) } else { None });
        paths.flat_map(|path| self.resolve(&path)).collect()
    }

    /// Everything the rules of a name refer to.
    pub(super) fn references(&self, name: &RuleName) -> Vec<Reference> {
        let mut references = Vec::new();
        for (module, rule) in self.rules.get(name).into_iter().flatten() {
            let mut walk = Walk {
                program: self,
                scope: Scope::of(name, module),
                scopes: Vec::new(),
                found: &mut references,
            };
            walk.rule(rule);
        }
        references
    }

    /// The rules that a path below `data` leads to: one, or all of a package where the rest of the path
    /// is not known.
    pub(super) fn resolve(&self, path: &[String]) -> Vec<RuleName> {
        self.rules.keys().filter(|(package, name)| leads_to(path, package, name)).cloned().collect()
    }
}

fn leads_to(path: &[String], package: &str, name: &str) -> bool {
    path.iter().map(String::as_str).zip(package.split('.').chain([name])).all(|(a, b)| a == b)
}

/// Where a node of the tree stands.
pub(super) fn location(span: &Span) -> Location {
    Location { file: span.source.file().clone(), line: span.line, column: span.col }
}

/// Where an expression begins. The engine places a string behind its quote, and a reference at its last
/// link.
pub(super) fn place(expr: &Expr) -> Location {
    let at = location(expr.span());
    match expr {
        Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } => place(refr),
        Expr::String { .. } | Expr::RawString { .. } => {
            Location { column: at.column.saturating_sub(1), ..at }
        }
        _ => at,
    }
}

/// The name of a rule: the first of its head's reference.
pub(super) fn rule_name(rule: &Rule) -> String {
    let reference = match rule {
        Rule::Spec { head, .. } => match head {
            RuleHead::Compr { refr, .. } | RuleHead::Set { refr, .. } | RuleHead::Func { refr, .. } => refr,
        },
        Rule::Default { refr, .. } => refr,
    };
    chain(reference).map(|(name, ..)| name).unwrap_or_default()
}

/// The member that a rule adds to `deny` and its like.
pub(super) fn member(rule: &Rule) -> Option<&Expr> {
    let Rule::Spec { head: RuleHead::Set { key: Some(member), .. }, .. } = rule else { return None };
    Some(member)
}

/// Its id, where that is a literal.
pub(super) fn member_id(rule: &Rule) -> Option<String> {
    field(member(rule)?, "id")
}

/// A literal text that an object has under a name.
pub(super) fn field(object: &Expr, name: &str) -> Option<String> {
    let Expr::Object { fields, .. } = object else { return None };
    let (_, _, value) = fields.iter().find(|(_, key, _)| literal(key).as_deref() == Some(name))?;
    literal(value)
}

pub(super) fn package(module: &Module) -> String {
    match chain(&module.package.refr) {
        Some((name, path, ..)) => [vec![name], path].concat().join("."),
        None => String::new(),
    }
}

fn imports(module: &Module) -> BTreeMap<String, Vec<String>> {
    let mut imports = BTreeMap::new();
    for import in &module.imports {
        if let Some((root, path, ..)) = chain(&import.refr)
            && matches!(root.as_str(), "data" | "input")
        {
            let last = path.last().unwrap_or(&root).clone();
            let name = import.r#as.as_ref().map_or(last, |span| span.text().to_owned());
            imports.insert(name, [vec![root], path].concat());
        }
    }
    imports
}

/// A reference taken apart: the name it starts from, the part of the path that is known, whether that is
/// all of it, and the expressions inside its brackets.
type Chain<'a> = (String, Vec<String>, bool, Vec<&'a Expr>);

pub(super) fn chain(expr: &Expr) -> Option<Chain<'_>> {
    let mut links = Vec::new();
    let mut inner = Vec::new();
    let mut expr = expr;
    loop {
        match expr {
            Expr::Var { value, .. } => {
                let name = value.as_string().ok()?.to_string();
                let mut path = Vec::new();
                let mut whole = true;
                for link in links.into_iter().rev() {
                    match link {
                        Some(link) if whole => path.push(link),
                        _ => whole = false,
                    }
                }
                return Some((name, path, whole, inner));
            }
            Expr::RefDot { refr, field, .. } => {
                links.push(field.1.as_string().ok().map(|name| name.to_string()));
                expr = refr;
            }
            Expr::RefBrack { refr, index, .. } => {
                links.push(literal(index));
                inner.push(index.as_ref());
                expr = refr;
            }
            _ => return None,
        }
    }
}

/// The value of a string literal.
pub(super) fn literal(expr: &Expr) -> Option<String> {
    match expr {
        Expr::String { value, .. } | Expr::RawString { value, .. } => {
            value.as_string().ok().map(|text| text.to_string())
        }
        _ => None,
    }
}

/// What names mean in a module.
#[derive(Default)]
pub(super) struct Scope {
    package: Vec<String>,
    imports: BTreeMap<String, Vec<String>>,
}

impl Scope {
    pub(super) fn of((package, _): &RuleName, module: &Module) -> Self {
        Self { package: package.split('.').map(str::to_owned).collect(), imports: imports(module) }
    }

    pub(super) fn package(&self) -> Vec<String> {
        self.package.clone()
    }

    /// A reference with its import written out.
    pub(super) fn full(&self, name: &str, path: Vec<String>) -> Vec<String> {
        let root = self.imports.get(name).cloned().unwrap_or_else(|| vec![name.to_owned()]);
        [root, path].concat()
    }
}

/// Collects the references of a rule. A name is local where the rule binds it; everywhere else it is the
/// package's.
struct Walk<'a> {
    program: &'a Program,
    scope: Scope,
    scopes: Vec<BTreeSet<String>>,
    found: &'a mut Vec<Reference>,
}

impl Walk<'_> {
    fn rule(&mut self, rule: &Rule) {
        match rule {
            Rule::Spec { head, bodies, .. } => {
                let held: Vec<&RuleBody> = bodies
                    .iter()
                    .filter(|body| self.program.may_hold(&self.scope, head, &body.query))
                    .collect();
                if held.is_empty() && !bodies.is_empty() {
                    return;
                }
                let bodies = held;
                let mut arguments = BTreeSet::new();
                if let RuleHead::Func { args, .. } = head {
                    args.iter().for_each(|argument| bind(argument, &mut arguments));
                }
                self.scopes.push(arguments);
                self.head(head, &bodies);
                for body in bodies {
                    self.scopes.push(bound(&body.query));
                    if let Some(assign) = &body.assign {
                        self.expr(&assign.value);
                    }
                    self.statements(&body.query);
                    self.scopes.pop();
                }
                self.scopes.pop();
            }
            Rule::Default { args, value, .. } => {
                args.iter().for_each(|argument| self.expr(argument));
                self.expr(value);
            }
        }
    }

    /// The head sees what every body binds.
    fn head(&mut self, head: &RuleHead, bodies: &[&RuleBody]) {
        let mut bodies = bodies.iter().map(|body| bound(&body.query));
        let first = bodies.next().unwrap_or_default();
        self.scopes.push(bodies.fold(first, |all, body| all.intersection(&body).cloned().collect()));
        match head {
            RuleHead::Compr { refr, assign, .. } => {
                self.head_keys(refr);
                assign.iter().for_each(|assign| self.expr(&assign.value));
            }
            RuleHead::Set { refr, key, .. } => {
                self.head_keys(refr);
                key.iter().for_each(|key| self.expr(key));
            }
            RuleHead::Func { assign, args, .. } => {
                args.iter().for_each(|argument| self.expr(argument));
                assign.iter().for_each(|assign| self.expr(&assign.value));
            }
        }
        self.scopes.pop();
    }

    fn head_keys(&mut self, reference: &Expr) {
        if let Some((.., keys)) = chain(reference) {
            keys.into_iter().for_each(|key| self.expr(key));
        }
    }

    fn query(&mut self, query: &Query, mut names: BTreeSet<String>, terms: &[&Expr]) {
        names.append(&mut bound(query));
        self.scopes.push(names);
        terms.iter().for_each(|term| self.expr(term));
        self.statements(query);
        self.scopes.pop();
    }

    fn statements(&mut self, query: &Query) {
        for statement in &query.stmts {
            for with in &statement.with_mods {
                self.add(Target::Replaced, &with.refr);
                self.expr(&with.refr);
                self.expr(&with.r#as);
            }
            match &statement.literal {
                Literal::SomeVars { .. } => {}
                Literal::SomeIn { key, value, collection, .. } => {
                    key.iter().for_each(|key| self.expr(key));
                    self.expr(value);
                    self.expr(collection);
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

    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::String { .. }
            | Expr::RawString { .. }
            | Expr::Number { .. }
            | Expr::Bool { .. }
            | Expr::Null { .. } => {}
            Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => self.reference(expr, &[]),
            Expr::Array { items, .. } | Expr::Set { items, .. } => {
                items.iter().for_each(|item| self.expr(item));
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
            Expr::Call { fcn, params, .. } => self.call(fcn, params),
            Expr::UnaryExpr { expr, .. } => self.expr(expr),
            Expr::BoolExpr { lhs, rhs, .. } | Expr::AssignExpr { lhs, rhs, .. } => {
                self.compare(lhs, rhs);
                self.compare(rhs, lhs);
                self.expr(lhs);
                self.expr(rhs);
            }
            Expr::BinExpr { lhs, rhs, .. } | Expr::ArithExpr { lhs, rhs, .. } => {
                self.expr(lhs);
                self.expr(rhs);
            }
            Expr::Membership { key, value, collection, .. } => {
                self.compare(value, collection);
                key.iter().for_each(|key| self.expr(key));
                self.expr(value);
                self.expr(collection);
            }
        }
    }

    /// Notes what the name of the action is compared with.
    fn compare(&mut self, field: &Expr, other: &Expr) {
        if self.target(field, &[]) != Some(Target::Input(vec!["action".into(), "name".into()])) {
            return;
        }
        let literals = match other {
            Expr::Set { items, .. } | Expr::Array { items, .. } => items.iter().map(AsRef::as_ref).collect(),
            one => vec![one],
        };
        for literal_expr in literals {
            if let Some(name) = literal(literal_expr) {
                self.add(Target::Action(name), literal_expr);
            }
        }
    }

    fn call(&mut self, function: &Expr, arguments: &[Ref<Expr>]) {
        let name = chain(function).map(|(name, path, ..)| [vec![name], path].concat().join("."));
        // object.get(input.x, ["y", "z"], default) reads input.x.y.z, not all of input.x.
        let keys = match (name.as_deref(), arguments) {
            (Some("object.get"), [_, keys, _]) => literal_keys(keys),
            _ => Vec::new(),
        };
        match arguments {
            [from, _, rest @ ..] if !keys.is_empty() && chain(from).is_some() => {
                self.reference(from, &keys);
                rest.iter().for_each(|argument| self.expr(argument));
            }
            _ => arguments.iter().for_each(|argument| self.expr(argument)),
        }
        match self.target(function, &[]) {
            Some(target @ Target::Data(_)) => self.add(target, function),
            _ => self.add(Target::Function(name.unwrap_or_default()), function),
        }
    }

    fn reference(&mut self, expr: &Expr, more: &[String]) {
        match chain(expr) {
            Some((.., inner)) => inner.into_iter().for_each(|index| self.expr(index)),
            // A call or comprehension with a path behind it: what it refers to, it refers to.
            None => match expr {
                Expr::RefDot { refr, .. } => self.expr(refr),
                Expr::RefBrack { refr, index, .. } => {
                    self.expr(refr);
                    self.expr(index);
                }
                _ => {}
            },
        }
        if let Some(target) = self.target(expr, more) {
            self.add(target, expr);
        }
    }

    fn target(&self, expr: &Expr, more: &[String]) -> Option<Target> {
        let (name, path, whole, _) = chain(expr)?;
        let rest = if whole { [path, more.to_vec()].concat() } else { path };
        if self.scopes.iter().any(|scope| scope.contains(&name)) {
            return None;
        }
        let full = self.scope.full(&name, rest);
        let (root, rest) = full.split_first()?;
        match root.as_str() {
            "input" => Some(Target::Input(rest.to_vec())),
            "data" => Some(Target::Data(rest.to_vec())),
            name if self.program.rules.contains_key(&(self.scope.package.join("."), name.to_owned())) => {
                Some(Target::Data([self.scope.package(), full].concat()))
            }
            _ => None,
        }
    }

    fn add(&mut self, target: Target, expr: &Expr) {
        self.found.push(Reference { target, at: place(expr) });
    }
}

fn literal_keys(expr: &Expr) -> Vec<String> {
    match expr {
        Expr::Array { items, .. } => {
            items.iter().map(|item| literal(item)).collect::<Option<Vec<_>>>().unwrap_or_default()
        }
        _ => literal(expr).into_iter().collect(),
    }
}

/// The names a query binds, not counting the queries within it.
pub(super) fn bound(query: &Query) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for statement in &query.stmts {
        match &statement.literal {
            Literal::SomeVars { vars, .. } => names.extend(vars.iter().map(|var| var.text().to_owned())),
            Literal::SomeIn { key, value, .. } => {
                key.iter().for_each(|key| bind(key, &mut names));
                bind(value, &mut names);
            }
            Literal::Expr { expr, .. } => {
                if let Expr::AssignExpr { op: AssignOp::ColEq, lhs, .. } = expr.as_ref() {
                    bind(lhs, &mut names);
                }
            }
            _ => {}
        }
    }
    names
}

pub(super) fn bind(pattern: &Expr, names: &mut BTreeSet<String>) {
    match pattern {
        Expr::Var { value: Value::String(name), .. } => {
            names.insert(name.to_string());
        }
        Expr::Array { items, .. } => items.iter().for_each(|item| bind(item, names)),
        Expr::Object { fields, .. } => fields.iter().for_each(|(_, _, value)| bind(value, names)),
        _ => {}
    }
}
