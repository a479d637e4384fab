//! Delta coding: a snapshot as its changes since the one before it, and back.
//!
//! A chain begins with a keyframe, which is a whole snapshot. Each delta after it names the keyframe and its own number in the chain, so
//! that a snapshot is restored only from an unbroken chain: from part of one, nothing is.
//!
//! A delta refers to samples by their position in the list of samples, and is a patch of that list: it removes samples ([`Delta::gone`]),
//! replaces samples in place ([`Delta::changed`]) and inserts samples ([`Delta::new`]). Of the samples that stand still it sets the times
//! that moved on ([`Delta::times`]).
//!
//! Both sides hold state in memory only, bounded by one snapshot each: [`DeltaEncoder`] hashes of the samples that were sent, [`Restore`]
//! the samples.

#[cfg(feature = "forward")]
mod bands;
#[cfg(feature = "forward")]
mod encoder;
mod link;
#[cfg(feature = "forward")]
mod marks;
mod ranges;
#[cfg(feature = "_receive")]
mod restore;
#[cfg(all(test, feature = "nats"))]
mod tests;
#[cfg(feature = "forward")]
mod walk;

#[cfg(feature = "forward")]
pub(crate) use bands::Band;
#[cfg(feature = "forward")]
pub(crate) use encoder::{DeltaEncoder, Step};
pub(crate) use link::{Delta, Link};
#[cfg(feature = "_receive")]
pub(crate) use restore::{Restore, Restored};
