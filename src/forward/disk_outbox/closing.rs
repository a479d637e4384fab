//! The end of a disk outbox: the messages in memory are written to the disk.

use tokio::time::Instant;

use super::{Append, DiskOutbox};
use crate::forward::batch::Entry;
use crate::forward::message::Message;
use crate::forward::report::Report;
use crate::forward::spool::Closed;

impl DiskOutbox {
    /// Writes the messages in memory, and closes the spool, whose messages stay for the next run. Those in `taken` were never
    /// settled. It ends at about `until`; messages that could not be written count as lost.
    pub(crate) async fn close(mut self, taken: Vec<Entry>, until: Instant, report: &mut Report) {
        self.flush_settled();
        let mut late = false;
        let mut under_way: Vec<Message> = Vec::new();
        if let Append::UnderWay { reply, messages } = std::mem::replace(&mut self.append, Append::Idle) {
            match tokio::time::timeout_at(until, reply).await {
                Ok(Ok(Ok(appended))) => self.appended(messages, appended, report),
                answer => {
                    under_way = messages;
                    late = answer.is_err();
                }
            }
        }
        self.notice_loss(report);
        // A message that was split stays in the spool as one message.
        let again = self.taken.values().map(|taken| u64::try_from(taken.pieces.saturating_sub(1)).unwrap_or(u64::MAX));
        report.messages = again.fold(report.messages, u64::saturating_sub);
        let lost_below = self.lost.1;
        let entries = taken.into_iter().chain(std::mem::take(&mut self.ready));
        let in_memory = entries.filter(|entry| entry.position.is_none_or(|position| position < lost_below));
        // In their original order.
        let mut unsaved: Vec<_> = in_memory.map(|entry| entry.message).collect();
        unsaved.append(&mut under_way);
        unsaved.extend(std::mem::take(&mut self.incoming));
        if !late && !unsaved.is_empty() {
            self.settled_meanwhile.clear();
            match tokio::time::timeout_at(until, self.spool.append(unsaved.clone(), self.when_full())).await {
                Ok(Ok(Ok(appended))) => {
                    self.evict(&appended, report);
                    unsaved.drain(..unsaved.len().min(usize::try_from(appended.stored).unwrap_or(usize::MAX)));
                }
                answer => late = answer.is_err(),
            }
        }
        for message in unsaved {
            report.dropped.shutdown.add(1, message.samples.into());
        }
        self.notice_loss(report);
        // It is unknown whether a late append reaches the disk. Its messages count as lost, so they must not count as kept as well.
        // The thread closes the spool in any case.
        let left = self.spool.left();
        let mut closed = Closed { left, ..Closed::default() };
        if !late {
            match tokio::time::timeout_at(until, self.spool.close()).await {
                Ok(Ok(at_last)) => closed = at_last,
                Ok(Err(error)) => tracing::warn!(%error, "the spool could not be closed properly"),
                Err(_) => {}
            }
        }
        report.spooled = closed.left.messages;
        report.dropped.shutdown.add(closed.lost.messages, closed.lost.samples);
    }
}
