//! A [`Region`] in words: for which resources a remembered verdict holds, said as a human would.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::names::Names;
use super::recorder::Region;

/// For which resources, besides its own, a verdict holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// In words.
    pub text: String,
    /// For its own resource alone.
    pub exact: bool,
    /// What all their names begin with, as far as whole bytes go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The addresses that it holds for, as a block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<String>,
    /// Of paths: names that the policy looks for anywhere in one. Only paths hold alike that have a name out of the
    /// same groups of these, or none as this one has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}

impl Reach {
    /// Of a region around a resource, under a policy that looks for these names.
    pub fn of(id: &str, region: Region, names: &Names) -> Self {
        let alone = |what: &str| Self {
            text: format!("{what} alone"),
            exact: true,
            prefix: None,
            block: None,
            names: Vec::new(),
        };
        if let Some((protocol, rest)) = id.split_once("://") {
            return match address(protocol, rest, region) {
                Some((text, block)) => Self { text, exact: false, prefix: None, block, names: Vec::new() },
                None => alone("this address"),
            };
        }
        let path = id.starts_with('/');
        let what = if path { "this path" } else { "this name" };
        let Some(text) = (!region.exact).then(|| prefix(id, region.id_bits)).flatten() else {
            return alone(what);
        };
        // Enforcement points look for names in paths only.
        let groups = if path { names.mask(id.as_bytes()) } else { 0 };
        let looked_for = |(name, _): (&[u8], u8)| String::from_utf8_lossy(name).into_owned();
        let names: Vec<_> = names.iter().filter(|_| path).map(looked_for).collect();
        let with = match groups {
            _ if names.is_empty() => "",
            0 => ", as long as no name in the path is one that the policy looks for",
            _ => ", as long as the path has such names as this one has that the policy looks for",
        };
        let whole = region.id_bits / 8;
        let prefix = Some(String::from_utf8_lossy(&id.as_bytes()[..whole.min(id.len())]).into_owned());
        Self { text: format!("{text}{with}"), exact: false, prefix, block: None, names }
    }
}

/// What begins with the first bits of a name; none: nothing but the name itself.
fn prefix(id: &str, bits: usize) -> Option<String> {
    let (whole, rest) = (bits / 8, bits % 8);
    let bytes = id.as_bytes();
    if whole > bytes.len() {
        return None;
    }
    let begin = String::from_utf8_lossy(&bytes[..whole]);
    let low = bytes.get(whole).copied().unwrap_or(0) & !(0xff_u8.checked_shr(rest as u32).unwrap_or(0));
    let high = low | 0xff_u8.checked_shr(rest as u32).unwrap_or(0);
    // Only what can stand in a text counts, and what cannot be told from the end of the name does not.
    let (first, last) = (low.max(b' '), high.min(b'~'));
    match rest {
        // Of a name of a file everything begins with a slash.
        _ if whole == 0 && bytes.first() == Some(&b'/') => Some("every path".into()),
        0 if whole == 0 => Some("every name".into()),
        0 if begin.ends_with('/') => Some(format!("everything under {begin}")),
        0 => Some(format!("everything that begins with {begin}")),
        _ if first > last && low == 0 => None,
        _ if first > last => Some(format!("everything that begins like this name in {bits} bits")),
        _ if first == last => Some(format!("everything that begins with {begin}{}", char::from(first))),
        _ => Some(format!(
            "everything that begins with {begin} and goes on with a character from {} to {}",
            shown(first),
            shown(last)
        )),
    }
}

fn shown(byte: u8) -> String {
    if byte == b' ' { "a space".to_owned() } else { char::from(byte).to_string() }
}

/// Addresses of one protocol and port whose first bits are the same, and the block; none: only this one.
fn address(protocol: &str, rest: &str, region: Region) -> Option<(String, Option<String>)> {
    if region.exact || region.id_bits > (protocol.len() + "://".len()) * 8 {
        return None;
    }
    let (host, port) = rest.rsplit_once(':')?;
    let ip: IpAddr = host.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
    let (family, whole) = if ip.is_ipv4() { ("IPv4", 32) } else { ("IPv6", 128) };
    let bits = region.ip_bits.min(whole) as u32;
    if bits == 0 {
        return Some((format!("every {family} address, {protocol} to port {port}"), None));
    }
    if bits as usize == whole {
        return None;
    }
    let network = match ip {
        IpAddr::V4(ip) => IpAddr::from((ip.to_bits() & (u32::MAX << (32 - bits))).to_be_bytes()),
        IpAddr::V6(ip) => IpAddr::from((ip.to_bits() & (u128::MAX << (128 - bits))).to_be_bytes()),
    };
    let block = format!("{network}/{bits}");
    Some((format!("every address in {block}, {protocol} to port {port}"), Some(block)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(id: &str, id_bits: usize, ip_bits: usize) -> String {
        Reach::of(id, Region { id_bits, ip_bits, exact: false }, &Names::default()).text
    }

    #[test]
    fn a_path_by_what_it_begins_with() {
        for (id, bits, said) in [
            ("/usr/x", 40, "everything under /usr/"),
            ("/usr/x", 32, "everything that begins with /usr"),
            ("/usr/x", 0, "every path"),
            ("/usr/x", 3, "every path"),
            ("/usr/x", 14, "everything that begins with / and goes on with a character from t to w"),
            ("/usr/x", 56, "this path alone"),
            ("/usr", 36, "this path alone"),
            ("/usr", 34, "everything that begins with /usr and goes on with a character from a space to ?"),
            ("unix:@x", 0, "every name"),
            ("netlink:0", 80, "this name alone"),
        ] {
            assert_eq!(text(id, bits, 0), said, "{id} {bits}");
        }
        let exact = Region { exact: true, ..Region::default() };
        assert_eq!(Reach::of("/a", exact, &Names::default()).text, "this path alone");
    }

    #[test]
    fn an_address_by_its_block() {
        assert_eq!(text("tcp://10.1.2.3:443", 0, 8), "every address in 10.0.0.0/8, tcp to port 443");
        assert_eq!(text("tcp://10.1.2.3:443", 48, 0), "every IPv4 address, tcp to port 443");
        assert_eq!(text("tcp://10.1.2.3:443", 49, 8), "this address alone");
        assert_eq!(text("udp://[fe80::1]:53", 0, 10), "every address in fe80::/10, udp to port 53");
        assert_eq!(text("tcp://10.1.2.3:443", 0, 32), "this address alone");
        assert_eq!(text("tcp://nonsense", 0, 8), "this address alone");
    }

    #[test]
    fn names_that_are_looked_for_narrow_a_path() {
        let names = Names::new([[".ssh".to_owned()].into()]);
        let region = Region { id_bits: 48, ..Region::default() };
        let none = Reach::of("/home/x", region, &names);
        assert!(none.text.starts_with("everything under /home/, as long as no name"), "{}", none.text);
        assert_eq!(none.names, [".ssh"]);
        assert!(Reach::of("/home/.ssh/x", region, &names).text.contains("as this one has"));
        assert!(Reach::of("anon:x", region, &names).names.is_empty());
    }
}
