//! A kernel as far as it keeps accounts of processes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::process::{Cpu, Faults, Io, ProcessData, ProcessId, ProcessInfo, ProcessState};
use crate::{ControlGroupUsage, Exit, Lives, Monotonic, ProcessSample, Reading as Value, Reaper, Snapshot};

pub(super) const TICK_NS: u64 = 10_000_000;

/// What happens; whom it happens to is a number among those it can happen to.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Run {
        who: u8,
        us: u32,
    },
    Write {
        who: u8,
        bytes: u16,
    },
    Fork {
        who: u8,
    },
    Exit {
        who: u8,
    },
    Wait {
        who: u8,
    },
    /// From now on nobody need wait for its children.
    Ignore {
        who: u8,
    },
    /// What its descendants leave behind comes to it.
    Subreaper {
        who: u8,
    },
    Exec {
        who: u8,
        name: u8,
    },
    /// A new process gets a pid again that was given before.
    Reuse,
    Tick {
        order: u64,
        meanwhile: u8,
    },
}

pub(super) fn events(auto_reaped: bool) -> impl Strategy<Value = Vec<Event>> {
    let who = 0_u8..12;
    let ignore = if auto_reaped { 1 } else { 0 };
    let event = prop_oneof![
        8 => (who.clone(), prop_oneof![0_u32..3_000, 0_u32..300_000]).prop_map(|(who, us)| Event::Run { who, us }),
        3 => (who.clone(), any::<u16>()).prop_map(|(who, bytes)| Event::Write { who, bytes }),
        6 => who.clone().prop_map(|who| Event::Fork { who }),
        4 => who.clone().prop_map(|who| Event::Exit { who }),
        5 => who.clone().prop_map(|who| Event::Wait { who }),
        ignore => who.clone().prop_map(|who| Event::Ignore { who }),
        1 => who.clone().prop_map(|who| Event::Subreaper { who }),
        2 => (who, 0_u8..3).prop_map(|(who, name)| Event::Exec { who, name }),
        1 => Just(Event::Reuse),
        4 => (any::<u64>(), 0_u8..6).prop_map(|(order, meanwhile)| Event::Tick { order, meanwhile }),
    ];
    vec(event, 0..120)
}

/// What snapshots have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) lives: bool,
    pub(super) usage: bool,
}

#[derive(Clone, Debug)]
struct Process {
    id: ProcessId,
    ppid: u32,
    user: u8,
    info: Arc<ProcessInfo>,
    own_ns: u64,
    children_ns: u64,
    faults: u64,
    children_faults: u64,
    written: u64,
    zombie: bool,
    ignores: bool,
    subreaper: bool,
    /// What of it the last snapshot has.
    seen_ns: u64,
    seen_written: u64,
    /// It is the child of one that ended after that.
    orphaned: bool,
}

pub(super) struct Kernel {
    processes: BTreeMap<u32, Process>,
    now_ns: u64,
    next_pid: u32,
    seq: u64,
    /// What the processes of each user used since the first snapshot.
    pub(super) used: BTreeMap<u8, u64>,
    /// What is in no account that can be read, of those nobody waited for.
    pub(super) unseen: u64,
    pub(super) unseen_ns: u64,
    pub(super) unseen_io: u64,
    /// How many ended after their parent had, both since they were seen last: who waited for them is not known for sure.
    pub(super) orphans: u64,
    pub(super) written: u64,
    usage: BTreeMap<u8, u64>,
    usage_at_start: BTreeMap<u8, u64>,
    last: BTreeSet<ProcessId>,
    last_reapers: BTreeMap<ProcessId, u64>,
}

impl Kernel {
    pub(super) fn new() -> Self {
        let mut kernel = Self {
            processes: BTreeMap::new(),
            now_ns: 1_000_000_000,
            next_pid: 5,
            seq: 0,
            used: BTreeMap::new(),
            unseen: 0,
            unseen_ns: 0,
            unseen_io: 0,
            orphans: 0,
            written: 0,
            usage: BTreeMap::new(),
            usage_at_start: BTreeMap::new(),
            last: BTreeSet::new(),
            last_reapers: BTreeMap::new(),
        };
        // The first process, and three users' with some children each.
        for (pid, ppid, user) in [(1, 0, 0), (2, 1, 1), (3, 1, 2), (4, 2, 1)] {
            kernel.add(pid, ppid, user, 0);
            kernel.run(pid, 123_456_789);
        }
        kernel.used.clear();
        kernel.usage_at_start = kernel.usage.clone();
        kernel
    }

