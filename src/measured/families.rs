//! The fields of a sample, grouped by name into metric families.

use super::{Field, FieldKind, Unit};
#[cfg(any(feature = "opentelemetry", feature = "prometheus"))]
use super::{FieldTable, Measured};

/// The fields of one metric, each with its distinguishing attributes.
pub(crate) struct Family<T> {
    /// The full name, in OpenTelemetry's notation: `process.cpu.time`.
    pub(crate) name: String,
    pub(crate) kind: FieldKind,
    pub(crate) help: String,
    pub(crate) fields: Vec<Field<T>>,
}

impl<T> Family<T> {
    /// The unit of its fields.
    pub(crate) fn unit(&self) -> Unit {
        self.fields.first().map_or(Unit::Count(""), Field::unit)
    }
}

/// Converts a value to the base unit of Prometheus and OpenTelemetry: times are in seconds, all else is as it is.
pub(crate) fn scaled(unit: Unit, value: f64) -> f64 {
    if unit == Unit::Nanoseconds { value / 1e9 } else { value }
}

/// Returns the code in UCUM of the base unit, in which [`scaled`] values are.
#[cfg(any(feature = "opentelemetry", feature = "otlp"))]
pub(crate) fn base_ucum(unit: Unit) -> String {
    if unit == Unit::Nanoseconds { "s".to_owned() } else { unit.ucum() }
}

/// Returns the families of these fields, in their order. Their names begin with the prefix.
pub(crate) fn families<T>(prefix: &str, fields: impl IntoIterator<Item = Field<T>>) -> Vec<Family<T>> {
    let mut families: Vec<Family<T>> = Vec::new();
    for field in fields {
        let name = match prefix {
            "" => field.metric_name().to_owned(),
            prefix => format!("{prefix}.{}", field.metric_name()),
        };
        match families.iter_mut().find(|family| family.name == name && family.kind == field.kind()) {
            Some(family) => {
                family.help = format!("{}; {}", family.help, field.help());
                family.fields.push(field);
            }
            None => {
                let (kind, help, fields) = (field.kind(), field.help().to_owned(), vec![field]);
                families.push(Family { name, kind, help, fields });
            }
        }
    }
    families
}

/// The fields of a sample, in the order of its table. Rates are left out unless they are asked for: whoever scrapes counters makes rates
/// of them.
#[cfg(any(feature = "opentelemetry", feature = "prometheus"))]
pub(crate) fn fields<T: Measured>(rates: bool) -> impl Iterator<Item = Field<T>> {
    let all: Vec<_> = FieldTable::<T>::new().iter().cloned().collect();
    all.into_iter().filter(move |field| rates || !field.path().starts_with("rates."))
}

/// Whether the sum over several subjects is meaningful. It is not for ratios.
pub(crate) fn is_additive(unit: Unit) -> bool {
    !matches!(unit, Unit::Fraction | Unit::Nanoseconds | Unit::Count("" | "{nice}" | "{point}"))
}

/// Returns the name that OpenTelemetry has for a label; the label itself where there is none.
#[cfg(any(feature = "opentelemetry", feature = "otlp"))]
pub(crate) fn attribute_name<'a>(prefix: &str, label: &'a str) -> std::borrow::Cow<'a, str> {
    let name = match (prefix, label) {
        ("process", "pid") => "process.pid",
        ("process" | "process.group", "name") => "process.executable.name",
        ("process.group", "user") => "process.owner",
        ("process.group", "cgroup") => "process.linux.cgroup",
        ("system.filesystem" | "system.filesystem.part", "mount_point") => "system.filesystem.mountpoint",
        ("system.filesystem", "fs_type") => "system.filesystem.type",
        ("system.filesystem", "name") | ("system.filesystem.part", "file_system") => "system.filesystem.name",
        ("system.filesystem.part", "part") => "system.filesystem.part.name",
        (_, label) => label,
    };
    name.into()
}
