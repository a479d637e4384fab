//! Everything else that needs no broker: parsers, streams, the wire form, forwarding, what must compile.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is the report of a test")]

#[cfg(all(feature = "config", feature = "nats", feature = "prometheus"))]
mod agent;
mod alerts;
mod allocations;
#[cfg(feature = "forward")]
mod changed;
mod combinators;
#[cfg(all(
    feature = "amqp",
    feature = "config",
    feature = "kafka",
    feature = "mqtt",
    feature = "nats",
    feature = "prometheus",
    feature = "redis"
))]
mod config;
mod contract;
mod control_groups;
#[cfg(feature = "forward")]
mod downstream;
#[cfg(feature = "forward")]
mod encode;
mod fake_proc;
#[cfg(feature = "forward")]
mod forward;
#[cfg(feature = "forward")]
mod forward_spool;
mod house;
mod machine;
mod measured;
mod observe;
#[cfg(feature = "opentelemetry")]
mod opentelemetry;
#[cfg(feature = "otlp")]
mod otlp;
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
mod services;
mod skipped;
mod windows;
mod wire;
