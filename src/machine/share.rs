//! CPU time as a share of what may be used.

use super::MachineSample;
use crate::cgroup::{ControlGroupLimits, ControlGroupSample, CpuMax, EffectiveLimit};
use crate::{ProcessSample, Rated};

/// What a use of CPUs is a share of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ShareOf {
    /// The CPU time that its control group may use: the smallest quota among its own and those of the groups above. Above 1 in a period in
    /// which it saved up bursts (`cpu.max.burst`).
    Quota,
    /// The CPUs that it may run on.
    Affinity,
    /// All CPUs of the machine that are online.
    Machine,
    /// One CPU: then a use of two CPUs is 2.
    Core,
}

/// How many CPUs each [`ShareOf`] stands for, of one subject. They are data: taken from the samples of the same time, they give the same
/// shares on a recording as live.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct CpuDenominators {
    /// The quota that holds, and whose it is; `None` where there is none, or none is known.
    pub quota: Option<EffectiveLimit<CpuMax>>,
    /// How many CPUs it may run on; `None` where that is not known.
    pub affinity: Option<u32>,
    /// How many CPUs are online; `None` where that is not known.
    pub machine: Option<u32>,
}

/// A sample that says how much CPU time its subject uses.
///
/// A process, a control group, a group of [`group_by`](crate::SnapshotStreamExt::group_by), each with rates.
pub trait UsesCpu {
    /// How many CPUs it used, on the average since the sample before: 1.0 is one of them all of the time. `None` where no rate is known.
    fn cores(&self) -> Option<f64>;
}

/// Returns the use of CPUs of a subject as a share of what it may use: 1.0 is all of it.
///
/// `None` where it has no rate, or there is no such denominator: a subject without a quota has no share of it, and that is not 0.
///
/// ```
/// use appmon::cgroup::{CpuMax, EffectiveLimit};
/// use appmon::machine::{CpuDenominators, MachineSample, ShareOf, share_of};
/// use appmon::{Machine, Processes, SnapshotStreamExt, SourceExt};
/// use futures::TryStreamExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> appmon::Result<()> {
/// # let period = std::time::Duration::from_millis(5);
/// let machine = Machine::new().read(&appmon::Cancel::new())?;
/// let of_machine = CpuDenominators::of_machine(&machine.samples[0]);
/// let mut ticks = Processes::new().every(period).rates();
/// # ticks.try_next().await?;
/// if let Some(tick) = ticks.try_next().await? {
///     for process in &tick {
///         let denominators = of_machine.clone().process(process);
///         println!("{} {:?}", process.id.pid, share_of(process, ShareOf::Machine, &denominators));
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn share_of(subject: &(impl UsesCpu + ?Sized), of: ShareOf, denominators: &CpuDenominators) -> Option<f64> {
    let cores = subject.cores()?;
    let all = denominators.cores(of).filter(|all| *all > 0.0)?;
    Some(cores / all)
}

impl CpuDenominators {
    /// Returns those of a subject of which nothing is known but the machine it is on: no quota and no affinity.
    #[must_use]
    pub fn of_machine(machine: &MachineSample) -> Self {
        Self { machine: machine.cpus.online.value().copied(), ..Self::default() }
    }

    /// Returns those of the process that read the sample: the quota that holds for its control group, and the CPUs it may run on.
    #[must_use]
    pub fn of_reader(machine: &MachineSample) -> Self {
        let quota = machine.limits.cpu_max.value().cloned();
        Self { quota, affinity: machine.cpus.affinity.value().copied(), ..Self::of_machine(machine) }
    }

    /// Sets the affinity to that of a process, where its sample has it ([`Fields::STATUS`](crate::Fields::STATUS)): `Cpus_allowed` of its
    /// main thread, in which its cpuset is.
    #[must_use]
    pub fn process(mut self, process: &ProcessSample) -> Self {
        let ranges = process.status.value().and_then(|status| status.cpus_allowed_list.as_ref());
        let count = |ranges: &Vec<crate::process::IdRange>| {
            ranges
                .iter()
                .try_fold(0_u32, |sum, range| sum.checked_add(range.last.checked_sub(range.first)?.checked_add(1)?))
        };
        self.affinity = ranges.and_then(count).or(self.affinity);
        self
    }

    /// Sets the quota and, where no affinity is known, the CPUs to those of the control group that the subject is in, or that it is.
    #[must_use]
    pub fn control_group(mut self, limits: &ControlGroupLimits) -> Self {
        self.quota = limits.effective.cpu_max.clone().filter(|limit| limit.value.quota_ns.is_some());
        let cpuset = limits.cpuset.value().map(|set| set.count);
        self.affinity = self.affinity.or(cpuset).or(limits.effective.cpuset.as_ref().map(|set| set.value.count));
        self
    }

    /// Returns how many CPUs this stands for; `None` where it is not known, or there is none.
    #[must_use]
    pub fn cores(&self, of: ShareOf) -> Option<f64> {
        match of {
            ShareOf::Quota => self.quota.as_ref()?.value.cores(),
            ShareOf::Affinity => self.affinity.map(f64::from),
            ShareOf::Machine => self.machine.map(f64::from),
            ShareOf::Core => Some(1.0),
        }
    }
}

impl UsesCpu for Rated<ProcessSample> {
    fn cores(&self) -> Option<f64> {
        self.rates.as_ref().map(|rates| rates.cpu.cores)
    }
}

impl UsesCpu for Rated<ControlGroupSample> {
    fn cores(&self) -> Option<f64> {
        self.rates.as_ref()?.cpu.value().map(|cpu| cpu.cores)
    }
}

impl UsesCpu for Rated<MachineSample> {
    fn cores(&self) -> Option<f64> {
        self.rates.as_ref()?.cpu.value()?.busy_cores
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reading;
    use crate::cgroup::CpuSet;

    struct Uses(Option<f64>);

    impl UsesCpu for Uses {
        fn cores(&self) -> Option<f64> {
            self.0
        }
    }

    #[test]
    fn each_denominator() {
        let mut machine = MachineSample::default();
        machine.cpus.online = Reading::Value(8);
        machine.cpus.affinity = Reading::Value(2);
        let mut limits = ControlGroupLimits::default();
        let value = CpuMax { quota_ns: Some(50_000_000), period_ns: 100_000_000 };
        limits.effective.cpu_max = Some(EffectiveLimit { value, path: "/a".into() });
        limits.cpuset = Reading::Value(CpuSet { count: 4, list: "0-3".into() });
        let shares = |denominators: &CpuDenominators| {
            [ShareOf::Quota, ShareOf::Affinity, ShareOf::Machine, ShareOf::Core]
                .map(|of| share_of(&Uses(Some(0.5)), of, denominators))
        };
        let of_machine = CpuDenominators::of_machine(&machine);
        assert_eq!(shares(&of_machine), [None, None, Some(0.0625), Some(0.5)], "what is not known is not 0");
        assert_eq!(shares(&CpuDenominators::of_reader(&machine))[1], Some(0.25));
        let in_group = of_machine.control_group(&limits);
        assert_eq!(shares(&in_group), [Some(1.0), Some(0.125), Some(0.0625), Some(0.5)]);
        assert_eq!(in_group.quota.as_ref().unwrap().path, "/a", "whose it is");
        assert_eq!(share_of(&Uses(None), ShareOf::Core, &in_group), None);
        // A group with no quota of its own and none above it takes none over.
        assert_eq!(shares(&in_group.control_group(&ControlGroupLimits::default()))[0], None);
    }
}
