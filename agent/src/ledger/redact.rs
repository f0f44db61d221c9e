//! Secrets are taken out of an input before it is stored. Hashes are taken before that.
//!
//! Redacted is what an agent passes on: tool arguments (`/context/tool/arguments` and
//! `/resource/properties/arguments`) by the name of the member, and command lines (`argv`) by the name of
//! the option or variable; and of another gate's question every property and its context. It is a net, not a proof: a secret under an innocent name stays.

use serde_json::{Map, Value, json};

/// What stands in place of a secret. Not a hash: short secrets can be guessed from one.
pub const REDACTED: &str = "[redacted]";

/// A name that contains one of these, in any case and without `-` and `_`, names a secret.
const NAMES: &[&str] = &[
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "authorization",
    "apikey",
    "privatekey",
    "credential",
    "cookie",
    "bearer",
];

const ARGUMENTS: &[&str] = &["/context/tool/arguments", "/resource/properties/arguments"];
/// The same where another gate asks: whatever it says, besides names.
const OF_GATES: &[&str] = &[
    "/context/tool/arguments",
    "/context/request",
    "/subject/properties",
    "/action/properties",
    "/resource/properties",
];
const ARGV: &[&str] = &["/resource/properties/argv", "/action/properties/argv"];

/// Replaces secrets in an input document; returns the JSON pointers of what was replaced.
pub fn redact(input: &mut Value) -> Vec<String> {
    let mut erased = Vec::new();
    let asked = input.pointer("/context/layer").is_some_and(|layer| layer == "api");
    for pointer in if asked { OF_GATES } else { ARGUMENTS } {
        if let Some(value) = at(input, pointer) {
            members(value, &mut (*pointer).to_owned(), &mut erased);
        }
    }
    for pointer in ARGV {
        if let Some(Value::Array(words)) = at(input, pointer) {
            command_line(words, pointer, &mut erased);
        }
    }
    erased
}

/// What a pointer without escapes leads to: `pointer_mut` allocates for each name.
fn at<'a>(input: &'a mut Value, pointer: &str) -> Option<&'a mut Value> {
    pointer.split('/').skip(1).try_fold(input, |value, name| value.get_mut(name))
}

/// The same for the properties of a resource that stand in an entry besides its input. `asked`: by another gate.
pub fn redact_properties(properties: &mut Map<String, Value>, asked: bool) {
    if !asked && !["arguments", "argv"].iter().any(|name| properties.contains_key(*name)) {
        return;
    }
    let mut input = json!({ "resource": { "properties": std::mem::take(properties) } });
    if asked {
        input["context"] = json!({ "layer": "api" });
    }
    redact(&mut input);
    if let Value::Object(redacted) = input["resource"]["properties"].take() {
        *properties = redacted;
    }
}

/// Whether this is the name of a secret.
pub fn names_a_secret(name: &str) -> bool {
    let plain: String = name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    // "max_tokens", "token_count": a number of tokens, not a token.
    !matches!(plain.as_str(), "maxtokens" | "tokencount" | "tokens")
        && NAMES.iter().any(|secret| plain.contains(secret))
}

fn members(value: &mut Value, at: &mut String, erased: &mut Vec<String>) {
    let length = at.len();
    match value {
        Value::Object(map) => {
            for (name, member) in map {
                at.push('/');
                at.push_str(&name.replace('~', "~0").replace('/', "~1"));
                if names_a_secret(name) && !member.is_null() && !member.is_boolean() {
                    *member = Value::String(REDACTED.into());
                    erased.push(at.clone());
                } else {
                    members(member, at, erased);
                }
                at.truncate(length);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                at.push_str(&format!("/{index}"));
                members(item, at, erased);
                at.truncate(length);
            }
        }
        _ => {}
    }
}

