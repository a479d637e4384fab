//! The numbers of a control group, by name.

use super::{
    ControlGroupCpu, ControlGroupIo, ControlGroupIoRates, ControlGroupLimits, ControlGroupMemory, ControlGroupPids,
    ControlGroupPressure, ControlGroupPressureRates, ControlGroupRates, ControlGroupSample, EffectiveLimits,
    MemoryEvents, MemoryStat, Throttling, ThrottlingRates,
};
use crate::Reading;
use crate::measured::{FieldTable, Labels, Measured, Unit};

const PERIOD: Unit = Unit::Count("{period}");
const OPERATION: Unit = Unit::Count("{operation}");
const OPERATIONS: Unit = Unit::CountPerSecond("{operation}");
const TASK: Unit = Unit::Count("{task}");
const EVENT: Unit = Unit::Count("{event}");

/// Of devices there are sums; of its limits those that hold for it.
impl Measured for ControlGroupSample {
    const PREFIX: &'static str = "cgroup";

    fn measure(table: &mut FieldTable<Self>) {
        table.part("cpu", |group| group.cpu.value());
        table.part("memory", |group| group.memory.value().map(|memory| &**memory));
        table.part("io", |group| group.io.value().map(|io| &**io));
        table.part("pids", |group| group.pids.value());
        table.part("pressure", |group| group.pressure.value().map(|pressure| &**pressure));
        table.part("limits", |group| group.limits.value().map(|limits| &**limits));
        table.gauge("populated", Unit::Count("1"), "Whether there are processes in it", |group| flag(&group.populated));
        table.gauge("frozen", Unit::Count("1"), "Whether it is frozen", |group| flag(&group.frozen));
    }

    fn labels(&self) -> Labels {
        Labels::default().with("cgroup", self.path.to_string_lossy())
    }
}

fn flag(is: &Reading<bool>) -> Option<u32> {
    is.value().map(|is| u32::from(*is))
}

impl Measured for ControlGroupCpu {
    fn measure(table: &mut FieldTable<Self>) {
        table.counter("usage_ns", Unit::Nanoseconds, "CPU time", |cpu| Some(cpu.usage_ns)).metric("cpu", &[]);
        table
            .counter("user_ns", Unit::Nanoseconds, "CPU time in user mode", |cpu| Some(cpu.user_ns))
            .metric("cpu.time", &[("cpu.mode", "user")]);
        table
            .counter("system_ns", Unit::Nanoseconds, "CPU time in the kernel", |cpu| Some(cpu.system_ns))
            .metric("cpu.time", &[("cpu.mode", "system")]);
        table.part("throttling", |cpu| cpu.throttling.value());
    }
}

impl Measured for Throttling {
    fn measure(table: &mut FieldTable<Self>) {
        table.counter("periods", PERIOD, "Periods of the quota in which it wanted to run", |own| Some(own.periods));
        table.counter("throttled_periods", PERIOD, "Periods in which it used up its quota", |own| {
            Some(own.throttled_periods)
        });
        table.counter("throttled_ns", Unit::Nanoseconds, "Time throttled, over all CPUs", |own| Some(own.throttled_ns));
        table.counter("bursts", PERIOD, "Periods in which it used quota that it had saved", |own| Some(own.bursts));
        table.counter("burst_ns", Unit::Nanoseconds, "CPU time beyond the quota in these", |own| Some(own.burst_ns));
    }
}

impl Measured for ControlGroupMemory {
    fn measure(table: &mut FieldTable<Self>) {
        table
            .gauge("current_bytes", Unit::Bytes, "Memory charged to it", |memory| Some(memory.current_bytes))
            .metric("memory.usage", &[]);
        table.gauge("peak_bytes", Unit::Bytes, "Most memory charged to it", |memory| memory.peak_bytes.into_value());
        table.gauge("swap_bytes", Unit::Bytes, "Memory in swap", |memory| memory.swap_bytes.into_value());
        table.part("events", |memory| memory.events.value());
        table.part("stat", |memory| memory.stat.value());
    }
}

