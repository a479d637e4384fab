//! Lives on a simulated machine, with events and readings in any order.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::process::ProcessData;

const TICK_NS: u64 = 10_000_000;

/// Processes of a machine with few pids, and the announcements of its kernel.
#[derive(Default)]
struct Machine {
    now: u64,
    last_pid: u32,
    /// By pid: start, parent, and how it ended if it did.
    processes: BTreeMap<u32, (u64, u32, Option<u32>)>,
    facts: Vec<Fact>,
    /// The status of each that ended.
    statuses: BTreeMap<ProcessId, u32>,
}

impl Machine {
    fn at(&self) -> Monotonic {
        Monotonic::from_nanos(self.now * TICK_NS)
    }

    fn fork(&mut self, choice: usize) {
        let free = (1..=60).map(|step| (self.last_pid + step) % 60 + 2).find(|pid| !self.processes.contains_key(pid));
        let Some(pid) = free else { return };
        self.last_pid = pid - 2;
        let living: Vec<u32> =
            self.processes.iter().filter(|(_, (.., end))| end.is_none()).map(|(pid, _)| *pid).collect();
        let ppid = living.get(choice % living.len().max(1)).copied().unwrap_or(1);
        self.processes.insert(pid, (self.now, ppid, None));
        self.facts.push(Fact::Started { pid, ppid, at: self.at() });
    }

    fn exit(&mut self, choice: usize, code: u32) {
        let at = self.at();
        let living = self.processes.iter_mut().filter(|(_, (.., end))| end.is_none()).collect::<Vec<_>>();
        let count = living.len().max(1);
        let Some((pid, (start_ticks, ppid, end))) = living.into_iter().nth(choice % count) else { return };
        *end = Some(code);
        self.statuses.insert(ProcessId { pid: *pid, start_ticks: *start_ticks }, code);
        self.facts.push(Fact::Exited { pid: *pid, exit: Exit { code, ppid: *ppid, at } });
    }

    fn reap(&mut self, choice: usize) {
        let ended: Vec<u32> =
            self.processes.iter().filter(|(_, (.., end))| end.is_some()).map(|(pid, _)| *pid).collect();
        if let Some(pid) = ended.get(choice % ended.len().max(1)) {
            self.processes.remove(pid);
        }
    }

    fn step(&mut self, (what, choice): (u8, usize)) {
        self.now += 3;
        match what {
            0 | 1 => self.fork(choice),
            2 => self.exit(choice, u32::try_from(choice).unwrap() << 8),
            _ => self.reap(choice),
        }
    }

    fn samples(&self) -> Vec<ProcessSample> {
        let data = |(pid, (start_ticks, ppid, end)): (&u32, &(u64, u32, Option<u32>))| ProcessData {
            id: ProcessId { pid: *pid, start_ticks: *start_ticks },
            ppid: *ppid,
            threads: 1,
            state: if end.is_some() { ProcessState::Zombie } else { ProcessState::Sleeping },
            ..ProcessData::default()
        };
        self.processes.iter().map(data).map(ProcessSample::from).collect()
    }
}

/// The events reported of each life, in order.
type Reported = BTreeMap<ProcessId, Vec<Option<Reading<ExitStatus>>>>;

fn tick(lives: &mut Lives, machine: &Machine, facts: Vec<Fact>, evidence: Evidence, reported: &mut Reported) {
    let samples = machine.samples();
    let drafts = lives.advance(Input {
        facts,
        evidence,
        samples: &samples,
        now: machine.at(),
        exists: &|pid| machine.processes.contains_key(&pid),
        status: &|sample| {
            let code = machine.processes.get(&sample.id.pid).and_then(|(.., end)| *end);
            code.map_or(Reading::Failed, |code| Reading::Value(ExitStatus::from_wait(code)))
        },
    });
    for draft in drafts {
        let of = reported.entry(lives.get(draft.life).unwrap().id).or_default();
        match draft.kind {
            DraftKind::Started(_) => of.push(None),
            DraftKind::Ended(status) => of.push(Some(status)),
            _ => {}
        }
    }
    lives.remove_ended();
}

