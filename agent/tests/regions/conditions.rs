//! Conditions of rules, by what they are about.

use crate::policies::{NAMES, path};
use crate::random::Random;

/// What a policy's conditions are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// Everything a policy may say.
    Anything,
    /// Folders and what begins alike.
    Prefixes,
    /// Folders within folders for which it is otherwise.
    Exceptions,
    /// Patterns.
    Globs,
    /// Names anywhere in a path.
    Names,
    /// Whole names.
    Exact,
    /// A name without its beginning.
    Cuts,
    /// Uses of the name that nothing records.
    Unrecorded,
    /// Blocks of addresses.
    Blocks,
    /// Ports and protocols.
    Ports,
    /// The tool call, the session, its agent.
    Domain,
    /// Everything that a machine can be made to do.
    Machine,
}

const ANYTHING: [About; 16] = [
    About::Prefixes,
    About::Prefixes,
    About::Prefixes,
    About::Exceptions,
    About::Globs,
    About::Globs,
    About::Names,
    About::Names,
    About::Exact,
    About::Exact,
    About::Cuts,
    About::Unrecorded,
    About::Blocks,
    About::Ports,
    // The last ones are about what is the same all the time a machine runs a program.
    About::Domain,
    About::Domain,
];

/// One condition, or several. What operations should come near of is added to `near`.
pub fn condition(random: &mut Random, about: About, near: &mut Vec<String>) -> String {
    let kind = match about {
        About::Anything => *random.of(&ANYTHING),
        About::Machine => *random.of(&ANYTHING[..14]),
        one => one,
    };
    let (one, other) = (path(random), path(random));
    near.extend([one.clone(), other.clone()]);
    let quoted = quote(&one);
    let case = Case {
        name: random.of::<&str>(NAMES),
        subject: random.of::<&str>(&[
            "input.resource.id",
            "path",
            "whole",
            "thing.id",
            "input[\"resource\"].id",
        ]),
        plain: random.of::<&str>(&["input.resource.id", "whole", "thing.id"]),
        var: format!("v{}", random.below(1_000_000)),
        one: &quoted,
        bare: &one,
        other: &other,
    };
    match kind {
        About::Anything | About::Machine | About::Prefixes => case.prefix(random),
        About::Exceptions => case.exception(random),
        About::Globs => case.glob(random),
        About::Names => case.names(random),
        About::Exact => case.exact(random),
        About::Cuts => case.cut(random),
        About::Unrecorded => case.unrecorded(random),
        About::Blocks => case.block(random),
        About::Ports => case.port(random),
        About::Domain => case.domain(random),
    }
}

/// A text as Rego and JSON write it.
pub fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

struct Case<'a> {
    name: &'a str,
    subject: &'a str,
    plain: &'a str,
    var: String,
    one: &'a str,
    bare: &'a str,
    other: &'a str,
}

