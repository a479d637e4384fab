//! The named measurements of a file system, of its parts, and of their rates.

use super::{FileSystemRates, FileSystemSample, Inodes, Part, PartKind, PartRates, PartSample};
use crate::measured::{FieldTable, Labels, Measured, Unit};
use crate::time::Monotonic;

const INODE: Unit = Unit::Count("{inode}");

impl Measured for FileSystemSample {
    const PREFIX: &'static str = "system.filesystem";

    fn measure(table: &mut FieldTable<Self>) {
        table.gauge("total_bytes", Unit::Bytes, "Size", |fs| fs.known(fs.total_bytes)).metric("limit", &[]);
        table
            .gauge("used_bytes", Unit::Bytes, "Used", |fs| fs.known(fs.used_bytes))
            .metric("usage", &[("system.filesystem.state", "used")]);
        table
            .gauge("free_bytes", Unit::Bytes, "Free to ordinary users", |fs| fs.known(fs.free_bytes))
            .metric("usage", &[("system.filesystem.state", "free")]);
        table
            .gauge("reserved_bytes", Unit::Bytes, "Free, but kept for root", |fs| fs.known(fs.reserved_bytes))
            .metric("usage", &[("system.filesystem.state", "reserved")]);
        table
            .gauge("used_fraction", Unit::Fraction, "Used bytes per bytes used or free to ordinary users", |fs| {
                fs.known(fs.used_fraction()?)
            })
            .metric("utilization", &[]);
        table.part("inodes", |fs| fs.inodes.value());
        table.gauge("read_only", Unit::Count(""), "Whether nothing can be written to it: 1 or 0", |fs| {
            fs.known(u32::from(fs.read_only))
        });
        table.gauge("stalled", Unit::Count(""), "Whether it does not answer: 1 or 0", |fs| {
            Some(u32::from(fs.stalled.is_some()))
        });
    }

    fn labels(&self) -> Labels {
        Labels::default()
            .with("name", self.name.to_string_lossy())
            .with("mount_point", self.mount_point.to_string_lossy())
            .with("fs_type", self.fs_type.to_string_lossy())
    }

    fn measured_at(&self) -> Option<Monotonic> {
        self.at
    }
}

impl FileSystemSample {
    /// Returns the used bytes per bytes used or free to ordinary users: the `Use%` of `df(1)` as a fraction. `None`
    /// if both are 0.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share is derived: 53 bits are more than it needs")]
    pub fn used_fraction(&self) -> Option<f64> {
        let usable = self.used_bytes.saturating_add(self.free_bytes);
        (usable > 0).then(|| self.used_bytes as f64 / usable as f64)
    }

    /// Returns a figure, unless the file system has not answered yet and all figures are 0.
    fn known<N>(&self, figure: N) -> Option<N> {
        self.at.map(|_| figure)
    }
}

impl Measured for Inodes {
    fn measure(table: &mut FieldTable<Self>) {
        table.gauge("total", INODE, "Inodes", |inodes| Some(inodes.total)).metric("inode.limit", &[]);
        table
            .gauge("used", INODE, "Inodes in use", |inodes| Some(inodes.used))
            .metric("inode.usage", &[("system.filesystem.state", "used")]);
        table
            .gauge("free", INODE, "Inodes free to ordinary users", |inodes| Some(inodes.free))
            .metric("inode.usage", &[("system.filesystem.state", "free")]);
    }
}

impl Measured for FileSystemRates {
    fn measure(table: &mut FieldTable<Self>) {
        table.gauge("used_bytes", Unit::BytesPerSecond, "Growth of the used bytes", |rates| Some(rates.used_bytes));
        table.gauge("time_to_full", Unit::Nanoseconds, "Time until it is full at this growth", |rates| {
            rates.time_to_full.map(crate::time::duration_nanos)
        });
    }
}

impl Measured for Part {
    fn measure(table: &mut FieldTable<Self>) {
        table.gauge("bytes", Unit::Bytes, "Its share of the total", |part| part.known(part.bytes)).metric("usage", &[]);
        table
            .gauge("fraction", Unit::Fraction, "Its share of the total, of 1", |part| part.known(part.fraction))
            .metric("utilization", &[]);
        table.gauge("measured_bytes", Unit::Bytes, "Own bytes as its last scan measured them", |part| {
            part.measured_bytes
        });
        table.gauge("inclusive_bytes", Unit::Bytes, "With all registered directories in it", |part| {
            part.inclusive_bytes
        });
        table.gauge("apparent_bytes", Unit::Bytes, "Length of the files", |part| part.apparent_bytes);
        table.gauge("files", Unit::Count("{file}"), "Files", |part| part.files);
        table.gauge("directories", Unit::Count("{directory}"), "Directories", |part| part.directories);
        table.gauge("errors", Unit::Count("{error}"), "Entries that could not be read", |part| Some(part.errors));
        table.gauge("age", Unit::Nanoseconds, "Age of its bytes", |part| part.age.map(crate::time::duration_nanos));
    }

    fn labels(&self) -> Labels {
        Labels::default().with("part", self.name.to_string_lossy())
    }
}

impl Part {
    /// Returns a figure, unless the directory was not scanned yet.
    fn known<N>(&self, figure: N) -> Option<N> {
        (self.kind != PartKind::Directory || self.age.is_some()).then_some(figure)
    }
}

impl Measured for PartRates {
    fn measure(table: &mut FieldTable<Self>) {
        table.gauge("bytes", Unit::BytesPerSecond, "Growth", |rates| rates.bytes);
    }
}

impl Measured for PartSample {
    const PREFIX: &'static str = "system.filesystem.part";

    fn measure(table: &mut FieldTable<Self>) {
        table.flatten(|sample| Some(&sample.part));
        table.part("rates", |sample| sample.rates.as_ref());
    }

    fn labels(&self) -> Labels {
        Labels::default()
            .with("part", self.part.name.to_string_lossy())
            .with("file_system", self.file_system.to_string_lossy())
            .with("mount_point", self.mount_point.to_string_lossy())
    }
}
