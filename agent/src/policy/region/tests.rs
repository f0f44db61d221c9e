use super::*;
use crate::event::{Action, Layer, Mode, Operation, Resource};
use crate::policy::bundle::{Bundle, Generated, PolicyFile, PolicySource};
use crate::policy::input::{Context, Subject, SubjectProperties, Tool};
use crate::policy::{Engine, PolicyError};
use serde_json::json;

fn engine(rules: &str) -> Result<Engine, PolicyError> {
    let mut bundle = Bundle::load(&[], &Generated::default())?;
    bundle.policies.push(PolicyFile {
        path: "policy/p.rego".into(),
        origin: "p.rego".into(),
        text: format!("package authz\n{rules}\n"),
        library: false,
    });
    Engine::load(&bundle)
}

fn rule(condition: &str) -> Engine {
    engine(&format!("allow contains {{\"id\": \"x\"}} if {condition}")).unwrap()
}

fn input(action: Action, id: &str) -> Input {
    let properties = SubjectProperties { pid: Some(7), comm: Some("node".into()), ..Default::default() };
    let operation = Operation {
        action,
        resource: Resource { id: id.into(), properties: Default::default() },
        properties: Default::default(),
    };
    let context = Context {
        layer: Layer::Kernel,
        mode: Mode::Enforce,
        session: Some("s".into()),
        trace_id: Some("t".into()),
        span_id: Some("p".into()),
        tool: Some(Tool { name: "write_file".into(), call_id: Some("1".into()), ..Tool::default() }),
        request: None,
    };
    Input::new(Subject::agent("claude", properties), &operation, context)
}

fn remembered(engine: &mut Engine, input: &Input) -> Remember {
    let evaluation = engine.decide(input);
    assert_eq!(evaluation.cause, None);
    remember(engine, input, &evaluation)
}

fn is_remembered(engine: &mut Engine, input: &Input) -> bool {
    matches!(remembered(engine, input), Remember::Within { ttl: None, .. })
}

#[test]
fn what_the_rules_read_is_found_however_they_write_it() {
    for (rules, paths) in [
        ("", "action.name resource.id"),
        (
            "allow contains {\"id\": \"x\"} if input.context.tool.name == \"x\"",
            "action.name context.tool.name resource.id",
        ),
        (
            "allow contains {\"id\": \"x\"} if input.context[\"tool\"][\"name\"] == \"x\"",
            "action.name context.tool.name resource.id",
        ),
        (
            "import input.context as c\nallow contains {\"id\": \"x\"} if c.tool",
            "action.name context.tool resource.id",
        ),
        ("c := input.context\nallow contains {\"id\": \"x\"} if c.tool", "action.name context resource.id"),
        (
            "allow contains {\"id\": \"x\"} if { c := input.context; c.tool }",
            "action.name context resource.id",
        ),
        (
            "allow contains {\"id\": \"x\"} if object.get(input, [\"context\", \"tool\"], null) == null",
            "action.name context.tool resource.id",
        ),
        (
            "allow contains {\"id\": \"x\"} if object.get(input.subject, \"id\", \"\") == \"\"",
            "action.name resource.id subject.id",
        ),
        (
            "allow contains {\"id\": \"x\"} if { some k; input.subject[k] == 1 }",
            "action.name resource.id subject",
        ),
        ("allow contains {\"id\": \"x\"} if input[input.subject.id]", "input"),
        ("allow contains {\"id\": \"x\"} if { i := input; i.subject.id }", "input"),
        (
            "allow contains {\"id\": \"x\"} if f(input.subject.id)\nf(a) if a == input.context.mode",
            "action.name context.mode resource.id subject.id",
        ),
        (
            "allow contains {\"id\": \"x\"} if count({p | some p in input.subject.properties.parents}) > 0",
            "action.name resource.id subject.properties.parents",
        ),
        (
            "allow contains {\"id\": \"x\"} if every p in input.subject.properties.parents { p == input.subject.id }",
            "action.name resource.id subject.id subject.properties.parents",
        ),
        (
            "allow contains {\"id\": sprintf(\"%v\", [input.context.session])} if reads",
            "action.name context.session resource.id",
        ),
        (
            "allow contains {\"id\": \"x\"} if not input.context.session",
            "action.name context.session resource.id",
        ),
        ("allow contains {\"id\": \"x\"} if reads with input as {\"action\": input.context}", "input"),
        (
            "v := 1 if input.subject.id == \"a\"\nelse := input.context.mode\nallow contains {\"id\": \"x\"} if v",
            "action.name context.mode resource.id subject.id",
        ),
        (
            "default v := 1\nv := 2 if input.subject.id\nallow contains {\"id\": \"x\"} if data.authz.v == 1",
            "action.name resource.id subject.id",
        ),
        (
            "m[k] := input.context.mode if some k in [input.subject.id]\nallow contains {\"id\": \"x\"} if m.a",
            "action.name context.mode resource.id subject.id",
        ),
        // A local name hides a rule's only where it is bound.
        (
            "t := input.context.tool\nallow contains {\"id\": \"x\"} if { t := 1; t == 1 }\nallow contains {\"id\": \"y\"} if not t",
            "action.name context.tool resource.id",
        ),
        (
            "t := input.context.tool\nallow contains {\"id\": \"x\"} if { {1 | t := 1; t == 1}; t }",
            "action.name context.tool resource.id",
        ),
        (
            "allow contains {\"id\": \"x\"} if g(1)\ng(t) if t == 1\nt := input.context.tool\nescalate contains {\"id\": \"y\"} if not h\nh if t",
            "action.name context.tool resource.id",
        ),
        (
            "allow contains {\"id\": \"x\"} if port_is(443)",
            "action.name resource.id resource.properties.port",
        ),
    ] {
        let engine = engine(rules).unwrap_or_else(|error| panic!("{rules}\n{error}"));
        let found = engine.reads().paths().into_iter().collect::<Vec<_>>().join(" ");
        assert_eq!(found, paths, "{rules}");
    }
}

