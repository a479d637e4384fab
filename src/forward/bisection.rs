//! The search for a message that breaks every connection it is sent over.

/// The next attempt of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Next {
    /// The number of messages to send, from the front of the batch.
    pub(super) count: usize,
    /// Whether to send them only after the broker answered a [`check`](super::publish::Publish::check).
    pub(super) check: bool,
}

/// A broker that closes the connection when it receives a certain message looks like an outage; sent again and again, such a
/// message would block all later ones for ever. Therefore a batch that fails without an answer is sent again in smaller and
/// smaller batches. When a message fails alone several times, and the broker answered a check right before each attempt, the
/// message is the cause and not the broker.
///
/// In an outage the check fails, so no message is suspected. Later messages are sent only after the suspected one is decided,
/// so the order is kept.
#[derive(Debug)]
pub(super) struct Bisection {
    /// The largest number of messages to send at once.
    window: usize,
    /// How often the first message failed alone right after a check that the broker answered.
    failed: u32,
    /// Whether the first message failed alone at the last attempt.
    suspect: bool,
}

const TIMES: u32 = 3;

impl Default for Bisection {
    fn default() -> Self {
        Self { window: usize::MAX, failed: 0, suspect: false }
    }
}

impl Bisection {
    /// Returns the next attempt of a batch of this length.
    pub(super) fn next(&self, len: usize) -> Next {
        Next { count: len.min(self.window), check: self.suspect }
    }

    /// Records the result of an attempt: the number of messages with an outcome, and the number without one. Returns true when
    /// the first message of the batch is the cause.
    pub(super) fn record(&mut self, sent: Next, settled: usize, unknown: usize) -> bool {
        if settled > 0 || unknown == 0 {
            // The broker answers: it accepts the messages, or reports its reason.
            *self = Self { window: self.window.saturating_mul(2).max(2), failed: 0, suspect: false };
            return false;
        }
        if sent.count > 1 {
            self.window = (sent.count / 2).max(1);
            return false;
        }
        self.window = 1;
        self.suspect = true;
        self.failed = if sent.check { self.failed.saturating_add(1) } else { 0 };
        if self.failed < TIMES {
            return false;
        }
        *self = Self { window: 1, failed: 0, suspect: false };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends a batch of `len` messages, of which those in `breaking` break the connection. Returns the rejected messages and the
    /// number of attempts.
    fn run(len: usize, breaking: &[usize]) -> (Vec<usize>, usize) {
        let mut bisection = Bisection::default();
        let mut batch: Vec<usize> = (0..len).collect();
        let (mut rejected, mut attempts) = (Vec::new(), 0);
        while !batch.is_empty() {
            attempts += 1;
            assert!(attempts < 1000, "{batch:?}");
            let sent = bisection.next(batch.len());
            // The messages before the breaking one are accepted.
            let taken = batch[..sent.count].iter().take_while(|message| !breaking.contains(message)).count();
            batch.drain(..taken);
            if bisection.record(sent, taken, sent.count - taken) {
                rejected.push(batch.remove(0));
            }
        }
        (rejected, attempts)
    }

    #[test]
    fn finds_the_one_among_many() {
        assert_eq!(run(100, &[]).1, 1);
        let (rejected, attempts) = run(100, &[40]);
        assert_eq!(rejected, [40]);
        assert!(attempts < 20, "{attempts}");
        assert_eq!(run(100, &[0, 50, 51, 99]).0, [0, 50, 51, 99]);
        assert_eq!(run(1, &[0]).0, [0]);
    }

    #[test]
    fn an_outage_rejects_no_message() {
        let mut bisection = Bisection::default();
        for attempt in 0..1000 {
            let sent = bisection.next(100);
            if sent.check && attempt % 100 != 0 {
                // The broker does not answer the check, so nothing is sent.
                assert!(!bisection.record(sent, 0, 0));
            } else {
                assert!(!bisection.record(sent, 0, sent.count));
            }
        }
    }
}
