//! A selection applied to a snapshot.

use std::collections::{HashMap, HashSet};

use super::Select;
use super::ancestry::Family;
use super::pid_file::PidFiles;
use super::subject::{Knowledge, Subject, age};
use crate::process::ProcessSample;
use crate::process::cgroup::without_mark;
use crate::time::clock_ticks_per_second;
use crate::{Cancel, Lives, Monotonic, Result, Snapshot};

impl Select {
    /// Leaves in a snapshot of processes the selected ones: of a recording, of another host, of all that a program has read
    /// already. [`SnapshotStreamExt::select`](crate::SnapshotStreamExt::select) does it in a stream.
    ///
    /// It decides as [`Processes::select`](crate::Processes::select) does, by the snapshot alone:
    ///
    /// - A field that is not in a sample, because [`Fields`](crate::Fields) did not request it or it was
    ///   [`Reading::Skipped`](crate::Reading::Skipped), decides nothing, and neither does a [`pid_file`](Self::pid_file), which is of
    ///   another time or machine. A process that is not decided about is left out, and counted in
    ///   [`Skipped::undecided`](crate::Skipped::undecided).
    /// - Parents and ancestors are those that are in the snapshot. In a snapshot of some processes only, a process does not count as below
    ///   an ancestor that is missing.
    /// - Ages are those at [`Snapshot::at`].
    /// - A command line is the one in the sample, after [`Processes::redact`](crate::Processes::redact).
    /// - A control group stays in [`Lives`](crate::Lives) where all of its processes do.
    ///
    /// # Errors
    ///
    /// When the selection is nested too deep ([`is_config`](crate::Error::is_config)).
    ///
    /// # Examples
    ///
    /// ```
    /// use appmon::{Cancel, Processes, Select, SourceExt};
    ///
    /// let mut snapshot = Processes::new().read(&Cancel::new())?;
    /// let me = std::process::id();
    /// Select::pid(me).with_descendants().apply(&mut snapshot)?;
    /// assert!(snapshot.samples.iter().any(|process| process.id.pid == me));
    /// assert!(snapshot.samples.iter().all(|process| process.id.pid == me || process.ppid != 0));
    /// # Ok::<(), appmon::Error>(())
    /// ```
    pub fn apply<T: AsRef<ProcessSample>>(&self, snapshot: &mut Snapshot<T>) -> Result<()> {
        if self.is_all() {
            return Ok(());
        }
        let selected = self.decide_by(snapshot, |_| true)?;
        let mut selected = selected.into_iter();
        let skipped = &mut snapshot.skipped;
        let has_usage = snapshot.lives.as_ref().is_some_and(|lives| !lives.control_groups.is_empty());
        let mut left_out = HashSet::new();
        snapshot.samples.retain(|sample| {
            let selected = selected.next().flatten();
            if selected != Some(true)
                && has_usage
                && let Some(path) = sample.as_ref().info.cgroup.value()
            {
                left_out.insert(path.clone());
            }
            if selected != Some(true) {
                // They are of the samples that are there.
                skipped.fields = skipped.fields.saturating_sub(sample.as_ref().missing_fields());
            }
            if selected.is_none() {
                skipped.undecided = skipped.undecided.saturating_add(1);
            }
            selected == Some(true)
        });
        if !left_out.is_empty() {
            // What a group used has what those below it used.
            let paths = left_out.iter().map(|path| without_mark(path.as_bytes()));
            let with_above: HashSet<&[u8]> = paths.flat_map(above).collect();
            Lives::leave_out(&mut snapshot.lives, |path| with_above.contains(without_mark(path)));
        }
        Ok(())
    }

    /// Decides about the samples of a snapshot whose places are `wanted`, by the snapshot alone; in their order. `None` where it has too
    /// little data.
    ///
    /// # Errors
    ///
    /// When the selection is nested too deep.
    pub(crate) fn decide_by<T: AsRef<ProcessSample>>(
        &self,
        snapshot: &Snapshot<T>,
        mut wanted: impl FnMut(usize) -> bool,
    ) -> Result<Vec<Option<bool>>> {
        self.0.check()?;
        let (cancel, pid_files) = (Cancel::new(), PidFiles::default());
        let seen = Seen::new(snapshot, self.is_tree());
        if self.is_tree() {
            let verdicts = self.judge(&seen, |_| None, &pid_files, &cancel)?;
            return Ok((0..seen.count()).filter(|nth| wanted(*nth)).map(|nth| verdicts.selected(nth)).collect());
        }
        let samples = seen.samples.iter().enumerate().filter(|(nth, _)| wanted(*nth));
        samples.map(|(_, sample)| self.matches(seen.subject_of(sample), &pid_files, &cancel)).collect()
    }
}

/// A control group and all that it is below.
fn above(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at.max(1));
    ends.chain([path.len()]).filter_map(|end| path.get(..end))
}

/// The processes of a snapshot, by their place in it.
struct Seen<'s, T> {
    samples: &'s [T],
    /// Empty where no condition needs parents.
    by_pid: HashMap<u32, usize>,
    at: Monotonic,
    ended: Monotonic,
    ticks_per_second: u64,
}

impl<'s, T: AsRef<ProcessSample>> Seen<'s, T> {
    fn new(snapshot: &'s Snapshot<T>, parents: bool) -> Self {
        let samples = snapshot.samples.as_slice();
        let with_parents = if parents { samples } else { &[] };
        Self {
            samples,
            by_pid: with_parents.iter().enumerate().map(|(nth, sample)| (sample.as_ref().id.pid, nth)).collect(),
            at: snapshot.at,
            ended: snapshot.at.plus(snapshot.took),
            ticks_per_second: clock_ticks_per_second(),
        }
    }

    fn subject_of(&self, sample: &'s T) -> Subject<'s> {
        let sample = sample.as_ref();
        let age = age(sample.id.start_ns(self.ticks_per_second), self.at, self.ended);
        Subject { id: sample.id, ppid: sample.ppid, info: &sample.info, knowledge: Knowledge::All, age }
    }
}

impl<T: AsRef<ProcessSample>> Family for Seen<'_, T> {
    fn count(&self) -> usize {
        self.samples.len()
    }

    fn subject(&self, nth: usize) -> Option<Subject<'_>> {
        self.samples.get(nth).map(|sample| self.subject_of(sample))
    }

    fn find(&self, pid: u32) -> Option<usize> {
        self.by_pid.get(&pid).copied()
    }
}
