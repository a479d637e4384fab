//! A walk over a sample: the hash of its content, and beside it the times in it and the values of fields with a dead band.

use std::borrow::Cow;
use std::fmt;
use std::hash::Hasher;

use foldhash::quality::FoldHasher;
use serde::ser::{self, Impossible, Serialize, Serializer};

use super::bands::Band;
use crate::Monotonic;
use crate::time::optional_age;

/// A serializer that writes nothing. Two samples with the same hash, the same times and the same banded values are the same in every
/// encoding.
pub(super) struct Walk<'a> {
    pub(super) hasher: FoldHasher<'static>,
    /// Whether times are kept apart, or are content like anything else.
    pub(super) has_times: bool,
    /// The times, in order.
    pub(super) times: &'a mut Vec<u64>,
    /// Which of these are ages.
    pub(super) ages: &'a mut Vec<usize>,
    pub(super) bands: &'a [Band],
    /// The values of the fields with a band, each with the index of that.
    pub(super) banded: &'a mut Vec<(u32, f64)>,
    /// The names of the fields around the current one, if there are bands.
    pub(super) path: &'a mut Vec<Cow<'static, str>>,
    /// The depth of lists around the current value: their items have no path.
    pub(super) lists: u32,
    /// Whether the next integer is a time.
    pub(super) next: Next,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Next {
    Content,
    Time,
    Age,
}

/// The reason why a sample cannot be encoded; nobody asks for the text here.
#[derive(Debug)]
pub(super) struct Fault;

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it cannot be encoded")
    }
}

impl std::error::Error for Fault {}

impl ser::Error for Fault {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

impl Walk<'_> {
    #[inline]
    fn integer(&mut self, bits: u64, value: impl FnOnce() -> f64) {
        if self.next != Next::Content {
            return self.time(bits);
        }
        if self.bands.is_empty() || !self.is_banded(value()) {
            self.hasher.write_u64(bits);
        }
    }

    fn time(&mut self, nanos: u64) {
        if std::mem::replace(&mut self.next, Next::Content) == Next::Age {
            self.ages.push(self.times.len());
        }
        self.times.push(nanos);
    }

    /// Whether the current field has a band: then the value is kept.
    #[cold]
    fn is_banded(&mut self, value: f64) -> bool {
        if self.lists > 0 {
            return false;
        }
        let Some(index) = self.bands.iter().position(|band| band.is_at(self.path)) else { return false };
        self.banded.push((u32::try_from(index).unwrap_or(u32::MAX), value));
        true
    }

    fn text(&mut self, bytes: &[u8]) {
        self.hasher.write_usize(bytes.len());
        self.hasher.write(bytes);
    }

    /// Walks over a field of a struct. Its name counts as the place where it stands in memory, which is the same for all values of a type.
    #[inline]
    fn field(&mut self, name: &'static str, value: &(impl Serialize + ?Sized)) -> Result<(), Fault> {
        self.hasher.write_usize(name.as_ptr().addr());
        if self.bands.is_empty() {
            return value.serialize(&mut *self);
        }
        self.path.push(Cow::Borrowed(name));
        let done = value.serialize(&mut *self);
        self.path.pop();
        done
    }

    fn open(&mut self, tag: u8, length: Option<usize>) -> &mut Self {
        self.hasher.write_u8(tag);
        self.hasher.write_usize(length.unwrap_or(usize::MAX));
        self
    }

    fn open_list(&mut self, length: Option<usize>) -> &mut Self {
        self.lists = self.lists.saturating_add(1);
        self.open(TAG_LIST, length)
    }

    fn close_list(&mut self) {
        self.lists = self.lists.saturating_sub(1);
        self.hasher.write_u8(TAG_END);
    }
}

const TAG_NONE: u8 = 0;
const TAG_SOME: u8 = 1;
const TAG_LIST: u8 = 2;
const TAG_MAP: u8 = 3;
const TAG_VARIANT: u8 = 4;
const TAG_END: u8 = 5;

macro_rules! integers {
    ($($name:ident: $type:ty),*) => {
        $(
            #[allow(clippy::cast_lossless, clippy::cast_precision_loss, clippy::cast_sign_loss, reason = "bits to be hashed, and a value to be compared")]
            fn $name(self, value: $type) -> Result<(), Fault> {
                self.integer(value as u64, || value as f64);
                Ok(())
            }
        )*
    };
}

