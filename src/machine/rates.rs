//! How fast the counters of the machine grow.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{MachineCpu, MachinePressure, MachineSample};
use crate::cgroup::{Pressure, PressureRates};
use crate::counters::{both, per_second};
use crate::{Counters, Monotonic, Reading};

/// How busy the machine was between two readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MachineRates {
    /// CPUs by mode.
    pub cpu: Reading<MachineCpuRates>,
    /// Shares of the time that tasks lost waiting.
    pub pressure: MachinePressureRates,
}

/// How many CPUs were in each mode, on the average: 1.0 is one CPU all of the time. `None` where the kernel's figure went backwards, as that
/// of idle CPUs and of those that wait for disks can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MachineCpuRates {
    /// All that did something: programs, the kernel and interrupts. Without steal.
    pub busy_cores: Option<f64>,
    /// Programs.
    pub user_cores: Option<f64>,
    /// Programs of a lower priority.
    pub nice_cores: Option<f64>,
    /// The kernel.
    pub system_cores: Option<f64>,
    /// Nothing to do.
    pub idle_cores: Option<f64>,
    /// Nothing to do while a task waits for a disk.
    pub iowait_cores: Option<f64>,
    /// Interrupts.
    pub irq_cores: Option<f64>,
    /// The part of interrupts that is done later.
    pub softirq_cores: Option<f64>,
    /// Taken away by the hypervisor.
    pub steal_cores: Option<f64>,
}

/// Shares of the time that tasks lost waiting for each resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MachinePressureRates {
    /// For a CPU.
    pub cpu: Reading<PressureRates>,
    /// For memory.
    pub memory: Reading<PressureRates>,
    /// For disks.
    pub io: Reading<PressureRates>,
}

/// The counters of the machine of which rates are made.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct MachineTotals {
    /// CPU time.
    pub cpu: Reading<MachineCpu>,
    /// Time lost waiting.
    pub pressure: MachinePressure,
}

impl Counters for MachineSample {
    type Totals = MachineTotals;
    type Rates = MachineRates;

    fn totals(&self) -> MachineTotals {
        MachineTotals { cpu: self.cpu, pressure: self.pressure }
    }

    fn at(&self) -> Monotonic {
        self.at
    }

    fn rates(&self, earlier: &MachineTotals, elapsed: Duration) -> Option<MachineRates> {
        let cpu = both(&earlier.cpu, &self.cpu, |earlier, now| {
            let cores = |of: fn(&MachineCpu) -> u64| Some(per_second(of(earlier), of(now), elapsed)? / 1e9);
            Some(MachineCpuRates {
                busy_cores: cores(MachineCpu::busy_ns),
                user_cores: cores(|cpu| cpu.user_ns),
                nice_cores: cores(|cpu| cpu.nice_ns),
                system_cores: cores(|cpu| cpu.system_ns),
                idle_cores: cores(|cpu| cpu.idle_ns),
                iowait_cores: cores(|cpu| cpu.iowait_ns),
                irq_cores: cores(|cpu| cpu.irq_ns),
                softirq_cores: cores(|cpu| cpu.softirq_ns),
                steal_cores: cores(|cpu| cpu.steal_ns),
            })
        })?;
        let lost = |of: fn(&MachinePressure) -> &Reading<Pressure>| {
            both(of(&earlier.pressure), of(&self.pressure), |earlier, now| {
                Some(now.rates(earlier, elapsed).unwrap_or_default())
            })
        };
        let pressure = MachinePressureRates {
            cpu: lost(|pressure| &pressure.cpu)?,
            memory: lost(|pressure| &pressure.memory)?,
            io: lost(|pressure| &pressure.io)?,
        };
        Some(MachineRates { cpu, pressure })
    }
}
