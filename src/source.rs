//! What knows how to read, and the flag that stops it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Error, Monotonic, Result, Snapshot};

/// Knows *how* to read: synchronous, blocking, without any runtime.
///
/// [`SourceExt::every`](crate::SourceExt::every) turns it into a
/// stream. Without a runtime, call [`SourceExt::read`](crate::SourceExt::read) or [`collect`](Self::collect) in a loop of your own.
/// Whoever reads a source that way gets snapshots that are stamped: no source does that itself.
///
/// ```
/// use appmon::{Cancel, Result, Snapshot, Source, SourceExt};
///
/// struct LoadAverage;
///
/// impl Source for LoadAverage {
///     type Sample = String;
///
///     fn fill(&mut self, snapshot: &mut Snapshot<String>, cancel: &Cancel) -> Result<()> {
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

    /// Adds what one reading sees to `snapshot`, which is empty and stamped: what an implementation provides, for
    /// [`collect`](Self::collect) to call.
    ///
    /// An implementation polls `cancel` often enough to stop within a millisecond or so of work. One that reads of another time
    /// or another machine (a recording, a relay) sets `time`, `at`, `took`, `boot_id` and `host` itself.
    ///
    /// # Errors
    ///
    /// When the whole reading failed; what cannot be read of one sample stands in the sample or is counted in
    /// [`Snapshot::skipped`]. [`Error::is_cancelled`] when `cancel` was set. The next call tries again.
    fn fill(&mut self, snapshot: &mut Snapshot<Self::Sample>, cancel: &Cancel) -> Result<()>;

    /// Reads once, into a snapshot whose memory is used again.
    ///
    /// What the snapshot held is dropped, except for `seq` and `lag`. It has the time of this reading, the start of the machine
    /// that times count from, and how long the reading took. After an error it holds nothing of use.
    ///
    /// # Errors
    ///
    /// Those of [`fill`](Self::fill).
    fn collect(&mut self, snapshot: &mut Snapshot<Self::Sample>, cancel: &Cancel) -> Result<()> {
        snapshot.begin();
        let (boot_id, time, began) = (snapshot.boot_id, snapshot.time, snapshot.at);
        self.fill(snapshot, cancel)?;
        if snapshot.at == Monotonic::default() {
            // It put a snapshot of its own in this place, which has no times.
            (snapshot.boot_id, snapshot.time, snapshot.at) = (boot_id, time, began);
        }
        // Not where it stands for a reading of another time.
        if snapshot.took.is_zero() && snapshot.at >= began {
            snapshot.end();
        }
        Ok(())
    }
}

impl<S: Source + ?Sized> Source for &mut S {
    type Sample = S::Sample;

    fn fill(&mut self, snapshot: &mut Snapshot<S::Sample>, cancel: &Cancel) -> Result<()> {
        (**self).fill(snapshot, cancel)
    }
}

impl<S: Source + ?Sized> Source for Box<S> {
    type Sample = S::Sample;

    fn fill(&mut self, snapshot: &mut Snapshot<S::Sample>, cancel: &Cancel) -> Result<()> {
        (**self).fill(snapshot, cancel)
    }
}

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
