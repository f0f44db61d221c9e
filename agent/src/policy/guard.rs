//! Conditions on the action at the beginning of a rule's body. A body that begins with a false one has no say in
//! decisions about that action: the engine looks at conditions in their order.

use regorus::unstable::{BoolOp, Expr, Literal, Query, Rule, RuleHead};

use super::ast::{Program, RuleName, Scope, bound, chain, literal};
use crate::event::Action;

/// How deep rules may stand behind each other.
const DEPTH: usize = 8;

/// Whether the conditions that a body begins with hold for the action; none where that is not known: the first
/// one that is about something else ends the beginning.
pub(super) fn leading(program: &Program, scope: &Scope, body: &Query, action: Action) -> Option<bool> {
    Guard { program, scope, action, depth: DEPTH }.leading(body)
}

/// How many conditions at the beginning of a body are known to hold for the action.
pub(super) fn holding(program: &Program, scope: &Scope, body: &Query, action: Action) -> usize {
    Guard { program, scope, action, depth: DEPTH }.first(body).0
}

struct Guard<'a> {
    program: &'a Program,
    scope: &'a Scope,
    action: Action,
    depth: usize,
}

impl Guard<'_> {
    fn leading(&self, body: &Query) -> Option<bool> {
        self.first(body).1
    }

    /// How many of the first statements hold, and whether the next one does: if there is none, all do.
    fn first(&self, body: &Query) -> (usize, Option<bool>) {
        let local = bound(body);
        for (number, statement) in body.stmts.iter().enumerate() {
            let holds = match &statement.literal {
                _ if !statement.with_mods.is_empty() => None,
                // A name that the body binds is no rule's.
                Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. }
                    if chain(counted(expr).unwrap_or(expr))
                        .is_some_and(|(name, ..)| local.contains(&name)) =>
                {
                    None
                }
                Literal::Expr { expr, .. } => self.holds(expr),
                Literal::NotExpr { expr, .. } => self.holds(expr).map(|holds| !holds),
                _ => None,
            };
            if holds != Some(true) {
                return (number, holds);
            }
        }
        (body.stmts.len(), Some(true))
    }

    fn holds(&self, expr: &Expr) -> Option<bool> {
        let name = self.action.as_str();
        match expr {
            Expr::Bool { value, .. } => value.as_bool().ok().copied(),
            Expr::Var { .. } => self.rule(expr),
            Expr::BoolExpr { op: BoolOp::Gt, rhs, .. } => self.no_more_than(counted(expr)?, rhs),
            Expr::BoolExpr { op, lhs, rhs, .. } => {
                let text = if self.is_name(lhs) {
                    literal(rhs)
                } else {
                    literal(lhs).filter(|_| self.is_name(rhs))
                }?;
                match op {
                    BoolOp::Eq => Some(text == name),
                    BoolOp::Ne => Some(text != name),
                    _ => None,
                }
            }
            Expr::Membership { key: None, value, collection, .. } if self.is_name(value) => {
                match collection.as_ref() {
                    Expr::Set { items, .. } | Expr::Array { items, .. } => {
                        let texts = items.iter().map(|item| literal(item)).collect::<Option<Vec<_>>>()?;
                        Some(texts.iter().any(|text| text == name))
                    }
                    _ => None,
                }
            }
            Expr::Call { fcn, params, .. } => match (chain(fcn), &params[..]) {
                (Some((function, path, ..)), [text, prefix])
                    if function == "startswith"
                        && path.is_empty()
                        && !self.own(&function)
                        && self.is_name(text) =>
                {
                    literal(prefix).map(|prefix| name.starts_with(&prefix))
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// `count(set) > number` of a set that has no member.
    fn no_more_than(&self, set: &Expr, number: &Expr) -> Option<bool> {
        let Expr::Number { value, .. } = number else { return None };
        let natural = value.as_i64().is_ok_and(|number| number >= 0);
        (natural && !self.own("count") && self.is_empty(set)).then_some(false)
    }

    /// Whether this is a set of rules none of which holds.
    fn is_empty(&self, expr: &Expr) -> bool {
        let Some(name) = self.named(expr).filter(|_| self.depth > 0) else { return false };
        let mut definitions = self.program.definitions(&name).peekable();
        definitions.peek().is_some()
            && definitions.all(|(module, rule)| {
                let Rule::Spec { head: RuleHead::Set { refr, .. }, bodies, .. } = rule.as_ref() else {
                    return false;
                };
                let scope = Scope::of(&name, module);
                let guard = Guard { scope: &scope, depth: self.depth - 1, ..*self };
                matches!(refr.as_ref(), Expr::Var { .. })
                    && !bodies.is_empty()
                    && bodies.iter().all(|body| guard.leading(&body.query) == Some(false))
            })
    }

    fn is_name(&self, expr: &Expr) -> bool {
        chain(expr).is_some_and(|(name, path, whole, _)| {
            whole && self.scope.full(&name, path).iter().map(String::as_str).eq(["input", "action", "name"])
        })
    }

    /// Whether a function of that name is the policy's own.
    fn own(&self, function: &str) -> bool {
        let name = (self.scope.package().join("."), function.to_owned());
        self.program.definitions(&name).next().is_some()
            || self.scope.full(function, Vec::new()) != [function]
    }

    /// The rule that a name without a package may stand for.
    fn named(&self, expr: &Expr) -> Option<RuleName> {
        let Expr::Var { .. } = expr else { return None };
        let (name, ..) = chain(expr)?;
        // An import may hide a rule.
        (self.scope.full(&name, Vec::new()) == [name.as_str()])
            .then(|| (self.scope.package().join("."), name))
    }

    /// A rule that says nothing but conditions on the action.
    fn rule(&self, expr: &Expr) -> Option<bool> {
        let name = self.named(expr)?;
        let mut known = false;
        for (module, rule) in self.program.definitions(&name) {
            let Rule::Spec { head: RuleHead::Compr { assign: None, refr, .. }, bodies, .. } = rule.as_ref()
            else {
                return None;
            };
            if self.depth == 0 || bodies.is_empty() || !matches!(refr.as_ref(), Expr::Var { .. }) {
                return None;
            }
            let scope = Scope::of(&name, module);
            let guard = Guard { scope: &scope, depth: self.depth - 1, ..*self };
            for body in bodies {
                if body.assign.is_some() {
                    return None;
                }
                if guard.leading(&body.query)? {
                    return Some(true);
                }
            }
            known = true;
        }
        known.then_some(false)
    }
}

/// The set of `count(set) > number`.
fn counted(expr: &Expr) -> Option<&Expr> {
    let Expr::BoolExpr { op: BoolOp::Gt, lhs, .. } = expr else { return None };
    let Expr::Call { fcn, params, .. } = lhs.as_ref() else { return None };
    let [set] = &params[..] else { return None };
    chain(fcn).is_some_and(|(function, path, ..)| function == "count" && path.is_empty()).then_some(set)
}
