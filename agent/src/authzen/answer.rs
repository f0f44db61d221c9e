//! What was decided, as a gate is told. `decision` is true only where a gate that understands nothing else may go on.

use serde_json::{Map, Value, json};

use crate::event::Mode;
use crate::pipeline::questions::Evaluated;
use crate::policy::{Effect, RuleRef};

/// The response to one question.
pub fn answer(evaluated: &Evaluated) -> Value {
    let mut context = Map::new();
    context.insert("id".into(), evaluated.id.to_string().into());
    let observed = evaluated.mode == Mode::Observe;
    if observed {
        context.insert("mode".into(), "observe".into());
        context.insert("would".into(), evaluated.effect.as_str().into());
    }
    if !evaluated.rules.is_empty() && evaluated.effect != Effect::Allow {
        context.insert("rules".into(), json!(evaluated.rules));
    }
    if !evaluated.constraints.is_empty() {
        context.insert("constraints".into(), Value::Object(evaluated.constraints.clone()));
    }
    let decision = match evaluated.effect {
        Effect::Allow => true,
        Effect::Compute => {
            let rewrite = json!([{ "type": "rewrite", "value": evaluated.rewrite }]);
            context.insert("obligations".into(), rewrite);
            true
        }
        Effect::Escalate => {
            context.insert("access_request".into(), access_request(evaluated));
            false
        }
        Effect::Deny => false,
    };
    if !decision {
        let admin = evaluated
            .cause
            .clone()
            .unwrap_or_else(|| reasons(&evaluated.rules, |rule| format!("{}: {}", rule.id, rule.reason)));
        let user = reasons(&evaluated.rules, |rule| format!("{} {}", rule.reason, rule.advice));
        context.insert("reason_admin".into(), json!({ "en": admin }));
        context.insert("reason_user".into(), json!({ "en": user }));
    }
    json!({ "decision": decision || observed, "context": context })
}

/// The response to what was no question, in a series.
pub fn refusal(status: u16, message: &str) -> Value {
    json!({ "decision": false, "context": { "error": { "status": status, "message": message } } })
}

fn access_request(evaluated: &Evaluated) -> Value {
    json!({ "status": "pending", "id": evaluated.id, "approve": format!("authz approve {}", evaluated.id) })
}

fn reasons(rules: &[RuleRef], text: impl Fn(&RuleRef) -> String) -> String {
    let texts: Vec<_> = rules.iter().map(|rule| text(rule).trim().to_owned()).collect();
    texts.join("; ")
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn told(effect: Effect, mode: Mode) -> Value {
        answer(&Evaluated {
            id: Uuid::nil(),
            session: Uuid::nil(),
            effect,
            mode,
            rules: vec![RuleRef { id: "r".into(), reason: "No.".into(), advice: "Ask.".into() }],
            constraints: Map::new(),
            rewrite: (effect == Effect::Compute).then(|| json!({"path": "/staging"})),
            cause: None,
        })
    }

    #[test]
    fn a_gate_that_understands_nothing_else_is_safe() {
        let decisions = Effect::ALL.map(|effect| told(effect, Mode::Enforce)["decision"] == true);
        assert_eq!(decisions, [true, true, false, false], "compute is only decided for who understands it");
        assert!(Effect::ALL.iter().all(|effect| told(*effect, Mode::Observe)["decision"] == true));
    }

    #[test]
    fn the_reason_and_the_way_on_are_told() {
        let denied = told(Effect::Deny, Mode::Enforce);
        assert_eq!(denied["context"]["reason_admin"]["en"], "r: No.");
        assert_eq!(denied["context"]["reason_user"]["en"], "No. Ask.");
        let computed = told(Effect::Compute, Mode::Enforce);
        assert_eq!(computed["context"]["obligations"][0]["value"]["path"], "/staging");
        assert_eq!(told(Effect::Escalate, Mode::Enforce)["context"]["access_request"]["status"], "pending");
        assert_eq!(told(Effect::Deny, Mode::Observe)["context"]["would"], "deny");
    }
}