fn lives() -> Lives {
    Lives::new(1_000_000_000 / TICK_NS)
}

/// The kinds of steps, and the choice of a process for each.
type Picks = Vec<(u8, usize)>;

/// The number of steps before the facts are taken, the steps after that, and those before all is read.
fn steps() -> impl Strategy<Value = Vec<(Picks, Picks)>> {
    let some = |most| prop::collection::vec((0..5_u8, 0..250_usize), 0..most);
    prop::collection::vec((some(12), some(4)), 1..20)
}

proptest! {
    /// Each announcement is reported once, in order, with its status, at whatever time it is read.
    #[test]
    fn announced(rounds in steps()) {
        let (mut machine, mut lives, mut reported) = (Machine::default(), lives(), Reported::new());
        machine.now = 1_000;
        (0..5).for_each(|choice| machine.fork(choice));
        machine.facts.clear();
        tick(&mut lives, &machine, Vec::new(), Evidence::Announced, &mut reported);
        let first: Vec<ProcessId> = machine.samples().iter().map(|sample| sample.id).collect();
        for (before, between) in rounds {
            before.into_iter().for_each(|step| machine.step(step));
            let facts = std::mem::take(&mut machine.facts);
            between.into_iter().for_each(|step| machine.step(step));
            tick(&mut lives, &machine, facts, Evidence::Announced, &mut reported);
        }
        while machine.processes.values().any(|(.., end)| end.is_none()) {
            machine.step((2, 7));
        }
        for _ in 0..2 {
            let facts = std::mem::take(&mut machine.facts);
            tick(&mut lives, &machine, facts, Evidence::Announced, &mut reported);
            machine.processes.clear();
        }
        tick(&mut lives, &machine, Vec::new(), Evidence::Announced, &mut reported);
        for (id, code) in &machine.statuses {
            let end = Some(Reading::Value(ExitStatus::from_wait(*code)));
            let expected = if first.contains(id) { vec![end] } else { vec![None, end] };
            prop_assert_eq!(reported.get(id), Some(&expected), "{}", id);
        }
        prop_assert_eq!(reported.len(), machine.statuses.len());
        prop_assert_eq!((lives.lives.len(), lives.by_pid.len(), lives.superseded.len()), (0, 0, 0));
    }

    /// Whatever announcements are lost, each process that exists at a tick is known by the one after the next, none begins or ends twice,
    /// and in the end nothing is left. A process that was only read has its status where it could be.
    #[test]
    fn lost(rounds in steps(), lost in prop::collection::vec(any::<bool>(), 400), read_only in any::<bool>()) {
        let (mut machine, mut lives, mut reported) = (Machine::default(), lives(), Reported::new());
        machine.now = 1_000;
        tick(&mut lives, &machine, Vec::new(), Evidence::Announced, &mut reported);
        let evidence = if read_only { Evidence::ReadOnly } else { Evidence::Incomplete };
        let mut lost = lost.into_iter().cycle();
        let mut announced = |facts: Vec<Fact>| facts.into_iter().filter(|_| !read_only && !lost.next().unwrap()).collect::<Vec<_>>();
        for (before, _) in rounds {
            before.into_iter().for_each(|step| machine.step(step));
            let facts = announced(std::mem::take(&mut machine.facts));
            tick(&mut lives, &machine, facts, evidence, &mut reported);
            for sample in machine.samples() {
                prop_assert!(lives.by_pid.contains_key(&sample.id.pid), "{}", sample.id);
            }
        }
        machine.processes.clear();
        for _ in 0..3 {
            machine.now += 200;
            tick(&mut lives, &machine, Vec::new(), evidence, &mut reported);
        }
        for (id, what) in &reported {
            prop_assert!(what.iter().filter(|what| what.is_none()).count() <= 1, "{}: {:?}", id, what);
            prop_assert_eq!(what.iter().filter(|what| what.is_some()).count(), 1, "{}: {:?}", id, what);
        }
        prop_assert_eq!((lives.lives.len(), lives.by_pid.len(), lives.superseded.len()), (0, 0, 0));
    }
}
