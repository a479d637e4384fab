//! Whole snapshots out of what changed.

use super::link::{Delta, Link, Times};
use super::marks::as_of;
use crate::counters::TimeField;
use crate::{Monotonic, Sample, Snapshot};

/// The state of one stream of one producer: the samples of the last snapshot of its chain.
#[derive(Debug)]
pub(crate) struct Restore<T> {
    /// The chain, and the number of the last snapshot.
    last: Option<(u64, u64)>,
    samples: Vec<T>,
}

/// What a message of a chain is worth.
#[derive(Debug)]
pub(crate) enum Restored<T> {
    /// The whole snapshot.
    Whole(Snapshot<T>),
    /// Something before it in the chain is missing so far.
    Early(Snapshot<T>, Option<Delta>),
    /// It was restored before.
    Again,
    /// It is of a chain before the current one. A keyframe is a whole snapshot nevertheless.
    Late(Option<Snapshot<T>>),
    /// It does not fit what it refers to.
    Broken(&'static str),
}

impl<T> Default for Restore<T> {
    fn default() -> Self {
        Self { last: None, samples: Vec::new() }
    }
}

impl<T: Sample + Clone> Restore<T> {
    /// Adds a message of the stream: the samples in `snapshot` are all for a keyframe, and those that changed for a delta.
    pub(crate) fn add(&mut self, mut snapshot: Snapshot<T>, link: Link, delta: Option<Delta>) -> Restored<T> {
        let (chain, number) = (link.keyframe, link.number);
        let Some(delta) = delta.filter(|_| number > 0) else {
            return self.add_keyframe(snapshot, link);
        };
        match self.last {
            Some((last, _)) if last > chain => Restored::Late(None),
            Some((last, done)) if last == chain && number <= done => Restored::Again,
            Some((last, done)) if last == chain && number.checked_sub(1) == Some(done) => {
                let changed = std::mem::take(&mut snapshot.samples);
                if let Err(fault) = self.apply(changed, &delta, link.samples) {
                    // Half of it may be applied.
                    *self = Self::default();
                    return Restored::Broken(fault);
                }
                self.last = Some((chain, number));
                snapshot.samples.clone_from(&self.samples);
                Restored::Whole(snapshot)
            }
            _ => Restored::Early(snapshot, Some(delta)),
        }
    }

    fn add_keyframe(&mut self, snapshot: Snapshot<T>, link: Link) -> Restored<T> {
        if link.number > 0 {
            return Restored::Broken("a delta that does not say what changed");
        }
        if usize::try_from(link.samples) != Ok(snapshot.samples.len()) {
            return Restored::Broken("a keyframe with another number of samples than it names");
        }
        match self.last {
            Some((last, _)) if last > link.keyframe => Restored::Late(Some(snapshot)),
            Some((last, _)) if last == link.keyframe => Restored::Again,
            _ => {
                self.last = Some((link.keyframe, 0));
                self.samples.clone_from(&snapshot.samples);
                Restored::Whole(snapshot)
            }
        }
    }

    /// The current chain, and the number of its last snapshot; `None` before the first keyframe.
    pub(crate) fn last(&self) -> Option<(u64, u64)> {
        self.last
    }

    fn apply(&mut self, sent: Vec<T>, delta: &Delta, count: u64) -> Result<(), &'static str> {
        const FAULT: &str = "a delta whose positions do not fit the snapshot before";
        let gone = delta.gone.below(self.samples.len()).ok_or(FAULT)?;
        let mut gone = gone.peekable();
        if gone.peek().is_some() {
            let mut index = 0_usize;
            self.samples.retain(|_| {
                let keep = gone.next_if_eq(&index).is_none();
                index = index.saturating_add(1);
                keep
            });
        }
        // Whether each sample was sent: the times of these are their own.
        let mut was_sent = vec![false; self.samples.len()];
        let mut sent = sent.into_iter();
        for position in delta.changed.below(self.samples.len()).ok_or(FAULT)? {
            let (place, mark) = self.samples.get_mut(position).zip(was_sent.get_mut(position)).ok_or(FAULT)?;
            *place = sent.next().ok_or(FAULT)?;
            *mark = true;
        }
        let total = self.samples.len().checked_add(sent.len()).filter(|total| u64::try_from(*total) == Ok(count));
        let total = total.ok_or("a delta with another number of samples than it names")?;
        let mut new = delta.new.below(total).ok_or(FAULT)?.peekable();
        if new.peek().is_some() {
            let (mut old, mut old_marks) =
                (std::mem::take(&mut self.samples).into_iter(), std::mem::take(&mut was_sent).into_iter());
            self.samples.reserve_exact(total);
            for position in 0..total {
                let is_new = new.next_if_eq(&position).is_some();
                let next = if is_new { sent.next() } else { old.next() };
                self.samples.push(next.ok_or(FAULT)?);
                was_sent.push(is_new || old_marks.next().unwrap_or(true));
            }
        }
        if sent.next().is_some() {
            return Err(FAULT);
        }
        self.set_times(delta, &was_sent).ok_or(FAULT)
    }

    fn set_times(&mut self, delta: &Delta, was_sent: &[bool]) -> Option<()> {
        let mut default = None;
        let mut is_done = was_sent.to_vec();
        for times in &delta.times {
            let Some(of) = &times.of else {
                default = Some(times);
                continue;
            };
            for position in of.below(self.samples.len())? {
                set(self.samples.get_mut(position)?, times)?;
                *is_done.get_mut(position)? = true;
            }
        }
        if let Some(times) = default {
            for (sample, _) in self.samples.iter_mut().zip(&is_done).filter(|(_, is_done)| !**is_done) {
                set(sample, times)?;
            }
        }
        Some(())
    }
}

/// Sets times of a sample.
fn set<T: Sample>(sample: &mut T, times: &Times) -> Option<()> {
    let fields = T::TIMES?;
    let (mut values, mut ages) = (Vec::with_capacity(8), Vec::new());
    fields(sample, &mut |field| {
        values.push(match field {
            TimeField::At(time) => time.as_nanos(),
            TimeField::Age(age) => {
                ages.push(values.len());
                crate::time::duration_nanos(*age)
            }
        });
    });
    as_of(&mut values, &ages);
    for (time, places) in &times.set {
        for place in places {
            *values.get_mut(usize::try_from(*place).ok()?)? = *time;
        }
    }
    as_of(&mut values, &ages);
    let mut values = values.into_iter();
    fields(sample, &mut |field| match (field, values.next()) {
        (TimeField::At(time), Some(value)) => *time = Monotonic::from_nanos(value),
        (TimeField::Age(age), Some(value)) => *age = std::time::Duration::from_nanos(value),
        (_, None) => {}
    });
    Some(())
}
