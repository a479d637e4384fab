//! A message as it came, and where it comes from.

use std::fmt;
use std::sync::Arc;

use crate::BootId;
use crate::forward::{Codec, Form};

/// A message as it came: its payload, and what its headers say.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Received<'a> {
    /// [`MessageId`] as text. What has none, or another one, is never taken for a double.
    pub(crate) id: Option<&'a str>,
    /// The `source` of the CloudEvent.
    pub(crate) source: Option<&'a str>,
    /// The `type` of the CloudEvent.
    pub(crate) event_type: Option<&'a str>,
    /// The media type; JSON where nothing is said.
    pub(crate) content_type: Option<&'a str>,
    pub(crate) payload: &'a [u8],
    /// Where it came from, for people: a subject, a topic.
    pub(crate) place: &'a str,
}

impl Received<'_> {
    /// How its payload is encoded; an error for a media type that is not known.
    pub(super) fn codec(&self) -> Result<Codec, String> {
        match self.content_type {
            None => Ok(Codec::Json),
            Some(text) => Codec::from_media_type(text).ok_or_else(|| format!("the media type {text:?} is not known")),
        }
    }

    /// What it holds: a snapshot, unless it says something else.
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

/// Where a sequence of messages comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Source {
    pub(super) source: Arc<str>,
    pub(super) boot_id: BootId,
    pub(super) epoch: u64,
}
