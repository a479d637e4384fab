//! The lives of processes: announcements and readings, put together.

use std::collections::HashMap;
use std::sync::Arc;

use super::log::{Exit, Fact};
use crate::process::ExitStatus;
use crate::process::{Io, ProcessId, ProcessInfo, ProcessSample, ProcessState};
use crate::{Monotonic, Reading, Text};

/// The number of a life, among those known to this source.
pub(super) type LifeKey = u64;

/// A process from its start to its end.
#[derive(Clone, Debug)]
pub(super) struct Life {
    pub(super) id: ProcessId,
    /// The start is one that was made up.
    pub(super) derived: bool,
    /// The start as the kernel writes it, once it was read: `id` keeps the value that was reported first.
    read: Option<ProcessId>,
    pub(super) ppid: u32,
    /// The state read last, or inherited from its parent; `None` once it executed a program that was not read.
    pub(super) info: Option<Arc<ProcessInfo>>,
    /// Its name alone can be known.
    pub(super) name: Option<Text>,
    pub(super) usage: Option<Usage>,
    execs: u64,
    /// Its start was announced.
    start_announced: bool,
    exit: Option<Exit>,
    /// Since when ticks do not see it, though no end was announced.
    missing: Option<Monotonic>,
    /// Its end is reported with this tick.
    pub(super) ended: bool,
    /// No more events of it are reported: it ended, and no process has waited for it yet.
    over: bool,
    /// The number of the tick at which it became known.
    since: u64,
    /// The number of the tick that saw it last.
    seen: u64,
    /// Whether it was selected when that was last decided.
    pub(super) selected: bool,
}

/// The usage of a process when it was last read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    pub(super) cpu_ns: u64,
    pub(super) peak_rss_bytes: Reading<u64>,
    pub(super) io: Reading<Io>,
    pub(super) at: Monotonic,
    /// It was over at the reading.
    pub(super) exact: bool,
}

/// Something to report of a life.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) life: LifeKey,
    pub(super) at: Monotonic,
    pub(super) ppid: u32,
    pub(super) kind: DraftKind,
}

#[derive(Clone, Debug)]
pub(super) enum DraftKind {
    Started(Option<Text>),
    /// The how-manieth exec of this life: only the last one's name can be known.
    Execed(u64),
    Renamed(Text),
    Reparented(u32),
    Ended(Reading<ExitStatus>),
}

/// How lives are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// All is announced: a process that was read and not announced will be, at the next tick.
    Announced,
    /// Announcements were lost: a process that was read counts.
    Incomplete,
    /// Nothing is announced.
    ReadOnly,
}

/// The input of one tick.
pub(super) struct Input<'a> {
    pub(super) facts: Vec<Fact>,
    pub(super) evidence: Evidence,
    /// Read after the facts were taken, in the order of the pids.
    pub(super) samples: &'a [ProcessSample],
    pub(super) now: Monotonic,
    /// Whether there is a process of this pid, seen or not.
    pub(super) exists: &'a dyn Fn(u32) -> bool,
    /// The status of one that ended and is there still.
    pub(super) status: &'a dyn Fn(&ProcessSample) -> Reading<ExitStatus>,
}

/// All lives that have not ended, and those that ended at this tick.
#[derive(Debug)]
pub(super) struct Lives {
    lives: HashMap<LifeKey, Life>,
    by_pid: HashMap<u32, LifeKey>,
    /// Lives whose pid another process has by now, and whose end is to be announced yet.
    superseded: HashMap<u32, LifeKey>,
    /// The starts that were read and will be announced.
    awaited: HashMap<u32, ProcessId>,
    inherited: InheritedInfo,
    next: LifeKey,
    tick: u64,
    /// When the first tick began: no start before that is reported.
    began: Option<Monotonic>,
    tick_ns: u64,
}

/// How much later than it started a process can be announced: a fork of a large process takes that long.
const ANNOUNCED_WITHIN_NS: u64 = 500_000_000;

/// How late after a process is gone the kernel may announce its end: the announcing task can be held up.
const END_ANNOUNCED_WITHIN: std::time::Duration = std::time::Duration::from_secs(1);

