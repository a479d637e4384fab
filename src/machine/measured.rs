//! The numbers of the machine, by name.

use super::{
    Cpus, Load, MachineCpu, MachineCpuRates, MachineMemory, MachinePressure, MachinePressureRates, MachineRates,
    MachineSample, OwnLimits,
};
use crate::measured::{FieldTable, Measured, Unit};

const CPU: Unit = Unit::Count("{cpu}");
const TASK: Unit = Unit::Count("{task}");

impl Measured for MachineSample {
    const PREFIX: &'static str = "system";

    fn measure(table: &mut FieldTable<Self>) {
        table.part("cpus", |machine| Some(&machine.cpus));
        table.part("cpu", |machine| machine.cpu.value());
        table.part("memory", |machine| machine.memory.value());
        table.part("load", |machine| machine.load.value());
        table.part("pressure", |machine| Some(&machine.pressure));
        table.part("limits", |machine| Some(&machine.limits));
        table
            .gauge("uptime_ns", Unit::Nanoseconds, "Time since the machine was started", |machine| {
                machine.uptime_ns.value().copied()
            })
            .metric("uptime", &[]);
    }
}

impl Measured for Cpus {
    fn measure(table: &mut FieldTable<Self>) {
        table
            .gauge("online", CPU, "CPUs that are online", |cpus| cpus.online.value().copied())
            .metric("cpu.logical.count", &[]);
        table
            .gauge("affinity", CPU, "CPUs that this process may run on", |cpus| cpus.affinity.value().copied())
            .metric("cpu.affinity.count", &[]);
    }
}

impl Measured for MachineCpu {
    fn measure(table: &mut FieldTable<Self>) {
        const MODE: &str = "cpu.mode";
        let ns = Unit::Nanoseconds;
        table
            .counter("user_ns", ns, "CPU time of programs", |cpu| Some(cpu.user_ns))
            .metric("cpu.time", &[(MODE, "user")]);
        table
            .counter("nice_ns", ns, "CPU time of programs of a lower priority", |cpu| Some(cpu.nice_ns))
            .metric("cpu.time", &[(MODE, "nice")]);
        table
            .counter("system_ns", ns, "CPU time of the kernel", |cpu| Some(cpu.system_ns))
            .metric("cpu.time", &[(MODE, "system")]);
        table
            .counter("idle_ns", ns, "Time that CPUs had nothing to do", |cpu| Some(cpu.idle_ns))
            .metric("cpu.time", &[(MODE, "idle")]);
        table
            .counter("iowait_ns", ns, "The same while a task waited for a disk", |cpu| Some(cpu.iowait_ns))
            .metric("cpu.time", &[(MODE, "iowait")]);
        table
            .counter("irq_ns", ns, "CPU time of interrupts", |cpu| Some(cpu.irq_ns))
            .metric("cpu.time", &[(MODE, "interrupt")]);
        table
            .counter("softirq_ns", ns, "CPU time of deferred interrupts", |cpu| Some(cpu.softirq_ns))
            .metric("cpu.time", &[(MODE, "softirq")]);
        table
            .counter("steal_ns", ns, "CPU time taken away by the hypervisor", |cpu| Some(cpu.steal_ns))
            .metric("cpu.time", &[(MODE, "steal")]);
        table
            .counter("guest_ns", ns, "CPU time of virtual machines, a part of user_ns", |cpu| Some(cpu.guest_ns))
            .metric("cpu.guest_time", &[]);
        table
            .counter("guest_nice_ns", ns, "The same of a lower priority, a part of nice_ns", |cpu| {
                Some(cpu.guest_nice_ns)
            })
            .metric("cpu.guest_nice_time", &[]);
    }
}

