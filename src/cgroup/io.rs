//! `io.stat` of a control group.

use serde::{Deserialize, Serialize};

use crate::fs::DeviceId;
use crate::number::{decimal, lines, words};

/// What a control group and those below it read from and wrote to block devices, from `io.stat`: totals, of all devices and of each. With the
/// page cache, a write counts when it goes to the device, which may be long after the process made it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ControlGroupIo {
    /// The sums of all devices. I/O through a device that stands on another one (LVM, a RAID) counts for each.
    #[serde(flatten)]
    pub total: IoCounts,
    /// Each device, in the order of their numbers.
    pub devices: Vec<DeviceIo>,
}

/// I/O of one block device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeviceIo {
    /// Which device.
    pub device: DeviceId,
    /// Its counters.
    #[serde(flatten)]
    pub counts: IoCounts,
}

/// Counters of block I/O.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct IoCounts {
    /// Bytes read (`rbytes`).
    pub read_bytes: u64,
    /// Bytes written (`wbytes`).
    pub write_bytes: u64,
    /// Reads (`rios`).
    pub reads: u64,
    /// Writes (`wios`).
    pub writes: u64,
    /// Bytes discarded (`dbytes`).
    pub discard_bytes: u64,
    /// Discards (`dios`).
    pub discards: u64,
}

impl ControlGroupIo {
    /// Reads the file, which is empty where there was no I/O. `None` where a line is not of a device.
    pub(super) fn parse(file: &[u8]) -> Option<Self> {
        let mut io = Self::default();
        for line in lines(file) {
            let mut words = words(line);
            let mut numbers = words.next()?.split(|byte| *byte == b':');
            let device = DeviceId { major: decimal(numbers.next()?)?, minor: decimal(numbers.next()?)? };
            let mut counts = IoCounts::default();
            for word in words {
                let Some(at) = word.iter().position(|byte| *byte == b'=') else { continue };
                let Some((name, value)) = word.split_at_checked(at) else { continue };
                let Some(value) = decimal(value.get(1..).unwrap_or_default()) else { continue };
                match name {
                    b"rbytes" => counts.read_bytes = value,
                    b"wbytes" => counts.write_bytes = value,
                    b"rios" => counts.reads = value,
                    b"wios" => counts.writes = value,
                    b"dbytes" => counts.discard_bytes = value,
                    b"dios" => counts.discards = value,
                    _ => {}
                }
            }
            // A line without counters: the kernel has written such for devices without I/O.
            if counts != IoCounts::default() {
                io.total.add(&counts);
                io.devices.push(DeviceIo { device, counts });
            }
        }
        io.devices.sort_unstable_by_key(|io| io.device);
        Some(io)
    }
}

impl IoCounts {
    fn add(&mut self, other: &Self) {
        self.read_bytes = self.read_bytes.saturating_add(other.read_bytes);
        self.write_bytes = self.write_bytes.saturating_add(other.write_bytes);
        self.reads = self.reads.saturating_add(other.reads);
        self.writes = self.writes.saturating_add(other.writes);
        self.discard_bytes = self.discard_bytes.saturating_add(other.discard_bytes);
        self.discards = self.discards.saturating_add(other.discards);
    }
}