impl Measured for MemoryEvents {
    fn measure(table: &mut FieldTable<Self>) {
        table.counter("low", EVENT, "Times reclaimed from though below memory.low", |events| Some(events.low));
        table.counter("high", EVENT, "Times throttled above memory.high", |events| Some(events.high));
        table.counter("max", EVENT, "Times about to go above memory.max", |events| Some(events.max));
        table.counter("oom", EVENT, "Times at the limit with nothing to reclaim", |events| Some(events.oom));
        table.counter("oom_kill", Unit::Count("{process}"), "Processes killed by the OOM killer", |events| {
            Some(events.oom_kill)
        });
        table.counter("oom_group_kill", EVENT, "Times that all of it was killed", |events| events.oom_group_kill);
    }
}

impl Measured for MemoryStat {
    fn measure(table: &mut FieldTable<Self>) {
        table.gauge("anon_bytes", Unit::Bytes, "Anonymous memory", |stat| stat.anon_bytes);
        table.gauge("file_bytes", Unit::Bytes, "Page cache", |stat| stat.file_bytes);
        table.gauge("kernel_bytes", Unit::Bytes, "Memory of the kernel's own", |stat| stat.kernel_bytes);
        table.gauge("slab_bytes", Unit::Bytes, "Slabs of the kernel", |stat| stat.slab_bytes);
        table.gauge("sock_bytes", Unit::Bytes, "Buffers of sockets", |stat| stat.sock_bytes);
        table.gauge("shmem_bytes", Unit::Bytes, "Shared memory and tmpfs", |stat| stat.shmem_bytes);
        table.gauge("file_dirty_bytes", Unit::Bytes, "Page cache to be written", |stat| stat.file_dirty_bytes);
        table.gauge("file_writeback_bytes", Unit::Bytes, "Page cache being written", |stat| stat.file_writeback_bytes);
        table.gauge("active_file_bytes", Unit::Bytes, "Page cache used lately", |stat| stat.active_file_bytes);
        table.gauge("inactive_file_bytes", Unit::Bytes, "Page cache not used lately", |stat| stat.inactive_file_bytes);
        table.gauge("unevictable_bytes", Unit::Bytes, "Memory that cannot be reclaimed", |stat| stat.unevictable_bytes);
        table.counter("faults", Unit::Count("{fault}"), "Page faults", |stat| stat.faults);
        table.counter("major_faults", Unit::Count("{fault}"), "Page faults that loaded a page from disk", |stat| {
            stat.major_faults
        });
        table.counter("refaults", Unit::Count("{page}"), "Pages reclaimed and needed again", |stat| stat.refaults);
    }
}

impl Measured for ControlGroupIo {
    fn measure(table: &mut FieldTable<Self>) {
        table
            .counter("read_bytes", Unit::Bytes, "Bytes read from block devices", |io| Some(io.total.read_bytes))
            .metric("disk.io", &[("disk.io.direction", "read")]);
        table
            .counter("write_bytes", Unit::Bytes, "Bytes written to block devices", |io| Some(io.total.write_bytes))
            .metric("disk.io", &[("disk.io.direction", "write")]);
        table
            .counter("reads", OPERATION, "Reads from block devices", |io| Some(io.total.reads))
            .metric("disk.operations", &[("disk.io.direction", "read")]);
        table
            .counter("writes", OPERATION, "Writes to block devices", |io| Some(io.total.writes))
            .metric("disk.operations", &[("disk.io.direction", "write")]);
        table.counter("discard_bytes", Unit::Bytes, "Bytes discarded", |io| Some(io.total.discard_bytes));
        table.counter("discards", OPERATION, "Discards", |io| Some(io.total.discards));
    }
}

