//! The trait of everything that can be read, and the flag that cancels a reading.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::{Error, Monotonic, Result, Snapshot};

/// Knows *how* to read: synchronous, blocking, without any runtime.
///
/// [`SourceExt::every`](crate::SourceExt::every) turns it into a stream. Without a runtime, call
/// [`SourceExt::read`](crate::SourceExt::read) or [`collect`](Self::collect) in a loop of your own. Both return snapshots that are stamped:
/// no source does that itself.
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
    /// The type of its samples.
    type Sample;

    /// Adds the samples of one reading to `snapshot`, which is empty and stamped. An implementation provides this method;
    /// [`collect`](Self::collect) calls it.
    ///
    /// An implementation polls `cancel` often enough to stop within a millisecond or so of work. One that reads of another time
    /// or another machine (a recording, a relay) sets `time`, `at`, `took`, `boot_id` and `host` itself.
    ///
    /// # Errors
    ///
    /// When the whole reading failed; a field that cannot be read is marked in its sample, or the sample is counted in
    /// [`Snapshot::skipped`]. [`Error::is_cancelled`] when `cancel` was set. The next call tries again.
    fn fill(&mut self, snapshot: &mut Snapshot<Self::Sample>, cancel: &Cancel) -> Result<()>;

    /// Reads once, into a snapshot whose memory is used again.
    ///
    /// The old contents of the snapshot are dropped, except for `seq` and `lag`. It gets the time of this reading, the start of the machine
    /// that times count from, and the length of the reading. After an error its contents are of no use.
    ///
    /// # Errors
    ///
    /// Those of [`fill`](Self::fill).
    fn collect(&mut self, snapshot: &mut Snapshot<Self::Sample>, cancel: &Cancel) -> Result<()> {
        snapshot.begin();
        let (boot_id, time, began) = (snapshot.boot_id, snapshot.time, snapshot.at);
        self.fill(snapshot, cancel)?;
        if snapshot.at == Monotonic::default() {
            // The source put a snapshot of its own in this place, which has no times.
            (snapshot.boot_id, snapshot.time, snapshot.at) = (boot_id, time, began);
        }
        // Not where it is a copy of a reading of another time.
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

/// A flag that cancels a reading. Clones share it.
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
pub struct Cancel(Arc<Inner>);

#[derive(Default)]
struct Inner {
    is_set: AtomicBool,
    /// The functions to call then.
    sleepers: Mutex<Vec<Weak<Wake>>>,
}

type Wake = dyn Fn() + Send + Sync;

/// Somebody to be woken up when a flag is set, for as long as this lives.
pub(crate) struct Sleeper(#[expect(dead_code, reason = "it is there to be dropped")] Arc<Wake>);

impl Cancel {
    /// Creates a flag that is not set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets it, for good.
    pub fn cancel(&self) {
        let mut sleepers = self.sleepers();
        self.0.is_set.store(true, Ordering::Relaxed);
        let all = std::mem::take(&mut *sleepers);
        // They may read the flag, or leave.
        drop(sleepers);
        for wake in all.iter().filter_map(Weak::upgrade) {
            wake();
        }
    }

    /// Returns whether it is set.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.is_set.load(Ordering::Relaxed)
    }

    /// Fails when it is set: made for `?` inside the loops of a source.
    ///
    /// # Errors
    ///
    /// [`Error::is_cancelled`] when the flag is set.
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::cancelled()) } else { Ok(()) }
    }

    /// Calls `wake` when it is set, on the thread that sets it, or now where it is set already. A thread that sleeps meanwhile need not
    /// wake up to poll it.
    pub(crate) fn on_cancel(&self, wake: impl Fn() + Send + Sync + 'static) -> Sleeper {
        let wake: Arc<Wake> = Arc::new(wake);
        let mut sleepers = self.sleepers();
        let is_set = self.is_cancelled();
        if !is_set {
            sleepers.retain(|sleeper| sleeper.strong_count() > 0);
            sleepers.push(Arc::downgrade(&wake));
        }
        drop(sleepers);
        if is_set {
            wake();
        }
        Sleeper(wake)
    }

    fn sleepers(&self) -> MutexGuard<'_, Vec<Weak<Wake>>> {
        self.0.sleepers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("is_set", &self.is_set).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn who_sleeps_is_woken_up_once() {
        let (cancel, (sender, receiver)) = (Cancel::new(), channel());
        let wake = |name: &'static str| {
            let sender = sender.clone();
            move || sender.send(name).unwrap()
        };
        let gone = cancel.on_cancel(wake("gone"));
        let first = cancel.on_cancel(wake("first"));
        drop(gone);
        assert!(receiver.try_recv().is_err());
        let other = cancel.clone();
        std::thread::spawn(move || other.cancel()).join().unwrap();
        cancel.cancel();
        // It was set before.
        let late = cancel.on_cancel(wake("late"));
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), ["first", "late"]);
        drop((first, late));
    }

    #[test]
    fn a_woken_sleeper_may_read_the_flag_and_leave() {
        let cancel = Cancel::new();
        let waiting = Arc::new(Mutex::new(None::<Sleeper>));
        let (own, theirs) = (cancel.clone(), Arc::clone(&waiting));
        let sleeper = cancel.on_cancel(move || {
            assert!(own.is_cancelled());
            drop(theirs.lock().unwrap().take());
        });
        *waiting.lock().unwrap() = Some(sleeper);
        cancel.cancel();
        assert!(waiting.lock().unwrap().is_none());
    }
}
