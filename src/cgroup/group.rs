//! What is kept of one control group from tick to tick.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::{ControlGroupFields, ControlGroupInfo, ControlGroupLimits, ControlGroupPressure, ControlGroupSample};
use crate::{Reading, Text};

/// A control group.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// As it was last read.
    pub(super) sample: ControlGroupSample,
    /// Those that change piece by piece, and are shared in the sample.
    pub(super) pressure: ControlGroupPressure,
    pub(super) limits: ControlGroupLimits,
    /// Below the root of the hierarchy, which has 0.
    pub(super) depth: u32,
    /// The paths of the groups in it.
    pub(super) children: BTreeSet<Text>,
    /// It is reported; or one below it is, so that it is read for these.
    pub(super) is_selected: bool,
    pub(super) is_wanted: bool,
    /// Its directory, `cgroup.events` and `memory.events` are watched.
    pub(super) is_watched: bool,
    pub(super) states_are_watched: bool,
    pub(super) kills_are_watched: bool,
    /// The links of its directory when it was listed.
    pub(super) links: u64,
    /// Its own processes that the OOM killer killed.
    pub(super) oom_kills: Option<u64>,
    pub(super) due: Due,
    /// The files whose totals contain those of the groups below, in the order of [`PulseFile::ALL`].
    pub(super) pulses: [Pulse; 6],
    /// The tick in which all was read last.
    pub(super) read_in: u64,
}

/// What is to be read of a group.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Due {
    /// `cgroup.events`.
    pub(super) states: bool,
    /// `memory.events`, for the kills.
    pub(super) kills: bool,
    /// `cgroup.controllers`.
    pub(super) controllers: bool,
    /// Its limits.
    pub(super) limits: bool,
    /// What others can change.
    pub(super) usage: bool,
    /// The pulses, though the groups above may stand still.
    pub(super) pulses: bool,
    /// The same at the next tick: who leaves by its end uses some CPU time after that was reported.
    pub(super) pulses_again: bool,
    /// The pressure files, whose averages fall.
    pub(super) averages: bool,
    /// Everything, as nothing was read yet.
    pub(super) all: bool,
}

impl Due {
    /// Whether there is a file to read beside those that say what state it is in.
    pub(super) fn is_any(self) -> bool {
        self.usage || self.limits || self.pulses || self.averages
    }
}

/// A file whose totals contain those of the groups below.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    /// Kept open while there is room.
    pub(super) file: Option<OwnedFd>,
    /// The group does not have it.
    pub(super) is_absent: bool,
    /// Its total moved when it was read by itself, so that those below it are still to be read.
    pub(super) has_moved: bool,
}

/// Which of these files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PulseFile {
    Cpu,
    Io,
    CpuPressure,
    MemoryPressure,
    IoPressure,
    IrqPressure,
}

impl PulseFile {
    pub(super) const ALL: [Self; 6] =
        [Self::Cpu, Self::Io, Self::CpuPressure, Self::MemoryPressure, Self::IoPressure, Self::IrqPressure];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu.stat",
            Self::Io => "io.stat",
            Self::CpuPressure => "cpu.pressure",
            Self::MemoryPressure => "memory.pressure",
            Self::IoPressure => "io.pressure",
            Self::IrqPressure => "irq.pressure",
        }
    }

    /// What has to be asked for.
    pub(super) fn field(self) -> ControlGroupFields {
        match self {
            Self::Cpu => ControlGroupFields::CPU,
            Self::Io => ControlGroupFields::IO,
            Self::CpuPressure | Self::MemoryPressure | Self::IoPressure | Self::IrqPressure => {
                ControlGroupFields::PRESSURE
            }
        }
    }
}

impl Group {
    pub(super) fn new(path: Text, id: u64, depth: u32, info: ControlGroupInfo) -> Self {
        let sample = ControlGroupSample { path, id, info: Arc::new(info), ..ControlGroupSample::default() };
        let due = Due { states: true, kills: true, limits: true, usage: true, all: true, ..Due::default() };
        Self { sample, depth, due, ..Self::default() }
    }

    pub(super) fn pulse(&mut self, file: PulseFile) -> Option<&mut Pulse> {
        self.pulses.get_mut(file as usize)
    }

    /// Closes its files; how many they were.
    pub(super) fn close(&mut self) -> usize {
        self.pulses.iter_mut().filter_map(|pulse| pulse.file.take()).count()
    }

    pub(super) fn share_pressure(&mut self) {
        let is_same = self.sample.pressure.value().is_some_and(|shared| **shared == self.pressure);
        if !is_same {
            self.sample.pressure = Reading::Value(Arc::new(self.pressure));
        }
    }
}
