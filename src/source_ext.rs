//! The combinators of every source.

use std::time::Duration;

use crate::metered::Metered;
use crate::{Cached, Cancel, Result, Sampler, Snapshot, Source};

/// The combinators of every [`Source`].
pub trait SourceExt: Source + Sized {
    /// Reads once, into a new snapshot: [`Source::collect`] uses the memory of an old one again.
    ///
    /// # Errors
    ///
    /// Those of [`Source::collect`].
    ///
    /// # Examples
    ///
    /// ```
    /// use appmon::{Cancel, Processes, SourceExt};
    ///
    /// let snapshot = Processes::new().read(&Cancel::new())?;
    /// println!("{} processes, read in {:?}", snapshot.len(), snapshot.took);
    /// # Ok::<(), appmon::Error>(())
    /// ```
    fn read(&mut self, cancel: &Cancel) -> Result<Snapshot<Self::Sample>> {
        let mut snapshot = Snapshot::default();
        self.collect(&mut snapshot, cancel)?;
        Ok(snapshot)
    }

    /// A stream that reads this source every `period`, on tokio's pool of blocking threads.
    ///
    /// The first reading is due at once. See [`Sampler`] for missed ticks, jitter and alignment. A period beyond the range of the clock,
    /// such as [`Duration::MAX`], means that there is no second reading: the stream stays pending.
    ///
    /// # Errors
    ///
    /// With a `period` of zero the stream yields one error ([`Error::is_config`](crate::Error::is_config)), reads nothing, and ends.
    ///
    /// # Panics
    ///
    /// The stream panics when it is polled outside of a tokio runtime with the time driver.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use appmon::{Processes, SourceExt};
    /// use futures::TryStreamExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> appmon::Result<()> {
    /// let mut ticks = Processes::new().every(Duration::from_secs(1));
    /// if let Some(tick) = ticks.try_next().await? {
    ///     println!("{} processes", tick.samples.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    fn every(self, period: Duration) -> Sampler<Self>
    where
        Self: Send + 'static,
        Self::Sample: Send + 'static,
    {
        Sampler::new(self, period)
    }

    /// Returns the same source, with its readings counted: [`Metered::meter`] is the handle to their cost.
    fn metered(self) -> Metered<Self> {
        Metered::new(self)
    }

    /// Returns the same source, read at most once in `ttl`; in between its last snapshot is returned again, with its original times.
    ///
    /// The time to live counts from the end of a reading. An error is not kept: the next call tries again. A `ttl` of zero
    /// keeps nothing, [`Duration::MAX`] keeps the first snapshot for ever.
    ///
    /// No time passes between a snapshot and its repetition, so a repeated one has no rates
    /// ([`rates`](crate::SnapshotStreamExt::rates)); the next that was read has them again.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use appmon::{Cancel, Processes, Snapshot, Source, SourceExt};
    ///
    /// let mut processes = Processes::new().cached(Duration::from_secs(60));
    /// let (mut first, mut again) = (Snapshot::default(), Snapshot::default());
    /// processes.collect(&mut first, &Cancel::new())?;
    /// processes.collect(&mut again, &Cancel::new())?;
    /// assert_eq!(first.at, again.at);
    /// # Ok::<(), appmon::Error>(())
    /// ```
    fn cached(self, ttl: Duration) -> Cached<Self>
    where
        Self::Sample: Clone,
    {
        Cached::new(self, ttl)
    }
}

impl<S: Source> SourceExt for S {}