    fn add(&mut self, pid: u32, ppid: u32, user: u8, name: u8) {
        let id = ProcessId { pid, start_ticks: self.now_ns / TICK_NS };
        let process = Process {
            id,
            ppid,
            user,
            info: info(user, name),
            own_ns: 0,
            children_ns: 0,
            faults: 1,
            children_faults: 0,
            written: 0,
            zombie: false,
            ignores: false,
            subreaper: pid == 1,
            seen_ns: 0,
            seen_written: 0,
            orphaned: false,
        };
        self.processes.insert(pid, process);
    }

    /// A living process.
    fn pick(&self, who: u8) -> u32 {
        let living: Vec<u32> =
            self.processes.values().filter(|process| !process.zombie).map(|process| process.id.pid).collect();
        living[usize::from(who) % living.len()]
    }

    fn get(&mut self, pid: u32) -> &mut Process {
        self.processes.get_mut(&pid).unwrap()
    }

    fn run(&mut self, pid: u32, ns: u64) {
        self.now_ns += ns;
        let process = self.get(pid);
        process.own_ns += ns;
        process.faults += 1;
        let user = process.user;
        *self.used.entry(user).or_default() += ns;
        *self.usage.entry(user).or_default() += ns;
    }

    pub(super) fn happen(&mut self, event: &Event) {
        self.now_ns += 1_000;
        match *event {
            Event::Run { who, us } => self.run(self.pick(who), u64::from(us) * 1_000),
            Event::Write { who, bytes } => {
                let pid = self.pick(who);
                self.get(pid).written += u64::from(bytes);
                self.written += u64::from(bytes);
            }
            Event::Fork { who } => {
                let parent = self.pick(who);
                self.next_pid += 1;
                self.fork(parent, self.next_pid);
            }
            Event::Reuse => {
                // In another tick of the clock: the same one is the same process to anybody who looks.
                let free = (2..=self.next_pid).find(|pid| !self.processes.contains_key(pid));
                self.now_ns += 2 * TICK_NS;
                if let Some(pid) = free {
                    self.fork(1, pid);
                }
            }
            Event::Exit { who } => {
                let pid = self.pick(who);
                if pid != 1 {
                    self.exit(pid);
                }
            }
            Event::Wait { who } => {
                let pid = self.pick(who);
                let child = self.processes.values().find(|process| process.zombie && process.ppid == pid);
                if let Some(child) = child.map(|child| child.id.pid) {
                    self.wait(pid, child);
                }
            }
            Event::Ignore { who } => {
                let pid = self.pick(who);
                if pid != 1 {
                    self.get(pid).ignores = true;
                }
            }
            Event::Subreaper { who } => {
                let pid = self.pick(who);
                self.get(pid).subreaper = true;
            }
            Event::Exec { who, name } => {
                let pid = self.pick(who);
                let process = self.get(pid);
                process.info = info(process.user, name);
            }
            Event::Tick { .. } => {}
        }
    }

    fn fork(&mut self, parent: u32, pid: u32) {
        let process = self.get(parent);
        process.faults += 1;
        let (user, name) = (process.user, process.info.name.as_bytes()[0] - b'a');
        self.add(pid, parent, user, name);
    }

    fn exit(&mut self, pid: u32) {
        let (ppid, id) = (self.get(pid).ppid, self.get(pid).id);
        // Who gets what it leaves behind.
        let mut heir = ppid;
        while !self.get(heir).subreaper {
            heir = self.get(heir).ppid;
        }
        let was_seen = self.last.contains(&id);
        let mut left = Vec::new();
        for child in self.processes.values_mut().filter(|child| child.ppid == pid) {
            child.ppid = heir;
            child.orphaned |= was_seen || !self.last.contains(&child.id);
            if child.zombie {
                left.push(child.id.pid);
            }
        }
        self.get(pid).zombie = true;
        // The first process waits for all, at once.
        if heir == 1 {
            left.into_iter().for_each(|child| self.wait(1, child));
        }
        if self.get(ppid).ignores {
            let process = self.processes.remove(&pid).unwrap();
            self.unseen += 1;
            self.unseen_ns += process.own_ns + process.children_ns;
            self.unseen_io += process.written + 1;
        } else if ppid == 1 {
            self.wait(1, pid);
        }
    }

    fn wait(&mut self, parent: u32, child: u32) {
        let child = self.processes.remove(&child).unwrap();
        self.orphans += u64::from(child.orphaned);
        let parent = self.get(parent);
        parent.children_ns += child.own_ns + child.children_ns;
        parent.children_faults += child.faults + child.children_faults;
        parent.written += child.written;
    }

    /// How many living processes waited for children.
    pub(super) fn reapers(&self) -> u64 {
        self.processes.values().filter(|process| process.children_ns > 0).count() as u64
    }

