//! Finds the message that breaks every connection it is sent over.

/// What is to be sent of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Next {
    /// So many from its front.
    pub(super) count: usize,
    /// After the broker answered to something harmless.
    pub(super) check: bool,
}

/// A broker that answers to a message by cutting the connection looks like an outage; sent again and again, such a message would
/// hold up all others for ever. So what fails without an answer is sent in smaller and smaller batches. Where a message fails
/// alone several times, although the broker answered to something else each time right before, it is not the broker.
///
/// In an outage the broker does not answer, and nothing is held against anybody. Nothing later is sent before it is clear: the
/// order stays.
#[derive(Debug)]
pub(super) struct Bisection {
    /// How many may be sent at once.
    window: usize,
    /// How often the first failed alone, with a broker that answered before.
    failed: u32,
    /// Whether the first failed alone at the last attempt.
    suspect: bool,
}

const TIMES: u32 = 3;

impl Default for Bisection {
    fn default() -> Self {
        Self { window: usize::MAX, failed: 0, suspect: false }
    }
}

impl Bisection {
    /// What to send of a batch of this length.
    pub(super) fn next(&self, len: usize) -> Next {
        Next { count: len.min(self.window), check: self.suspect }
    }

    /// Learns how it went: how many were settled, and of how many nobody knows. True when the first message of the batch is the
    /// one.
    pub(super) fn learn(&mut self, sent: Next, settled: usize, unknown: usize) -> bool {
        if settled > 0 || unknown == 0 {
            // Somebody answers. It is either well, or says why not.
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

    /// Sends a batch of `len`, of which those in `poisonous` break the connection; gives what was set aside and how many attempts
    /// it took.
    fn run(len: usize, poisonous: &[usize]) -> (Vec<usize>, usize) {
        let mut poison = Bisection::default();
        let mut batch: Vec<usize> = (0..len).collect();
        let (mut aside, mut attempts) = (Vec::new(), 0);
        while !batch.is_empty() {
            attempts += 1;
            assert!(attempts < 1000, "{batch:?}");
            let sent = poison.next(batch.len());
            // All before the poisonous one were taken.
            let taken = batch[..sent.count].iter().take_while(|message| !poisonous.contains(message)).count();
            batch.drain(..taken);
            if poison.learn(sent, taken, sent.count - taken) {
                aside.push(batch.remove(0));
            }
        }
        (aside, attempts)
    }

    #[test]
    fn finds_the_one_among_many() {
        assert_eq!(run(100, &[]).1, 1);
        let (aside, attempts) = run(100, &[40]);
        assert_eq!(aside, [40]);
        assert!(attempts < 20, "{attempts}");
        assert_eq!(run(100, &[0, 50, 51, 99]).0, [0, 50, 51, 99]);
        assert_eq!(run(1, &[0]).0, [0]);
    }

    #[test]
    fn an_outage_is_held_against_nobody() {
        let mut poison = Bisection::default();
        for attempt in 0..1000 {
            let sent = poison.next(100);
            if sent.check && attempt % 100 != 0 {
                // It does not answer, so nothing is sent.
                assert!(!poison.learn(sent, 0, 0));
            } else {
                assert!(!poison.learn(sent, 0, sent.count));
            }
        }
    }
}
