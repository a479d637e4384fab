//! A TTL cache over any source.

use std::time::Duration;

use crate::{Cancel, Monotonic, Result, Snapshot, Source};

/// The source of [`SourceExt::cached`](crate::SourceExt::cached).
#[derive(Clone, Debug)]
pub struct Cached<S: Source> {
    source: S,
    ttl: Duration,
    last: Option<Kept<S::Sample>>,
}

#[derive(Clone, Debug)]
struct Kept<T> {
    snapshot: Snapshot<T>,
    /// The end of the reading, so that a reading longer than the TTL is not repeated back to back.
    ended: Monotonic,
}

impl<S: Source> Cached<S> {
    pub(crate) fn new(source: S, ttl: Duration) -> Self {
        Self { source, ttl, last: None }
    }

    /// Forgets the kept snapshot: the next call reads.
    pub fn invalidate(&mut self) {
        self.last = None;
    }

    /// The source inside.
    pub fn into_inner(self) -> S {
        self.source
    }
}

impl<S: Source> Cached<S>
where
    S::Sample: Clone,
{
    /// Like [`Source::collect`], with the time it is given instead of the clock's.
    ///
    /// # Errors
    ///
    /// Those of the source inside, when it had to be read.
    pub fn collect_at(&mut self, now: Monotonic, snapshot: &mut Snapshot<S::Sample>, cancel: &Cancel) -> Result<()> {
        if let Some(kept) = &self.last
            && now.since(kept.ended).unwrap_or_default() < self.ttl
        {
            copy(&kept.snapshot, snapshot);
            return Ok(());
        }
        self.last = None;
        self.source.collect(snapshot, cancel)?;
        // The reading's own length on top of the time given: that keeps the clock out of here.
        let ended = now.plus(snapshot.took);
        self.last = Some(Kept { snapshot: snapshot.clone(), ended });
        Ok(())
    }
}

/// Copies what a reading saw, leaving `seq` and `lag`: those belong to the tick that is being made.
fn copy<T: Clone>(from: &Snapshot<T>, to: &mut Snapshot<T>) {
    to.boot_id = from.boot_id;
    to.time = from.time;
    to.at = from.at;
    to.took = from.took;
    to.skipped = from.skipped;
    to.notices.clone_from(&from.notices);
    to.samples.clone_from(&from.samples);
}

impl<S: Source> Source for Cached<S>
where
    S::Sample: Clone,
{
    type Sample = S::Sample;

    fn collect(&mut self, snapshot: &mut Snapshot<S::Sample>, cancel: &Cancel) -> Result<()> {
        self.collect_at(Monotonic::now(), snapshot, cancel)
    }
}