impl Lives {
    pub(super) fn new(ticks_per_second: u64) -> Self {
        Self {
            lives: HashMap::new(),
            by_pid: HashMap::new(),
            superseded: HashMap::new(),
            awaited: HashMap::new(),
            inherited: InheritedInfo::default(),
            next: 0,
            tick: 0,
            began: None,
            tick_ns: 1_000_000_000_u64.checked_div(ticks_per_second).unwrap_or(0).max(1),
        }
    }

    pub(super) fn get(&self, life: LifeKey) -> Option<&Life> {
        self.lives.get(&life)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (LifeKey, &Life)> {
        self.lives.iter().map(|(key, life)| (*key, life))
    }

    pub(super) fn set_selected(&mut self, life: LifeKey, selected: bool) {
        if let Some(life) = self.lives.get_mut(&life) {
            life.selected = selected;
        }
    }

    /// Removes those that ended, once they are reported.
    pub(super) fn remove_ended(&mut self) {
        let tick = self.tick;
        self.lives.retain(|_, life| {
            let is_left = !life.ended || life.seen == tick;
            life.over |= std::mem::take(&mut life.ended);
            is_left
        });
    }

    /// Puts the announcements and readings together: returns the events to report, in the order of time.
    pub(super) fn advance(&mut self, mut input: Input<'_>) -> Vec<Draft> {
        self.tick = self.tick.saturating_add(1);
        let Some(_) = self.began else {
            self.began = Some(input.now);
            for sample in input.samples {
                let life = self.of_sample(sample, false);
                self.add(sample.id.pid, life);
            }
            return Vec::new();
        };
        let mut drafts = Vec::new();
        for fact in std::mem::take(&mut input.facts) {
            self.apply_fact(fact, input.samples, &mut drafts);
        }
        let mut awaited = HashMap::new();
        for sample in input.samples {
            self.apply_sample(sample, &input, &mut awaited, &mut drafts);
        }
        self.awaited = awaited;
        self.end_missing(&input, &mut drafts);
        drafts.sort_by_key(|draft| draft.at);
        drafts
    }

    /// One thing that was announced.
    fn apply_fact(&mut self, fact: Fact, samples: &[ProcessSample], drafts: &mut Vec<Draft>) {
        match fact {
            Fact::Nothing => {}
            Fact::Started { pid, ppid, at } => {
                if let Some(key) = self.by_pid.get(&pid).copied()
                    && let Some(life) = self.lives.get_mut(&key)
                {
                    if !life.start_announced && life.exit.is_none() && is_start_of(life.id, at, self.tick_ns) {
                        // It was read before it was announced: in the first tick, or where announcements were lost.
                        life.start_announced = true;
                        return;
                    }
                    self.supersede(pid, key);
                }
                let name_and_info = self
                    .by_pid
                    .get(&ppid)
                    .and_then(|parent| self.lives.get(parent))
                    .map(|parent| (parent.name.clone(), parent.info.as_ref().map(|info| self.inherited.of(info))));
                let (name, info) = name_and_info.unwrap_or_default();
                let announced = self.announced(pid, at);
                let life = Life { ppid, info, name: name.clone(), ..announced };
                let life = self.add(pid, life);
                drafts.push(Draft { life, at, ppid, kind: DraftKind::Started(name) });
            }
            Fact::Execed { pid, at } => {
                let key = self.find(pid, at, samples, drafts);
                let Some(life) = self.lives.get_mut(&key).filter(|life| !life.over) else { return };
                (life.info, life.name, life.exit) = (None, None, None);
                life.execs = life.execs.saturating_add(1);
                drafts.push(Draft { life: key, at, ppid: life.ppid, kind: DraftKind::Execed(life.execs) });
            }
            Fact::Renamed { pid, name, at } => {
                let key = self.find(pid, at, samples, drafts);
                let Some(life) = self.lives.get_mut(&key).filter(|life| !life.over) else { return };
                life.rename(name.clone());
                drafts.push(Draft { life: key, at, ppid: life.ppid, kind: DraftKind::Renamed(name) });
            }
            Fact::ChangedUser { pid, uid } => {
                let life = self.by_pid.get(&pid).and_then(|key| self.lives.get_mut(key));
                if let Some(info) = life.and_then(|life| life.info.as_mut()).filter(|info| info.uid != uid) {
                    let info = Arc::make_mut(info);
                    info.uid = uid;
                    info.user = Reading::Skipped;
                }
            }
            Fact::NameRead { pid, start_ticks, name } => {
                let Some(life) = self.by_pid.get(&pid).and_then(|key| self.lives.get_mut(key)) else { return };
                let read = ProcessId { pid, start_ticks };
                if !life.is(read, self.tick_ns) {
                    return;
                }
                life.identify(read, self.tick);
                if life.name.is_none() {
                    life.name = Some(name);
                }
            }
            Fact::Exited { pid, exit } => {
                // The end of one whose pid is used again comes first.
                let key = self.superseded.remove(&pid).unwrap_or_else(|| self.find(pid, exit.at, samples, drafts));
                if let Some(life) = self.lives.get_mut(&key).filter(|life| !life.over) {
                    life.exit = Some(exit);
                }
            }
        }
    }

    /// The life of a pid; where there is none its start was lost, or it was read for the first time at this tick.
    fn find(&mut self, pid: u32, at: Monotonic, samples: &[ProcessSample], drafts: &mut Vec<Draft>) -> LifeKey {
        if let Some(key) = self.by_pid.get(&pid) {
            return *key;
        }
        let seen = samples.binary_search_by_key(&pid, |sample| sample.id.pid).ok().and_then(|nth| samples.get(nth));
        let start_of = |sample: &ProcessSample| sample.id.start_ticks.saturating_mul(self.tick_ns);
        if let Some(sample) = seen.filter(|sample| start_of(sample) <= at.as_nanos()) {
            return self.discover(sample, drafts);
        }
        let life = self.announced(pid, at);
        self.add(pid, life)
    }

    /// A life of which an announcement is all that is known.
    fn announced(&self, pid: u32, at: Monotonic) -> Life {
        Life {
            id: ProcessId { pid, start_ticks: ticks_of(at, self.tick_ns) },
            derived: true,
            read: None,
            ppid: 0,
            info: None,
            name: None,
            usage: None,
            execs: 0,
            start_announced: true,
            exit: None,
            missing: None,
            ended: false,
            over: false,
            since: self.tick,
            seen: 0,
            selected: false,
        }
    }

    /// One that was read, and is not known by anything else.
    fn discover(&mut self, sample: &ProcessSample, drafts: &mut Vec<Draft>) -> LifeKey {
        let at = Monotonic::from_nanos(sample.id.start_ticks.saturating_mul(self.tick_ns));
        // A process that began before the source did, and was hidden, does not begin now.
        let is_new = self.began.is_some_and(|began| at.as_nanos().saturating_add(self.tick_ns) > began.as_nanos());
        let life = self.of_sample(sample, is_new);
        let name = life.name.clone();
        let key = self.add(sample.id.pid, life);
        if is_new {
            drafts.push(Draft { life: key, at, ppid: sample.ppid, kind: DraftKind::Started(name) });
        }
        key
    }

    /// One sample of this tick.
    fn apply_sample(
        &mut self,
        sample: &ProcessSample,
        input: &Input<'_>,
        awaited: &mut HashMap<u32, ProcessId>,
        drafts: &mut Vec<Draft>,
    ) {
        let pid = sample.id.pid;
        let tick_ns = self.tick_ns;
        let mut key = self.by_pid.get(&pid).copied();
        if let Some(known) = key
            && self.lives.get(&known).is_some_and(|life| !life.is(sample.id, tick_ns))
        {
            self.supersede(pid, known);
            key = None;
        }
        let key = match key {
            Some(key) => key,
            None if input.evidence != Evidence::Announced || self.awaited.get(&pid) == Some(&sample.id) => {
                self.discover(sample, drafts)
            }
            // Its start is announced by now, and comes with the next tick's facts.
            None => {
                awaited.insert(pid, sample.id);
                return;
            }
        };
        let tick = self.tick;
        let Some(life) = self.lives.get_mut(&key) else { return };
        life.identify(sample.id, tick);
        (life.seen, life.missing) = (tick, None);
        if life.over || life.ended {
            return;
        }
        if has_ended(sample) {
            let mut last = usage(sample, true);
            if let Some(before) = life.usage {
                // It was released with the memory.
                last.peak_rss_bytes = before.peak_rss_bytes;
            }
            life.usage = Some(last);
            let (at, status, ppid) = match (life.exit, input.evidence) {
                (Some(exit), _) => (exit.at, Reading::Value(ExitStatus::from_wait(exit.code)), exit.ppid),
                // Its end will be announced.
                (None, Evidence::Announced) => return,
                (None, _) => (input.now, (input.status)(sample), sample.ppid),
            };
            self.end(key, at, status, ppid, drafts);
            return;
        }
        // Threads of it ended, and the process lives.
        life.exit = None;
        if life.ppid != sample.ppid {
            let kind = DraftKind::Reparented(life.ppid);
            drafts.push(Draft { life: key, at: input.now, ppid: sample.ppid, kind });
            life.ppid = sample.ppid;
        }
        if input.evidence == Evidence::ReadOnly
            && let Some(before) = &life.info
        {
            if before.execs != sample.info.execs {
                life.execs = life.execs.saturating_add(1);
                drafts.push(Draft { life: key, at: input.now, ppid: life.ppid, kind: DraftKind::Execed(life.execs) });
            } else if before.name != sample.info.name {
                let kind = DraftKind::Renamed(sample.info.name.clone());
                drafts.push(Draft { life: key, at: input.now, ppid: life.ppid, kind });
            }
        }
        life.name = Some(sample.info.name.clone());
        life.info = Some(Arc::clone(&sample.info));
        life.usage = Some(usage(sample, false));
    }

    /// Ends lives that this tick did not read.
    fn end_missing(&mut self, input: &Input<'_>, drafts: &mut Vec<Draft>) {
        let tick = self.tick;
        let absent: Vec<LifeKey> =
            self.lives.iter().filter(|(_, life)| life.seen != tick && !life.ended).map(|(key, _)| *key).collect();
        for key in absent {
            let Some(life) = self.lives.get_mut(&key) else { continue };
            let pid = life.id.pid;
            // It can be there and not be visible, or not be readable just now; and somebody else can have its pid.
            if self.by_pid.get(&pid) == Some(&key) && (input.exists)(pid) {
                continue;
            }
            if life.over {
                self.forget(key, pid);
                continue;
            }
            let ppid = life.ppid;
            match life.exit {
                Some(exit) => {
                    let status = Reading::Value(ExitStatus::from_wait(exit.code));
                    self.end(key, exit.at, status, exit.ppid, drafts);
                }
                // It ended after the facts were taken: the next ones have it.
                None if input.evidence != Evidence::ReadOnly
                    && input.now.since(*life.missing.get_or_insert(input.now)).unwrap_or_default()
                        < END_ANNOUNCED_WITHIN => {}
                None => self.end(key, input.now, Reading::Failed, ppid, drafts),
            }
        }
    }

    fn end(&mut self, key: LifeKey, at: Monotonic, status: Reading<ExitStatus>, ppid: u32, drafts: &mut Vec<Draft>) {
        let Some(life) = self.lives.get_mut(&key) else { return };
        life.ended = true;
        let ppid = if ppid == 0 { life.ppid } else { ppid };
        drafts.push(Draft { life: key, at, ppid, kind: DraftKind::Ended(status) });
        // One that was not waited for yet stays, so that it is not taken for a new one.
        if life.seen != self.tick {
            let pid = life.id.pid;
            for by_pid in [&mut self.by_pid, &mut self.superseded] {
                if by_pid.get(&pid) == Some(&key) {
                    by_pid.remove(&pid);
                }
            }
        }
    }

    fn forget(&mut self, key: LifeKey, pid: u32) {
        self.lives.remove(&key);
        if self.by_pid.get(&pid) == Some(&key) {
            self.by_pid.remove(&pid);
        }
    }

    /// Another process has this pid.
    fn supersede(&mut self, pid: u32, key: LifeKey) {
        self.by_pid.remove(&pid);
        match self.lives.get(&key) {
            Some(life) if life.over => {
                self.lives.remove(&key);
            }
            // The one before, if its end never came, is missed by itself: it is in no map any more.
            Some(life) if life.exit.is_none() => {
                self.superseded.insert(pid, key);
            }
            _ => {}
        }
    }

    fn add(&mut self, pid: u32, life: Life) -> LifeKey {
        let key = self.next;
        self.next = key.saturating_add(1);
        self.lives.insert(key, life);
        self.by_pid.insert(pid, key);
        key
    }

    fn of_sample(&self, sample: &ProcessSample, announced: bool) -> Life {
        Life {
            id: sample.id,
            derived: false,
            read: Some(sample.id),
            ppid: sample.ppid,
            info: Some(Arc::clone(&sample.info)),
            name: Some(sample.info.name.clone()),
            usage: Some(usage(sample, has_ended(sample))),
            execs: 0,
            start_announced: false,
            exit: None,
            missing: None,
            ended: false,
            over: !announced && has_ended(sample),
            since: self.tick,
            seen: self.tick,
            selected: false,
        }
    }
}

impl Life {
    /// Whether a process that was read is this one.
    fn is(&self, id: ProcessId, tick_ns: u64) -> bool {
        match self.read {
            Some(read) => read == id,
            None => {
                id.pid == self.id.pid
                    && id.start_ticks <= self.id.start_ticks.saturating_add(1)
                    && self.id.start_ticks.saturating_sub(id.start_ticks) <= announced_within(tick_ns)
            }
        }
    }

