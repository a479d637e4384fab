//! Appending of messages to the spool.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::{Append, DiskOutbox, PAUSE, STEP, no_answer};
use crate::Error;
use crate::forward::batch::Entry;
use crate::forward::message::Message;
use crate::forward::overflow::Overflow;
use crate::forward::report::Report;
use crate::forward::spool::{Appended, Full};

impl DiskOutbox {
    /// Makes one step of appending. Returns false when it waits, or when there is nothing to do.
    pub(super) fn poll_append(&mut self, cx: &mut Context<'_>, report: &mut Report) -> bool {
        match &mut self.append {
            Append::Idle => self.start_append(),
            Append::Full => false,
            Append::Pausing(pause) => {
                if pause.as_mut().poll(cx).is_pending() {
                    self.bypass_disk();
                    return false;
                }
                self.append = Append::Idle;
                true
            }
            Append::UnderWay { reply, .. } => {
                let Poll::Ready(answer) = Pin::new(reply).poll(cx) else { return false };
                let Append::UnderWay { messages, .. } = std::mem::replace(&mut self.append, Append::Idle) else {
                    return false;
                };
                match answer.unwrap_or_else(|_| Err(no_answer())) {
                    Ok(appended) => self.appended(messages, appended, report),
                    Err(error) => self.not_appended(messages, &error),
                }
                true
            }
        }
    }

    fn start_append(&mut self) -> bool {
        let messages = self.incoming.take(STEP);
        if messages.is_empty() {
            return false;
        }
        self.settled_meanwhile.clear();
        let reply = self.spool.append(messages.clone(), self.when_full());
        self.append = Append::UnderWay { reply, messages };
        true
    }

    pub(super) fn when_full(&self) -> Full {
        if self.overflow == Overflow::DropOldest { Full::EvictOldest } else { Full::Refuse }
    }

    pub(super) fn appended(&mut self, messages: Vec<Message>, appended: Appended, report: &mut Report) {
        self.notice_loss(report);
        let evicted = self.evict(&appended, report);
        if let Some(reading) = &mut self.reading {
            reading.stale = true;
            reading.evicted.extend(&evicted);
        }
        let mut messages = messages.into_iter();
        let stored = usize::try_from(appended.stored).unwrap_or(usize::MAX);
        for (position, message) in (appended.first..).zip(messages.by_ref().take(stored)) {
            if evicted.contains(&position) {
                continue;
            }
            if self.is_lost(position) {
                // It is lost on the disk, but still in memory.
                report.dropped.corrupt.subtract(1, 0);
                self.ready.push(Entry::new(message, None));
                continue;
            }
            if self.behind || self.is_ready_full() {
                // It is read from the disk later.
                self.behind = true;
                continue;
            }
            self.last_ready = Some(position);
            self.ready.push(Entry::new(message, Some(position)));
        }
        let refused: Vec<_> = messages.collect();
        if !refused.is_empty() {
            self.refused(refused, report);
        }
    }

    /// Handles messages for which the spool had no room.
    fn refused(&mut self, mut messages: Vec<Message>, report: &mut Report) {
        let ever = messages.first().is_some_and(|first| self.spool.could_hold(first));
        if !ever || self.overflow != Overflow::Block {
            // The first message cannot fit, and neither can one that is at least as large.
            let least = messages.first().map_or(0, |first| first.payload.len());
            let drops_newest = self.overflow == Overflow::DropNewest;
            let mut first = true;
            messages.retain(|message| {
                let keep = !std::mem::take(&mut first) && (!drops_newest || message.payload.len() < least);
                if !keep {
                    report.dropped.newest.add(1, message.samples.into());
                }
                keep
            });
        } else if self.settled_meanwhile.is_empty() {
            self.append = Append::Full;
        }
        // Otherwise there may be room now, and possibly no later removal that would trigger another attempt: so it is tried again.
        self.incoming.push_front(messages);
    }

    /// Handles messages of a failed append.
    fn not_appended(&mut self, messages: Vec<Message>, error: &Error) {
        self.incoming.push_front(messages);
        self.bypass_disk();
        tracing::warn!(%error, waiting = self.incoming.len(), "messages could not be written to the spool");
        self.append = Append::Pausing(Box::pin(tokio::time::sleep(PAUSE)));
    }

    /// Makes incoming messages ready without the disk, unless older ones are on it.
    fn bypass_disk(&mut self) {
        while !self.behind
            && self.reading.is_none()
            && !self.is_ready_full()
            && let Some(message) = self.incoming.pop()
        {
            self.ready.push(Entry::new(message, None));
        }
    }

    /// Counts evicted messages as lost, unless they are being delivered or were accepted meanwhile. Returns their positions.
    pub(super) fn evict(&mut self, appended: &Appended, report: &mut Report) -> BTreeSet<u64> {
        let mut positions = BTreeSet::new();
        for evicted in &appended.evicted {
            positions.insert(evicted.position);
            if self.settled_meanwhile.contains(&evicted.position) {
                continue;
            }
            report.dropped.oldest.add(1, evicted.samples);
            if let Some(taken) = self.taken.get_mut(&evicted.position) {
                taken.evicted = true;
            }
        }
        if !positions.is_empty() {
            self.ready.retain(|entry| entry.position.is_none_or(|position| !positions.contains(&position)));
        }
        positions
    }
}
