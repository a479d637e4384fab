//! NATS: [`JetStream`] and [`Core`] bring messages to it, and a [`Consumer`] makes snapshots of them again.
//!
//! What an acknowledgement is worth: `JetStream` has stored the message, in a replicated stream on most of its replicas, by default
//! without waiting for the disk (`sync_interval` is two minutes): a stream that must survive a power cut of all its servers needs
//! `sync_interval: always`. A message that is sent again is stored once if that is within the stream's `duplicate_window`, two
//! minutes by default; later on the [`Consumer`] sees by its id that it came twice. Core NATS stores nothing.
//!
//! A stream has to exist: this library makes none. `nats stream add APPMON --subjects 'appmon.>'` makes one for the default
//! subjects, `appmon.{kind}.{host}`.
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

/// Where messages go, unless something else is said.
const SUBJECT: &str = "appmon.{kind}.{host}";

/// What is said of a subject that the server does not permit.
const NOT_PERMITTED: &str = "no permission to publish to this subject: grant it to this user";
