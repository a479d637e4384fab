//! The fields of a sample as families of metrics: those of one name together.

use crate::measured::{Field, FieldKind, FieldTable, Measured};

/// The fields that make one metric, each with the attributes that tell it from the others.
pub(super) struct Family<T> {
    /// The whole name, in OpenTelemetry's notation: `process.cpu.time`.
    pub(super) name: String,
    pub(super) kind: FieldKind,
    pub(super) help: String,
    pub(super) fields: Vec<Field<T>>,
}

/// The families of a sample, in the order of its table. Rates are left out unless they are asked for: whoever scrapes counters makes
/// rates of them.
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
