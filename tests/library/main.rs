//! Everything else that needs no broker: parsers, streams, the wire form, forwarding, what must compile.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is the report of a test")]

mod alerts;
mod allocations;
mod combinators;
mod contract;
#[cfg(feature = "forward")]
mod encode;
mod fake_proc;
#[cfg(feature = "forward")]
mod forward;
#[cfg(feature = "forward")]
mod forward_spool;
mod house;
mod measured;
mod observe;
mod parsers;
#[cfg(feature = "prometheus")]
mod prometheus;
mod promises;
#[cfg(feature = "recording")]
mod recording;
mod sampler;
#[cfg(feature = "schema")]
mod schema;
mod select;
mod skipped;
mod windows;
mod wire;