impl Measured for ControlGroupPids {
    fn measure(table: &mut FieldTable<Self>) {
        table.gauge("current", TASK, "Processes and threads", |pids| Some(pids.current));
        table.gauge("peak", TASK, "Most processes and threads", |pids| pids.peak.into_value());
        table.counter("refused_forks", EVENT, "Forks that failed by pids.max", |pids| pids.refused_forks.into_value());
    }
}

impl Measured for ControlGroupPressure {
    fn measure(table: &mut FieldTable<Self>) {
        table.part("cpu", |pressure| pressure.cpu.value());
        table.part("memory", |pressure| pressure.memory.value());
        table.part("io", |pressure| pressure.io.value());
        table.part("irq", |pressure| pressure.irq.value());
    }
}

impl Measured for ControlGroupLimits {
    fn measure(table: &mut FieldTable<Self>) {
        table.gauge("cpu_weight", Unit::Count("{weight}"), "Share of CPU time among its like", |limits| {
            limits.cpu_weight.into_value()
        });
        table.part("effective", |limits| Some(&limits.effective));
    }
}

impl Measured for EffectiveLimits {
    fn measure(table: &mut FieldTable<Self>) {
        table.gauge("cpu_cores", Unit::Cores, "CPU quota that holds for it", |limits| {
            limits.cpu_max.as_ref().and_then(|max| max.value.cores())
        });
        table.gauge("cpuset.value.count", Unit::Count("{cpu}"), "CPUs it may use", |limits| {
            limits.cpuset.as_ref().map(|set| set.value.count)
        });
        table.gauge("memory_max_bytes.value", Unit::Bytes, "Memory it may have", |limits| {
            limits.memory_max_bytes.as_ref().map(|max| max.value)
        });
        table.gauge("memory_high_bytes.value", Unit::Bytes, "Memory above which it is throttled", |limits| {
            limits.memory_high_bytes.as_ref().map(|max| max.value)
        });
        table.gauge("memory_swap_max_bytes.value", Unit::Bytes, "Swap it may use", |limits| {
            limits.memory_swap_max_bytes.as_ref().map(|max| max.value)
        });
        table.gauge("pids_max.value", TASK, "Processes and threads it may have", |limits| {
            limits.pids_max.as_ref().map(|max| max.value)
        });
    }
}

impl Measured for ControlGroupRates {
    fn measure(table: &mut FieldTable<Self>) {
        table.part("cpu", |rates| rates.cpu.value());
        table.part("throttling", |rates| rates.throttling.value());
        table.part("io", |rates| rates.io.value());
        table.part("pressure", |rates| rates.pressure.value());
    }
}

impl Measured for ThrottlingRates {
    fn measure(table: &mut FieldTable<Self>) {
        table.gauge("throttled_periods", Unit::Fraction, "Share of its periods in which it used up its quota", |own| {
            Some(own.throttled_periods)
        });
        table.gauge("throttled_cores", Unit::Cores, "Time throttled per time", |own| Some(own.throttled_cores));
    }
}

impl Measured for ControlGroupIoRates {
    fn measure(table: &mut FieldTable<Self>) {
        table.gauge("read_bytes", Unit::BytesPerSecond, "Bytes read per second", |io| Some(io.read_bytes));
        table.gauge("write_bytes", Unit::BytesPerSecond, "Bytes written per second", |io| Some(io.write_bytes));
        table.gauge("reads", OPERATIONS, "Reads per second", |io| Some(io.reads));
        table.gauge("writes", OPERATIONS, "Writes per second", |io| Some(io.writes));
        table.gauge("discard_bytes", Unit::BytesPerSecond, "Bytes discarded per second", |io| Some(io.discard_bytes));
        table.gauge("discards", OPERATIONS, "Discards per second", |io| Some(io.discards));
    }
}

impl Measured for ControlGroupPressureRates {
    fn measure(table: &mut FieldTable<Self>) {
        table.part("cpu", |pressure| pressure.cpu.value());
        table.part("memory", |pressure| pressure.memory.value());
        table.part("io", |pressure| pressure.io.value());
        table.part("irq", |pressure| pressure.irq.value());
    }
}
