//! The announcements of the process connector since they were last taken, and the number of lost ones.

use std::collections::HashMap;

use super::netlink::{Event, Message};
use crate::{Monotonic, Text};

/// Something that happened to a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    Started {
        pid: u32,
        ppid: u32,
        at: Monotonic,
    },
    Execed {
        pid: u32,
        at: Monotonic,
    },
    Renamed {
        pid: u32,
        name: Text,
        at: Monotonic,
    },
    ChangedUser {
        pid: u32,
        uid: u32,
    },
    /// It was read a moment after it executed a program.
    NameRead {
        pid: u32,
        start_ticks: u64,
        name: Text,
    },
    /// Threads of it ended. Only /proc decides whether the process is over: then it has no directory there.
    Exited {
        pid: u32,
        exit: Exit,
    },
    /// The announcement was without effect.
    Nothing,
}

/// How a process ended, if it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    /// As `wait(2)` has it.
    pub(crate) code: u32,
    /// 0 where it is not known.
    pub(crate) ppid: u32,
    /// When its last thread ended.
    pub(crate) at: Monotonic,
}

/// More CPUs than a kernel can be built for.
const MOST_CPUS: usize = 1 << 16;

/// In the status of `wait(2)`: a core was dumped.
const CORE_DUMPED: u32 = 0x80;

impl Exit {
    /// Adds the end of one more thread. Where a process ends as a whole (`exit_group(2)`, a signal), all its threads that are left have its
    /// status; one that left by itself before (`pthread_exit(3)`) has 0, and its event can be late. The status of the thread that dumped a
    /// core shows the dump; that of the others need not.
    fn add(&mut self, code: u32, ppid: u32, at: Monotonic) {
        let dumped = (self.code | code) & CORE_DUMPED;
        if code != 0 {
            let signal = code & 0x7f;
            self.code = if signal != 0 { code | dumped } else { code };
        }
        if ppid != 0 {
            self.ppid = ppid;
        }
        self.at = self.at.max(at);
    }
}

/// The announcements that were not taken yet: bounded, and those that did not fit are counted.
#[derive(Debug)]
pub(crate) struct Log {
    facts: Vec<Fact>,
    /// Where the end of the threads of a process is, while it can be added to.
    exits: HashMap<u32, usize>,
    /// The programs executed since facts were last taken.
    execed: Vec<u32>,
    /// The number of the last event of each CPU.
    sequences: Vec<Option<u32>>,
    received: u64,
    lost: u64,
    overrun: bool,
    most: usize,
}

/// The contents taken out of a log.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) facts: Vec<Fact>,
    /// How many events were lost, as far as it is known.
    pub(crate) lost: u64,
    /// Whether any were.
    pub(crate) overrun: bool,
}

