//! The version of the wire form, and its check.

use crate::Sample;

/// The version of the wire form. It changes when a field changes its meaning, not when one is added.
pub(crate) const SCHEMA: u32 = 1;

/// Checks that a document of this version and kind has samples `T`. The error is a text for people.
pub(crate) fn check<T: Sample>(schema: u32, kind: &str) -> Result<(), String> {
    if schema != SCHEMA {
        return Err(format!("schema {schema} is not supported, only {SCHEMA}"));
    }
    if kind != T::KIND {
        return Err(format!("kind {kind:?} instead of {:?}", T::KIND));
    }
    Ok(())
}

/// Adds the values of `schema` and `kind` to a JSON Schema.
#[cfg(feature = "schema")]
pub(crate) fn describe<T: Sample>(schema: &mut schemars::Schema) {
    for (field, value) in [("/properties/schema", SCHEMA.into()), ("/properties/kind", T::KIND.into())] {
        if let Some(field) = schema.pointer_mut(field).and_then(|field| field.as_object_mut()) {
            field.insert("const".to_owned(), value);
        }
    }
}
