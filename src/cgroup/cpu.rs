//! `cpu.stat` of a control group.

use serde::{Deserialize, Serialize};

use super::keyed::numbers;
use crate::{Error, Reading, Result};

/// CPU time of all processes that are or were in a control group and those below it, from `cpu.stat`. Totals since the group was made; the
/// time that a process used before it was moved there is not in it.
///
/// ```
/// use appmon::cgroup::ControlGroupCpu;
///
/// let file = b"usage_usec 1500\nuser_usec 1000\nsystem_usec 500\nnr_periods 7\nnr_throttled 2\nthrottled_usec 40\n";
/// let cpu = ControlGroupCpu::parse(file)?;
/// assert_eq!((cpu.usage_ns, cpu.throttling.value().unwrap().throttled_ns), (1_500_000, 40_000));
/// # Ok::<(), appmon::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ControlGroupCpu {
    /// User and system time, in steps of a microsecond: exact, without the controller `cpu` too.
    pub usage_ns: u64,
    /// In user mode. The kernel splits `usage_ns` by where the clock ticks found the processes.
    pub user_ns: u64,
    /// In the kernel.
    pub system_ns: u64,
    /// Throttling by the group's own quota ([`ControlGroupLimits::cpu_max`](super::ControlGroupLimits::cpu_max)). `NotApplicable` without
    /// the controller `cpu`, and in the root.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub throttling: Reading<Throttling>,
}

/// How often and how long a control group was throttled by its own quota: totals, 0 where it has none. That of a group above is in that
/// group's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Throttling {
    /// The periods of the quota in which the group wanted to run (`nr_periods`).
    pub periods: u64,
    /// Those of them in which it used up its quota and had to wait (`nr_throttled`).
    pub throttled_periods: u64,
    /// How long it was throttled, summed over CPUs (`throttled_usec`): can be more than the time that passed.
    pub throttled_ns: u64,
    /// The periods in which it used quota that it had saved (`nr_bursts`, since Linux 5.15; else 0).
    pub bursts: u64,
    /// The CPU time used beyond the quota in these (`burst_usec`, since Linux 5.15; else 0).
    pub burst_ns: u64,
}

impl ControlGroupCpu {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// [`is_malformed`](Error::is_malformed) where `usage_usec`, `user_usec` or `system_usec` is missing.
    pub fn parse(file: &[u8]) -> Result<Self> {
        let (mut usage, mut user, mut system) = (None, None, None);
        let (mut throttling, mut is_throttled) = (Throttling::default(), false);
        for (name, number) in numbers(file) {
            let nanos = number.saturating_mul(1000);
            match name {
                b"usage_usec" => usage = Some(nanos),
                b"user_usec" => user = Some(nanos),
                b"system_usec" => system = Some(nanos),
                b"nr_periods" => (throttling.periods, is_throttled) = (number, true),
                b"nr_throttled" => throttling.throttled_periods = number,
                b"throttled_usec" => throttling.throttled_ns = nanos,
                b"nr_bursts" => throttling.bursts = number,
                b"burst_usec" => throttling.burst_ns = nanos,
                _ => {}
            }
        }
        let missing = |name: &str| Error::malformed(format!("cpu.stat: no {name}"));
        Ok(Self {
            usage_ns: usage.ok_or_else(|| missing("usage_usec"))?,
            user_ns: user.ok_or_else(|| missing("user_usec"))?,
            system_ns: system.ok_or_else(|| missing("system_usec"))?,
            throttling: if is_throttled { Reading::Value(throttling) } else { Reading::NotApplicable },
        })
    }
}
