//! How lapin is given a connection, instead of making one: it knows TLS only with a configuration of its own, and would connect
//! in a thread that nobody can stop.

use std::future::Future;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use async_rs::{Runtime, Tokio};
use futures::io::{AsyncRead, AsyncWrite};
use tokio_util::compat::Compat;

use crate::broker::socket::Stream;

/// A connection as lapin reads from and writes to it.
pub(super) type Socket = Compat<Box<dyn Stream>>;

/// The runtime we are in.
pub(super) fn runtime() -> Runtime<Kit> {
    let tokio = Tokio::current();
    Runtime::new(RuntimeParts::new(tokio.clone(), Given(tokio)))
}

pub(super) type Kit = RuntimeParts<Tokio, Given>;

/// The timers of tokio, and connections that were made before.
#[derive(Clone, Debug)]
pub(super) struct Given(Tokio);

impl Reactor for Given {
    type TcpStream = Socket;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H: Read + Write + AsFd + AsRawFd + Send + 'static>(
        &self,
        socket: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        self.0.register(socket)
    }

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.0.sleep(duration)
    }

    fn interval(&self, duration: Duration) -> impl futures::Stream<Item = Instant> + Send + 'static {
        self.0.interval(duration)
    }

    fn tcp_connect_addr(&self, _: SocketAddr) -> impl Future<Output = io::Result<Socket>> + Send + 'static {
        std::future::ready(Err(io::ErrorKind::Unsupported.into()))
    }
}
