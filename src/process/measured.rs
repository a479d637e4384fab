//! The numbers of a process, by name.

use super::rates::{CpuRates, FaultRates, IoRates};
use super::{Cpu, Faults, Io, Memory, ProcessRates, ProcessSample};
use crate::Counters;
use crate::measured::{FieldTable, Labels, Measured, Unit};
use crate::time::Monotonic;

const FAULT: Unit = Unit::Count("{fault}");
const FAULTS: Unit = Unit::CountPerSecond("{fault}");
const CALL: Unit = Unit::Count("{call}");
const CALLS: Unit = Unit::CountPerSecond("{call}");

impl Measured for ProcessSample {
    const PREFIX: &'static str = "process";

    fn measure(table: &mut FieldTable<Self>) {
        table.part("cpu", |process| Some(&process.cpu));
        table.part("memory", |process| Some(&process.memory));
        table.part("faults", |process| Some(&process.faults));
        table.part("io", |process| process.io.value());
        table
            .gauge("threads", Unit::Count("{thread}"), "Threads", |process| Some(process.threads))
            .metric("thread.count", &[]);
        table.gauge("nice", Unit::Count("{nice}"), "Nice value", |process| Some(process.nice));
        table
            .gauge("fd_count", Unit::Count("{file_descriptor}"), "Open file descriptors", |process| {
                process.fd_count.value().copied()
            })
            .metric("unix.file_descriptor.count", &[]);
        table
            .counter("schedstat.run_ns", Unit::Nanoseconds, "Time the main thread ran", |process| {
                process.schedstat.value().and_then(|schedstat| schedstat.run_ns)
            })
            .metric("schedstat.run", &[]);
        table
            .counter("schedstat.wait_ns", Unit::Nanoseconds, "Time the main thread waited for a CPU", |process| {
                process.schedstat.value().and_then(|schedstat| schedstat.wait_ns)
            })
            .metric("schedstat.wait", &[]);
        table
            .gauge("smaps_rollup.pss_bytes", Unit::Bytes, "Memory, each shared page divided by its users", |process| {
                process.smaps_rollup.value().and_then(|smaps| smaps.pss_bytes)
            })
            .metric("memory.pss", &[]);
        table
            .gauge("smaps_rollup.swap_bytes", Unit::Bytes, "Memory in swap", |process| {
                process.smaps_rollup.value().and_then(|smaps| smaps.swap_bytes)
            })
            .metric("memory.swap", &[]);
        table
            .gauge("status.vm_hwm_bytes", Unit::Bytes, "Highest resident memory", |process| {
                process.status.value().and_then(|status| status.vm_hwm_bytes)
            })
            .metric("memory.usage.peak", &[]);
        table
            .gauge("status.vm_swap_bytes", Unit::Bytes, "Anonymous memory in swap", |process| {
                process.status.value().and_then(|status| status.vm_swap_bytes)
            })
            .metric("memory.swap.anonymous", &[]);
        table
            .counter(
                "status.voluntary_ctxt_switches",
                Unit::Count("{context_switch}"),
                "Context switches because the main thread waited",
                |process| process.status.value().and_then(|status| status.voluntary_ctxt_switches),
            )
            .metric("context_switches", &[("process.context_switch.type", "voluntary")]);
        table
            .counter(
                "status.nonvoluntary_ctxt_switches",
                Unit::Count("{context_switch}"),
                "Context switches because another was to run",
                |process| process.status.value().and_then(|status| status.nonvoluntary_ctxt_switches),
            )
            .metric("context_switches", &[("process.context_switch.type", "involuntary")]);
        table.gauge("oom.score", Unit::Count("{point}"), "Badness for the out-of-memory killer", |process| {
            process.oom.value().and_then(|oom| oom.score)
        });
    }

    fn labels(&self) -> Labels {
        Labels::default().with("pid", self.id.pid).with("name", self.info.name.to_string_lossy())
    }

    fn counters_since(&self) -> Option<Monotonic> {
        self.birth().map(|(birth, _)| birth)
    }

    fn measured_at(&self) -> Option<Monotonic> {
        Some(self.at)
    }
}

impl Measured for Cpu {
    fn measure(table: &mut FieldTable<Self>) {
        table.counter("total_ns", Unit::Nanoseconds, "CPU time", |cpu| Some(cpu.total_ns)).metric("cpu", &[]);
        table
            .counter("user_ns", Unit::Nanoseconds, "CPU time in user mode", |cpu| Some(cpu.user_ns))
            .metric("cpu.time", &[("cpu.mode", "user")]);
        table
            .counter("system_ns", Unit::Nanoseconds, "CPU time in the kernel", |cpu| Some(cpu.system_ns))
            .metric("cpu.time", &[("cpu.mode", "system")]);
        table
            .counter("children_user_ns", Unit::Nanoseconds, "User time of children that were waited for", |cpu| {
                Some(cpu.children_user_ns)
            })
            .metric("children.cpu.time", &[("cpu.mode", "user")]);
        table
            .counter("children_system_ns", Unit::Nanoseconds, "System time of children that were waited for", |cpu| {
                Some(cpu.children_system_ns)
            })
            .metric("children.cpu.time", &[("cpu.mode", "system")]);
        table
            .counter("block_io_delay_ns", Unit::Nanoseconds, "Time waited for block I/O", |cpu| {
                Some(cpu.block_io_delay_ns)
            })
            .metric("cpu.time", &[("cpu.mode", "wait")]);
    }
}

