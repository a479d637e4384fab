//! Samples leave the machine: messages, and what brings them to a message queue.
//!
//! ```no_run
//! # #[cfg(feature = "nats")]
//! # async fn forward() -> appmon::Result<()> {
//! use std::time::Duration;
//!
//! use appmon::sink::{Forwarder, nats::JetStream};
//! use appmon::{Processes, SnapshotStreamExt, SourceExt};
//!
//! let queue = JetStream::connect("nats://127.0.0.1:4222").await?;
//! let report = Processes::new()
//!     .every(Duration::from_secs(1))
//!     .rates()
//!     .forward_to(Forwarder::new(queue).spool("spool.redb", 64 << 20))
//!     .await?;
//! println!("{report:?}");
//! # Ok(())
//! # }
//! ```
//!
//! Each snapshot becomes a [`Message`] (an [`Encoder`] does that, in JSON, NDJSON or MessagePack), and a [`Forwarder`] brings the
//! messages to whatever implements [`Publish`]: at least once, in the order of their sequence, with every loss counted by its
//! reason in the [`Report`]. A broker is a feature and a module of its own; the types of its client stay out of this interface.

#[cfg(feature = "amqp")]
pub mod amqp;
#[cfg(any(feature = "kafka", feature = "nats"))]
mod arrive;
mod backlog;
#[cfg(any(feature = "amqp", feature = "redis"))]
mod batch;
mod codec;
mod drive;
mod encode;
mod forward;
mod forward_sink;
mod forward_to;
mod host;
#[cfg(feature = "kafka")]
pub mod kafka;
mod lane;
mod message;
#[cfg(feature = "mqtt")]
pub mod mqtt;
#[cfg(feature = "nats")]
pub mod nats;
mod poison;
mod publish;
mod queue;
#[cfg(feature = "redis")]
pub mod redis;
mod report;
mod retry;
#[cfg(any(feature = "amqp", feature = "mqtt", feature = "nats", feature = "redis"))]
mod roots;
#[cfg(any(feature = "amqp", feature = "redis"))]
mod socket;
mod spool;
mod spooled;
mod status;
mod template;

#[cfg(any(feature = "kafka", feature = "nats"))]
pub use arrive::Arrived;
pub use codec::Codec;
pub use encode::{Encoded, Encoder};
pub use forward::Forwarder;
pub use forward_sink::ForwardSink;
pub use forward_to::{ForwardTo, ForwardToAll, Forwarders};
pub use host::Host;
pub use message::{Form, Message, MessageId};
pub use publish::{Outcome, Publish};
pub use queue::Overflow;
pub use report::{Count, Dropped, Report};
pub use spool::SetAside;
pub use status::{Monitor, Status};
pub use template::{Escape, Template};
