//! Messages that a broker refused for good.

use std::sync::Arc;

use crate::Error;
use crate::forward::batch::Entry;
use crate::forward::message::Message;
use crate::forward::outbox::Outbox;
use crate::forward::status::Shared;

/// The user's callback for rejected messages.
pub(super) type OnRejected = Box<dyn FnMut(&Message, &Error) + Send>;

/// Handles rejected messages, so that they do not block later ones: counts and logs them, keeps them as dead letters in a spool, and
/// calls the user's callback.
pub(super) struct Rejected {
    destination: Arc<str>,
    call: Option<OnRejected>,
}

impl Rejected {
    pub(super) fn new(destination: Arc<str>, call: Option<OnRejected>) -> Self {
        Self { destination, call }
    }

    pub(super) fn reject(&mut self, outbox: &mut Outbox, shared: &Shared, entry: &Entry, error: &Error) {
        tracing::warn!(destination = &*self.destination, id = %entry.message.id, %error, "a message was rejected");
        shared.update(|status| {
            status.report.dropped.rejected.add(1, entry.message.samples.into());
            outbox.settled(entry, Some(error), &mut status.report);
        });
        if let Some(call) = &mut self.call {
            call(&entry.message, error);
        }
    }
}
