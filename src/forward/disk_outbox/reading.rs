//! Reading of messages from the spool.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::{DiskOutbox, PAUSE, Reading, STEP, no_answer};
use crate::forward::batch::Entry;
use crate::forward::report::Report;
use crate::forward::spool::{Range, Stored};

impl DiskOutbox {
    /// Makes one step of reading. Returns false when it waits, or when there is nothing to do.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, report: &mut Report) -> bool {
        let Some(reading) = &mut self.reading else { return self.start_read(cx) };
        let Poll::Ready(answer) = Pin::new(&mut reading.reply).poll(cx) else { return false };
        let (stale, evicted) = (reading.stale, std::mem::take(&mut reading.evicted));
        self.reading = None;
        self.notice_loss(report);
        match answer.unwrap_or_else(|_| Err(no_answer())) {
            Ok(stored) if stored.is_empty() => self.behind = stale,
            Ok(stored) => {
                for Stored { position, message } in stored {
                    self.last_ready = Some(position);
                    if self.is_lost(position) {
                        // It was read before it was lost.
                        report.dropped.corrupt.subtract(1, 0);
                        self.ready.push(Entry::new(message, None));
                    } else if !evicted.contains(&position) {
                        self.ready.push(Entry::new(message, Some(position)));
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the spool could not be read");
                self.read_pause = Some(Box::pin(tokio::time::sleep(PAUSE)));
            }
        }
        true
    }

    /// Begins to read the next messages once the last ones are taken, so that most wait on the disk and not in memory.
    fn start_read(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.behind || !self.ready.is_empty() {
            return false;
        }
        if let Some(pause) = &mut self.read_pause {
            if pause.as_mut().poll(cx).is_pending() {
                return false;
            }
            self.read_pause = None;
        }
        let range =
            Range { after: self.last_ready, max_messages: STEP.messages, max_bytes: self.limits.bytes.min(STEP.bytes) };
        self.reading = Some(Reading { reply: self.spool.read(range), stale: false, evicted: BTreeSet::new() });
        true
    }
}
