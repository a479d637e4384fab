//! The numbers of a group of processes, by name.

use std::fmt;

use super::{GroupRates, GroupSample};
use crate::measured::{FieldTable, Labels, Measured, Unit};
use crate::time::Monotonic;

const PROCESS: Unit = Unit::Count("{process}");

/// Its label is the key, written as it is displayed, under the name that [`by`](GroupSample::by) says, `group` where it says none; that
/// of all others is `other`.
impl<K: fmt::Display + 'static> Measured for GroupSample<K> {
    const PREFIX: &'static str = "process.group";

    fn measure(table: &mut FieldTable<Self>) {
        table
            .gauge("alive", PROCESS, "Processes that are there", |group| Some(group.alive))
            .metric("process.count", &[]);
        table
            .counter("seen", PROCESS, "Processes that were seen in it", |group| Some(group.seen))
            .metric("process.seen", &[]);
        table
            .counter("exited", PROCESS, "Processes that ended in it", |group| Some(group.exited))
            .metric("process.exited", &[]);
        table
            .counter("cpu.total_ns", Unit::Nanoseconds, "CPU time", |group| Some(group.cpu.total_ns))
            .metric("cpu", &[]);
        table
            .counter("cpu.user_ns", Unit::Nanoseconds, "CPU time in user mode", |group| Some(group.cpu.user_ns))
            .metric("cpu.time", &[("cpu.mode", "user")]);
        table
            .counter("cpu.system_ns", Unit::Nanoseconds, "CPU time in the kernel", |group| Some(group.cpu.system_ns))
            .metric("cpu.time", &[("cpu.mode", "system")]);
        table
            .counter("inferred.total_ns", Unit::Nanoseconds, "What of the CPU time may be of another group", |group| {
                Some(group.inferred.total_ns)
            })
            .metric("inferred.cpu", &[]);
        table
            .counter("inferred.user_ns", Unit::Nanoseconds, "What of the user time may be of another group", |group| {
                Some(group.inferred.user_ns)
            })
            .metric("inferred.cpu.time", &[("cpu.mode", "user")]);
        table
            .counter(
                "inferred.system_ns",
                Unit::Nanoseconds,
                "What of the kernel time may be of another group",
                |group| Some(group.inferred.system_ns),
            )
            .metric("inferred.cpu.time", &[("cpu.mode", "system")]);
        table
            .counter("unrecovered_ns", Unit::Nanoseconds, "CPU time that no parent got at the end", |group| {
                Some(group.unrecovered_ns)
            })
            .metric("unrecovered.cpu", &[]);
        table
            .gauge("threads", Unit::Count("{thread}"), "Threads", |group| Some(group.threads))
            .metric("thread.count", &[]);
        table.part("memory", |group| Some(&group.memory));
        table.part("faults", |group| Some(&group.faults));
        table.part("io", |group| Some(&group.io));
        table
            .gauge("io_unknown", PROCESS, "Processes whose I/O cannot be read", |group| Some(group.io_unknown))
            .metric("process.io_unknown", &[]);
    }

    fn labels(&self) -> Labels {
        Labels::default().with(self.by.as_deref().unwrap_or("group"), &self.key)
    }

    fn counters_since(&self) -> Option<Monotonic> {
        Some(self.since)
    }

    fn measured_at(&self) -> Option<Monotonic> {
        Some(self.at)
    }
}

impl Measured for GroupRates {
    fn measure(table: &mut FieldTable<Self>) {
        table.part("cpu", |rates| Some(&rates.cpu));
        table.part("faults", |rates| Some(&rates.faults));
        table.part("io", |rates| rates.io.value());
    }
}