#[test]
fn facts_are_needed_only_where_they_are_read() {
    let engine = rule("input.subject.properties.exe == \"/usr/bin/node\"");
    let reads = engine.reads();
    assert!(reads.needs("subject.properties.exe") && reads.needs("subject") && reads.needs("action.name"));
    assert!(
        !reads.needs("subject.properties.parents")
            && !reads.needs("context.tool")
            && !reads.needs("subject.id")
    );
    let engine = rule("input[input.subject.id]");
    assert!(engine.reads().is_all() && engine.reads().needs("resource.properties.sha256"));
}

#[test]
fn one_that_reads_neither_tool_nor_time_is_remembered_whatever_the_tool() {
    let mut engine = rule("under(input.resource.id, \"/work\")");
    let one = input(Action::FileWrite, "/work/x");
    let mut other = one.clone();
    other.context.tool = None;
    other.context.span_id = None;
    other.subject.properties.pid = Some(8);
    assert!(is_remembered(&mut engine, &one));
    assert_eq!(domain_key(engine.reads(), &one), domain_key(engine.reads(), &other));
    assert!(domain_key(engine.reads(), &one).is_some());
}

#[test]
fn one_that_reads_the_tool_is_remembered_for_that_tool() {
    let mut engine = rule("input.context.tool.name == \"write_file\"");
    let one = input(Action::FileWrite, "/work/x");
    let mut same = one.clone();
    let mut other = one.clone();
    let mut none = one.clone();
    same.context.tool.as_mut().unwrap().call_id = Some("2".into());
    other.context.tool.as_mut().unwrap().name = "read_file".into();
    none.context.tool = None;
    assert!(is_remembered(&mut engine, &one));
    let key = |input: &Input| domain_key(engine.reads(), input).unwrap();
    assert_eq!(key(&one), key(&same));
    assert_ne!(key(&one), key(&other));
    assert_ne!(key(&one), key(&none));
}

#[test]
fn one_that_reads_time_is_remembered_only_where_it_did_not() {
    let mut engine = rule("{ reads; time.now_ns() > 0 }");
    assert!(engine.reads().time_or_chance().count() == 1);
    assert!(matches!(remembered(&mut engine, &input(Action::FileRead, "/x")), Remember::Never { .. }));
    assert!(is_remembered(&mut engine, &input(Action::FileWrite, "/x")));
}

#[test]
fn what_no_key_holds_is_not_remembered() {
    for condition in [
        "input.subject.properties.comm == \"node\"",
        "input.subject.properties.pid > 0; input.subject.properties != {}",
        "input.context.span_id == \"p\"",
        "input.context.trace_id == \"t\"",
        "input.context != {}",
        "not input.resource.properties.exists",
        "not input.resource.properties.mode",
        "not input.action.properties.flags",
        "input.resource != {}",
        "not input.other_thing",
        "input[input.subject.id] != 1",
    ] {
        let Ok(mut engine) =
            engine(&format!("escalate contains {{\"id\": \"x\"}} if {{ {condition}; false }}"))
        else {
            continue;
        };
        let input = input(Action::FileWrite, "/x");
        assert!(matches!(remembered(&mut engine, &input), Remember::Never { .. }), "{condition}");
    }
}

