//! A TCP connection to a broker, with or without TLS.

use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::broker::link::Cause;
use crate::broker::tls::Tls;
use crate::broker::url::Url;

/// Connects to the host of `url`.
pub(super) async fn connect(url: &Url, tls: &Tls) -> Result<(Box<dyn Stream>, Cut), Cause> {
    let failed = |cause: io::Error| Cause::of(format!("no connection: {cause}"), cause);
    let config = if url.scheme.tls { Some(tls.config().await?) } else { None };
    let socket = TcpStream::connect((&*url.host, url.port)).await.map_err(failed)?;
    let cut = prepare(&socket).map_err(failed)?;
    let Some(config) = config else { return Ok((Box::new(socket), cut)) };
    let name = ServerName::try_from(url.host.clone());
    let name = name.map_err(|_| format!("no connection: TLS needs a host name or address, not {:?}", url.host))?;
    let stream = TlsConnector::from(config).connect(name, socket).await.map_err(failed)?;
    Ok((Box::new(stream), cut))
}

fn prepare(socket: &TcpStream) -> io::Result<Cut> {
    socket.set_nodelay(true)?;
    // Unsent data must not reach the broker after the connection was given up.
    socket.set_zero_linger()?;
    Ok(Cut(socket.as_fd().try_clone_to_owned()?.into()))
}

/// The transport of a client.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Ends a connection when it is dropped, even if others hold it: a client that continues in the background must not deliver messages
/// that were given up here.
pub(super) struct Cut(std::net::TcpStream);

impl Drop for Cut {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}
