//! A received message, and its producer.

use std::fmt;
use std::sync::Arc;

use crate::BootId;
use crate::forward::{Codec, Form};

/// A received message: its payload and headers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Received<'a> {
    /// The [`MessageId`] as text. A message without a valid one is never dropped as a duplicate.
    pub(crate) id: Option<&'a str>,
    /// The `source` of the CloudEvent.
    pub(crate) source: Option<&'a str>,
    /// The `type` of the CloudEvent.
    pub(crate) event_type: Option<&'a str>,
    /// The name of the stream.
    pub(crate) stream: Option<&'a str>,
    /// The media type; JSON if there is none.
    pub(crate) content_type: Option<&'a str>,
    pub(crate) payload: &'a [u8],
    /// Its subject or topic, for people.
    pub(crate) place: &'a str,
}

impl Received<'_> {
    /// Returns the encoding of its payload; an error for an unknown media type.
    pub(super) fn codec(&self) -> Result<Codec, String> {
        match self.content_type {
            None => Ok(Codec::Json),
            Some(text) => Codec::from_media_type(text).ok_or_else(|| format!("the media type {text:?} is unknown")),
        }
    }

    /// Returns the form of its content: a snapshot, unless its type names another.
    pub(super) fn form(&self) -> Form {
        self.event_type.map_or(Form::Snapshot, Form::of_event_type)
    }
}

impl fmt::Display for Received<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.id, self.source) {
            (Some(id), Some(source)) => write!(f, "message {id} of {source}")?,
            (Some(id), None) => write!(f, "message {id}")?,
            (None, _) => f.write_str("a message without id")?,
        }
        if self.place.is_empty() { Ok(()) } else { write!(f, " on {}", self.place) }
    }
}

/// The producer of a sequence of messages.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Source {
    pub(super) source: Arc<str>,
    pub(super) boot_id: BootId,
    pub(super) epoch: u64,
}
