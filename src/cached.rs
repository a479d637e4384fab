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

    /// Returns the source inside.
    pub fn into_inner(self) -> S {
        self.source
    }
}

impl<S: Source> Cached<S>
where
    S::Sample: Clone,
{
    /// Does the same as [`Source::collect`], at time `now` instead of the clock's.
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
        // The reading's own length is added to `now`: that keeps the clock out of here.
        let ended = now.plus(snapshot.took);
        self.last = Some(Kept { snapshot: snapshot.clone(), ended });
        Ok(())
    }
}

/// Copies the result of a reading, except `seq` and `lag`: those belong to the tick that is being made.
fn copy<T: Clone>(from: &Snapshot<T>, to: &mut Snapshot<T>) {
    // Field by field, for the memory of the lists; a field that is new is not forgotten here.
    let Snapshot {
        host,
        stream,
        seq: _,
        boot_id,
        time,
        at,
        took,
        lag: _,
        complete_at,
        skipped,
        notices,
        lives,
        samples,
    } = from;
    to.host.clone_from(host);
    to.stream.clone_from(stream);
    (to.boot_id, to.time, to.at, to.took, to.skipped) = (*boot_id, *time, *at, *took, *skipped);
    to.complete_at = *complete_at;
    to.notices.clone_from(notices);
    to.lives.clone_from(lives);
    to.samples.clone_from(samples);
}

impl<S: Source> Source for Cached<S>
where
    S::Sample: Clone,
{
    type Sample = S::Sample;

    fn fill(&mut self, snapshot: &mut Snapshot<S::Sample>, cancel: &Cancel) -> Result<()> {
        self.collect_at(Monotonic::now(), snapshot, cancel)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{BootId, Notice};

    /// Relays a snapshot of another host; it sets no time.
    struct Relay;

    impl Source for Relay {
        type Sample = u32;

        fn fill(&mut self, snapshot: &mut Snapshot<u32>, _: &Cancel) -> Result<()> {
            snapshot.host = Some("db-1".into());
            snapshot.skipped.denied = 7;
            snapshot.notices.push(Notice::NoPulse);
            snapshot.samples.push(1);
            let begin = Monotonic::now();
            while Monotonic::now() == begin {}
            Ok(())
        }
    }

    #[test]
    fn a_repeated_snapshot_differs_only_in_its_tick() {
        let mut cached = Cached::new(Relay, Duration::MAX);
        let mut first = Snapshot { seq: 1, lag: Duration::from_secs(1), ..Snapshot::default() };
        cached.collect(&mut first, &Cancel::new()).unwrap();
        assert_eq!(first.host, Some(Arc::from("db-1")));
        assert_eq!(first.boot_id, BootId::current(), "the caller of a source stamps");
        assert!(first.at > Monotonic::default() && first.took > Duration::ZERO);

        let mut again = Snapshot { seq: 2, lag: Duration::from_secs(2), ..Snapshot::default() };
        cached.collect(&mut again, &Cancel::new()).unwrap();
        assert_eq!((again.seq, again.lag), (2, Duration::from_secs(2)));
        assert_eq!(Snapshot { seq: first.seq, lag: first.lag, ..again }, first);

        let mut read = Snapshot::default();
        cached.collect(&mut read, &Cancel::new()).unwrap();
        assert_eq!(Snapshot { seq: first.seq, lag: first.lag, ..read }, first, "its times are those of the reading");
    }
}
