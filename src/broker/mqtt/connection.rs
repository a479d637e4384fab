//! A connection to a broker, and how a turn goes over it.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use futures::future::{BoxFuture, Either, select};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use rustls::ClientConfig;

use crate::broker::link::{Cause, Fault, Reply, Turn};
use crate::broker::mqtt::connector::Connector;
use crate::broker::url::Url;
use crate::forward::Message;

/// What the versions of the protocol have each of their own. The client library's event loop is polled in this module and nowhere
/// else, within a call.
pub(super) trait Client: Sized + Send {
    /// Connects, with a clean start.
    fn connect(
        to: &Connector,
        url: &Url,
        tls: Option<Arc<ClientConfig>>,
    ) -> impl Future<Output = Result<Self, Cause>> + Send;

    /// Queues a message; one that is refused here is not.
    fn send(&self, message: &Message, to: &Connector) -> Result<Answer, Reply>;

    /// Queues the end of the connection.
    fn disconnect(&self);

    /// Goes on with what was queued and what comes in, until there is news. Where messages are on their way the future must not be
    /// dropped, and the client be used again; after an error neither: the library would connect and send again on its own.
    fn poll(&mut self) -> impl Future<Output = Result<(), Lost>> + Send;
}

/// What will become of a message; `None` when the client ended before an answer came.
pub(super) type Answer = BoxFuture<'static, Option<Reply>>;

/// A connection has ended.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) why: String,
    /// Whether the broker ended it over the first message that it did not acknowledge, as it goes through them in order, and whose
    /// fault that is.
    pub(super) first: Option<Fault>,
}

/// How many packets are looked at between two calls, more than a broker has reason to send.
const IDLE_PACKETS: usize = 1000;

pub(super) fn is_open(client: &mut impl Client) -> bool {
    for _ in 0..IDLE_PACKETS {
        match client.poll().now_or_never() {
            None => return true,
            Some(Ok(())) => {}
            Some(Err(_)) => return false,
        }
    }
    true
}

/// Sends a turn. After an error there is no client any more.
pub(super) async fn send<C: Client>(place: &mut Option<C>, turn: &mut Turn<'_>, to: &Connector) -> Result<(), Cause> {
    let Some(client) = place else { return Err("the connection has ended".into()) };
    let mut answers = FuturesUnordered::new();
    for (at, message) in turn.messages().into_iter().enumerate() {
        match client.send(message, to) {
            Ok(answer) => answers.push(answer.map(move |reply| (at, reply))),
            Err(refused) => turn.settle(at, refused),
        }
    }
    let lost = {
        let all = pin!(async {
            while let Some((at, reply)) = answers.next().await {
                reply.into_iter().for_each(|reply| turn.settle(at, reply));
            }
        });
        let until_lost = pin!(async {
            loop {
                if let Err(lost) = client.poll().await {
                    return lost;
                }
            }
        });
        match select(all, until_lost).await {
            Either::Left(_) => None,
            Either::Right((lost, _)) => Some(lost),
        }
    };
    if lost.is_none() && turn.open().is_empty() {
        return Ok(());
    }
    // Answers that came are there; the others end with the client.
    *place = None;
    while let Some((at, reply)) = answers.next().await {
        reply.into_iter().for_each(|reply| turn.settle(at, reply));
    }
    let Some(lost) = lost else { return Err("the client gave it up".into()) };
    if let (Some(fault), Some(first)) = (lost.first, turn.open().first()) {
        turn.settle(*first, Reply::Refused(fault, lost.why.clone().into()));
    }
    Err(lost.why.into())
}

pub(super) async fn close(mut client: impl Client) {
    client.disconnect();
    while client.poll().await.is_ok() {}
}
