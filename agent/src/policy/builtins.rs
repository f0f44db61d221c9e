//! Functions of Rego that the engine leaves to its host. Those that read time or chance say so, since a
//! decision that depends on them must not be remembered.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use regorus::Value;
use serde::{Deserialize, Serialize};

use super::predicates::{self, Function};
use super::{glob, recorder};

/// What evaluations draw from time and chance: for each function, by the JSON array of its arguments, the result.
/// It is OPA's `nd_builtin_cache`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Drawn(BTreeMap<String, BTreeMap<String, u64>>);

impl Drawn {
    /// Neither time nor chance.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// With a time, in nanoseconds since 1970, if there is none yet.
    pub fn or_at(mut self, nanoseconds: u64) -> Self {
        self.0.entry(NOW.to_owned()).or_default().entry("[]".to_owned()).or_insert(nanoseconds);
        self
    }
}

thread_local! {
    /// What the current evaluation of this thread has drawn. As in OPA, a second look at the clock, or at the same
    /// die, within one evaluation sees the same value.
    static DRAWN: RefCell<Drawn> = RefCell::default();
    /// What it may draw, if not anything.
    static GIVEN: RefCell<Option<Drawn>> = const { RefCell::new(None) };
    /// Whether it wanted more than that.
    static LACKING: Cell<bool> = const { Cell::new(false) };
}

const NOW: &str = "time.now_ns";
const DIE: &str = "rand.intn";

/// The functions whose result the input does not determine.
pub(super) const NONDETERMINISTIC: &[&str] = &[NOW, DIE];

const FUNCTIONS: &[Function] = &[
    ("glob.match", 3, glob_match),
    ("net.cidr_contains", 2, cidr_contains),
    (NOW, 0, now_ns),
    ("time.clock", 1, clock),
    ("time.weekday", 1, weekday),
    (DIE, 2, intn),
];

/// Whether the host gives a function of that name.
pub(super) fn known(name: &str) -> bool {
    names().any(|known| known == name)
}

/// The names the host gives.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.iter().chain(predicates::FUNCTIONS).map(|(name, _, _)| *name)
}

/// Gives an engine the functions, and `more`.
pub(super) fn register(engine: &mut regorus::Engine, more: &'static [Function]) -> Result<()> {
    for (name, arguments, function) in FUNCTIONS.iter().chain(predicates::FUNCTIONS).chain(more) {
        engine.add_extension(
            (*name).to_owned(),
            *arguments,
            Box::new(move |arguments: Vec<Value>| function(&arguments)),
        )?;
    }
    Ok(())
}

/// Forgets what the last evaluation drew; the next one draws from `given` alone, if there is one.
pub(super) fn begin(given: Option<&Drawn>) {
    DRAWN.with_borrow_mut(|drawn| *drawn = Drawn::default());
    GIVEN.set(given.cloned());
    LACKING.set(false);
}

/// What the evaluation since [`begin`] drew.
pub(super) fn drawn() -> Drawn {
    DRAWN.with_borrow(Clone::clone)
}

/// Whether it wanted something that it was not given.
pub(super) fn lacking() -> bool {
    LACKING.get()
}

/// The result of a function that the input does not determine.
fn draw(function: &str, arguments: String, fresh: impl FnOnce() -> Result<u64>) -> Result<Value> {
    DRAWN.with_borrow_mut(|Drawn(drawn)| {
        let known = drawn.entry(function.to_owned()).or_default();
        if let Some(value) = known.get(&arguments) {
            return Ok(Value::from(*value));
        }
        let value = GIVEN.with_borrow(|given| match given {
            None => fresh(),
            Some(Drawn(given)) => {
                let recorded = given.get(function).and_then(|results| results.get(&arguments)).copied();
                LACKING.set(LACKING.get() || recorded.is_none());
                recorded.with_context(|| format!("{function} of {arguments} was not recorded"))
            }
        })?;
        known.insert(arguments, value);
        Ok(Value::from(value))
    })
}

fn now_ns(_: &[Value]) -> Result<Value> {
    draw(NOW, "[]".to_owned(), || {
        Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?)
    })
}

fn intn(arguments: &[Value]) -> Result<Value> {
    let [name, sides] = arguments else { bail!("rand.intn(name, n) has two arguments") };
    let (name, sides) = (name.as_string()?.to_string(), sides.as_i64()?.unsigned_abs());
    let arguments = serde_json::to_string(&(name, sides))?;
    draw(DIE, arguments, || Ok(RandomState::new().hash_one(sides).checked_rem(sides).unwrap_or(0)))
}

/// Hour, minute and second of a time in nanoseconds, in UTC.
fn clock(arguments: &[Value]) -> Result<Value> {
    let of_day = seconds(arguments)?.rem_euclid(86_400);
    Ok(Value::from([of_day / 3600, of_day / 60 % 60, of_day % 60].map(Value::from).to_vec()))
}

/// The English name of the day of a time in nanoseconds, in UTC.
fn weekday(arguments: &[Value]) -> Result<Value> {
    const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
    let day = usize::try_from(seconds(arguments)?.div_euclid(86_400).rem_euclid(7))?;
    Ok(Value::from(DAYS[day]))
}

fn seconds(arguments: &[Value]) -> Result<i64> {
    let time = arguments.first().context("a time in nanoseconds is needed")?;
    Ok(time.as_i64().context("only a time in nanoseconds, in UTC, is understood")?.div_euclid(1_000_000_000))
}