#[test]
fn a_fact_counts_only_where_there_is_one() {
    let mut engine = rule("not input.resource.properties.role");
    assert!(is_remembered(&mut engine, &input(Action::FileWrite, "/x")));
    assert!(matches!(remembered(&mut engine, &input(Action::FileRename, "/x")), Remember::Never { .. }));
    assert!(matches!(remembered(&mut engine, &input(Action::ProcessExec, "/x")), Remember::Never { .. }));
    let mut engine = rule("not input.resource.properties.sha256");
    assert!(is_remembered(&mut engine, &input(Action::FileWrite, "/x")));
    assert!(matches!(remembered(&mut engine, &input(Action::ProcessExec, "/x")), Remember::Never { .. }));
}

#[test]
fn constraints_bound_the_memory() {
    for (constraints, expected) in [
        (json!({"ttl": "90s"}), Some(Some(Duration::from_secs(90)))),
        (json!({}), Some(None)),
        (json!({"max_uses": 1}), None),
        (json!({"rate": "1/s"}), None),
        (json!({"ttl": "0s"}), None),
        (json!({"ttl": "soon"}), None),
    ] {
        let mut engine =
            engine(&format!("allow contains {{\"id\": \"x\", \"constraints\": {constraints}}} if reads"))
                .unwrap();
        let found = match remembered(&mut engine, &input(Action::FileRead, "/x")) {
            Remember::Within { ttl, .. } => Some(ttl),
            Remember::Never { .. } => None,
        };
        assert_eq!(found, expected, "{constraints}");
    }
}

#[test]
fn answers_of_people_rewrites_and_failures_are_not_remembered() {
    for rules in [
        "escalate contains {\"id\": \"x\"} if reads",
        "compute contains {\"id\": \"x\", \"rewrite\": {\"path\": \"/y\"}} if reads",
        "allow contains {\"id\": \"x\"} if to_number(input.resource.id) > 1",
    ] {
        let mut engine = engine(rules).unwrap();
        let input = input(Action::FileRead, "/x");
        let evaluation = engine.decide(&input);
        assert!(matches!(remember(&engine, &input, &evaluation), Remember::Never { .. }), "{rules}");
    }
    let mut engine = rule("reads");
    for id in ["foreign:/x", "unknown:x", "/a\0b"] {
        assert!(matches!(remembered(&mut engine, &input(Action::FileRead, id)), Remember::Never { .. }));
    }
}

#[test]
fn every_preset_can_be_remembered() {
    for name in ["coding-agent", "prod-readonly", "observe-all"] {
        let bundle = Bundle::load(&[PolicySource::Preset(name.into())], &Generated::default()).unwrap();
        let mut engine = Engine::load(&bundle).unwrap();
        for (action, id) in
            [(Action::FileRead, "/x"), (Action::FileRename, "/prod/x"), (Action::ProcessExec, "/bin/sh")]
        {
            let input = input(action, id);
            assert!(is_remembered(&mut engine, &input), "{name} {id}");
            assert!(domain_key(engine.reads(), &input).is_some());
        }
    }
}

#[test]
fn verdicts_of_the_presets_hold_for_regions() {
    let generated = Generated { workspace: vec!["/home/dev/project".into()], ..Generated::default() };
    for (name, action, id, region) in [
        ("coding-agent", Action::FileRead, "/usr/include/stdio.h", "/usr"),
        ("coding-agent", Action::FileWrite, "/home/dev/project/target/x", "/home/dev/project/"),
        ("coding-agent", Action::FileCreate, "/home/dev/project/.git/objects/aa/bb", "/home/dev/project/"),
        ("coding-agent", Action::ProcessExec, "/usr/bin/git", "/"),
        ("prod-readonly", Action::FileWrite, "/srv/x", "/srv"),
        ("observe-all", Action::FileRead, "/usr/x", ""),
    ] {
        let bundle = Bundle::load(&[PolicySource::Preset(name.into())], &generated).unwrap();
        let mut engine = Engine::load(&bundle).unwrap();
        let obstacles: Vec<_> = engine.obstacles(action).collect();
        assert!(obstacles.is_empty(), "{name} {obstacles:?}");
        let Remember::Within { region: found, .. } = remembered(&mut engine, &input(action, id)) else {
            panic!("{name} {id}")
        };
        assert!(!found.exact && found.id_bits <= region.len() * 8, "{name} {id}: {found:?}");
    }
}

