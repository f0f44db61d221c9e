use proptest::prelude::*;
use serde_json::json;

use super::*;

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

fn read(text: &str) -> Result<Value, WireError> {
    value(&raw(text))
}

fn refused(line: &str) -> WireError {
    Message::parse(line.as_bytes()).unwrap_err().0
}

#[test]
fn the_kinds_of_messages_are_told_apart() {
    let line = br#"{"jsonrpc":"2.0","id":1.0,"method":"ping"}"#;
    assert!(matches!(Message::parse(line), Ok(Message::Request { id, .. }) if id.raw() == "1.0"));
    let line = br#" {"method":"a\u0062","jsonrpc":"2.0"} "#;
    assert!(matches!(Message::parse(line), Ok(Message::Notification { method, .. }) if method == "ab"));
    let line = br#"{"jsonrpc":"2.0","id":"x","result":{}}"#;
    assert!(matches!(Message::parse(line), Ok(Message::Response { id: Some(_), answer: Answer::Result(_) })));
    let line = br#"{"jsonrpc":"2.0","id":null,"error":{}}"#;
    assert!(matches!(Message::parse(line), Ok(Message::Response { id: None, answer: Answer::Error(_) })));
}

#[test]
fn what_could_be_read_differently_is_refused() {
    use WireError::{Batch, Control, Duplicate, Json, NotAnObject, Shape, Variant};
    for (line, kind) in [
        (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, Batch),
        (" \t[]", Batch),
        ("7", NotAnObject),
        ("\"x\"", NotAnObject),
        (r#"{"jsonrpc":"2.0","method":"ping","method":"tools/call"}"#, Duplicate("method".into())),
        (r#"{"jsonrpc":"2.0","method":"ping","m\u0065thod":"tools/call"}"#, Duplicate("method".into())),
        (r#"{"jsonrpc":"2.0","method":"ping","Method":"x"}"#, Variant("Method".into(), "method".into())),
        (r#"{"jsonrpc":"2.0","method":"ping","PARAMS":{}}"#, Variant("PARAMS".into(), "params".into())),
        (r#"{"jsonrpc":"2.0","method":"ping","paramſ":{}}"#, Variant("paramſ".into(), "params".into())),
        (r#"{"jsonrpc":"2.0","method":"ping","_id":7}"#, Variant("_id".into(), "id".into())),
        (r#"{"jsonrpc":"2.0","method":"ping","params\u0000":{}}"#, Control("params\0".into())),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#,
            Shape("a method and an answer in one message"),
        ),
        (r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#, Shape("a result and an error in one message")),
        (r#"{"jsonrpc":"2.0","id":1}"#, Shape("neither a method nor an answer")),
        (r#"{"jsonrpc":"2.0","result":{}}"#, Shape("an answer without \"id\"")),
        (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, Shape("\"method\" is not a string")),
        (r#"{"jsonrpc":2.0,"id":1,"method":"ping"}"#, Shape("\"jsonrpc\" is not \"2.0\"")),
        (r#"{"id":1,"method":"ping"}"#, Shape("\"jsonrpc\" is not \"2.0\"")),
    ] {
        assert_eq!(refused(line), kind, "{line}");
    }
    for line in [
        r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":[1],"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":true,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","method":"ping"} {}"#,
        r#"{"jsonrpc":"2.0","method":"ping",}"#,
        "{'jsonrpc':'2.0'}",
        r#"{"jsonrpc":"2.0","method":"ping","params":NaN}"#,
        "\u{feff}{}",
        "{",
    ] {
        Message::parse(line.as_bytes()).unwrap_err();
    }
    assert!(matches!(Message::parse(b"{\"jsonrpc\":\"2.0\",\"method\":\"\xff\"}"), Err((Json(_), None))));
    assert!(matches!(Message::parse("[".repeat(1 << 20).as_bytes()), Err((Batch, None))));
}

#[test]
fn a_refused_request_is_answered_by_its_id() {
    let (_, id) = Message::parse(br#"{"id":"a","method":"ping"}"#).unwrap_err();
    assert_eq!(id, Some(Id::text("a")));
    let (_, id) = Message::parse(br#"{"id":1,"method":"ping","result":{},"jsonrpc":"2.0"}"#).unwrap_err();
    assert_eq!(id.map(|id| id.raw().to_owned()), Some("1".into()));
    let (_, id) = Message::parse(br#"{"id":1,"result":{}}"#).unwrap_err();
    assert_eq!(id, None, "nobody waits for an answer to an answer");
}

#[test]
fn ids_are_equal_by_value_and_kept_as_written() {
    let key = |text: &str| Id::parse(text).unwrap().key().clone();
    let same = [["1", "1.0"], ["1", "1e0"], ["1", "10e-1"], ["100", "1E2"], ["0", "-0.0"], ["0", "0e9"]];
    for [a, b] in same {
        assert_eq!(key(a), key(b), "{a} {b}");
        assert_eq!(Id::parse(b).unwrap().raw(), b);
    }
    let other = [
        ["1", "\"1\""],
        ["1", "-1"],
        ["1", "10"],
        ["9007199254740993", "9007199254740992"],
        ["123456789012345678901234567890", "123456789012345678901234567891"],
    ];
    for [a, b] in other {
        assert_ne!(key(a), key(b), "{a} {b}");
    }
    assert_eq!(key(r#""a""#), key(r#""\u0061""#));
    Id::parse(&"1".repeat(257)).unwrap_err();
    Id::parse("1e99999999999999999999").unwrap_err();
    Id::parse("-31e999").unwrap_err();
}

#[test]
fn a_judged_value_is_strict_at_every_level() {
    assert_eq!(
        read(r#"{"a":[1,-2,1.5,"x",null,true,{"b":18446744073709551615}]}"#).unwrap(),
        json!({"a": [1, -2, 1.5, "x", null, true, {"b": u64::MAX}]})
    );
    assert_eq!(read(r#"{"a":[{"b":1,"b":2}]}"#), Err(WireError::Duplicate("b".into())));
    assert_eq!(read(r#"[{"b":{"Path":1,"path":2}}]"#), Err(WireError::Variant("path".into(), "Path".into())));
    assert_eq!(read(r#"{"a":{"\u212a":1,"k":2}}"#), Err(WireError::Variant("k".into(), "\u{212a}".into())));
    assert_eq!(read(r#"{"a\u0000":1}"#), Err(WireError::Control("a\0".into())));
    assert_eq!(
        read(r#"{"a\\":18446744073709551616}"#),
        Err(WireError::Number("18446744073709551616".into()))
    );
    assert!(matches!(read("1e400"), Err(WireError::Json(_))));
    assert!(matches!(read(r#""\ud800""#), Err(WireError::Json(_))));
    assert!(read(r#""18446744073709551616 \" 18446744073709551616""#).is_ok(), "in a string it is text");
    assert!(matches!(read(&format!("{}{}", "[".repeat(1000), "]".repeat(1000))), Err(WireError::Json(_))));
}

#[test]
fn variants_of_known_members_are_refused() {
    let known = ["arguments", "_meta", "requestState"];
    for key in ["Arguments", "argumentſ", "ARGUMENTS", "meta", "_Meta", "request_state", "request-state"] {
        assert!(matches!(refuse_variant(key, known), Err(WireError::Variant(..))), "{key}");
    }
    for key in ["arguments", "_meta", "argument", "other"] {
        assert_eq!(refuse_variant(key, known), Ok(()), "{key}");
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map("[a-z]{1,6}", inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn bytes_never_panic(bytes: Vec<u8>) {
        drop(Message::parse(&bytes));
    }

    #[test]
    fn what_is_judged_is_what_is_sent(value in json_value()) {
        let read = read(&value.to_string()).unwrap();
        prop_assert_eq!(&read, &value);
        prop_assert_eq!(read.to_string(), value.to_string());
    }

    #[test]
    fn strictness_only_refuses(text in r#"[\[\]{}:,"ab0-9eE.\\u-]{0,40}"#) {
        if let Ok(raw) = RawValue::from_string(text.clone())
            && let Ok(ours) = value(&raw)
        {
            prop_assert_eq!(ours, serde_json::from_str::<Value>(&text).unwrap());
        }
    }

    #[test]
    fn numbers_are_equal_as_ids_if_they_are_equal(a in -10_000i64..10_000, zeros in 0usize..3, shift in 0u32..4) {
        let moved = format!("{}.{}e{shift}", a / 10i64.pow(shift), "0".repeat(zeros + 1));
        let key = |text: &str| Id::parse(text).unwrap().key().clone();
        let whole = a % 10i64.pow(shift) == 0;
        prop_assert_eq!(key(&a.to_string()) == key(&moved), whole);
        prop_assert_ne!(key(&a.to_string()), key(&(a + 1).to_string()));
    }
}
