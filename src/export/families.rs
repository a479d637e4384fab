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

/// Returns the families of a sample, in the order of its table. Rates are left out by default, since Prometheus computes rates from
/// counters.
pub(super) fn families<T: Measured>(rates: bool) -> Vec<Family<T>> {
    let mut families: Vec<Family<T>> = Vec::new();
    for field in &FieldTable::<T>::new() {
        if !rates && field.path().starts_with("rates.") {
            continue;
        }
        let name = match T::PREFIX {
            "" => field.metric_name().to_owned(),
            prefix => format!("{prefix}.{}", field.metric_name()),
        };
        match families.iter_mut().find(|family| family.name == name && family.kind == field.kind()) {
            Some(family) => {
                family.help = format!("{}; {}", family.help, field.help());
                family.fields.push(field.clone());
            }
            None => {
                let (kind, help, fields) = (field.kind(), field.help().to_owned(), vec![field.clone()]);
                families.push(Family { name, kind, help, fields });
            }
        }
    }
    families
}
