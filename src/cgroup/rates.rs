//! Rates of a control group.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::io::IoCounts;
use super::{ControlGroupCpu, ControlGroupPressure, ControlGroupSample, Pressure, PressureRates};
use crate::counters::{both, per_second};
use crate::process::CpuRates;
use crate::{Counters, Monotonic, Reading};

/// How fast the counters of a control group grew between two readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ControlGroupRates {
    /// CPU time per time.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub cpu: Reading<CpuRates>,
    /// Throttling by its own quota.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub throttling: Reading<ThrottlingRates>,
    /// I/O of all block devices together.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub io: Reading<ControlGroupIoRates>,
    /// What its tasks waited for.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub pressure: Reading<ControlGroupPressureRates>,
}

/// How much a control group was throttled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ThrottlingRates {
    /// The share of the periods in which it used up its quota, among those in which it wanted to run: from 0 to 1; 0 where there were none.
    pub throttled_periods: f64,
    /// The time it was throttled per time, summed over CPUs: 1.0 is one core that it wanted and did not get.
    pub throttled_cores: f64,
}

/// Block I/O per second; see [`IoCounts`] for the meaning of each counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ControlGroupIoRates {
    /// Bytes read per second.
    pub read_bytes: f64,
    /// Bytes written per second.
    pub write_bytes: f64,
    /// Reads per second.
    pub reads: f64,
    /// Writes per second.
    pub writes: f64,
    /// Bytes discarded per second.
    pub discard_bytes: f64,
    /// Discards per second.
    pub discards: f64,
}

/// The shares of the time that tasks of a control group waited for each resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ControlGroupPressureRates {
    /// A CPU.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub cpu: Reading<PressureRates>,
    /// Memory.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub memory: Reading<PressureRates>,
    /// Block I/O.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub io: Reading<PressureRates>,
    /// The end of interrupts.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub irq: Reading<PressureRates>,
}

/// The counters of a control group of which rates are made.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ControlGroupTotals {
    cpu: Reading<ControlGroupCpu>,
    io: Reading<IoCounts>,
    pressure: Reading<Arc<ControlGroupPressure>>,
}

impl Counters for ControlGroupSample {
    type Totals = ControlGroupTotals;
    type Rates = ControlGroupRates;

    fn totals(&self) -> ControlGroupTotals {
        let io = self.io.as_ref().map(|io| io.total);
        ControlGroupTotals { cpu: self.cpu, io, pressure: self.pressure.clone() }
    }

    fn at(&self) -> Monotonic {
        self.at
    }

    fn rates(&self, earlier: &ControlGroupTotals, elapsed: Duration) -> Option<ControlGroupRates> {
        let now = self.totals();
        let cores = |earlier, now| Some(per_second(earlier, now, elapsed)? / 1e9);
        let per_second = |earlier, now| per_second(earlier, now, elapsed);
        let cpu = both(&earlier.cpu, &now.cpu, |earlier, now| {
            Some(CpuRates {
                cores: cores(earlier.usage_ns, now.usage_ns)?,
                user_cores: cores(earlier.user_ns, now.user_ns)?,
                system_cores: cores(earlier.system_ns, now.system_ns)?,
            })
        })?;
        let throttling = |cpu: &Reading<ControlGroupCpu>| match cpu {
            Reading::Value(cpu) => cpu.throttling,
            other => other.map(|_| super::Throttling::default()),
        };
        let throttling = both(&throttling(&earlier.cpu), &throttling(&now.cpu), |earlier, now| {
            let periods = per_second(earlier.periods, now.periods)?;
            let throttled = per_second(earlier.throttled_periods, now.throttled_periods)?;
            Some(ThrottlingRates {
                throttled_periods: if periods > 0.0 { throttled / periods } else { 0.0 },
                throttled_cores: cores(earlier.throttled_ns, now.throttled_ns)?,
            })
        })?;
        let io = both(&earlier.io, &now.io, |earlier, now| {
            Some(ControlGroupIoRates {
                read_bytes: per_second(earlier.read_bytes, now.read_bytes)?,
                write_bytes: per_second(earlier.write_bytes, now.write_bytes)?,
                reads: per_second(earlier.reads, now.reads)?,
                writes: per_second(earlier.writes, now.writes)?,
                discard_bytes: per_second(earlier.discard_bytes, now.discard_bytes)?,
                discards: per_second(earlier.discards, now.discards)?,
            })
        })?;
        let pressure = both(&earlier.pressure, &now.pressure, |earlier, now| {
            let of = |earlier: &Reading<Pressure>, now: &Reading<Pressure>| {
                both(earlier, now, |earlier, now| now.rates(earlier, elapsed))
            };
            Some(ControlGroupPressureRates {
                cpu: of(&earlier.cpu, &now.cpu)?,
                memory: of(&earlier.memory, &now.memory)?,
                io: of(&earlier.io, &now.io)?,
                irq: of(&earlier.irq, &now.irq)?,
            })
        })?;
        Some(ControlGroupRates { cpu, throttling, io, pressure })
    }
}