impl Case<'_> {
    fn prefix(&self, random: &mut Random) -> String {
        let Self { subject, var, one, other, .. } = self;
        match random.below(16) {
            0..=3 => format!("under({subject}, {one})"),
            4 => format!("under({subject}, [{one}, {}])", quote(&format!("{other}/"))),
            5 | 6 => format!("under({subject}, data.lists.many)"),
            7 => format!("under({subject}, data.lists.few)"),
            8 => format!("inside({subject})"),
            9 => format!("startswith({subject}, {one})"),
            10 => format!("strings.any_prefix_match({subject}, [{one}, \"anon:\", \"unix:@\"])"),
            11 => format!("some {var} in data.lists.few; startswith({subject}, {var})"),
            12 => {
                format!("count({{p | some p in data.lists.few; under({subject}, p)}}) > {}", random.below(2))
            }
            13 => format!("level({subject}) == \"{}\"", random.of(&["high", "low", "none"])),
            14 => format!("under(socket, {one})"),
            _ => format!("count([p | some p in data.lists.few; startswith({subject}, p)]) == 1"),
        }
    }

    fn exception(&self, random: &mut Random) -> String {
        let Self { subject, var, one, bare, .. } = self;
        let below = quote(&format!("{bare}{}", random.of(&["/a", "/b/c", "/prod", "/"])));
        match random.below(6) {
            0 | 1 => format!("under({subject}, {one}); not under({subject}, {below})"),
            2 => format!("startswith({subject}, {one}); not startswith({subject}, {below})"),
            3 => format!("every p in data.lists.few {{ not under({subject}, p) }}"),
            4 => format!("under({subject}, {one}); not is({subject}, {below})"),
            _ => format!(
                "under({subject}, data.lists.few); {var} := {{p | some p in data.lists.many; under({subject}, p)}}; count({var}) == 0"
            ),
        }
    }

    fn glob(&self, random: &mut Random) -> String {
        let Self { subject, name, bare, other, .. } = self;
        match random.below(6) {
            0 => format!("glob({subject}, {})", quote(&format!("{bare}/**"))),
            1 => format!(
                "glob({subject}, [{}, {}, {}])",
                quote(&format!("{bare}/*/{name}")),
                quote(&format!("/**/{name}/**")),
                quote(&format!("{other}*"))
            ),
            2 => format!("glob({subject}, {})", quote(&format!("**/{name}"))),
            3 => format!("glob({subject}, {})", quote(&format!("{bare}/{{a,b/*}}/**"))),
            4 => format!("glob({subject}, data.lists.globs)"),
            _ => format!("glob({subject}, {})", quote(&format!("{bare}?[!a-c]*"))),
        }
    }

    fn names(&self, random: &mut Random) -> String {
        let Self { subject, name, .. } = self;
        match random.below(4) {
            0 => format!("has_name({subject}, [\".ssh\", {name:?}])"),
            1 => format!("has_name({subject}, data.lists.names)"),
            2 => format!("named({subject}, {{\"x.pem\", {name:?}}})"),
            _ => format!("glob({subject}, \"/**/{name}/**\")"),
        }
    }

    fn exact(&self, random: &mut Random) -> String {
        let Self { subject, plain, one, other, .. } = self;
        let other = quote(other);
        match random.below(6) {
            0 => format!("is({subject}, {{{one}, {other}}})"),
            1 => format!("{plain} == {one}"),
            2 => format!("{plain} in {{{one}, {other}}}"),
            3 => format!("{plain} in data.lists.files"),
            4 => format!("known({plain})"),
            _ => format!("is({subject}, data.lists.files)"),
        }
    }

    fn cut(&self, random: &mut Random) -> String {
        let Self { subject, name, var, one, .. } = self;
        match random.below(4) {
            0 => format!("{var} := trim_prefix({subject}, {one}); startswith({var}, \"/{name}\")"),
            1 => format!("startswith(substring({subject}, {}, -1), \"/{name}\")", random.below(9)),
            2 => format!("under(trim_prefix({subject}, {one}), \"/{name}\")"),
            _ => format!("under(substring({subject}, {}, -1), data.lists.few)", random.below(5)),
        }
    }

    fn unrecorded(&self, random: &mut Random) -> String {
        let Self { subject, plain, name, var, one, .. } = self;
        match random.below(16) {
            0 => format!("endswith({subject}, {name:?})"),
            1 => format!("some {var} in split({subject}, \"/\"); {var} == {name:?}"),
            2 => format!("startswith(object.get(input.resource, \"id\", \"\"), {one})"),
            3 => format!("startswith(strip({subject}), {one})"),
            4 => format!("data.lists.by_name[{plain}]"),
            5 => format!("some {var} in [\"id\", \"type\"]; startswith(input.resource[{var}], {one})"),
            6 => format!("inside({subject}) with data.lists.few as [{one}]"),
            7 => format!("shadow with input.resource.id as {one}"),
            8 => "readable with input.action.name as \"file.read\"".to_owned(),
            9 => format!("some {var}; data.team.flags[{var}]"),
            10 => "data.team.flags.prod".to_owned(),
            11 => format!("some {var} in [\"few\", \"files\"]; under({subject}, data.lists[{var}])"),
            12 => format!("count({{n: 1 | some n in split({subject}, \"/\")}}) > 3"),
            13 => format!("lower({plain}) == {one}"),
            14 => format!("regex.match(\"{name}$\", {plain})"),
            _ => format!("sprintf(\"%v\", [{plain}]) != {one}"),
        }
    }

    fn block(&self, random: &mut Random) -> String {
        let (ip, var) = (random.of(&["input.resource.properties.ip", "ip"]), &self.var);
        match random.below(4) {
            0 => format!("in_cidr({ip}, data.lists.blocks)"),
            1 => format!("some {var} in data.lists.blocks; net.cidr_contains({var}, {ip})"),
            2 => format!("{ip} == \"10.1.1.1\""),
            _ => format!(
                "in_cidr({ip}, [\"10.{}.0.0/{}\", \"fd00::/{}\"])",
                random.below(4),
                8 + random.below(17),
                4 + random.below(30)
            ),
        }
    }

    fn port(&self, random: &mut Random) -> String {
        let conditions = [
            "port_is(443)",
            "port_is([53, 80])",
            "port_is(data.lists.ports)",
            "input.resource.properties.port >= 1024",
            "input.resource.properties.protocol == \"udp\"",
            "input.resource.properties.family == \"ipv6\"",
            "startswith(input.resource.id, \"tcp://\")",
        ];
        (*random.of(&conditions)).to_owned()
    }

    fn domain(&self, random: &mut Random) -> String {
        let Self { subject, .. } = self;
        let conditions = [
            "input.context.tool.name == \"write_file\"",
            "input.context.tool.name in {\"read_file\", \"other\"}",
            "input.context.tool",
            "input.context.tool.arguments.path == input.resource.id",
            "input.subject.id == \"one\"",
            "input.subject.properties.uid == 0",
            "input.subject.properties.exe == \"/usr/bin/node\"",
            "input.context.session == \"s1\"",
            "input.context.mode == \"enforce\"",
            "startswith(owner, \"read\")",
            "data.team.flags.tool",
        ];
        match random.below(conditions.len() + 3) {
            0 => format!("under({subject}, data.lists.by_tool[input.context.tool.name])"),
            1 => format!("under({subject}, input.context.tool.arguments.path)"),
            2 => (*random.of(&FACTS)).to_owned(),
            number => conditions[number - 3].to_owned(),
        }
    }
}

/// What no key holds: decisions that look at it are not remembered, others of the policy are.
const FACTS: [&str; 6] = [
    "input.resource.properties.exists",
    "input.resource.properties.nlink > 1",
    "input.resource.properties.role == \"target\"",
    "input.action.properties.syscall",
    "input.subject.properties.comm == \"node\"",
    "time.now_ns() > 0",
];
