//! NATS: the publishers [`JetStream`] and [`Core`], and a [`Consumer`] that turns the messages into snapshots again.
//!
//! Durability of acknowledged messages: JetStream has stored the message, in a replicated stream on a majority of its replicas, by
//! default without waiting for the disk (`sync_interval` is two minutes): a stream that must survive a power cut of all its servers needs
//! `sync_interval: always`. A message that is sent again is stored once if that is within the stream's `duplicate_window`, two
//! minutes by default; after that the [`Consumer`] recognizes the duplicate by its id. Core NATS stores nothing.
//!
//! The stream must exist; this library does not create it. `nats stream add APPMON --subjects 'appmon.>'` creates one for the
//! default subjects, `appmon.{kind}.{host}`.
//!
//! Messages carry the attributes of CloudEvents as headers (`ce-id` and so on, `Content-Type`), and source and id as `Nats-Msg-Id`.

mod acks;
mod consumer;
mod core_nats;
mod headers;
mod jetstream;
mod line;
mod publisher;
mod server;

pub use crate::broker::consuming::Consuming;
pub use consumer::Consumer;
pub use core_nats::Core;
pub use jetstream::JetStream;
pub use server::Server;

/// The default subject.
const SUBJECT: &str = "appmon.{kind}.{host}";

/// The error for a subject without permission.
const NOT_PERMITTED: &str = "no permission to publish to this subject: grant it to this user";