/// `--password=x`, `--password x`, `PASSWORD=x`, `-H "Authorization: x"`.
fn command_line(words: &mut [Value], at: &str, erased: &mut Vec<String>) {
    let mut value_follows = false;
    for (index, value) in words.iter_mut().enumerate() {
        let Value::String(word) = value else { continue };
        let replaced = if value_follows && !word.starts_with('-') {
            Some(REDACTED.to_owned())
        } else {
            word.find(['=', ':'])
                .filter(|end| names_a_secret(&word[..*end]))
                .map(|end| format!("{}{REDACTED}", &word[..=end]))
        };
        value_follows = replaced.is_none() && word.starts_with('-') && names_a_secret(word);
        if let Some(replaced) = replaced {
            *word = replaced;
            erased.push(format!("{at}/{index}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_of_arguments_go_and_the_rest_stays() {
        let mut input = json!({"context": {"tool": {"arguments": {
            "path": "/x", "API-Key": "k", "auth": {"access_token": "t", "user": "u"}, "max_tokens": 5,
            "list": [{"Password": {"deep": 1}}], "use_token": true, "a/b~secret": "s"}}}});
        let erased = redact(&mut input);
        let arguments = &input["context"]["tool"]["arguments"];
        assert_eq!(
            *arguments,
            json!({"path": "/x", "API-Key": REDACTED, "auth": {"access_token": REDACTED, "user": "u"},
                   "max_tokens": 5, "list": [{"Password": REDACTED}], "use_token": true, "a/b~secret": REDACTED})
        );
        assert_eq!(erased.len(), 4);
        for pointer in &erased {
            assert_eq!(input.pointer(pointer), Some(&json!(REDACTED)), "{pointer}");
        }
    }

    #[test]
    fn secrets_that_another_gate_tells_go() {
        let mut input = json!({"context": {"layer": "api", "request": {"cookie": "c", "time": "now"}},
            "subject": {"properties": {"apiKey": "k", "role": "admin"}},
            "resource": {"properties": {"arguments": {"password": "p"}}}});
        assert_eq!(redact(&mut input).len(), 3);
        assert_eq!(input["context"]["request"], json!({"cookie": REDACTED, "time": "now"}));
        assert_eq!(input["subject"]["properties"], json!({"apiKey": REDACTED, "role": "admin"}));
    }

    #[test]
    fn secrets_of_command_lines_go() {
        let mut input = json!({"resource": {"properties": {"argv": [
            "curl", "-H", "Authorization: Bearer x", "--password", "p", "--token=t", "GITHUB_TOKEN=g", "--secret",
            "--verbose", "https://host/token", 7]}}});
        let erased = redact(&mut input);
        assert_eq!(
            input["resource"]["properties"]["argv"],
            json!([
                "curl",
                "-H",
                "Authorization:[redacted]",
                "--password",
                REDACTED,
                "--token=[redacted]",
                "GITHUB_TOKEN=[redacted]",
                "--secret",
                "--verbose",
                "https://host/token",
                7
            ])
        );
        assert_eq!(erased.len(), 4);
    }

    #[test]
    fn what_stands_beside_the_input_is_redacted_alike() {
        let properties =
            json!({ "arguments": { "path": "/a", "token": "t" }, "argv": ["curl", "--token", "t"] });
        let mut redacted = properties.as_object().cloned().unwrap();
        redact_properties(&mut redacted, false);
        assert_eq!(redacted["arguments"], json!({ "path": "/a", "token": REDACTED }));
        assert!(!Value::Object(redacted).to_string().contains("\"t\""));
        let mut asked = json!({ "password": "p", "kind": "k" }).as_object().cloned().unwrap();
        redact_properties(&mut asked, true);
        assert_eq!(Value::Object(asked), json!({ "password": REDACTED, "kind": "k" }));
    }

    #[test]
    fn other_shapes_are_left_alone() {
        for mut value in
            [json!(null), json!([]), json!("token"), json!({"resource": {"id": "/token", "password": "x"}})]
        {
            let before = value.clone();
            assert!(redact(&mut value).is_empty());
            assert_eq!(value, before);
        }
    }
}