impl Log {
    /// A log that holds `most` facts.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            facts: Vec::new(),
            exits: HashMap::new(),
            execed: Vec::new(),
            sequences: Vec::new(),
            received: 0,
            lost: 0,
            overrun: false,
            most,
        }
    }

    /// Adds a message. `offset_ns` is the lead of `CLOCK_BOOTTIME` over `CLOCK_MONOTONIC`.
    pub(crate) fn add(&mut self, message: &Message, offset_ns: u64) {
        let (cpu, sequence, monotonic_ns, event) = match *message {
            Message::Event { cpu, sequence, monotonic_ns, event } => (cpu, sequence, monotonic_ns, event),
            Message::Acknowledged { cpu: u32::MAX, .. } => return,
            Message::Acknowledged { cpu, sequence, .. } => (cpu, sequence, 0, Event::Other),
        };
        self.received = self.received.saturating_add(1);
        if let Some(before) = self.follow(cpu, sequence) {
            let missing = sequence.wrapping_sub(before).wrapping_sub(1);
            if missing > u32::MAX / 2 {
                // The numbering restarted. The number of lost announcements is unknown.
                self.overrun = true;
            } else if missing > 0 {
                self.lost = self.lost.saturating_add(missing.into());
                self.overrun = true;
            }
        }
        let at = Monotonic::from_nanos(monotonic_ns.saturating_add(offset_ns));
        match event {
            Event::Other => {}
            Event::Forked { pid, ppid } => {
                // The process that ended earlier had this pid, and is another one.
                self.exits.remove(&pid);
                self.push(Fact::Started { pid, ppid, at });
            }
            Event::Execed { pid } => {
                // The threads it had are gone, and the process lives.
                if let Some(exit) = self.exits.remove(&pid)
                    && let Some(fact) = self.facts.get_mut(exit)
                {
                    *fact = Fact::Nothing;
                }
                self.push(Fact::Execed { pid, at });
                if self.execed.len() < self.most {
                    self.execed.push(pid);
                }
            }
            Event::Renamed { pid, name } => {
                let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                self.push(Fact::Renamed { pid, name: Text::from(name), at });
            }
            Event::ChangedUser { pid, uid } => self.push(Fact::ChangedUser { pid, uid }),
            Event::Exited { pid, code, ppid, .. } => {
                let known = self.exits.get(&pid).and_then(|exit| self.facts.get_mut(*exit));
                if let Some(Fact::Exited { exit, .. }) = known {
                    exit.add(code, ppid, at);
                } else if self.facts.len() < self.most {
                    self.exits.insert(pid, self.facts.len());
                    self.push(Fact::Exited { pid, exit: Exit { code, ppid, at } });
                } else {
                    self.count_lost();
                }
            }
        }
    }

    /// Notes the number of an event, and returns that of the one before on the same CPU.
    fn follow(&mut self, cpu: u32, sequence: u32) -> Option<u32> {
        let cpu = usize::try_from(cpu).ok().filter(|cpu| *cpu < MOST_CPUS)?;
        if self.sequences.len() <= cpu {
            self.sequences.resize(cpu.saturating_add(1), None);
        }
        self.sequences.get_mut(cpu)?.replace(sequence)
    }

    fn push(&mut self, fact: Fact) {
        if self.facts.len() < self.most {
            self.facts.push(fact);
        } else {
            self.count_lost();
        }
    }

    fn count_lost(&mut self) {
        self.lost = self.lost.saturating_add(1);
        self.overrun = true;
    }

    /// How many events came so far, those of no interest too.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// The kernel had no room for some: how many shows in the next event of each CPU.
    pub(crate) fn overrun(&mut self) {
        self.overrun = true;
    }

    /// Up to `most` processes that executed a program lately, and have not ended since.
    pub(crate) fn take_execed(&mut self, most: usize) -> Vec<u32> {
        let mut execed = std::mem::take(&mut self.execed);
        execed.sort_unstable();
        execed.dedup();
        execed.retain(|pid| !self.exits.contains_key(pid));
        execed.truncate(most);
        execed
    }

    /// The facts found about a process that executed a program.
    pub(crate) fn add_name(&mut self, pid: u32, start_ticks: u64, name: Text) {
        // Nothing is lost where there is no room for it.
        if self.facts.len() < self.most {
            self.facts.push(Fact::NameRead { pid, start_ticks, name });
        }
    }

    /// The number of the last event of each CPU.
    #[cfg(test)]
    pub(crate) fn sequences(&self) -> std::collections::BTreeMap<u32, u32> {
        (0..).zip(&self.sequences).filter_map(|(cpu, sequence)| Some((cpu, (*sequence)?))).collect()
    }

    /// Takes everything out.
    pub(crate) fn take(&mut self) -> Taken {
        self.exits.clear();
        Taken {
            facts: std::mem::take(&mut self.facts),
            lost: std::mem::take(&mut self.lost),
            overrun: std::mem::take(&mut self.overrun),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(sequence: u32, event: Event) -> Message {
        Message::Event { cpu: 0, sequence, monotonic_ns: u64::from(sequence), event }
    }

    fn exit(pid: u32, code: u32) -> Event {
        Event::Exited { pid, main_thread: true, code, ppid: 1 }
    }

    fn facts(events: &[Event]) -> Vec<Fact> {
        let mut log = Log::new(100);
        for (sequence, what) in (0..).zip(events) {
            log.add(&event(sequence, *what), 0);
        }
        let taken = log.take();
        assert!(!taken.overrun && taken.lost == 0);
        taken.facts
    }

    fn code(events: &[Event]) -> Option<u32> {
        facts(events).iter().find_map(|fact| match fact {
            Fact::Exited { exit, .. } => Some(exit.code),
            _ => None,
        })
    }

    #[test]
    fn the_status_is_that_of_the_process() {
        assert_eq!(code(&[exit(7, 0), exit(7, 0x700)]), Some(0x700), "the main thread left first");
        assert_eq!(code(&[exit(7, 0x700), exit(7, 0)]), Some(0x700), "one that left by itself comes late");
        assert_eq!(code(&[exit(7, 6), exit(7, 0x86), exit(7, 6)]), Some(0x86), "one of them dumped the core");
        assert_eq!(code(&[exit(7, 0), Event::Execed { pid: 7 }]), None, "another thread executed a program");
        assert_eq!(code(&[exit(7, 0), Event::Execed { pid: 7 }, exit(7, 0x900)]), Some(0x900));
    }

    #[test]
    fn a_pid_that_is_used_again_is_another_life() {
        let forked = Event::Forked { pid: 7, ppid: 1 };
        let found = facts(&[forked, exit(7, 0x100), forked, exit(7, 0x200)]);
        let codes: Vec<_> = found
            .iter()
            .filter_map(|fact| if let Fact::Exited { exit, .. } = fact { Some(exit.code) } else { None })
            .collect();
        assert_eq!(codes, [0x100, 0x200]);
    }

    #[test]
    fn gaps_are_counted_for_each_cpu() {
        let mut log = Log::new(100);
        for (cpu, sequence) in [(0, 5), (1, 90), (0, 6), (0, 9), (1, 91), (1, 95)] {
            log.add(&Message::Event { cpu, sequence, monotonic_ns: 0, event: Event::Other }, 0);
        }
        let taken = log.take();
        assert_eq!((taken.lost, taken.overrun), (5, true));
        // An acknowledgement is numbered too, but by an old kernel only.
        for (cpu, sequence) in [(0, 10), (u32::MAX, 7), (0, 11), (u32::MAX, 99), (1, 96)] {
            log.add(&Message::Acknowledged { cpu, sequence, acknowledged: 1, error: 0 }, 0);
        }
        assert_eq!(log.take().lost, 0);
        // The number wraps round.
        log.add(&Message::Event { cpu: 2, sequence: u32::MAX, monotonic_ns: 0, event: Event::Other }, 0);
        log.add(&Message::Event { cpu: 2, sequence: 0, monotonic_ns: 0, event: Event::Other }, 0);
        assert_eq!(log.take().lost, 0);
        log.add(&Message::Event { cpu: 2, sequence: u32::MAX - 7, monotonic_ns: 0, event: Event::Other }, 0);
        let taken = log.take();
        assert_eq!((taken.lost, taken.overrun), (0, true), "the numbering restarted");
    }

    proptest! {
        /// Whatever comes, it is bounded, and each event is there or counted.
        #[test]
        fn bounded(events in prop::collection::vec((0..3_u8, 1..6_u32), 0..200)) {
            let mut log = Log::new(20);
            let mut starts = 0;
            for (sequence, (what, pid)) in (0..).zip(&events) {
                let what = match what {
                    0 => Event::Forked { pid: *pid, ppid: 1 },
                    1 => Event::Execed { pid: *pid },
                    _ => exit(*pid, 0),
                };
                starts += u64::from(matches!(what, Event::Forked { .. } | Event::Execed { .. }));
                log.add(&event(sequence, what), 0);
            }
            let taken = log.take();
            prop_assert!(taken.facts.len() <= 20);
            prop_assert_eq!(taken.overrun, taken.lost > 0);
            let kept = taken.facts.iter().filter(|fact| matches!(fact, Fact::Started { .. } | Fact::Execed { .. })).count();
            prop_assert!(kept as u64 + taken.lost >= starts);
        }
    }
}