/// Whether a text matches a pattern, given the delimiters that stars do not cross.
fn glob_match(arguments: &[Value]) -> Result<Value> {
    let [pattern, delimiters, text] = arguments else { bail!("glob.match has three arguments") };
    let delimiters = match delimiters {
        Value::Null => Vec::new(),
        Value::Array(given) if given.is_empty() => vec!['.'],
        Value::Array(given) => {
            let one = |delimiter: &Value| -> Result<char> {
                let text = delimiter.as_string()?;
                let mut characters = text.chars();
                match (characters.next(), characters.next()) {
                    (Some(one), None) => Ok(one),
                    _ => bail!("a delimiter of glob.match is one character, not {text:?}"),
                }
            };
            given.iter().map(one).collect::<Result<_>>()?
        }
        _ => bail!("the delimiters of glob.match are an array or null"),
    };
    let (pattern, text) = (pattern.as_string()?, text.as_string()?);
    if delimiters == ['/'] {
        predicates::glob_tested(text, pattern);
    } else {
        recorder::whole(text);
    }
    Ok(Value::from(glob::matches(pattern, &delimiters, text)?))
}

/// Whether a block contains an address or another block.
fn cidr_contains(arguments: &[Value]) -> Result<Value> {
    thread_local! {
        static BLOCKS: RefCell<HashMap<String, Block>> = RefCell::default();
    }
    let [block, other] = arguments else { bail!("net.cidr_contains(block, address) has two arguments") };
    let (block, other) = (block.as_string()?, other.as_string()?);
    let outer = BLOCKS.with_borrow_mut(|blocks| -> Result<Block> {
        if let Some(known) = blocks.get(block.as_ref()) {
            return Ok(*known);
        }
        let parsed = Block::parse(block)?;
        if blocks.len() < 4096 {
            blocks.insert(block.to_string(), parsed);
        }
        Ok(parsed)
    })?;
    recorder::block(other, outer.address(), outer.length);
    Ok(Value::from(outer.contains(Block::parse(other)?)))
}

#[derive(Clone, Copy)]
struct Block {
    v6: bool,
    bits: u128,
    length: u32,
}

impl Block {
    fn parse(text: &str) -> Result<Self> {
        let (address, length) = text.split_once('/').map_or((text, None), |(a, l)| (a, Some(l)));
        let address: IpAddr = address.parse().with_context(|| format!("{text:?} is no address or block"))?;
        let (v6, bits, width) = match address {
            IpAddr::V4(address) => (false, u128::from(address.to_bits()) << 96, 32),
            IpAddr::V6(address) => (true, address.to_bits(), 128),
        };
        let length = length.map_or(Ok(width), str::parse).ok().filter(|length| *length <= width);
        let length = length.with_context(|| format!("{text:?} is no address block"))?;
        Ok(Self { v6, bits, length })
    }

    /// An address of it.
    fn address(self) -> IpAddr {
        if self.v6 { IpAddr::V6(self.bits.into()) } else { IpAddr::V4(((self.bits >> 96) as u32).into()) }
    }

    fn contains(self, other: Self) -> bool {
        let mask = u128::MAX.checked_shl(128 - self.length).unwrap_or(0);
        self.v6 == other.v6 && self.length <= other.length && (self.bits ^ other.bits) & mask == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_contain_addresses_and_blocks() {
        let contains = |a: &str, b: &str| cidr_contains(&[Value::from(a), Value::from(b)]);
        for (block, other, expected) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "10.1.0.0/16", true),
            ("10.1.0.0/16", "10.0.0.0/8", false),
            ("0.0.0.0/0", "192.0.2.1", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "192.0.2.1", false),
            ("fe80::/10", "fe81::1", true),
            ("::1/128", "::1", true),
            ("::1/128", "::2", false),
        ] {
            assert_eq!(contains(block, other).unwrap(), Value::from(expected), "{block} {other}");
        }
        assert!(contains("10.0.0.0/33", "10.0.0.1").is_err());
        assert!(contains("10.0.0.0/8", "host.example").is_err());
    }

    #[test]
    fn clock_and_weekday() {
        let time = [Value::from(1_700_000_000_000_000_000_i64)]; // 2023-11-14 22:13:20
        assert_eq!(clock(&time).unwrap(), Value::from([22, 13, 20].map(Value::from).to_vec()));
        assert_eq!(weekday(&time).unwrap(), Value::from("Tuesday"));
    }

    #[test]
    fn time_and_chance_are_noticed_and_stand_still_within_an_evaluation() {
        begin(None);
        assert!(drawn().is_empty());
        let now = now_ns(&[]).unwrap();
        assert!(!drawn().is_empty());
        assert_eq!(now, now_ns(&[]).unwrap());
        begin(None);
        let die = [Value::from("die"), Value::from(1_000_000_u64)];
        assert_eq!(intn(&die).unwrap(), intn(&die).unwrap());
        assert!(!drawn().is_empty());
    }

    #[test]
    fn what_was_drawn_can_be_drawn_again_and_nothing_else() {
        begin(None);
        let die = [Value::from("die"), Value::from(1_000_000_u64)];
        let (now, thrown) = (now_ns(&[]).unwrap(), intn(&die).unwrap());
        let text = serde_json::to_string(&drawn()).unwrap();
        assert!(text.starts_with(r#"{"rand.intn":{"[\"die\",1000000]":"#), "{text}");
        let given: Drawn = serde_json::from_str(&text).unwrap();
        begin(Some(&given));
        assert_eq!((now_ns(&[]).unwrap(), intn(&die).unwrap()), (now, thrown));
        assert!(!lacking());
        assert!(intn(&[Value::from("other"), Value::from(6_u64)]).is_err());
        assert!(lacking());
        begin(Some(&Drawn::default().or_at(7)));
        assert_eq!(now_ns(&[]).unwrap(), Value::from(7_u64));
        begin(None);
        assert!(intn(&die).is_ok());
    }
}
