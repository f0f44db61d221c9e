//! Socket addresses as bytes, canonical as in ebpf/hooks/net.h.

use std::net::{IpAddr, SocketAddr};

use crate::abi::raw::authz_address;

/// Bytes of a path in `struct sockaddr_un`.
const UNIX_PATH_MAX: usize = 108;

/// What an address names.
#[derive(Debug)]
pub enum Address {
    /// Nothing that is mediated: AF_UNSPEC, another family, or too short.
    None,
    /// A Unix socket without a name.
    Unnamed,
    /// An abstract Unix name.
    Abstract(Vec<u8>),
    /// The path of a Unix socket.
    Path(Vec<u8>),
    /// An internet address.
    Inet(authz_address),
}

/// What an address is given for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// connect
    Connect,
    /// sendto, sendmsg
    Send,
    /// bind
    Bind,
}

impl Address {
    /// Parses what was given to a socket of this family.
    pub fn parse(bytes: &[u8], socket: i32, protocol: i32, given_for: Use) -> Self {
        let bound = given_for == Use::Bind;
        let Some(family) = bytes.first_chunk::<2>() else { return Self::None };
        let mut family = i32::from(u16::from_ne_bytes(*family));
        // An IPv4 socket takes it for AF_INET; in connect it means disconnect.
        if family == libc::AF_UNSPEC && given_for != Use::Connect && socket == libc::AF_INET {
            family = libc::AF_INET;
        }
        match family {
            libc::AF_UNIX => unix_name(&bytes[2..]),
            libc::AF_INET if bytes.len() >= 8 => Self::Inet(ipv4(&bytes[4..8], port(bytes), protocol, bound)),
            libc::AF_INET6 if bytes.len() >= 24 => {
                let mut ip = [0; 16];
                ip.copy_from_slice(&bytes[8..24]);
                if ip.starts_with(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]) {
                    return Self::Inet(ipv4(&ip[12..], port(bytes), protocol, bound));
                }
                if ip == [0; 16] && !bound {
                    ip[15] = 1;
                }
                let scope = bytes.get(24..28).and_then(|scope| scope.try_into().ok()).map(u32::from_ne_bytes);
                let local = ip[0] == 0xfe && ip[1] & 0xc0 == 0x80;
                Self::Inet(authz_address {
                    family: libc::AF_INET6 as u16,
                    protocol: protocol as u16,
                    port: port(bytes),
                    addr: ip,
                    scope: scope.filter(|_| local).unwrap_or_default(),
                    ..authz_address::default()
                })
            }
            _ => Self::None,
        }
    }
}

/// In network order, as it stands.
fn port(bytes: &[u8]) -> u16 {
    u16::from_ne_bytes([bytes[2], bytes[3]])
}

/// To connect to 0.0.0.0 means this host; to bind to it, every address.
fn ipv4(ip: &[u8], port: u16, protocol: i32, bound: bool) -> authz_address {
    let mut addr = [0; 16];
    addr[..4].copy_from_slice(ip);
    if !bound && addr == [0; 16] {
        addr[..4].copy_from_slice(&[127, 0, 0, 1]);
    }
    let family = libc::AF_INET as u16;
    authz_address { family, protocol: protocol as u16, port, addr, ..authz_address::default() }
}

fn unix_name(name: &[u8]) -> Address {
    match name {
        [] => Address::Unnamed,
        [0, name @ ..] => Address::Abstract(name.to_vec()),
        name => {
            let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
            Address::Path(name[..end.min(UNIX_PATH_MAX)].to_vec())
        }
    }
}

/// A `struct sockaddr_un` for a path.
pub fn unix(path: &[u8]) -> Vec<u8> {
    let family = (libc::AF_UNIX as u16).to_ne_bytes();
    // The longest has no room for a NUL.
    let end = if path.len() < UNIX_PATH_MAX { &[0][..] } else { &[] };
    [&family[..], path, end].concat()
}

/// The bytes of an address as a policy writes it, for a socket of this family.
pub fn written(address: &str, socket: i32) -> Option<Vec<u8>> {
    if let Some(name) = address.strip_prefix("unix:") {
        if socket != libc::AF_UNIX {
            return None;
        }
        return Some(match name.strip_prefix('@') {
            Some(name) => [&(libc::AF_UNIX as u16).to_ne_bytes()[..], &[0], name.as_bytes()].concat(),
            None => unix(name.as_bytes()),
        });
    }
    let (_, address) = address.split_once("://")?;
    let address: SocketAddr = address.parse().ok()?;
    let port = address.port().to_be_bytes();
    match (address.ip(), socket) {
        (IpAddr::V4(ip), libc::AF_INET) => {
            Some([&(libc::AF_INET as u16).to_ne_bytes()[..], &port, &ip.octets(), &[0; 8]].concat())
        }
        (ip, libc::AF_INET6) => {
            let ip = match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                IpAddr::V6(ip) => ip,
            };
            let family = (libc::AF_INET6 as u16).to_ne_bytes();
            Some([&family[..], &port, &[0; 4], &ip.octets(), &[0; 4]].concat())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inet(bytes: &[u8], given_for: Use) -> Option<(u16, [u8; 16])> {
        match Address::parse(bytes, libc::AF_INET, libc::IPPROTO_TCP, given_for) {
            Address::Inet(address) => Some((address.family, address.addr)),
            _ => None,
        }
    }

    #[test]
    fn addresses_become_canonical() {
        let v4 = written("tcp://1.2.3.4:443", libc::AF_INET).unwrap();
        let mapped = written("tcp://1.2.3.4:443", libc::AF_INET6).unwrap();
        assert_eq!(inet(&v4, Use::Connect), inet(&mapped, Use::Connect));
        let any = written("tcp://0.0.0.0:1", libc::AF_INET).unwrap();
        let loopback = written("tcp://127.0.0.1:1", libc::AF_INET).unwrap();
        assert_eq!(inet(&any, Use::Connect), inet(&loopback, Use::Connect));
        assert_ne!(inet(&any, Use::Bind), inet(&loopback, Use::Bind));
        let mut unspecified = v4.clone();
        unspecified[..2].fill(0);
        assert_eq!(inet(&unspecified, Use::Connect), None, "disconnect");
        assert_eq!(inet(&unspecified, Use::Send), inet(&v4, Use::Send));
        assert_eq!(inet(&v4[..7], Use::Send), None);
        assert_eq!(inet(&[], Use::Send), None);
    }

    #[test]
    fn unix_names_are_told_apart() {
        let parse = |bytes: &[u8]| Address::parse(bytes, libc::AF_UNIX, 0, Use::Send);
        let family = (libc::AF_UNIX as u16).to_ne_bytes();
        assert!(matches!(parse(&unix(b"/run/x")), Address::Path(path) if path == b"/run/x"));
        let named = written("unix:@a\0b", libc::AF_UNIX).unwrap();
        assert!(matches!(parse(&named), Address::Abstract(name) if name == b"a\0b"));
        assert!(matches!(parse(&family), Address::Unnamed));
        assert_eq!(written("unix:/run/x", libc::AF_INET), None);
    }
}