impl Serializer for &mut Walk<'_> {
    type Ok = ();
    type Error = Fault;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    integers!(serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64);
    integers!(serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64);

    #[expect(clippy::cast_precision_loss, reason = "to be compared with a band")]
    fn serialize_u128(self, value: u128) -> Result<(), Fault> {
        if self.bands.is_empty() || !self.is_banded(value as f64) {
            self.hasher.write_u128(value);
        }
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "to be compared with a band")]
    fn serialize_i128(self, value: i128) -> Result<(), Fault> {
        if self.bands.is_empty() || !self.is_banded(value as f64) {
            self.hasher.write_i128(value);
        }
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Result<(), Fault> {
        self.serialize_f64(value.into())
    }

    fn serialize_f64(self, value: f64) -> Result<(), Fault> {
        if self.bands.is_empty() || !self.is_banded(value) {
            self.hasher.write_u64(value.to_bits());
        }
        Ok(())
    }

    fn serialize_bool(self, value: bool) -> Result<(), Fault> {
        self.hasher.write_u8(value.into());
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), Fault> {
        self.hasher.write_u32(value.into());
        Ok(())
    }

    fn serialize_str(self, value: &str) -> Result<(), Fault> {
        self.text(value.as_bytes());
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Fault> {
        self.text(value);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Fault> {
        self.hasher.write_u8(TAG_NONE);
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Fault> {
        self.hasher.write_u8(TAG_SOME);
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Fault> {
        self.serialize_none()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Fault> {
        self.serialize_none()
    }

    fn serialize_unit_variant(self, _: &'static str, index: u32, _: &'static str) -> Result<(), Fault> {
        self.hasher.write_u32(index);
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<(), Fault> {
        if self.has_times {
            match name {
                Monotonic::TYPE => self.next = Next::Time,
                optional_age::TYPE => self.next = Next::Age,
                _ => {}
            }
        }
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Fault> {
        self.open(TAG_VARIANT, None);
        self.field(variant, value)
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Self, Fault> {
        Ok(self.open_list(length))
    }

    fn serialize_tuple(self, length: usize) -> Result<Self, Fault> {
        Ok(self.open_list(Some(length)))
    }

    fn serialize_tuple_struct(self, _: &'static str, length: usize) -> Result<Self, Fault> {
        Ok(self.open_list(Some(length)))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Self, Fault> {
        self.text(variant.as_bytes());
        Ok(self.open_list(Some(length)))
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Self, Fault> {
        Ok(self.open(TAG_MAP, length))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Fault> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Self, Fault> {
        self.text(variant.as_bytes());
        Ok(self.open(TAG_VARIANT, Some(length)))
    }
}

macro_rules! lists {
    ($($trait:ident::$item:ident),*) => {
        $(
            impl ser::$trait for &mut Walk<'_> {
                type Ok = ();
                type Error = Fault;

                fn $item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
                    value.serialize(&mut **self)
                }

                fn end(self) -> Result<(), Fault> {
                    self.close_list();
                    Ok(())
                }
            }
        )*
    };
}

lists!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
);

macro_rules! fields {
    ($($trait:ident),*) => {
        $(
            impl ser::$trait for &mut Walk<'_> {
                type Ok = ();
                type Error = Fault;

                fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Fault> {
                    self.field(name, value)
                }

                fn end(self) -> Result<(), Fault> {
                    self.hasher.write_u8(TAG_END);
                    Ok(())
                }
            }
        )*
    };
}

fields!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for &mut Walk<'_> {
    type Ok = ();
    type Error = Fault;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Fault> {
        key.serialize(&mut **self)?;
        if !self.bands.is_empty() {
            self.path.push(key.serialize(Name).unwrap_or_default().into());
        }
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        let done = value.serialize(&mut **self);
        if !self.bands.is_empty() {
            self.path.pop();
        }
        done
    }

    fn end(self) -> Result<(), Fault> {
        self.hasher.write_u8(TAG_END);
        Ok(())
    }
}

/// The name that a key of a map is; a fault for keys that are no text.
struct Name;

macro_rules! no_names {
    ($($name:ident: $type:ty),*) => {
        $(
            fn $name(self, _: $type) -> Result<String, Fault> {
                Err(Fault)
            }
        )*
    };
}

impl Serializer for Name {
    type Ok = String;
    type Error = Fault;
    type SerializeSeq = Impossible<String, Fault>;
    type SerializeTuple = Impossible<String, Fault>;
    type SerializeTupleStruct = Impossible<String, Fault>;
    type SerializeTupleVariant = Impossible<String, Fault>;
    type SerializeMap = Impossible<String, Fault>;
    type SerializeStruct = Impossible<String, Fault>;
    type SerializeStructVariant = Impossible<String, Fault>;

    no_names!(serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64);
    no_names!(serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_f32: f32);
    no_names!(serialize_f64: f64, serialize_char: char, serialize_bytes: &[u8], serialize_unit_struct: &'static str);

    fn serialize_str(self, value: &str) -> Result<String, Fault> {
        Ok(value.to_owned())
    }

    fn serialize_none(self) -> Result<String, Fault> {
        Err(Fault)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<String, Fault> {
        Err(Fault)
    }

    fn serialize_unit(self) -> Result<String, Fault> {
        Err(Fault)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<String, Fault> {
        Ok(variant.to_owned())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<String, Fault> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<String, Fault> {
        Err(Fault)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Fault> {
        Err(Fault)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Fault> {
        Err(Fault)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, Fault> {
        Err(Fault)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Fault> {
        Err(Fault)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Fault> {
        Err(Fault)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct, Fault> {
        Err(Fault)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Fault> {
        Err(Fault)
    }
}
