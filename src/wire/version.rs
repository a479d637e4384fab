//! The version of the wire form, and whether what was written is of it.

use crate::Sample;

/// The version of the wire form. It changes when a field changes its meaning, not when one is added.
pub(crate) const SCHEMA: u32 = 1;

/// Whether something of this version and kind holds samples `T`; the error says why not.
pub(crate) fn check<T: Sample>(schema: u32, kind: &str) -> Result<(), String> {
    if schema != SCHEMA {
        return Err(format!("schema {schema}, where {SCHEMA} is understood"));
    }
    if kind != T::KIND {
        return Err(format!("kind {kind:?}, where {:?} was expected", T::KIND));
    }
    Ok(())
}

/// Adds to a JSON Schema which values `schema` and `kind` have.
#[cfg(feature = "schema")]
pub(crate) fn describe<T: Sample>(schema: &mut schemars::Schema) {
    for (field, value) in [("/properties/schema", SCHEMA.into()), ("/properties/kind", T::KIND.into())] {
        if let Some(field) = schema.pointer_mut(field).and_then(|field| field.as_object_mut()) {
            field.insert("const".to_owned(), value);
        }
    }
}
