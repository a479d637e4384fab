//! What knows how to read, and the flag that stops it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::{Cached, Error, Result, Sampler, Snapshot};

/// Knows *how* to read: synchronous, blocking, without any runtime.
///
/// [`SourceExt::every`] turns it into a stream. Without a runtime, call [`collect`](Self::collect) in a loop of your own.
///
/// ```
/// use appmon::{Cancel, Result, Snapshot, Source};
///
/// struct LoadAverage;
///
/// impl Source for LoadAverage {
///     type Sample = String;
///
///     fn collect(&mut self, snapshot: &mut Snapshot<String>, cancel: &Cancel) -> Result<()> {
///         snapshot.begin();
///         cancel.check()?;
///         let text = std::fs::read_to_string("/proc/loadavg").map_err(appmon::Error::io)?;
///         snapshot.samples.push(text);
///         snapshot.end();
///         Ok(())
///     }
/// }
///
/// let mut snapshot = Snapshot::default();
/// LoadAverage.collect(&mut snapshot, &Cancel::new())?;
/// assert_eq!(snapshot.samples.len(), 1);
/// # Ok::<(), appmon::Error>(())
/// ```
pub trait Source {
    /// What it reads.
    type Sample;

    /// Reads once, into `snapshot`, whose memory is used again.
    ///
    /// An implementation calls [`Snapshot::begin`] first and [`Snapshot::end`] last, and polls `cancel` often enough to
    /// stop within a millisecond or so of work.
    ///
    /// # Errors
    ///
    /// When the whole reading failed; what cannot be read of one sample is told in the sample or counted in
    /// [`Snapshot::skipped`]. [`Error::is_cancelled`] when `cancel` was set. The next call tries again.
    fn collect(&mut self, snapshot: &mut Snapshot<Self::Sample>, cancel: &Cancel) -> Result<()>;
}

impl<S: Source + ?Sized> Source for &mut S {
    type Sample = S::Sample;

    fn collect(&mut self, snapshot: &mut Snapshot<S::Sample>, cancel: &Cancel) -> Result<()> {
        (**self).collect(snapshot, cancel)
    }
}

impl<S: Source + ?Sized> Source for Box<S> {
    type Sample = S::Sample;

    fn collect(&mut self, snapshot: &mut Snapshot<S::Sample>, cancel: &Cancel) -> Result<()> {
        (**self).collect(snapshot, cancel)
    }
}

/// What can be made of every [`Source`].
pub trait SourceExt: Source + Sized {
    /// A stream that reads this source every `period`, on tokio's pool of blocking threads.
    ///
    /// The first reading is due at once. See [`Sampler`] for missed ticks, jitter and alignment.
    ///
    /// # Panics
    ///
    /// When `period` is zero. The stream itself panics when it is polled outside of a tokio runtime with the time driver.
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

    /// The same source, read at most once in `ttl`; in between its last snapshot is given again, with its original times.
    ///
    /// The time to live counts from the end of a reading. An error is not kept: the next call tries again.
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

/// A flag that asks a reading to stop. Clones share it.
///
/// ```
/// use appmon::Cancel;
///
/// let cancel = Cancel::new();
/// assert!(cancel.check().is_ok());
/// cancel.clone().cancel();
/// assert!(cancel.check().unwrap_err().is_cancelled());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// A flag that is not set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets it, for good.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it is set.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Fails when it is set: made for `?` inside the loops of a source.
    ///
    /// # Errors
    ///
    /// [`Error::is_cancelled`] when the flag is set.
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::cancelled()) } else { Ok(()) }
    }
}
