//! Hashes of inputs and decisions: SHA-256 of canonical JSON (RFC 8785).

use serde_json::Value;

use super::bundle::sha256;

/// The greatest integer that canonical JSON carries exactly.
const EXACT: u64 = 1 << 53;

/// The hash of an input or a decision, as [`super::Evaluation`] has it.
pub fn hash_of(value: &Value) -> String {
    hash(value).0
}

/// The hash of a JSON value, and whether canonical JSON carries it exactly.
pub(super) fn hash(value: &Value) -> (String, Result<(), String>) {
    match exact(value).and_then(|()| canonical(value)) {
        Ok(bytes) => (sha256(&bytes), Ok(())),
        Err(error) => (format!("raw:{}", sha256(value.to_string().as_bytes())), Err(error)),
    }
}

fn canonical(value: &Value) -> Result<Vec<u8>, String> {
    let written =
        if is_plain(value) { serde_json::to_vec(value) } else { serde_json_canonicalizer::to_vec(value) };
    written.map_err(|error| error.to_string())
}

/// Whether it is canonical as serde writes it: its maps are sorted by bytes, which is another order than that of
/// UTF-16 only beyond ASCII, and its texts and integers come out as they should.
fn is_plain(value: &Value) -> bool {
    match value {
        Value::Number(number) => !number.is_f64(),
        Value::Array(items) => items.iter().all(is_plain),
        Value::Object(fields) => fields.iter().all(|(name, value)| name.is_ascii() && is_plain(value)),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

/// Canonical JSON writes numbers as doubles: two integers beyond 2^53 may come out the same.
fn exact(value: &Value) -> Result<(), String> {
    match inexact(value) {
        None => Ok(()),
        Some((number, mut path)) => {
            path.reverse();
            let path = path.join(".");
            Err(format!("the integer {number} at {path} is outside +-2^53; pass it as a string"))
        }
    }
}

/// The first integer that canonical JSON cannot carry, and the names that lead to it, the last first.
fn inexact(value: &Value) -> Option<(String, Vec<String>)> {
    let within = |name: &dyn std::fmt::Display, item: &Value| {
        inexact(item).map(|(number, mut path)| {
            path.push(name.to_string());
            (number, path)
        })
    };
    match value {
        Value::Number(number) => {
            let magnitude = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
            magnitude.filter(|magnitude| *magnitude > EXACT).map(|_| (number.to_string(), Vec::new()))
        }
        Value::Array(items) => items.iter().enumerate().find_map(|(index, item)| within(&index, item)),
        Value::Object(fields) => fields.iter().find_map(|(key, item)| within(key, item)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, json};

    use super::*;

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-(1_i64 << 53)..=1 << 53).prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,6}".prop_map(Value::from),
            "[\\x00-\\x7f\"\\\\]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec(("[ -~]{0,3}|.{0,3}", inner), 0..5)
                    .prop_map(|fields| Value::Object(Map::from_iter(fields))),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_short_way_writes_what_the_long_one_does(value in json()) {
            prop_assert_eq!(canonical(&value).unwrap(), serde_json_canonicalizer::to_vec(&value).unwrap());
        }
    }

    #[test]
    fn names_are_sorted() {
        let value = json!({"b": {"z": 1, "a": "\u{1}\u{7f}/é"}, "a": [1, 2]});
        assert_eq!(
            canonical(&value).unwrap(),
            "{\"a\":[1,2],\"b\":{\"a\":\"\\u0001\u{7f}/é\",\"z\":1}}".as_bytes()
        );
        assert!(is_plain(&value));
    }
}
