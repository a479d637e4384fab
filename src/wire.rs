//! The wire form of records, snapshots and messages: encoding and decoding.
//!
//! Used by records (`stream`), by messages (`forward`), and by consumers of messages (`broker`). A change here affects programs in
//! other languages.

#[cfg(feature = "forward")]
mod codec;
#[cfg(feature = "_receive")]
mod decode;
#[cfg(any(feature = "forward", feature = "schema"))]
#[cfg_attr(not(feature = "forward"), allow(dead_code, reason = "its schema is described"))]
mod delta;
#[cfg(feature = "forward")]
mod document;
#[cfg(feature = "forward")]
mod form;
#[cfg(feature = "forward")]
mod head;
#[cfg(feature = "otlp")]
mod otlp;
#[cfg(any(feature = "forward", feature = "schema"))]
#[cfg_attr(not(feature = "forward"), allow(unreachable_pub, reason = "it is public in `forward`"))]
mod piece;
#[cfg(feature = "forward")]
mod raw_samples;
mod record;
mod version;

#[cfg(feature = "forward")]
pub use codec::Codec;
#[cfg(feature = "_receive")]
pub(crate) use decode::{Decoded, InChain, decode};
#[cfg(feature = "forward")]
pub(crate) use delta::{Band, DeltaEncoder, Step};
#[cfg(any(feature = "forward", feature = "schema"))]
pub(crate) use delta::{Delta, Link};
#[cfg(feature = "_receive")]
pub(crate) use delta::{Restore, Restored};
#[cfg(feature = "forward")]
pub(crate) use document::{Document, Part, TAIL_BYTES};
#[cfg(feature = "forward")]
pub use form::Form;
#[cfg(feature = "forward")]
pub(crate) use head::Head;
#[cfg(feature = "otlp")]
pub(crate) use otlp::{Logs, Points, pieces, record};
#[cfg(any(feature = "forward", feature = "schema"))]
#[cfg_attr(not(feature = "forward"), allow(unreachable_pub, reason = "it is public in `forward`"))]
pub use piece::Piece;
#[cfg(feature = "forward")]
pub(crate) use raw_samples::RawSamples;
pub(crate) use record::{Line, RecordRef};
#[cfg(feature = "recording")]
pub(crate) use version::SCHEMA;
pub(crate) use version::check;
#[cfg(feature = "schema")]
pub(crate) use version::describe;