    fn sample(&mut self, pid: u32) -> Option<ProcessSample> {
        let now = Monotonic::from_nanos(self.now_ns);
        let process = self.processes.get_mut(&pid)?;
        (process.seen_ns, process.seen_written, process.orphaned) =
            (process.own_ns + process.children_ns, process.written, false);
        let cut = |ns: u64| ns / TICK_NS * TICK_NS;
        let half = |ns: u64| (cut(ns - ns / 3), cut(ns / 3));
        let (user_ns, system_ns) = half(process.own_ns);
        let (children_user_ns, children_system_ns) = half(process.children_ns);
        Some(ProcessSample::from(ProcessData {
            id: process.id,
            info: process.info.clone(),
            ppid: process.ppid,
            state: if process.zombie { ProcessState::Zombie } else { ProcessState::Sleeping },
            threads: 1,
            cpu: Cpu {
                total_ns: process.own_ns,
                user_ns,
                system_ns,
                children_user_ns,
                children_system_ns,
                ..Cpu::default()
            },
            faults: Faults { minor: process.faults, major: 0 },
            io: Value::Value(Io { write_chars: Some(process.written), ..Io::NOTHING }),
            at: now,
            read_at: now,
            ..ProcessData::default()
        }))
    }

    /// A snapshot; in any order, and with things happening meanwhile.
    pub(super) fn read(&mut self, how: Reading, order: u64, meanwhile: &[Event]) -> Snapshot<ProcessSample> {
        let mut snapshot = Snapshot { seq: self.seq, at: Monotonic::from_nanos(self.now_ns), ..Snapshot::default() };
        self.seq += 1;
        let mut pids: Vec<u32> = self.processes.keys().copied().collect();
        pids.sort_by_key(|pid| u64::from(*pid).wrapping_mul(order | 1) % 1_009);
        let mut samples = BTreeMap::new();
        let mut meanwhile = meanwhile.iter();
        for pid in pids {
            samples.extend(self.sample(pid).map(|sample| (sample.id, sample)));
            if let Some(event) = meanwhile.next().filter(|event| !matches!(event, Event::Reuse | Event::Tick { .. })) {
                self.happen(event);
            }
        }
        if how.lives {
            self.count_once(&mut samples);
            snapshot.lives = Some(self.lives(how, &samples).into());
        }
        self.last = samples.keys().copied().collect();
        snapshot.samples = samples.into_values().collect();
        self.now_ns += TICK_NS;
        snapshot
    }

    /// Who is gone is not in the snapshot, but in the account of whoever waited for it.
    fn count_once(&mut self, samples: &mut BTreeMap<ProcessId, ProcessSample>) {
        samples.retain(|id, _| self.processes.get(&id.pid).is_some_and(|process| process.id == *id));
        let pids: Vec<u32> = samples.keys().map(|id| id.pid).collect();
        for pid in pids {
            samples.extend(self.sample(pid).map(|sample| (sample.id, sample)));
        }
    }

    fn lives(&mut self, how: Reading, samples: &BTreeMap<ProcessId, ProcessSample>) -> Lives {
        let exits = self.last.iter().filter(|id| !samples.contains_key(id)).map(|id| Exit::new(*id)).collect();
        let mut reapers = Vec::new();
        for process in self.processes.values().filter(|process| samples.contains_key(&process.id)) {
            if self.last_reapers.insert(process.id, process.children_faults) != Some(process.children_faults) {
                let cpu = &samples[&process.id].cpu;
                reapers.push(Reaper {
                    user_ns: cpu.children_user_ns,
                    system_ns: cpu.children_system_ns,
                    minor_faults: process.children_faults,
                    ..Reaper::new(process.id)
                });
            }
        }
        let usage = self.usage.iter().filter(|_| how.usage);
        let control_groups = usage.map(|(user, ns)| ControlGroupUsage::new(path(*user).as_str(), ns / 1_000)).collect();
        Lives { exits, reapers, control_groups, ..Lives::default() }
    }

    /// What the control groups used that have processes.
    pub(super) fn usage_of_living(&self) -> Vec<(String, u64)> {
        let living: BTreeSet<u8> = self.processes.values().map(|process| process.user).collect();
        living.into_iter().map(|user| (path(user), self.usage[&user] / 1_000 * 1_000)).collect()
    }

    pub(super) fn usage_at_start(&self, of: &str) -> u64 {
        self.usage_at_start.iter().find(|(user, _)| path(**user) == of).map_or(0, |(_, ns)| ns / 1_000 * 1_000)
    }
}

fn path(user: u8) -> String {
    format!("/user-{user}.slice")
}

fn info(user: u8, name: u8) -> Arc<ProcessInfo> {
    let name = char::from(b'a' + name).to_string();
    let cgroup = Value::Value(path(user).into());
    ProcessInfo { name: name.into(), uid: u32::from(user), cgroup, ..ProcessInfo::default() }.into()
}