impl Measured for Memory {
    fn measure(table: &mut FieldTable<Self>) {
        table
            .gauge("rss_bytes", Unit::Bytes, "Resident memory", |memory| Some(memory.rss_bytes))
            .metric("memory.usage", &[]);
        table
            .gauge("virtual_bytes", Unit::Bytes, "Address space", |memory| Some(memory.virtual_bytes))
            .metric("memory.virtual", &[]);
    }
}

impl Measured for Faults {
    fn measure(table: &mut FieldTable<Self>) {
        table
            .counter("minor", FAULT, "Page faults that needed no disk", |faults| Some(faults.minor))
            .metric("paging.faults", &[("system.paging.fault.type", "minor")]);
        table
            .counter("major", FAULT, "Page faults that loaded a page from disk", |faults| Some(faults.major))
            .metric("paging.faults", &[("system.paging.fault.type", "major")]);
    }
}

impl Measured for Io {
    fn measure(table: &mut FieldTable<Self>) {
        table
            .counter("read_bytes", Unit::Bytes, "Bytes fetched from storage", |io| io.read_bytes)
            .metric("disk.io", &[("disk.io.direction", "read")]);
        table
            .counter("write_bytes", Unit::Bytes, "Bytes caused to be sent to storage", |io| io.write_bytes)
            .metric("disk.io", &[("disk.io.direction", "write")]);
        table
            .counter("read_chars", Unit::Bytes, "Bytes read by system calls", |io| io.read_chars)
            .metric("io", &[("direction", "read")]);
        table
            .counter("write_chars", Unit::Bytes, "Bytes written by system calls", |io| io.write_chars)
            .metric("io", &[("direction", "write")]);
        table
            .counter("read_syscalls", CALL, "System calls that read", |io| io.read_syscalls)
            .metric("io.calls", &[("direction", "read")]);
        table
            .counter("write_syscalls", CALL, "System calls that wrote", |io| io.write_syscalls)
            .metric("io.calls", &[("direction", "write")]);
        table
            .counter("cancelled_write_bytes", Unit::Bytes, "Bytes that were never sent after all", |io| {
                io.cancelled_write_bytes
            })
            .metric("disk.io.cancelled", &[]);
    }
}

impl Measured for ProcessRates {
    fn measure(table: &mut FieldTable<Self>) {
        table.part("cpu", |rates| Some(&rates.cpu));
        table.part("faults", |rates| Some(&rates.faults));
        table.part("io", |rates| rates.io.value());
    }
}

impl Measured for CpuRates {
    fn measure(table: &mut FieldTable<Self>) {
        table.gauge("cores", Unit::Cores, "CPU time per time", |cpu| Some(cpu.cores));
        table.gauge("user_cores", Unit::Cores, "CPU time in user mode per time", |cpu| Some(cpu.user_cores));
        table.gauge("system_cores", Unit::Cores, "CPU time in the kernel per time", |cpu| Some(cpu.system_cores));
    }
}

impl Measured for FaultRates {
    fn measure(table: &mut FieldTable<Self>) {
        table.gauge("minor", FAULTS, "Page faults that needed no disk, per second", |faults| Some(faults.minor));
        table.gauge("major", FAULTS, "Page faults that loaded a page, per second", |faults| Some(faults.major));
    }
}

impl Measured for IoRates {
    fn measure(table: &mut FieldTable<Self>) {
        table.gauge("read_bytes", Unit::BytesPerSecond, "Bytes fetched from storage per second", |io| {
            Some(io.read_bytes)
        });
        table.gauge("write_bytes", Unit::BytesPerSecond, "Bytes caused to be sent to storage per second", |io| {
            Some(io.write_bytes)
        });
        table.gauge("read_chars", Unit::BytesPerSecond, "Bytes read by system calls per second", |io| {
            Some(io.read_chars)
        });
        table.gauge("write_chars", Unit::BytesPerSecond, "Bytes written by system calls per second", |io| {
            Some(io.write_chars)
        });
        table.gauge("read_syscalls", CALLS, "System calls that read, per second", |io| Some(io.read_syscalls));
        table.gauge("write_syscalls", CALLS, "System calls that wrote, per second", |io| Some(io.write_syscalls));
        table.gauge("cancelled_write_bytes", Unit::BytesPerSecond, "Bytes never sent after all, per second", |io| {
            Some(io.cancelled_write_bytes)
        });
    }
}
