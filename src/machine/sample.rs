//! The sample of the machine at a tick.

use serde::{Deserialize, Serialize};

use super::OwnLimits;
use crate::cgroup::Pressure;
use crate::{Monotonic, Reading, Sample};

/// The machine at one tick. Each part is read by itself: one that cannot be read says why.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MachineSample {
    /// When it was read.
    pub at: Monotonic,
    /// How long ago the machine was started, the time it was suspended included: `/proc/uptime`, in steps of 10 ms.
    pub uptime_ns: Reading<u64>,
    /// The CPUs, and those that this process may use.
    pub cpus: Cpus,
    /// The CPU time of all CPUs together, by mode: the first line of `/proc/stat`.
    pub cpu: Reading<MachineCpu>,
    /// The memory: `/proc/meminfo`.
    pub memory: Reading<MachineMemory>,
    /// How many tasks want to run: `/proc/loadavg`.
    pub load: Reading<Load>,
    /// How much time tasks lost waiting: `/proc/pressure`.
    pub pressure: MachinePressure,
    /// How much of it the control group of this process may use.
    pub limits: OwnLimits,
}

/// How many CPUs there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Cpus {
    /// The CPUs that are online: the lines `cpuN` of `/proc/stat`.
    pub online: Reading<u32>,
    /// The CPUs that this process may run on: by the affinity of its main thread, which its cpuset is part of (`sched_getaffinity(2)`). As
    /// old as [`OwnLimits::read_at`].
    pub affinity: Reading<u32>,
}

/// CPU time since the machine was started, by mode, summed over all CPUs; in steps of a clock tick (10 ms) for each mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MachineCpu {
    /// Programs, those of a lower priority not included; that of virtual machines included.
    pub user_ns: u64,
    /// Programs of a lower priority (`nice` above 0); that of virtual machines included.
    pub nice_ns: u64,
    /// The kernel, interrupts not included.
    pub system_ns: u64,
    /// Nothing to do.
    pub idle_ns: u64,
    /// Nothing to do while a task waits for a disk. The kernel's figure is not reliable, and can go backwards.
    pub iowait_ns: u64,
    /// Interrupts.
    pub irq_ns: u64,
    /// The part of interrupts that is done later.
    pub softirq_ns: u64,
    /// Time in which a CPU had something to do, and the hypervisor ran something else. 0 on real hardware.
    pub steal_ns: u64,
    /// Virtual machines: a part of `user_ns`.
    pub guest_ns: u64,
    /// Virtual machines of a lower priority: a part of `nice_ns`.
    pub guest_nice_ns: u64,
}

/// Memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MachineMemory {
    /// All that the kernel has to give out (`MemTotal`).
    pub total_bytes: u64,
    /// An estimate of what programs can get without swapping (`MemAvailable`).
    pub available_bytes: u64,
    /// What is used for nothing at all (`MemFree`).
    pub free_bytes: u64,
    /// All swap (`SwapTotal`); 0 where there is none.
    pub swap_total_bytes: u64,
    /// Swap that is not used (`SwapFree`).
    pub swap_free_bytes: u64,
}

/// How many tasks run, wait for a CPU or wait for a disk, as averages over time. One task is 1.0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Load {
    /// Over the last minute or so. The file has two decimals.
    pub avg1: f64,
    /// Over the last five minutes.
    pub avg5: f64,
    /// Over the last fifteen minutes.
    pub avg15: f64,
    /// The tasks that run or wait for a CPU right now, the one that reads this included.
    pub runnable: u64,
    /// All tasks: threads, those of the kernel included.
    pub tasks: u64,
}

/// The pressure on each resource, since Linux 4.20; [`Reading::Unsupported`] where the kernel keeps no account of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MachinePressure {
    /// Time that tasks waited for a CPU: `/proc/pressure/cpu`.
    pub cpu: Reading<Pressure>,
    /// Time that tasks waited for memory: `/proc/pressure/memory`.
    pub memory: Reading<Pressure>,
    /// Time that tasks waited for disks: `/proc/pressure/io`.
    pub io: Reading<Pressure>,
}

impl MachineCpu {
    /// Returns the time that CPUs did something: programs, the kernel and interrupts. Without steal, which is time that there was no CPU.
    #[must_use]
    pub fn busy_ns(&self) -> u64 {
        [self.user_ns, self.nice_ns, self.system_ns, self.irq_ns, self.softirq_ns]
            .into_iter()
            .fold(0, u64::saturating_add)
    }
}

impl MachineSample {
    /// How many of its parts could not be read.
    pub(super) fn missing_fields(&self) -> u64 {
        let limits = &self.limits;
        [
            self.uptime_ns.is_missing(),
            self.cpus.online.is_missing(),
            self.cpus.affinity.is_missing(),
            self.cpu.is_missing(),
            self.memory.is_missing(),
            self.load.is_missing(),
            self.pressure.cpu.is_missing(),
            self.pressure.memory.is_missing(),
            self.pressure.io.is_missing(),
            limits.control_group.is_missing(),
            limits.cpu_max.is_missing(),
            limits.memory_max_bytes.is_missing(),
            limits.cpuset_cpus.is_missing(),
        ]
        .into_iter()
        .map(u64::from)
        .fold(0, u64::saturating_add)
    }
}

/// There is one, so all samples have the same key.
impl Sample for MachineSample {
    const KIND: &'static str = "machine";
    type Key = ();

    fn key(&self) {}
}
