//! Messages that a broker refused for good.

use std::sync::Arc;

use crate::Error;
use crate::forward::batch::Entry;
use crate::forward::message::Message;
use crate::forward::outbox::Outbox;
use crate::forward::status::Shared;

/// What is called with each of them.
pub(super) type OnRejected = Box<dyn FnMut(&Message, &Error) + Send>;

/// Messages that will never be taken are set aside: they are not to hold up the others.
pub(super) struct Rejected {
    destination: Arc<str>,
    call: Option<OnRejected>,
}

impl Rejected {
    pub(super) fn new(destination: Arc<str>, call: Option<OnRejected>) -> Self {
        Self { destination, call }
    }

    pub(super) fn set_aside(&mut self, backlog: &mut Outbox, shared: &Shared, entry: &Entry, error: &Error) {
        tracing::warn!(destination = &*self.destination, id = %entry.message.id, %error, "rejected");
        shared.update(|status| {
            status.report.dropped.rejected.add(1, entry.message.samples.into());
            backlog.settled(entry, Some(error), &mut status.report);
        });
        if let Some(call) = &mut self.call {
            call(&entry.message, error);
        }
    }
}
