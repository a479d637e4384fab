//! Forwarding of streams of snapshots to brokers.

use futures::Stream;
use serde::Serialize;

use super::forward_to::{ForwardTo, ForwardToAll, Forwarders};
use super::forwarder::Forwarder;
use super::publish::Publish;
use crate::{Result, Sample, Snapshot};

/// Methods that forward a stream of snapshots to message brokers.
pub trait ForwardExt<T>: Stream<Item = Result<Snapshot<T>>> + Sized {
    /// Forwards each snapshot to a message broker, until the stream ends or the forwarder's token is cancelled. Returns the report.
    ///
    /// A tick that failed is counted, and forwarding continues with the next one.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`](crate::Error::is_config) when a setting of the forwarder is wrong or its spool cannot be opened. Also the
    /// error that ends the stream for good: a wrong setting of its source, a panic in it, the end of the runtime. The snapshots taken
    /// until then are sent before it is returned; their report is in the [monitor](crate::forward::Forwarder::monitor).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses the messages waiting in memory, and none of those in a spool. To end without loss, cancel the token
    /// of [`Forwarder::shutdown`](Forwarder::shutdown).
    ///
    /// # Examples
    ///
    /// See [`Forwarder`](Forwarder).
    fn forward_to<P>(self, forwarder: Forwarder<P>) -> ForwardTo<Self, P>
    where
        T: Sample + Serialize,
        P: Publish + 'static,
    {
        ForwardTo::new(self, forwarder)
    }

    /// Forwards each snapshot to several brokers. Returns the reports, in the order of the forwarders.
    ///
    /// Each forwarder has its own queue, its own spool and its own end. One that has no room does not block the others: it misses
    /// the snapshot, which its report counts. No more snapshots are taken only while none has room.
    ///
    /// # Errors
    ///
    /// As [`forward_to`](Self::forward_to). A forwarder whose settings are wrong, or whose spool cannot be opened, ends no other: its
    /// error is logged and in the [status](crate::forward::Status::last_error) of its monitor at once, and is returned when all
    /// others have ended. Their reports are in their monitors then.
    ///
    /// # Cancel safety
    ///
    /// As [`forward_to`](Self::forward_to).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use appmon::forward::{Forwarder, Forwarders, Message, Outcome, Publish};
    /// use appmon::{ForwardExt, Processes, SourceExt};
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
    /// let forwarders = Forwarders::new().with(Forwarder::new(Nowhere)).with(Forwarder::new(Nowhere).per_sample(true));
    /// let reports = Processes::new().every(Duration::from_millis(10)).take(2).forward_to_all(forwarders).await?;
    /// assert!(reports.iter().all(|report| report.is_complete()));
    /// # Ok(())
    /// # }
    /// ```
    fn forward_to_all(self, forwarders: Forwarders<T>) -> ForwardToAll<Self, T>
    where
        T: Sample + Serialize,
    {
        ForwardToAll::new(self, forwarders)
    }
}

impl<S, T> ForwardExt<T> for S where S: Stream<Item = Result<Snapshot<T>>> {}