impl Measured for MachineMemory {
    fn measure(table: &mut FieldTable<Self>) {
        table
            .gauge("total_bytes", Unit::Bytes, "Memory", |memory| Some(memory.total_bytes))
            .metric("memory.limit", &[]);
        table
            .gauge("available_bytes", Unit::Bytes, "Memory that programs can get without swapping", |memory| {
                Some(memory.available_bytes)
            })
            .metric("memory.linux.available", &[]);
        table
            .gauge("free_bytes", Unit::Bytes, "Memory that is used for nothing", |memory| Some(memory.free_bytes))
            .metric("memory.usage", &[("system.memory.state", "free")]);
        table
            .gauge("swap_total_bytes", Unit::Bytes, "Swap", |memory| Some(memory.swap_total_bytes))
            .metric("paging.limit", &[]);
        table
            .gauge("swap_free_bytes", Unit::Bytes, "Swap that is not used", |memory| Some(memory.swap_free_bytes))
            .metric("paging.usage", &[("system.paging.state", "free")]);
    }
}

impl Measured for Load {
    fn measure(table: &mut FieldTable<Self>) {
        table
            .gauge("avg1", TASK, "Tasks that run or wait to run, over 1 min", |load| Some(load.avg1))
            .metric("cpu.load_average.1m", &[]);
        table
            .gauge("avg5", TASK, "Tasks that run or wait to run, over 5 min", |load| Some(load.avg5))
            .metric("cpu.load_average.5m", &[]);
        table
            .gauge("avg15", TASK, "Tasks that run or wait to run, over 15 min", |load| Some(load.avg15))
            .metric("cpu.load_average.15m", &[]);
        table
            .gauge("runnable", TASK, "Tasks that run or wait for a CPU", |load| Some(load.runnable))
            .metric("tasks.runnable", &[]);
        table.gauge("tasks", TASK, "Tasks", |load| Some(load.tasks)).metric("tasks.count", &[]);
    }
}

impl Measured for MachinePressure {
    fn measure(table: &mut FieldTable<Self>) {
        table.part("cpu", |pressure| pressure.cpu.value());
        table.part("memory", |pressure| pressure.memory.value());
        table.part("io", |pressure| pressure.io.value());
    }
}

impl Measured for OwnLimits {
    fn measure(table: &mut FieldTable<Self>) {
        table.gauge("cpu_max.cores", Unit::Cores, "CPUs that the quota of the own control group is worth", |limits| {
            limits.cpu_max.value().and_then(|limit| limit.value.cores())
        });
        table.gauge("memory_max_bytes", Unit::Bytes, "Memory that the own control group may use", |limits| {
            limits.memory_max_bytes.value().map(|limit| limit.value)
        });
        table.gauge("cpuset_cpus", CPU, "CPUs that the own control group may run on", |limits| {
            limits.cpuset_cpus.value().copied()
        });
    }
}

impl Measured for MachineRates {
    fn measure(table: &mut FieldTable<Self>) {
        table.part("cpu", |rates| rates.cpu.value());
        table.part("pressure", |rates| Some(&rates.pressure));
    }
}

impl Measured for MachineCpuRates {
    fn measure(table: &mut FieldTable<Self>) {
        let cores = Unit::Cores;
        table.gauge("busy_cores", cores, "CPUs that did something", |rates| rates.busy_cores);
        table.gauge("user_cores", cores, "CPUs in programs", |rates| rates.user_cores);
        table.gauge("nice_cores", cores, "CPUs in programs of a lower priority", |rates| rates.nice_cores);
        table.gauge("system_cores", cores, "CPUs in the kernel", |rates| rates.system_cores);
        table.gauge("idle_cores", cores, "CPUs with nothing to do", |rates| rates.idle_cores);
        table.gauge("iowait_cores", cores, "The same while a task waited for a disk", |rates| rates.iowait_cores);
        table.gauge("irq_cores", cores, "CPUs in interrupts", |rates| rates.irq_cores);
        table.gauge("softirq_cores", cores, "CPUs in deferred interrupts", |rates| rates.softirq_cores);
        table.gauge("steal_cores", cores, "CPUs taken away by the hypervisor", |rates| rates.steal_cores);
    }
}

impl Measured for MachinePressureRates {
    fn measure(table: &mut FieldTable<Self>) {
        table.part("cpu", |rates| rates.cpu.value());
        table.part("memory", |rates| rates.memory.value());
        table.part("io", |rates| rates.io.value());
    }
}
