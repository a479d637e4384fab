//! The stream of a consumer, common to all brokers.

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::{Either, select};
use futures::stream::FusedStream;
use futures::{Stream, StreamExt as _};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::broker::receive::{Gathering, ReceiveCounts, Receiver};
use crate::forward::Backoff;
use crate::{Result, Sample, Snapshot};

/// The stream of snapshots that a consumer receives.
///
/// # Cancel safety
///
/// A dropped `next()` loses nothing. When the stream is dropped, the last snapshot yielded is not acknowledged: the next consumer with
/// the same name receives it again. So it does, after a while, with messages that the server sent ahead. Prefer
/// [`close`](Self::close).
#[must_use = "streams do nothing unless polled"]
pub struct Consuming<T> {
    name: String,
    items: Pin<Box<dyn FusedStream<Item = Result<Snapshot<T>>> + Send>>,
    received: Arc<Mutex<ReceiveCounts>>,
    end: CancellationToken,
}

impl<T: Sample + DeserializeOwned + Clone + Send + 'static> Consuming<T> {
    pub(super) fn new<S: Subscription<T> + 'static>(
        name: String,
        subscription: S,
        gathering: Gathering,
        feed: Option<Arc<str>>,
    ) -> Self {
        let received = Arc::default();
        let end = CancellationToken::new();
        let state = State {
            subscription,
            receiver: Receiver::new(gathering).of_stream(feed),
            received: Arc::clone(&received),
            done: Vec::new(),
            end: end.clone(),
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(10)),
            failed: false,
        };
        let items = futures::stream::unfold(state, |mut state| async move {
            match state.next().await {
                Some(item) => Some((item, state)),
                None => {
                    state.finish().await;
                    None
                }
            }
        });
        Self { name, items: Box::pin(items.fuse()), received, end }
    }
}

impl<T> Consuming<T> {
    /// Ends the consumer: acknowledges the yielded snapshots, and returns messages received ahead to the broker, so that the next consumer
    /// with the same name receives them at once.
    ///
    /// It takes at most the broker's timeout, or longer if a connection is being made.
    pub async fn close(mut self) {
        self.end.cancel();
        while self.items.next().await.is_some() {}
    }

    /// Returns the counts of received messages, and of those that were not yielded.
    #[must_use]
    pub fn received(&self) -> ReceiveCounts {
        *self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a function for the same counts, for use while the stream is borrowed or moved.
    pub fn monitor(&self) -> impl Fn() -> ReceiveCounts + Send + Sync + 'static {
        let received = Arc::clone(&self.received);
        move || *received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> fmt::Debug for Consuming<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consuming")
            .field("consumer", &self.name)
            .field("received", &self.received())
            .finish_non_exhaustive()
    }
}

impl<T> Stream for Consuming<T> {
    type Item = Result<Snapshot<T>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.items.as_mut().poll_next(cx)
    }
}

impl<T> FusedStream for Consuming<T> {
    fn is_terminated(&self) -> bool {
        self.items.is_terminated()
    }
}

/// The connection of a consumer to its broker.
pub(super) trait Subscription<T>: Send {
    /// The token that acknowledges a message.
    type Token: Send;

    /// Whether there is a session with the broker. If not, the next [`receive`](Self::receive) makes one.
    fn is_open(&self) -> bool;

    /// Receives the next message. An error that breaks the session ends it.
    fn receive(&mut self, to: &mut Receiver<T, Self::Token>) -> impl Future<Output = Result<()>> + Send;

    /// Acknowledges these messages.
    fn acknowledge(&mut self, done: Vec<Self::Token>) -> impl Future<Output = ()> + Send;

    /// Ends the session, and returns these unacknowledged messages for the next consumer.
    fn finish(&mut self, back: Vec<Self::Token>) -> impl Future<Output = ()> + Send;
}

struct State<T, S: Subscription<T>> {
    subscription: S,
    receiver: Receiver<T, S::Token>,
    received: Arc<Mutex<ReceiveCounts>>,
    /// The tokens to acknowledge when the next item is requested.
    done: Vec<S::Token>,
    end: CancellationToken,
    backoff: Backoff,
    /// Whether the last session failed before it received a message.
    failed: bool,
}

impl<T: Sample + DeserializeOwned + Clone, S: Subscription<T>> State<T, S> {
    /// Returns the next item; `None` at the end.
    async fn next(&mut self) -> Option<Result<Snapshot<T>>> {
        let end = self.end.clone();
        loop {
            let done = std::mem::take(&mut self.done);
            self.subscription.acknowledge(done).await;
            if end.is_cancelled() {
                return None;
            }
            if let Some(item) = self.receiver.pop() {
                self.done = item.done;
                self.count();
                match item.result {
                    Some(result) => return Some(result),
                    None => continue,
                }
            }
            match select(pin!(end.cancelled()), pin!(self.receive())).await {
                Either::Left(_) => return None,
                Either::Right((Ok(()), _)) => {}
                Either::Right((Err(error), _)) => return Some(Err(error)),
            }
        }
    }

    async fn receive(&mut self) -> Result<()> {
        if !self.subscription.is_open() {
            if self.failed {
                tokio::time::sleep(self.backoff.next_wait()).await;
            }
            self.failed = true;
        }
        self.subscription.receive(&mut self.receiver).await?;
        self.failed = false;
        self.backoff.reset();
        self.count();
        Ok(())
    }

    async fn finish(&mut self) {
        let mut back = Vec::new();
        while let Some(item) = self.receiver.pop() {
            back.extend(item.done);
        }
        back.extend(self.receiver.take_waiting());
        self.subscription.finish(back).await;
    }

    fn count(&self) {
        *self.received.lock().unwrap_or_else(PoisonError::into_inner) = self.receiver.counts();
    }
}
