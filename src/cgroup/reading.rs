//! Reading the files of one control group.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::Errno;

use super::group::{Group, PulseFile};
use super::hierarchy::Hierarchy;
use super::io::ControlGroupIo;
use super::keyed::{limit, number, numbers};
use super::memory::{MemoryEvents, MemoryStat};
use super::{
    ControlGroupCpu, ControlGroupFields, ControlGroupInfo, ControlGroupLimits, ControlGroupMemory, ControlGroupPids,
    ControlGroupPressure, CpuMax, CpuSet, Pressure,
};
use crate::Reading;
use crate::process::file::{Buffer, unavailable};

/// The group is gone.
#[derive(Debug)]
pub(super) struct Gone;

/// A group whose files are read.
pub(super) struct Files<'a> {
    pub(super) hierarchy: &'a Hierarchy,
    pub(super) place: &'a OwnedFd,
    pub(super) buffer: &'a mut Buffer,
    pub(super) info: &'a ControlGroupInfo,
    /// The root of the hierarchy has few files, whatever its controllers.
    pub(super) is_root: bool,
    /// Descriptors ran out.
    pub(super) starved: bool,
}

impl Files<'_> {
    /// A file of a controller, or one that every group has.
    fn read<T>(
        &mut self,
        name: &str,
        controller: Option<&str>,
        parse: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<Reading<T>, Gone> {
        let is_off = controller.is_some_and(|controller| !self.info.has(controller));
        if is_off {
            return Ok(Reading::NotApplicable);
        }
        let opened = self.hierarchy.open_file(self.place, name);
        match opened.and_then(|file| self.buffer.read(file)) {
            Ok(file) => Ok(parse(file).map_or(Reading::Failed, Reading::Value)),
            Err(Errno::NODEV) => Err(Gone),
            Err(Errno::NOENT) if self.is_root => Ok(Reading::NotApplicable),
            Err(errno) => {
                self.starved |= matches!(errno, Errno::MFILE | Errno::NFILE);
                Ok(unavailable(errno))
            }
        }
    }

    pub(super) fn memory(&mut self, fields: ControlGroupFields) -> Result<Reading<Arc<ControlGroupMemory>>, Gone> {
        const MEMORY: Option<&str> = Some("memory");
        if !fields.contains(ControlGroupFields::MEMORY) {
            return Ok(Reading::NotRequested);
        }
        let current = self.read("memory.current", MEMORY, number)?;
        let Reading::Value(current_bytes) = current else {
            return Ok(current.map(|_| Arc::new(ControlGroupMemory::default())));
        };
        let stat = if fields.contains(ControlGroupFields::MEMORY_STAT) {
            self.read("memory.stat", MEMORY, MemoryStat::parse)?
        } else {
            Reading::NotRequested
        };
        Ok(Reading::Value(Arc::new(ControlGroupMemory {
            current_bytes,
            peak_bytes: self.read("memory.peak", MEMORY, number)?,
            swap_bytes: self.read("memory.swap.current", MEMORY, number)?,
            events: self.read("memory.events", MEMORY, MemoryEvents::parse)?,
            stat,
        })))
    }

    pub(super) fn pids(&mut self, fields: ControlGroupFields) -> Result<Reading<ControlGroupPids>, Gone> {
        const PIDS: Option<&str> = Some("pids");
        if !fields.contains(ControlGroupFields::PIDS) {
            return Ok(Reading::NotRequested);
        }
        let current = self.read("pids.current", PIDS, number)?;
        let Reading::Value(current) = current else {
            return Ok(current.map(|_| ControlGroupPids::default()));
        };
        let refused = |file: &[u8]| numbers(file).find(|(name, _)| *name == b"max").map(|(_, count)| count);
        Ok(Reading::Value(ControlGroupPids {
            current,
            peak: self.read("pids.peak", PIDS, number)?,
            refused_forks: self.read("pids.events", PIDS, refused)?,
        }))
    }

    /// The group's own limits.
    pub(super) fn limits(&mut self) -> Result<ControlGroupLimits, Gone> {
        const CPU: Option<&str> = Some("cpu");
        const MEMORY: Option<&str> = Some("memory");
        let is_idle = self.read("cpu.idle", CPU, number)? == Reading::Value(1);
        let weight = if is_idle { Reading::Value(0) } else { self.read("cpu.weight", CPU, number)? };
        Ok(ControlGroupLimits {
            cpu_max: self.read("cpu.max", CPU, CpuMax::parse)?,
            cpu_weight: weight,
            cpuset: self.read("cpuset.cpus.effective", Some("cpuset"), CpuSet::parse)?,
            memory_max_bytes: self.read("memory.max", MEMORY, limit)?,
            memory_high_bytes: self.read("memory.high", MEMORY, limit)?,
            memory_swap_max_bytes: self.read("memory.swap.max", MEMORY, limit)?,
            pids_max: self.read("pids.max", Some("pids"), limit)?,
            ..ControlGroupLimits::default()
        })
    }
}

