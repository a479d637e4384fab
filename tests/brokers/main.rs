//! Against real brokers, started on loopback.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is the report of a test")]

#[cfg(feature = "amqp")]
mod amqp;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "mqtt")]
mod mqtt;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "otlp")]
mod otlp;
#[cfg(feature = "redis")]
mod redis;
