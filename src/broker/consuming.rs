//! The stream of a consumer, whatever broker it is of.

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
/// A dropped `next()` loses nothing. What was given out last when the stream is dropped is not acknowledged, and comes again to
/// whoever goes on under the same name; where the server sent messages ahead, they come again too, after a while.
/// [`close`](Self::close) is the better end.
#[must_use = "streams do nothing unless polled"]
pub struct Consuming<T> {
    name: String,
    items: Pin<Box<dyn FusedStream<Item = Result<Snapshot<T>>> + Send>>,
    arrived: Arc<Mutex<ReceiveCounts>>,
    end: CancellationToken,
}

impl<T: Sample + DeserializeOwned + Send + 'static> Consuming<T> {
    pub(super) fn new<S: Subscription<T> + 'static>(name: String, subscription: S, gathering: Gathering) -> Self {
        let arrived = Arc::default();
        let end = CancellationToken::new();
        let state = State {
            subscription,
            receiver: Receiver::new(gathering),
            arrived: Arc::clone(&arrived),
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
        Self { name, items: Box::pin(items.fuse()), arrived, end }
    }
}

impl<T> Consuming<T> {
    /// Ends it in order: what was given out is acknowledged, and what was received beyond that is given back, so that whoever goes on
    /// under the same name has it at once.
    ///
    /// It takes no longer than the broker's timeout, unless it is connecting just now.
    pub async fn close(mut self) {
        self.end.cancel();
        while self.items.next().await.is_some() {}
    }

    /// What came so far, and what of it was not given on.
    #[must_use]
    pub fn arrived(&self) -> ReceiveCounts {
        *self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the same from elsewhere, while the stream is used.
    pub fn monitor(&self) -> impl Fn() -> ReceiveCounts + Send + Sync + 'static {
        let arrived = Arc::clone(&self.arrived);
        move || *arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> fmt::Debug for Consuming<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consuming")
            .field("consumer", &self.name)
            .field("arrived", &self.arrived())
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

/// What a consumer does with its broker.
pub(super) trait Subscription<T>: Send {
    /// What acknowledges a message.
    type Token: Send;

    /// Whether there is a session with the broker. Where there is none the next [`receive`](Self::receive) makes one.
    fn is_open(&self) -> bool;

    /// Takes in the next message. After an error that the session does not outlive there is none.
    fn receive(&mut self, to: &mut Receiver<T, Self::Token>) -> impl Future<Output = Result<()>> + Send;

    /// These are done with.
    fn acknowledge(&mut self, done: Vec<Self::Token>) -> impl Future<Output = ()> + Send;

    /// Ends it; these are not done with, and are for whoever comes next.
    fn finish(&mut self, back: Vec<Self::Token>) -> impl Future<Output = ()> + Send;
}

struct State<T, S: Subscription<T>> {
    subscription: S,
    receiver: Receiver<T, S::Token>,
    arrived: Arc<Mutex<ReceiveCounts>>,
    /// What is acknowledged when the next item is asked for.
    done: Vec<S::Token>,
    end: CancellationToken,
    backoff: Backoff,
    /// Whether the last session failed before anything came.
    failed: bool,
}

impl<T: Sample + DeserializeOwned, S: Subscription<T>> State<T, S> {
    /// The next item; `None` when it is to end.
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
        *self.arrived.lock().unwrap_or_else(PoisonError::into_inner) = self.receiver.counts();
    }
}
