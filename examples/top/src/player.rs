//! A recording, tick by tick, forward and from any time on.

use std::sync::Arc;
use std::time::Duration;

use appmon::stream::Recording;
use appmon::{FileSystemSample, ProcessSample, Result, Snapshot, Timestamp};

use crate::analysis::{Analysis, DiskAnalysis, Disks, Tick};
use crate::args::Args;

/// So much before a time that is jumped to is read too: rates need it, and the sparklines show it.
const BEFORE: Duration = Duration::from_secs(30);

/// Reads a recording of processes, and one of disks beside it. It blocks.
pub(crate) struct Player {
    processes: Recording<ProcessSample>,
    analysis: Analysis,
    rules: Vec<String>,
    disks: Option<DiskPlayer>,
}

struct DiskPlayer {
    recording: Recording<FileSystemSample>,
    analysis: DiskAnalysis,
    next: Option<Snapshot<FileSystemSample>>,
    newest: Option<Arc<Disks>>,
}

impl Player {
    pub(crate) fn open(args: &Args) -> Result<Self> {
        let (mut processes, mut disks) = (None, None);
        for path in &args.replay {
            match Recording::<FileSystemSample>::open(path) {
                Ok(recording) if disks.is_none() => disks = Some(DiskPlayer::new(recording)),
                _ => processes = Some(Recording::open(path)?),
            }
        }
        let Some(processes) = processes else {
            return Err(appmon::Error::config("--replay: a recording of processes is needed"));
        };
        let rules = args.rules();
        let mut player = Self { processes, analysis: Analysis::new(&rules, true)?, rules, disks };
        if let Some(at) = args.at {
            player.seek(at)?;
        }
        Ok(player)
    }

    /// The times of the first and the last tick.
    pub(crate) fn span(&self) -> Result<Option<(Timestamp, Timestamp)>> {
        self.processes.span()
    }

    /// Goes a little before this time.
    pub(crate) fn seek(&mut self, time: Timestamp) -> Result<()> {
        let nanos = u64::try_from(BEFORE.as_nanos()).unwrap_or_default();
        let from = Timestamp::from_unix_nanos(time.as_unix_nanos().saturating_sub(nanos));
        self.processes.seek(from)?;
        self.analysis = Analysis::new(&self.rules, true)?;
        self.disks.as_mut().map_or(Ok(()), |disks| disks.seek(from))
    }

    /// The next tick; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Tick>> {
        let Some(snapshot) = self.processes.next().transpose()? else { return Ok(None) };
        let mut tick = self.analysis.push(snapshot)?;
        if let Some(disks) = &mut self.disks {
            tick.disks = disks.until(tick.time)?;
        }
        Ok(Some(tick))
    }
}

impl DiskPlayer {
    fn new(recording: Recording<FileSystemSample>) -> Self {
        Self { recording, analysis: DiskAnalysis::new(), next: None, newest: None }
    }

    fn seek(&mut self, time: Timestamp) -> Result<()> {
        (self.analysis, self.next, self.newest) = (DiskAnalysis::new(), None, None);
        self.recording.seek(time)
    }

    /// The newest snapshot up to this time.
    fn until(&mut self, time: Timestamp) -> Result<Option<Arc<Disks>>> {
        loop {
            if self.next.is_none() {
                self.next = self.recording.next().transpose()?;
            }
            match self.next.take_if(|next| next.time <= time) {
                Some(next) => self.newest = Some(self.analysis.push(next)?),
                None => return Ok(self.newest.clone()),
            }
        }
    }
}
