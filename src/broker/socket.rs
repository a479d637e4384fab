//! A connection to a broker by TCP, with TLS where that is asked for.

use std::fmt;
use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;

use crate::broker::tls;
use crate::sampler::hop;
use crate::{Error, Result};

/// Where a broker listens.
pub(super) struct Endpoint {
    host: String,
    port: u16,
    tls: Option<Tls>,
}

struct Tls {
    name: ServerName<'static>,
    /// The system's roots where none is given, read when they are needed first.
    config: OnceCell<Arc<ClientConfig>>,
}

impl Endpoint {
    pub(super) fn new(host: String, port: u16) -> Self {
        Self { host, port, tls: None }
    }

    pub(super) fn with_tls(mut self) -> Result<Self> {
        let name = ServerName::try_from(self.host.clone())
            .map_err(|_| Error::config(format!("{:?} can be in no certificate", self.host)))?;
        self.tls = Some(Tls { name, config: OnceCell::new() });
        Ok(self)
    }

    /// Says whom to trust, and as whom to come; `scheme` is that of URLs with TLS.
    pub(super) fn configure(&mut self, config: Arc<ClientConfig>, scheme: &str) -> Result<()> {
        let Some(tls) = &mut self.tls else {
            return Err(Error::config(format!("a TLS configuration, and none in the URL: it begins with {scheme}://")));
        };
        tls.config = OnceCell::from(config);
        Ok(())
    }

    pub(super) async fn connect(&self) -> io::Result<(Box<dyn Stream>, Cut)> {
        let tls = match &self.tls {
            Some(tls) => Some((&tls.name, tls.config.get_or_try_init(roots_of_system).await?)),
            None => None,
        };
        let socket = TcpStream::connect((&*self.host, self.port)).await?;
        socket.set_nodelay(true)?;
        // What was not sent when a connection is given up must not arrive later.
        socket.set_zero_linger()?;
        let cut = Cut(socket.as_fd().try_clone_to_owned()?.into());
        let stream: Box<dyn Stream> = match tls {
            None => Box::new(socket),
            Some((name, config)) => {
                Box::new(TlsConnector::from(Arc::clone(config)).connect(name.clone(), socket).await?)
            }
        };
        Ok((stream, cut))
    }
}

async fn roots_of_system() -> io::Result<Arc<ClientConfig>> {
    hop(tls::of_system).await.map(Arc::new).map_err(io::Error::other)
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An IPv6 address.
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// What clients read from and write to.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Ends a connection when it is dropped, whoever else holds it: a client that goes on in the background must not bring to the
/// broker what was given up here.
pub(super) struct Cut(std::net::TcpStream);

impl Drop for Cut {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}