#[test]
fn a_rule_about_another_action_has_no_say() {
    let mut engine = rule("{ reads; input.resource.properties.exists }");
    assert!(is_remembered(&mut engine, &input(Action::FileWrite, "/x")));
    assert!(matches!(remembered(&mut engine, &input(Action::FileRead, "/x")), Remember::Never { .. }));
    // What stands behind a false condition is not looked at, not even for its error.
    let mut engine = rule("{ reads; to_number(input.resource.id) > 1 }");
    assert!(is_remembered(&mut engine, &input(Action::FileWrite, "/x")));
}

#[test]
fn a_name_that_is_not_the_rules_is_no_condition() {
    let mut loaded = 0;
    for rules in [
        "allow contains {\"id\": \"x\"} if f(1)\nf(reads) if { reads; input.resource.properties.exists }",
        "allow contains {\"id\": \"x\"} if { some reads; reads = 1; reads; input.resource.properties.exists }",
        "allow contains {\"id\": \"x\"} if { reads := 1; reads; input.resource.properties.exists }",
    ] {
        let Ok(mut engine) = engine(rules) else { continue };
        loaded += 1;
        let input = input(Action::FileWrite, "/x");
        assert!(matches!(remembered(&mut engine, &input), Remember::Never { .. }), "{rules}");
    }
    assert!(loaded > 0, "no policy was sound");
}

#[test]
fn uses_of_the_name_that_nothing_records_keep_it_exact() {
    for (condition, exact) in [
        ("endswith(input.resource.id, \".pem\")", true),
        ("some x in split(input.resource.id, \"/\"); x == \"a\"", true),
        ("data.authz.tools[input.resource.id]", true),
        ("startswith(object.get(input.resource, \"id\", \"\"), \"/a\")", true),
        ("count({x | x := input.resource.id}) == 1", true),
        ("input.resource.id > \"/a\"", true),
        ("p := input.resource.id; endswith(p, \"x\")", true),
        ("p := trim_prefix(input.resource.id, \"/x\"); p == \"/a\"", true),
        ("p := trim_prefix(input.resource.id, \"/x\"); startswith(p, \"/a\")", false),
        ("startswith(input.resource.id, \"/a\")", false),
        ("input.resource.id == \"/a\"", false),
        ("input.resource.id in [\"/a\", \"/b\"]", false),
        ("not under(input.resource.id, \"/a\")", false),
        ("has_name(input.resource.id, [\".ssh\"])", false),
        ("under(\"/a/b\", input.resource.id)", false),
        ("under(\"/home/x/y\", input.resource.id)", false),
        ("under(input.resource.id, input.resource.id)", true),
        ("glob(input.resource.id, \"/home/*/.ssh/**\")", false),
        ("glob(input.resource.id, \"/home/x*\")", true),
    ] {
        let mut engine = rule(&format!("{{ {condition} }}"));
        let region = engine.decide(&input(Action::FileRead, "/home/x")).region;
        assert_eq!(region.exact, exact, "{condition}");
    }
}

#[test]
fn what_with_replaces_may_make_a_rule_about_another_action_count() {
    let mut engine = engine(
        "allow contains {\"id\": \"x\"} if old with input.action.name as \"file.read\"\n\
         old if { reads; input.resource.properties.exists }",
    )
    .unwrap();
    let input = input(Action::FileWrite, "/x");
    assert!(matches!(remembered(&mut engine, &input), Remember::Never { .. }));
}

#[test]
fn an_import_that_hides_a_condition_is_none() {
    let mut engine = engine(
        "import input.context.session as reads\n\
         allow contains {\"id\": \"x\"} if { reads; input.resource.properties.exists }",
    )
    .unwrap();
    let input = input(Action::FileWrite, "/x");
    assert!(matches!(remembered(&mut engine, &input), Remember::Never { .. }));
}

#[test]
fn a_cut_beyond_the_end_of_a_name_tells_nothing_of_longer_ones() {
    let mut engine = rule("startswith(substring(input.resource.id, 5, -1), \"/d\")");
    let region = |engine: &mut Engine, id| match remembered(engine, &input(Action::FileRead, id)) {
        Remember::Within { region, .. } => region,
        Remember::Never { why } => panic!("{why}"),
    };
    assert!(region(&mut engine, "/ab").exact);
    assert!(!region(&mut engine, "/abcd").exact);
}