    /// Its start was read. One that was reported keeps the id that it was reported with.
    fn identify(&mut self, id: ProcessId, tick: u64) {
        if self.read.is_none() {
            self.read = Some(id);
            if self.since == tick {
                (self.id, self.derived) = (id, false);
            }
        }
    }

    /// The name it has since its `nth` exec, if it is the last.
    pub(super) fn name_after_exec(&self, nth: u64) -> Option<Text> {
        self.name.clone().filter(|_| nth == self.execs)
    }

    fn rename(&mut self, name: Text) {
        if let Some(info) = &mut self.info {
            Arc::make_mut(info).name = name.clone();
        }
        self.name = Some(name);
    }
}

/// When something happened, in clock ticks.
fn ticks_of(at: Monotonic, tick_ns: u64) -> u64 {
    at.as_nanos().checked_div(tick_ns).unwrap_or(0)
}

fn announced_within(tick_ns: u64) -> u64 {
    ANNOUNCED_WITHIN_NS.checked_div(tick_ns).unwrap_or(0).saturating_add(1)
}

/// Whether a start announced at that time can be the start of the process that was read.
fn is_start_of(id: ProcessId, at: Monotonic, tick_ns: u64) -> bool {
    let announced = ticks_of(at, tick_ns);
    id.start_ticks <= announced.saturating_add(1)
        && announced.saturating_sub(id.start_ticks) <= announced_within(tick_ns)
}

/// The data that processes inherit from their parent. Their parent and control group can differ at once. A parent that starts many shares
/// one copy with all of them.
#[derive(Debug, Default)]
struct InheritedInfo {
    last: Option<(Arc<ProcessInfo>, Arc<ProcessInfo>)>,
}

impl InheritedInfo {
    fn of(&mut self, info: &Arc<ProcessInfo>) -> Arc<ProcessInfo> {
        if let Some((parent, child)) = &self.last
            && Arc::ptr_eq(parent, info)
        {
            return Arc::clone(child);
        }
        let mut child = ProcessInfo::clone(info);
        (child.cwd, child.cgroup, child.execs) = (Reading::Skipped, Reading::Skipped, 0);
        let child = Arc::new(child);
        self.last = Some((Arc::clone(info), Arc::clone(&child)));
        child
    }
}

/// Whether a process is over: its main thread ended, and no other is left.
fn has_ended(sample: &ProcessSample) -> bool {
    matches!(sample.state, ProcessState::Zombie | ProcessState::Dead) && sample.threads <= 1
}

fn usage(sample: &ProcessSample, exact: bool) -> Usage {
    let peak = sample.status.as_ref().map(|status| status.vm_hwm_bytes);
    Usage {
        cpu_ns: sample.cpu.total_ns,
        peak_rss_bytes: match peak {
            Reading::Value(Some(bytes)) => Reading::Value(bytes),
            Reading::Value(None) => Reading::NotApplicable,
            other => other.map(|_| 0),
        },
        io: sample.io,
        at: sample.at,
        exact,
    }
}

#[cfg(test)]
mod tests;