/// Takes the content of a file over into a group. Returns whether its totals moved, so that those of groups below may have.
pub(super) fn take_pulse(group: &mut Group, file: PulseFile, content: rustix::io::Result<&[u8]>) -> bool {
    let is_root = group.depth == 0;
    let absent = |errno: Errno| errno == Errno::NOENT && is_root;
    match file {
        PulseFile::Cpu => {
            let read = match content {
                Ok(content) => ControlGroupCpu::parse(content).map_or(Reading::Failed, Reading::Value),
                Err(errno) if absent(errno) => Reading::NotApplicable,
                Err(errno) => unavailable(errno),
            };
            let before = std::mem::replace(&mut group.sample.cpu, read);
            usage(&before) != usage(&read) || read.value().is_none()
        }
        PulseFile::Io => {
            let read = match content {
                Ok(content) => ControlGroupIo::parse(content).map_or(Reading::Failed, Reading::Value),
                Err(errno) if absent(errno) => Reading::NotApplicable,
                Err(errno) => unavailable(errno),
            };
            if group.sample.io.value().map(|io| &**io) == read.value() && read.value().is_some() {
                return false;
            }
            group.sample.io = read.map(Arc::new);
            true
        }
        PulseFile::CpuPressure | PulseFile::MemoryPressure | PulseFile::IoPressure | PulseFile::IrqPressure => {
            let read = match content {
                Ok(content) => Pressure::parse(content).map_or(Reading::Failed, Reading::Value),
                Err(errno) => unavailable(errno),
            };
            let place = match file {
                PulseFile::MemoryPressure => &mut group.pressure.memory,
                PulseFile::IoPressure => &mut group.pressure.io,
                PulseFile::IrqPressure => &mut group.pressure.irq,
                _ => &mut group.pressure.cpu,
            };
            let before = std::mem::replace(place, read);
            if before != read {
                group.share_pressure();
            }
            totals(&before) != totals(&read) || read.value().is_none()
        }
    }
}

fn usage(cpu: &Reading<ControlGroupCpu>) -> Option<u64> {
    cpu.value().map(|cpu| cpu.usage_ns)
}

fn totals(pressure: &Reading<Pressure>) -> Option<[Option<u64>; 2]> {
    let pressure = pressure.value()?;
    Some([pressure.some, pressure.full].map(|line| line.map(|line| line.total_ns)))
}

/// Whether it waited in the last minutes, so that its averages fall by themselves.
pub(super) fn has_averages(pressure: &ControlGroupPressure) -> bool {
    let of = [pressure.cpu, pressure.memory, pressure.io, pressure.irq];
    let lines = of.iter().filter_map(Reading::value).flat_map(|pressure| [pressure.some, pressure.full]).flatten();
    lines.into_iter().any(|line| line.avg10 > 0.0 || line.avg60 > 0.0 || line.avg300 > 0.0)
}
