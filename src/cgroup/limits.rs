//! The limits of a control group, and those that hold for it.

use serde::{Deserialize, Serialize};

use crate::number::{decimal, words};
use crate::{Reading, Text};

/// The limits of a control group: its own, and the ones that hold because a group above it has them.
///
/// A value of `None` (`null` in the wire form) means no limit: the file has `max`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ControlGroupLimits {
    /// The CPU time it may use in each period (`cpu.max`).
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub cpu_max: Reading<CpuMax>,
    /// Its share of CPU time among the groups beside it, where there is not enough for all: from 1 to 10,000, by default 100 (`cpu.weight`);
    /// 0 for one that runs only where no other wants to (`cpu.idle`).
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub cpu_weight: Reading<u64>,
    /// The CPUs it may use, by its own setting and those of the groups above (`cpuset.cpus.effective`).
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub cpuset: Reading<CpuSet>,
    /// The most memory it may have, in bytes (`memory.max`).
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub memory_max_bytes: Reading<Option<u64>>,
    /// The memory above which it is throttled and reclaimed from, in bytes (`memory.high`).
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub memory_high_bytes: Reading<Option<u64>>,
    /// The most swap it may use, in bytes (`memory.swap.max`).
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub memory_swap_max_bytes: Reading<Option<u64>>,
    /// The most processes and threads it may have (`pids.max`).
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub pids_max: Reading<Option<u64>>,
    /// The limits that hold: the smallest among its own and those of all groups above it.
    pub effective: EffectiveLimits,
}

/// The CPU time that a control group may use: its quota in each period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CpuMax {
    /// The CPU time for each period, in nanoseconds; `None` without a limit.
    pub quota_ns: Option<u64>,
    /// The period, in nanoseconds.
    pub period_ns: u64,
}

/// A set of CPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CpuSet {
    /// How many they are.
    pub count: u32,
    /// Which, as the kernel writes it: `0-3,8`.
    pub list: Text,
}

/// The limits that hold for a control group: of each kind the smallest among its own and those of the groups above, with the group that has
/// it. `None` where no group has one, as far as can be seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EffectiveLimits {
    /// The smallest quota, by what it is of a period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_max: Option<EffectiveLimit<CpuMax>>,
    /// The CPUs it may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpuset: Option<EffectiveLimit<CpuSet>>,
    /// The most memory, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_max_bytes: Option<EffectiveLimit<u64>>,
    /// The memory above which it is throttled, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_high_bytes: Option<EffectiveLimit<u64>>,
    /// The most swap, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_swap_max_bytes: Option<EffectiveLimit<u64>>,
    /// The most processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids_max: Option<EffectiveLimit<u64>>,
    /// Whether the limits of all groups above are known. They are not where only a part of the hierarchy can be seen (in a container), nor
    /// where a file may not be read: then a group above can have a smaller limit.
    pub complete: bool,
}

/// A limit, and whose it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EffectiveLimit<T> {
    /// The limit.
    pub value: T,
    /// The path of the group that has it; among equal ones the nearest.
    pub path: Text,
}

impl CpuMax {
    /// Reads `cpu.max`; `None` where it is not such a file.
    pub(crate) fn parse(file: &[u8]) -> Option<Self> {
        let mut words = words(file);
        let nanos = |word: &[u8]| decimal::<u64>(word)?.checked_mul(1000);
        let quota_ns = match words.next()? {
            b"max" => None,
            quota => Some(nanos(quota)?),
        };
        Some(Self { quota_ns, period_ns: nanos(words.next()?).filter(|period| *period > 0)? })
    }

    /// Returns how many cores the quota is worth: 1.5 is one and a half core busy all the time. `None` without a limit.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "derived: 53 bits are more than it needs")]
    pub fn cores(&self) -> Option<f64> {
        (self.period_ns > 0).then(|| Some(self.quota_ns? as f64 / self.period_ns as f64)).flatten()
    }

    /// Whether this is less CPU time than `other`; no limit is more than any.
    pub(crate) fn is_below(&self, other: &Self) -> bool {
        match (self.quota_ns, other.quota_ns) {
            (Some(own), Some(others)) => {
                let product = |quota: u64, period: u64| u128::from(quota).saturating_mul(u128::from(period));
                product(own, other.period_ns) < product(others, self.period_ns)
            }
            (own, _) => own.is_some(),
        }
    }
}

impl CpuSet {
    /// Reads a list of CPUs such as `0-3,8`; `None` where it is none.
    pub(crate) fn parse(file: &[u8]) -> Option<Self> {
        let list = file.trim_ascii();
        let mut count = 0_u32;
        for range in list.split(|byte| *byte == b',').filter(|_| !list.is_empty()) {
            let mut ends = range.splitn(2, |byte| *byte == b'-');
            let first = decimal::<u32>(ends.next()?)?;
            let last = ends.next().map_or(Some(first), decimal)?;
            count = count.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
        }
        Some(Self { count, list: list.into() })
    }
}

