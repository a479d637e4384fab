//! Which files are read of each control group.

bitflags::bitflags! {
    /// What to read of each control group, beside its path, `cgroup.events` and `cgroup.controllers`, which are always read. Combine them
    /// with `|`. Default: all.
    ///
    /// ```
    /// use appmon::ControlGroups;
    /// use appmon::cgroup::ControlGroupFields;
    ///
    /// let groups = ControlGroups::new().fields(ControlGroupFields::CPU | ControlGroupFields::MEMORY);
    /// # let _ = groups;
    /// ```
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct ControlGroupFields: u32 {
        /// `cpu.stat`.
        const CPU = 1;
        /// `memory.current`, `memory.peak`, `memory.swap.current` and `memory.events`.
        const MEMORY = 1 << 1;
        /// `memory.stat`, with [`MEMORY`](Self::MEMORY). The kernel adds it up over all CPUs and all groups below when it is read, which has
        /// taken seconds on large machines.
        const MEMORY_STAT = 1 << 2;
        /// `io.stat`.
        const IO = 1 << 3;
        /// `pids.current`, `pids.peak` and `pids.events`.
        const PIDS = 1 << 4;
        /// `cpu.pressure`, `memory.pressure`, `io.pressure` and `irq.pressure`.
        const PRESSURE = 1 << 5;
        /// `cpu.max`, `cpu.weight`, `cpuset.cpus.effective`, `memory.max`, `memory.high`, `memory.swap.max` and `pids.max`, of the groups above
        /// too.
        const LIMITS = 1 << 6;
    }
}

impl Default for ControlGroupFields {
    fn default() -> Self {
        Self::all()
    }
}
