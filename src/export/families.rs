//! The fields of a sample, grouped by name into metric families.

use crate::measured::{Field, FieldKind, FieldTable, Measured};

/// The fields of one metric, each with its distinguishing attributes.
pub(super) struct Family<T> {
    /// The full name, in OpenTelemetry's notation: `process.cpu.time`.
    pub(super) name: String,
    pub(super) kind: FieldKind,
    pub(super) help: String,
    pub(super) fields: Vec<Field<T>>,
}

/// Returns the families of these fields, in their order. Their names begin with the prefix.
pub(super) fn families<T>(prefix: &str, fields: impl IntoIterator<Item = Field<T>>) -> Vec<Family<T>> {
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
pub(super) fn fields<T: Measured>(rates: bool) -> impl Iterator<Item = Field<T>> {
    let all: Vec<_> = FieldTable::<T>::new().iter().cloned().collect();
    all.into_iter().filter(move |field| rates || !field.path().starts_with("rates."))
}
