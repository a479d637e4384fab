//! Several streams through one forwarder.

use std::collections::HashSet;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use futures::{Stream, StreamExt as _, stream};
use serde::Serialize;
use tokio_stream::StreamMap;

use crate::forward::encode::{Encoded, Encoder};
use crate::forward::feed_name;
use crate::forward::forward_task::ForwardTask;
use crate::forward::forward_to::log_unless_final;
use crate::forward::forwarder::Forwarder;
use crate::forward::publish::Publish;
use crate::forward::report::Report;
use crate::forward::status::FeedStatus;
use crate::{Error, Result, Sample, Snapshot};

/// Several streams for one forwarder, from [`Forwarder::feed`].
#[must_use = "feeds do nothing until they are run"]
pub struct Feeds<P> {
    forwarder: Forwarder<P>,
    feeds: Vec<Feed>,
}

struct Feed {
    name: Arc<str>,
    events: Events,
}

/// What comes from a feed, whatever its samples are.
type Events = Pin<Box<dyn Stream<Item = Event> + Send>>;

enum Event {
    Snapshot(Box<dyn Encode>),
    Failed(Error),
    End,
}

/// A snapshot of any samples, to be encoded.
trait Encode: Send {
    fn samples(&self) -> u64;
    fn encode(&self, stream: &Arc<str>, encoder: &mut Encoder) -> Encoded;
}

impl<T: Sample + Serialize + Send> Encode for Snapshot<T> {
    fn samples(&self) -> u64 {
        self.samples.len() as u64
    }

    fn encode(&self, stream: &Arc<str>, encoder: &mut Encoder) -> Encoded {
        encoder.encode_as(Some(stream), self)
    }
}

impl<P: Publish> fmt::Debug for Feeds<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.feeds.iter().map(|feed| &feed.name).collect();
        f.debug_struct("Feeds").field("forwarder", &self.forwarder).field("feeds", &names).finish()
    }
}

impl<P: Publish + 'static> Forwarder<P> {
    /// Adds a stream by name, to forward several streams over one connection and one spool: [`Feeds::run`].
    ///
    /// The streams can have samples of different kinds. The name (up to 64 ASCII letters, digits, `-`, `_` or `.`) is in each
    /// message as `stream`, and consumers keep the state of each stream apart. It must be unique in the forwarder.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use appmon::forward::{Forwarder, Message, Outcome, Publish};
    /// use appmon::{FileSystems, Processes, SnapshotStreamExt, SourceExt};
    /// use futures::StreamExt;
    ///
    /// struct Nowhere;
    ///
    /// impl Publish for Nowhere {
    ///     async fn publish(&mut self, batch: &[Message]) -> Vec<Outcome> {
    ///         batch.iter().map(|_| Outcome::Accepted).collect()
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> appmon::Result<()> {
    /// let users = Processes::new().every(Duration::from_millis(10)).group_by(|process| process.info.uid).take(2);
    /// let disks = FileSystems::mounted().every(Duration::from_millis(10)).take(3);
    /// let report = Forwarder::new(Nowhere).feed("users", users).feed("disks", disks).run().await?;
    /// assert_eq!(report.snapshots, 5);
    /// # Ok(())
    /// # }
    /// ```
    pub fn feed<S, T>(self, name: impl Into<Arc<str>>, stream: S) -> Feeds<P>
    where
        S: Stream<Item = Result<Snapshot<T>>> + Send + 'static,
        T: Sample + Serialize + Send + 'static,
    {
        Feeds { forwarder: self, feeds: Vec::new() }.feed(name, stream)
    }
}

impl<P: Publish + 'static> Feeds<P> {
    /// Adds another stream: see [`Forwarder::feed`].
    pub fn feed<S, T>(mut self, name: impl Into<Arc<str>>, stream: S) -> Self
    where
        S: Stream<Item = Result<Snapshot<T>>> + Send + 'static,
        T: Sample + Serialize + Send + 'static,
    {
        let events = stream.map(|item| match item {
            Ok(snapshot) => Event::Snapshot(Box::new(snapshot)),
            Err(error) => Event::Failed(error),
        });
        let events = Box::pin(events.chain(stream::once(async { Event::End })));
        self.feeds.push(Feed { name: name.into(), events });
        self
    }

    /// Forwards the snapshots of all streams, until all have ended or the forwarder's token is cancelled. Returns the report, which is that
    /// of all together; the [status](crate::forward::Status::feeds) has the counts of each.
    ///
    /// A stream that ends or fails does not stop the others. While there is no room, no snapshot is taken from any.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`] when a name is invalid or given twice, and as
    /// [`forward_to`](crate::ForwardExt::forward_to). A stream that fails for good (a wrong setting, a panic) is logged and in the status at
    /// once; its error is returned when all others have ended.
    ///
    /// # Cancel safety
    ///
    /// As [`forward_to`](crate::ForwardExt::forward_to).
    pub async fn run(self) -> Result<Report> {
        let names: Vec<Arc<str>> = self.feeds.iter().map(|feed| Arc::clone(&feed.name)).collect();
        check(&names)?;
        let mut streams: StreamMap<usize, Events> =
            self.feeds.into_iter().map(|feed| feed.events).enumerate().collect();
        let status = |name: &Arc<str>| FeedStatus::new(Arc::clone(name));
        let shared = self.forwarder.shared();
        shared.update(|all| all.feeds = names.iter().map(status).collect());
        let mut task = ForwardTask::new(self.forwarder);
        let mut failed = None;
        poll_fn(move |cx| {
            loop {
                if let Poll::Ready(result) = task.poll(cx) {
                    return Poll::Ready(failed.take().map_or(result, Err));
                }
                if !task.has_room() {
                    return Poll::Pending;
                }
                let Poll::Ready(event) = streams.poll_next_unpin(cx) else { return Poll::Pending };
                let Some((index, event)) = event else {
                    task.end();
                    continue;
                };
                let update = |change: &dyn Fn(&mut FeedStatus)| {
                    shared.update(|all| all.feeds.get_mut(index).map(change));
                };
                match event {
                    Event::Snapshot(snapshot) => {
                        let Some(name) = names.get(index) else { continue };
                        let samples = snapshot.samples();
                        let messages = task.push_with(samples, |encoder| snapshot.encode(name, encoder));
                        update(&|feed| feed.count(samples, messages));
                    }
                    Event::Failed(error) => {
                        task.failed_tick();
                        update(&|feed| feed.failed_ticks = feed.failed_ticks.saturating_add(1));
                        if let Some(error) = log_unless_final(error) {
                            let feed = names.get(index).map_or("", |name| &**name);
                            tracing::error!(%error, feed, "a stream ended; the others are forwarded");
                            streams.remove(&index);
                            update(&|feed| feed.end(Some(&error)));
                            failed.get_or_insert(error);
                        }
                    }
                    Event::End => update(&|feed| feed.end(None)),
                }
            }
        })
        .await
    }
}

fn check(names: &[Arc<str>]) -> Result<()> {
    let mut known = HashSet::new();
    for name in names {
        feed_name::check(name)?;
        if !known.insert(name) {
            return Err(Error::config(format!("stream name {name:?}: two streams have it")));
        }
    }
    Ok(())
}