impl EffectiveLimits {
    /// The limits that hold for the last of these groups, which are those above it, from the root on, and itself.
    pub(super) fn of<'a>(groups: impl Iterator<Item = (&'a Text, &'a ControlGroupLimits)>, is_whole: bool) -> Self {
        let mut effective = Self { complete: is_whole, ..Self::default() };
        for (path, limits) in groups {
            if let Some(max) = limits.cpu_max.value().filter(|max| max.quota_ns.is_some())
                && effective.cpu_max.as_ref().is_none_or(|above| !above.value.is_below(max))
            {
                effective.cpu_max = Some(EffectiveLimit { value: *max, path: path.clone() });
            }
            // What the groups above allow is in it already; so the nearest group that has a set decides, and it is the one above that has the
            // same set whose it is.
            if let Some(set) = limits.cpuset.value()
                && effective.cpuset.as_ref().is_none_or(|above| above.value != *set)
            {
                effective.cpuset = Some(EffectiveLimit { value: set.clone(), path: path.clone() });
            }
            smaller(&mut effective.memory_max_bytes, &limits.memory_max_bytes, path);
            smaller(&mut effective.memory_high_bytes, &limits.memory_high_bytes, path);
            smaller(&mut effective.memory_swap_max_bytes, &limits.memory_swap_max_bytes, path);
            smaller(&mut effective.pids_max, &limits.pids_max, path);
            effective.complete &= !limits.is_in_doubt();
        }
        effective
    }
}

impl ControlGroupLimits {
    /// Whether there may be a limit that could not be read.
    fn is_in_doubt(&self) -> bool {
        fn is_unknown<T>(reading: &Reading<T>) -> bool {
            matches!(reading, Reading::Denied | Reading::Failed | Reading::Skipped)
        }
        is_unknown(&self.cpu_max)
            || is_unknown(&self.cpuset)
            || is_unknown(&self.memory_max_bytes)
            || is_unknown(&self.memory_high_bytes)
            || is_unknown(&self.memory_swap_max_bytes)
            || is_unknown(&self.pids_max)
    }
}

fn smaller(effective: &mut Option<EffectiveLimit<u64>>, own: &Reading<Option<u64>>, path: &Text) {
    if let Some(value) = own.value().copied().flatten()
        && effective.as_ref().is_none_or(|above| value <= above.value)
    {
        *effective = Some(EffectiveLimit { value, path: path.clone() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(quota: &str) -> CpuMax {
        CpuMax::parse(quota.as_bytes()).unwrap()
    }

    #[test]
    fn quotas_are_compared_by_what_they_are_of_a_period() {
        let of = |quotas: &[&str]| {
            let limits: Vec<(Text, ControlGroupLimits)> = quotas
                .iter()
                .enumerate()
                .map(|(depth, text)| {
                    let cpu_max = Reading::Value(quota(text));
                    (format!("/{depth}").into(), ControlGroupLimits { cpu_max, ..ControlGroupLimits::default() })
                })
                .collect();
            let effective = EffectiveLimits::of(limits.iter().map(|(path, limits)| (path, limits)), true);
            effective.cpu_max.map(|max| (max.value.cores().unwrap(), max.path.to_string()))
        };
        assert_eq!(of(&["max 100000", "max 100000"]), None);
        assert_eq!(of(&["max 100000", "200000 100000", "max 100000"]), Some((2.0, "/1".to_owned())));
        // Less in a shorter period can be more.
        assert_eq!(of(&["200000 100000", "150000 100000", "20000 10000"]), Some((1.5, "/1".to_owned())));
        assert_eq!(of(&["50000 100000", "5000 10000"]), Some((0.5, "/1".to_owned())), "the nearest of equal ones");
        assert_eq!(
            of(&["18446744073709000 1000", "18446744073709000 1"]),
            Some((18_446_744_073_709.0, "/0".to_owned()))
        );
    }

    #[test]
    fn sets_of_cpus() {
        for (list, count) in [("0-3,8\n", 5), ("0\n", 1), ("\n", 0), ("", 0), ("1,3,5-6", 4), ("7", 1)] {
            assert_eq!(CpuSet::parse(list.as_bytes()).unwrap().count, count, "{list}");
        }
        for list in ["3-1", "a", "0-", "-1", "0-4294967295", "0-4294967294,5-6", "0,", ",0", ","] {
            assert_eq!(CpuSet::parse(list.as_bytes()), None, "{list}");
        }
    }

    #[test]
    fn texts_that_are_no_quota() {
        for text in ["", "max", "max 0", "1", "x 100000", "-1 100000", "18446744073709552 1"] {
            assert_eq!(CpuMax::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_may_be_smaller() {
        let known = ControlGroupLimits { pids_max: Reading::Value(Some(7)), ..ControlGroupLimits::default() };
        let denied = ControlGroupLimits { pids_max: Reading::Denied, ..ControlGroupLimits::default() };
        let (root, below): (Text, Text) = ("/".into(), "/a".into());
        let effective = EffectiveLimits::of([(&root, &denied), (&below, &known)].into_iter(), true);
        assert_eq!((effective.pids_max.unwrap().path, effective.complete), (below.clone(), false));
        assert!(EffectiveLimits::of([(&root, &known)].into_iter(), true).complete);
    }
}
