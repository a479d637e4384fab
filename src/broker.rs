//! Message brokers: for each a [`Publish`](crate::forward::Publish), and consumers that make snapshots of messages again.
//!
//! Each is a feature of the same name. The types of a broker's client appear in no interface outside of that broker's module.

#[cfg(feature = "amqp")]
pub mod amqp;
#[cfg(any(feature = "amqp", feature = "kafka", feature = "mqtt", feature = "nats", feature = "redis"))]
mod blocking;
#[cfg(any(feature = "kafka", feature = "nats"))]
mod consuming;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(any(feature = "amqp", feature = "mqtt", feature = "nats", feature = "redis"))]
mod link;
#[cfg(feature = "mqtt")]
pub mod mqtt;
#[cfg(feature = "nats")]
pub mod nats;
#[cfg(any(feature = "kafka", feature = "nats"))]
mod receive;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(any(feature = "amqp", feature = "redis"))]
mod socket;
#[cfg(any(feature = "amqp", feature = "mqtt", feature = "nats", feature = "redis"))]
mod tls;
#[cfg(any(feature = "amqp", feature = "kafka", feature = "mqtt", feature = "nats", feature = "redis"))]
mod url;

#[cfg(any(feature = "kafka", feature = "nats"))]
pub use consuming::Consuming;
#[cfg(any(feature = "kafka", feature = "nats"))]
pub use receive::ReceiveCounts;
