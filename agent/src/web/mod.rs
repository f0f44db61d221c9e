//! What the listeners on loopback have in common: only this machine may ask, and no web page that somebody made to
//! lead here. And the servers elsewhere that they, or the daemon, lead to ([`upstream`]).

pub mod upstream;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hyper::Uri;
use hyper::header::{GetAll, HeaderValue};

/// What was accepted. Too many open files, or a connection that is gone already, ends nothing.
pub async fn or_later<T>(accepted: io::Result<T>) -> Option<T> {
    match accepted {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

/// Whether the one `Host` header names this address by number, or as localhost. Any other name may have been made to
/// lead here.
pub fn is_host(hosts: GetAll<'_, HeaderValue>, address: SocketAddr) -> bool {
    let mut hosts = hosts.iter();
    match (hosts.next().and_then(|host| host.to_str().ok()), hosts.next()) {
        (Some(host), None) => names(host, address),
        _ => false,
    }
}

/// Whether there is no `Origin`, or only one of a page of this machine.
pub fn is_local_origin(origins: GetAll<'_, HeaderValue>) -> bool {
    origins.iter().all(|origin| {
        let origin: Option<Uri> = origin.to_str().ok().and_then(|origin| origin.parse().ok());
        let host = origin.as_ref().filter(|origin| origin.scheme().is_some()).and_then(Uri::host);
        host.is_some_and(|host| ["localhost", "127.0.0.1", "[::1]"].contains(&host))
    })
}

fn names(host: &str, address: SocketAddr) -> bool {
    let (name, port) = host.rsplit_once(':').unwrap_or((host, "80"));
    let by_number = host.parse() == Ok(address) || (host.parse() == Ok(address.ip()) && address.port() == 80);
    let by_name = name.eq_ignore_ascii_case("localhost") && port.parse() == Ok(address.port());
    by_number || by_name
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;

    use super::*;

    #[test]
    fn only_loopback_is_a_host() {
        let four: SocketAddr = "127.0.0.1:8181".parse().unwrap();
        let six: SocketAddr = "[::1]:8181".parse().unwrap();
        assert!(names("127.0.0.1:8181", four) && names("localhost:8181", four) && names("[::1]:8181", six));
        for host in [
            "",
            "evil.example:8181",
            "127.0.0.1",
            "127.0.0.1:80",
            "127.0.0.1.evil.example:8181",
            "localhost",
            "127.0.0.1:8181:8181",
            "localhost.:8181",
            "127.0.0.2:8181",
        ] {
            assert!(!names(host, four), "{host}");
        }
    }

    #[test]
    fn only_pages_of_this_machine_may_ask() {
        let local = |origins: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for origin in origins {
                headers.append("origin", HeaderValue::from_static(origin));
            }
            is_local_origin(headers.get_all("origin"))
        };
        assert!(local(&[]) && local(&["http://localhost:6274"]) && local(&["http://127.0.0.1"]));
        for origin in ["null", "http://evil.example", "http://localhost.evil.example", "", "localhost"] {
            assert!(!local(&[origin]), "{origin}");
        }
        assert!(!local(&["http://localhost", "http://evil.example"]));
    }
}
