//! What knows how to read, and the flag that stops it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::{Cached, Error, Result, Sampler, Snapshot};

/// Knows *how* to read: synchronous, blocking, without any runtime.
///
/// [`SourceExt::every`] turns it into a stream. Without a runtime, call [`SourceExt::read`] in a loop of your own.
///
/// ```
/// use appmon::{Cancel, Result, Snapshot, Source, SourceExt};
///
/// struct LoadAverage;
///
/// impl Source for LoadAverage {
///     type Sample = String;
///
///     fn collect(&mut self, snapshot: &mut Snapshot<String>, cancel: &Cancel) -> Result<()> {
///         cancel.check()?;
///         let text = std::fs::read_to_string("/proc/loadavg").map_err(appmon::Error::io)?;
///         snapshot.samples.push(text);
///         Ok(())
///     }
/// }
///
/// let snapshot = LoadAverage.read(&Cancel::new())?;
/// assert_eq!(snapshot.len(), 1);
/// # Ok::<(), appmon::Error>(())
/// ```
pub trait Source {
    /// What it reads.
    type Sample;

    /// Reads once, into `snapshot`: what an implementation provides, for [`SourceExt::read`] and [`Sampler`] to call.
    ///
    /// They hand in a snapshot that is empty and stamped with the time, the start of the machine and, afterwards, how long
    /// the reading took. An implementation adds its samples, and polls `cancel` often enough to stop within a millisecond or
    /// so of work. One that reads of another time or another machine (a recording, a relay) sets `time`, `at`, `took`,
    /// `boot_id` and `host` itself.
    ///
    /// The sources of this crate stamp their snapshots themselves, so that they can be read by this method too.
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
    /// Reads once: a snapshot with its times, how long the reading took, and which start of the machine they count from.
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
        self.read_into(&mut snapshot, cancel)?;
        Ok(snapshot)
    }

    /// The same, into a snapshot whose memory is used again. After an error it holds nothing of use.
    ///
    /// # Errors
    ///
    /// Those of [`Source::collect`].
    fn read_into(&mut self, snapshot: &mut Snapshot<Self::Sample>, cancel: &Cancel) -> Result<()> {
        snapshot.begin();
        let began = snapshot.at;
        self.collect(snapshot, cancel)?;
        // Not where it stands for a reading of another time.
        if snapshot.took.is_zero() && snapshot.at >= began {
            snapshot.end();
        }
        Ok(())
    }

    /// A stream that reads this source every `period`, on tokio's pool of blocking threads.
    ///
    /// The first reading is due at once. See [`Sampler`] for missed ticks, jitter and alignment. A period beyond what the
    /// clock can count to, such as [`Duration::MAX`], means that there is no second reading: the stream stays pending.
    ///
    /// # Errors
    ///
    /// With a `period` of zero the stream gives one error ([`Error::is_config`]), reads nothing, and ends.
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

    /// The same source, read at most once in `ttl`; in between its last snapshot is given again, with its original times.
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
