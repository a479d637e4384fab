//! The names that process-exporter has for groups of processes, so that dashboards and rules made for it go on working.

use crate::measured::Field;

/// What its names begin with.
pub(super) const PREFIX: &str = "namedprocess.namegroup";

/// The label that has the group.
pub(super) const LABEL: &str = "groupname";

/// A name below the prefix, without the unit, and the labels that tell fields of the same name apart.
type Name = (&'static str, &'static [(&'static str, &'static str)]);

/// The paths of the fields of a group, each with its name.
const NAMES: [(&str, Name); 10] = [
    ("alive", ("num_procs", &[])),
    ("cpu.user_ns", ("cpu", &[("mode", "user")])),
    ("cpu.system_ns", ("cpu", &[("mode", "system")])),
    ("io.read_bytes", ("read", &[])),
    ("io.write_bytes", ("write", &[])),
    ("faults.major", ("major_page_faults", &[])),
    ("faults.minor", ("minor_page_faults", &[])),
    ("memory.rss_bytes", ("memory", &[("memtype", "resident")])),
    ("memory.virtual_bytes", ("memory", &[("memtype", "virtual")])),
    ("threads", ("num_threads", &[])),
];

/// The field under its name there; `None` where there is none.
pub(super) fn renamed<T>(field: Field<T>) -> Option<Field<T>> {
    let (_, (name, labels)) = NAMES.iter().find(|(path, ..)| *path == field.path())?;
    Some(field.renamed(name, labels))
}
