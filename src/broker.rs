//! Message brokers: for each a [`Publish`](crate::forward::Publish), and consumers that make snapshots of messages again.
//!
//! Each is a feature of the same name. The types of a broker's client appear in no interface outside of that broker's module.
//!
//! # Settings
//!
//! `new` takes a URL, and connects to nothing: that is done when there is something to send. A URL can name several servers with
//! commas between them, each for a user of its own; after a failure that is a server's, the next one has its turn. `timeout` and
//! `in_flight` are everywhere; `tls` is where TLS is not the client's own (Kafka), and for NATS a setting of the `Server`.
//!
//! A constructor parses a text, and returns an error if it is wrong. No other setter fails: a value that cannot be used is reported when it
//! is used first, by an error that names the setting and its value ([`Error::is_config`](crate::Error::is_config)). So a forwarder does not
//! begin ([`Publish::validate`](crate::forward::Publish::validate)), and the items of a consumer's stream are errors. A setting that is
//! wrong only together with the broker, or with a file that is read for a connection, is reported with each batch, which waits until it is
//! right. A setter that is a question of yes or no takes a `bool`.
//!
//! # Whose fault it is
//!
//! A refusal is final ([`Rejected`](crate::forward::Outcome::Rejected)) only when it is the message's own fault: its size, its form. A
//! fault of the server, the topic or the user (no room, no such stream, no permission, a wrong password) is
//! [`Retry`](crate::forward::Outcome::Retry), with a text that names the remedy, and messages wait for it as the forwarder is configured
//! to.

#[cfg(feature = "amqp")]
pub mod amqp;
#[cfg(any(feature = "amqp", feature = "kafka", feature = "mqtt", feature = "nats", feature = "redis"))]
mod blocking;
#[cfg(any(feature = "kafka", feature = "nats"))]
mod consuming;
#[cfg(any(feature = "amqp", feature = "kafka", feature = "mqtt", feature = "nats", feature = "redis"))]
mod deadline;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(any(feature = "amqp", feature = "mqtt", feature = "nats", feature = "redis"))]
#[cfg_attr(
    not(all(feature = "amqp", feature = "kafka", feature = "mqtt", feature = "nats", feature = "redis")),
    allow(dead_code, reason = "each broker uses a part of it")
)]
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
#[cfg_attr(
    not(all(feature = "amqp", feature = "kafka", feature = "mqtt", feature = "nats", feature = "redis")),
    allow(dead_code, reason = "each broker uses a part of it")
)]
mod url;

#[cfg(any(feature = "kafka", feature = "nats"))]
pub use consuming::Consuming;
#[cfg(any(feature = "kafka", feature = "nats"))]
pub use receive::ReceiveCounts;
