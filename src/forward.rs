//! Encoding of snapshots as messages, and their delivery to a message queue.
//!
//! ```no_run
//! # #[cfg(feature = "nats")]
//! # async fn forward() -> appmon::Result<()> {
//! use std::time::Duration;
//!
//! use appmon::broker::nats::JetStream;
//! use appmon::forward::Forwarder;
//! use appmon::{ForwardExt, Processes, SnapshotStreamExt, SourceExt};
//!
//! let queue = JetStream::new("nats://127.0.0.1:4222")?;
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
//! An [`Encoder`] turns each snapshot into a [`Message`], in JSON, NDJSON or MessagePack. A [`Forwarder`] delivers the messages
//! through an implementation of [`Publish`]: at least once, in the order of their sequence numbers, and with every loss counted
//! by its reason in the [`Report`]. The implementations for brokers are in `broker`, each a feature and a module of its own.

mod backoff;
mod batch;
mod bisection;
#[cfg(feature = "otlp")]
mod boots;
mod box_publish;
mod chains;
mod deadline;
mod delivery;
mod disk_outbox;
mod encode;
mod ext;
mod feed_name;
mod feeds;
mod forward_sink;
mod forward_task;
mod forward_to;
mod forwarder;
mod host;
mod memory_outbox;
mod message;
mod origin;
mod outbox;
mod overflow;
mod publish;
mod rejected;
mod report;
mod split;
mod spool;
mod status;
mod template;
mod waiting;

pub use crate::wire::{Codec, Form, Piece};
pub use backoff::Backoff;
pub use box_publish::BoxPublish;
pub use encode::{Encoded, Encoder};
pub use ext::ForwardExt;
#[cfg(feature = "_receive")]
pub(crate) use feed_name::check as check_stream_name;
pub use feeds::Feeds;
pub use forward_sink::ForwardSink;
pub use forward_to::{ForwardTo, ForwardToAll, Forwarders};
pub use forwarder::Forwarder;
pub use host::Host;
pub use message::{Message, MessageId};
pub use overflow::Overflow;
pub use publish::{Outcome, Publish};
pub use report::{Count, Dropped, Report};
pub use spool::DeadLetter;
pub use status::{FeedStatus, Monitor, Status};
pub use template::{Escape, Template};
