//! Streams of snapshots to brokers.

use futures::Stream;
use serde::Serialize;

use super::forward_to::{ForwardTo, ForwardToAll, Forwarders};
use super::forwarder::Forwarder;
use super::publish::Publish;
use crate::{Result, Sample, Snapshot};

/// What brings a stream of snapshots to message brokers.
pub trait ForwardExt<T>: Stream<Item = Result<Snapshot<T>>> + Sized {
    /// Brings each snapshot to a message broker, until the stream ends or the forwarder's token is cancelled; gives what became of
    /// everything.
    ///
    /// A tick that failed is counted, and the next one goes on.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`](crate::Error::is_config) when a setting of the forwarder is wrong or its spool cannot be opened; and what
    /// ends the stream for good: a wrong setting of its source, a panic in it, the end of the runtime. What was taken until then is
    /// sent before; its report is told by the [monitor](crate::forward::Forwarder::monitor).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses what waits in memory, and nothing of what is in a spool. To end in order, cancel the token of
    /// [`Forwarder::shutdown`](Forwarder::shutdown).
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

    /// Brings each snapshot to several brokers; gives what became of everything, in the order of the forwarders.
    ///
    /// Each has its own queue, its own spool and its own end. One that has no room does not hold up the others: it misses the
    /// snapshot, which its report counts. Only when none has room are no more snapshots taken.
    ///
    /// # Errors
    ///
    /// As [`forward_to`](Self::forward_to). One whose settings are wrong, or whose spool cannot be opened, ends no other: its error
    /// is logged and in the [status](crate::forward::Status::last_error) of its monitor at once, and is what this gives when
    /// all others have ended, whose reports are with their monitors then.
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
