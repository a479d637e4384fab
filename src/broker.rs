//! Message brokers: for each an implementation of [`Publish`](crate::forward::Publish), and for some a consumer that turns messages
//! into snapshots again.
//!
//! Each broker is a feature of the same name. The types of its client library are not part of any public interface.
//!
//! # Settings
//!
//! `new` takes a URL. It does not connect: the first batch does. A URL can list several servers, separated by commas, each with its own
//! user; after a failure of one server the next one is used. All brokers have the settings `timeout` and `in_flight`. `tls` exists for
//! all but Kafka, whose client has TLS settings of its own; for NATS it is a setting of the `Server`.
//!
//! A constructor parses its text, and returns an error if that is invalid. Setters never fail: an invalid value is reported at its first
//! use, by an error that names the setting and the value ([`Error::is_config`](crate::Error::is_config)). Then a forwarder does not start
//! ([`Publish::validate`](crate::forward::Publish::validate)), and the items of a consumer's stream are errors. A setting that is only
//! invalid for this broker, or whose file cannot be read, is reported with each batch, which is tried again until it works.
//!
//! # Refusals
//!
//! A refusal is final ([`Rejected`](crate::forward::Outcome::Rejected)) only if the message itself is at fault: its size or its form. If
//! the server, the topic or the user is at fault (no room, no such stream, no permission, a wrong password), the outcome is
//! [`Retry`](crate::forward::Outcome::Retry), with an error that names the remedy, and the messages wait in the forwarder's queue.

#[cfg(feature = "amqp")]
pub mod amqp;
mod blocking;
#[cfg(feature = "_receive")]
mod consuming;
mod deadline;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "_link")]
#[cfg_attr(
    not(all(
        feature = "amqp",
        feature = "kafka",
        feature = "mqtt",
        feature = "nats",
        feature = "otlp",
        feature = "redis"
    )),
    allow(dead_code, reason = "each broker uses a part of it")
)]
mod link;
#[cfg(feature = "mqtt")]
pub mod mqtt;
#[cfg(feature = "nats")]
pub mod nats;
#[cfg(feature = "otlp")]
pub mod otlp;
#[cfg(feature = "_receive")]
mod receive;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(any(feature = "amqp", feature = "otlp", feature = "redis"))]
mod socket;
#[cfg(feature = "_link")]
pub(crate) mod tls;
#[cfg_attr(
    not(all(
        feature = "amqp",
        feature = "kafka",
        feature = "mqtt",
        feature = "nats",
        feature = "otlp",
        feature = "redis"
    )),
    allow(dead_code, reason = "each broker uses a part of it")
)]
mod url;

#[cfg(feature = "_receive")]
pub use consuming::Consuming;
#[cfg(feature = "_receive")]
pub use receive::ReceiveCounts;
