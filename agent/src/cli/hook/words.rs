//! What a model is told: one line a rule or denial, escaped, of bounded length, never empty.

use uuid::Uuid;

use crate::cli::show::{escape, fit};
use crate::ledger::entry::Attribution;
use crate::policy::RuleRef;
use crate::session::calls::DenialView;

/// The longest line, in characters.
const LINE: usize = 500;

/// How many rules and denials are told.
const SHOWN: usize = 20;

/// Why a call is denied.
pub fn refusal(rules: &[RuleRef], call: Uuid) -> String {
    format!("authz denies this tool call: {} (decision {call})", reasons(rules))
}

/// What the agent asks its user.
pub fn question(rules: &[RuleRef], call: Uuid) -> String {
    format!("authz asks you about this tool call: {} (decision {call})", reasons(rules))
}

/// Why a call is denied that nobody answered for.
pub fn unanswered(rules: &[RuleRef], call: Uuid) -> String {
    let why = reasons(rules);
    format!("authz denies this tool call, since no human allowed it in time: {why} (decision {call})")
}

/// What the policy denied underneath a call; none if it denied nothing.
pub fn denials(denials: &[DenialView]) -> Option<String> {
    if denials.is_empty() {
        return None;
    }
    let mut lines = vec!["authz denied operations of this tool call:".to_owned()];
    lines.extend(denials.iter().take(SHOWN).map(denial));
    if denials.len() > SHOWN {
        lines.push(format!("- and {} more; `authz denials` lists them", denials.len() - SHOWN));
    }
    Some(lines.join("\n"))
}

fn denial(denial: &DenialView) -> String {
    let times = if denial.count > 1 { format!(" ({} times)", denial.count) } else { String::new() };
    let perhaps =
        if denial.attribution == Attribution::Exact { "" } else { " (or of another call at the same time)" };
    let rule =
        RuleRef { id: denial.rule.clone(), reason: denial.reason.clone(), advice: denial.advice.clone() };
    let resource = escape(&denial.resource);
    cut(&format!("- {} {resource}{times}{perhaps}: {}", denial.action, one(&rule)))
}

fn reasons(rules: &[RuleRef]) -> String {
    let all: Vec<_> = rules.iter().take(SHOWN).map(|rule| cut(&one(rule))).collect();
    if all.is_empty() { "the policy does not say why".into() } else { all.join("; ") }
}

/// Reason, advice and name of a rule.
fn one(rule: &RuleRef) -> String {
    let name = format!("[rule {}]", rule.id);
    let parts = [rule.reason.as_str(), &rule.advice, &name].map(str::trim);
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).map(escape).collect();
    parts.join(" ")
}

fn cut(line: &str) -> String {
    if line.chars().count() > LINE { fit(line, LINE) } else { line.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(id: &str, reason: &str, advice: &str) -> RuleRef {
        RuleRef { id: id.into(), reason: reason.into(), advice: advice.into() }
    }

    fn denied(resource: &str, count: u64, attribution: Attribution) -> DenialView {
        DenialView {
            id: Uuid::nil(),
            time: String::new(),
            action: "file.write".into(),
            resource: resource.into(),
            rule: "no-prod".into(),
            reason: "Not there.".into(),
            advice: "Go elsewhere.".into(),
            span_id: None,
            attribution,
            count,
            calls: Vec::new(),
        }
    }

    #[test]
    fn a_refusal_has_reason_advice_and_rule() {
        let rules = [rule("prod", "Not there.", "Go elsewhere."), rule("also", "", "")];
        let text = refusal(&rules, Uuid::nil());
        assert!(text.contains("Not there. Go elsewhere. [rule prod]; [rule also]"), "{text}");
        assert!(text.contains(&Uuid::nil().to_string()));
        assert!(refusal(&[], Uuid::nil()).contains("does not say why"));
    }

    #[test]
    fn denials_have_a_line_each() {
        assert_eq!(denials(&[]), None);
        let all = [
            denied("/prod/a", 1, Attribution::Exact),
            denied("/prod/b\n- forged\u{1b}[2J", 3, Attribution::Ambiguous),
        ];
        let text = denials(&all).unwrap();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.contains("- file.write /prod/a: Not there. Go elsewhere. [rule no-prod]"));
        assert!(text.contains("/prod/b\\n- forged\\u{1b}[2J (3 times) (or of another call"));
        let many = vec![denied(&"x".repeat(10_000), 1, Attribution::Exact); 50];
        let text = denials(&many).unwrap();
        assert!(text.chars().count() < (SHOWN + 2) * (LINE + 1) && text.contains("and 30 more"));
    }
}
