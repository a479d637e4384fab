//! The threads of one's own process, by name.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::process::{ProcFs, Schedstat, StatLine};
use crate::time::{clock_ticks_per_second, ticks_to_nanos};
use crate::{Cancel, Reading, Result, Text};

/// The threads of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ThreadsSample {
    /// Their own name (`comm`), at most 15 bytes: `tokio-rt-worker`.
    pub name: Text,
    /// How many of them there are.
    pub threads: u32,
    /// The CPU time that they used, in nanoseconds: from `/proc/self/task/TID/schedstat`, or where the kernel does not keep that
    /// (`CONFIG_SCHED_INFO`) from `stat`, in steps of a clock tick. Threads that ended count with the values of their last reading, as long
    /// as there are others of their name.
    pub cpu_ns: u64,
}

/// The state of the threads, from tick to tick.
#[derive(Debug, Default)]
pub(super) struct Threads {
    by_id: HashMap<(u32, u64), Thread>,
    /// CPU time of those that ended, by name: of names that others have still.
    ended: HashMap<Text, u64>,
    tick: u64,
}

#[derive(Debug)]
struct Thread {
    name: Text,
    cpu_ns: u64,
    seen: u64,
}

impl Threads {
    /// Reads all threads.
    pub(super) fn read(&mut self, procfs: &ProcFs, cancel: &Cancel) -> Result<Reading<Vec<ThreadsSample>>> {
        self.tick = self.tick.wrapping_add(1);
        let tasks = procfs.path().join("self/task");
        let listing = match std::fs::read_dir(&tasks) {
            Ok(listing) => listing,
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return Ok(Reading::Denied),
            Err(_) => return Ok(Reading::Failed),
        };
        for entry in listing {
            cancel.check()?;
            let Ok(entry) = entry else { return Ok(Reading::Failed) };
            // One that ended meanwhile has no files.
            let Ok(line) = std::fs::read(entry.path().join("stat")) else { continue };
            let Ok(stat) = StatLine::parse(&line) else { continue };
            let schedstat = std::fs::read(entry.path().join("schedstat")).ok();
            let run_ns = schedstat
                .and_then(|line| Schedstat::parse(&line).ok())
                .and_then(|read| read.run_ns)
                .unwrap_or_default();
            let ticks = stat.utime_ticks.saturating_add(stat.stime_ticks);
            let cpu_ns = if run_ns > 0 { run_ns } else { ticks_to_nanos(ticks, clock_ticks_per_second()) };
            self.see((stat.pid, stat.start_ticks), stat.comm, cpu_ns);
        }
        Ok(Reading::Value(self.sum()))
    }

    fn see(&mut self, id: (u32, u64), name: &[u8], cpu_ns: u64) {
        let tick = self.tick;
        let thread = self.by_id.entry(id).or_insert_with(|| Thread { name: Text::from(name), cpu_ns: 0, seen: tick });
        if thread.name.as_bytes() != name {
            // Its usage under its first name stays there as long as other threads have that name.
            thread.name = Text::from(name);
        }
        (thread.cpu_ns, thread.seen) = (cpu_ns.max(thread.cpu_ns), tick);
    }

    /// The sums by name, of the threads seen at this tick and of those that ended.
    fn sum(&mut self) -> Vec<ThreadsSample> {
        let (tick, ended) = (self.tick, &mut self.ended);
        self.by_id.retain(|_, thread| {
            let lives = thread.seen == tick;
            if !lives {
                let total = ended.entry(thread.name.clone()).or_default();
                *total = total.saturating_add(thread.cpu_ns);
            }
            lives
        });
        let mut sums: BTreeMap<&Text, (u32, u64)> = BTreeMap::new();
        for thread in self.by_id.values() {
            let (threads, cpu_ns) = sums.entry(&thread.name).or_default();
            *threads = threads.saturating_add(1);
            *cpu_ns = cpu_ns.saturating_add(thread.cpu_ns);
        }
        // Names without a thread are forgotten: a program can set another one for each thread.
        ended.retain(|name, _| sums.contains_key(name));
        let sample = |(name, (threads, cpu_ns)): (&Text, (u32, u64))| ThreadsSample {
            name: name.clone(),
            threads,
            cpu_ns: cpu_ns.saturating_add(ended.get(name).copied().unwrap_or(0)),
        };
        sums.into_iter().map(sample).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick(threads: &mut Threads, seen: &[(u32, &str, u64)]) -> Vec<(String, u32, u64)> {
        threads.tick += 1;
        for (tid, name, cpu_ns) in seen {
            threads.see((*tid, 7), name.as_bytes(), *cpu_ns);
        }
        let sums = threads.sum().into_iter();
        sums.map(|sum| (sum.name.to_string(), sum.threads, sum.cpu_ns)).collect()
    }

    #[test]
    fn threads_that_ended_count_while_others_have_their_name() {
        let mut threads = Threads::default();
        let sum = |name: &str, count, cpu_ns| (name.to_owned(), count, cpu_ns);
        assert_eq!(tick(&mut threads, &[(1, "b", 5), (2, "a", 7), (3, "a", 9)]), [sum("a", 2, 16), sum("b", 1, 5)]);
        assert_eq!(tick(&mut threads, &[(1, "b", 6), (2, "a", 8)]), [sum("a", 1, 17), sum("b", 1, 6)]);
        assert_eq!(tick(&mut threads, &[(2, "a", 8), (4, "a", 1)]), [sum("a", 2, 18)]);
        assert_eq!(tick(&mut threads, &[(5, "b", 2)]), [sum("b", 1, 2)], "another b, and no a");
        assert_eq!((threads.by_id.len(), threads.ended.len()), (1, 0));
    }
}
