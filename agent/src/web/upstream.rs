//! A server elsewhere that one address leads to, over HTTP or HTTPS: that behind the gate, or a collector.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);

/// Why there is no upstream.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// Not an address of a server.
    #[error("{0:?} is not the address of a server; write e.g. https://host.example.com/path")]
    Url(String),
    /// No certificate of an authority was found.
    #[error("no trusted certificates are installed, so https cannot be used; install ca-certificates")]
    Roots,
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// The one server. Redirects are not followed.
pub struct Upstream {
    uri: Uri,
    host: String,
    port: u16,
    authority: HeaderValue,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Upstream {
    /// Reads its address: `http` or `https`, a host, perhaps a port, a path; nothing else.
    pub fn new(url: &str) -> Result<Self, UpstreamError> {
        let wrong = || UpstreamError::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong()),
        };
        let authority =
            uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(wrong)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let tls = if secure {
            let name = ServerName::try_from(host.clone()).map_err(|_| wrong())?;
            Some((connector()?, name))
        } else {
            None
        };
        Ok(Self {
            port: authority.port_u16().unwrap_or(if secure { 443 } else { 80 }),
            authority: HeaderValue::from_str(authority.as_str()).map_err(|_| wrong())?,
            host,
            tls,
            uri,
        })
    }

    /// The path of its address.
    pub fn path(&self) -> &str {
        self.uri.path()
    }

    /// Sends one request to its address's path; as [`Upstream::send_to`].
    pub async fn send(
        &self,
        method: Method,
        headers: HeaderMap,
        body: Option<Vec<u8>>,
        think: Duration,
    ) -> Result<Response<Incoming>, String> {
        let target = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let has_body = body.is_some();
        let mut request = Request::builder().method(method).uri(target);
        if let Some(own) = request.headers_mut() {
            *own = headers;
            if has_body {
                own.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            }
        }
        let request = request.body(Bytes::from(body.unwrap_or_default()));
        self.send_to(request.map_err(|error| error.to_string())?, think).await
    }

    /// Sends one request, whose target is a path, by a connection of its own; the beginning of the answer, for which
    /// the server may `think` so long.
    pub async fn send_to(
        &self,
        mut request: Request<Bytes>,
        think: Duration,
    ) -> Result<Response<Incoming>, String> {
        request.headers_mut().insert(HOST, self.authority.clone());
        let request = request.map(Full::from);
        let connected = TcpStream::connect((self.host.as_str(), self.port));
        let stream = in_time(CONNECT, connected).await?;
        match &self.tls {
            Some((tls, name)) => {
                let stream = in_time(CONNECT, tls.connect(name.clone(), stream)).await?;
                exchange(stream, request, think).await
            }
            None => exchange(stream, request, think).await,
        }
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
    think: Duration,
) -> Result<Response<Incoming>, String> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to the server ended");
        }
    });
    in_time(think, sender.send_request(request)).await
}

async fn in_time<T, E: std::fmt::Display>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err(format!("nothing came within {} s", limit.as_secs())),
    }
}

/// The authorities that the system trusts.
fn connector() -> Result<TlsConnector, UpstreamError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(UpstreamError::Roots);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_with_a_host_is_an_upstream() {
        for url in ["http://127.0.0.1:3001/mcp", "http://localhost/mcp", "http://[::1]:1/"] {
            assert!(Upstream::new(url).is_ok(), "{url}");
        }
        for url in ["", "127.0.0.1", "ftp://x/", "http://user:secret@x/", "/mcp", "http:///x"] {
            assert!(Upstream::new(url).is_err(), "{url}");
        }
    }
}
