//! The received numbers of a sequence.

/// The last numbers of a sequence, each received or not. Older numbers count as received.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// The first number received: earlier ones do not count as missing.
    begin: u64,
    /// The highest received number plus one; 0 before the first.
    end: u64,
    /// A bit for each of the numbers below `end`.
    bits: [u64; WORDS],
}

const WORDS: usize = 16;

/// The number of tracked numbers.
pub(super) const WIDTH: u64 = WORDS as u64 * 64;

/// Whether a number was received before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// Received for the first time, after this many numbers not received yet.
    First(u64),
    /// Received for the first time, after a later one.
    Late,
    /// Received before.
    Before,
}

impl Window {
    pub(super) fn insert(&mut self, number: u64) -> Sight {
        if self.end == 0 {
            (self.begin, self.end) = (number, number);
        }
        let Some(gap) = number.checked_sub(self.end) else { return self.insert_earlier(number) };
        // The bits of the skipped numbers were those of numbers that are too old now.
        for skipped in number.saturating_sub(WIDTH - 1).max(self.end)..number {
            self.set(skipped, false);
        }
        self.end = number.saturating_add(1);
        self.set(number, true);
        Sight::First(gap)
    }

    /// Returns the lowest tracked number.
    pub(super) fn oldest(&self) -> u64 {
        self.end.saturating_sub(WIDTH)
    }

    fn insert_earlier(&mut self, number: u64) -> Sight {
        let age = self.end.saturating_sub(number);
        if age > WIDTH || self.is_set(number) {
            return Sight::Before;
        }
        self.set(number, true);
        if number < self.begin { Sight::First(0) } else { Sight::Late }
    }

    fn is_set(&self, number: u64) -> bool {
        let (word, bit) = place(number);
        self.bits.get(word).is_some_and(|word| word & bit != 0)
    }

    fn set(&mut self, number: u64, seen: bool) {
        let (word, bit) = place(number);
        if let Some(word) = self.bits.get_mut(word) {
            *word = if seen { *word | bit } else { *word & !bit };
        }
    }
}

fn place(number: u64) -> (usize, u64) {
    let at = number % WIDTH;
    (usize::try_from(at / 64).unwrap_or(0), 1 << (at % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn gaps_are_reported_and_filled() {
        let mut window = Window::default();
        assert_eq!(window.insert(7), Sight::First(0), "wherever it begins");
        assert_eq!(window.insert(8), Sight::First(0));
        assert_eq!(window.insert(11), Sight::First(2));
        assert_eq!(window.insert(8), Sight::Before);
        assert_eq!(window.insert(9), Sight::Late);
        assert_eq!(window.insert(9), Sight::Before);
        assert_eq!(window.insert(6), Sight::First(0), "before the beginning, and not missed");
        assert_eq!(window.insert(11 + 5000), Sight::First(4999));
        assert_eq!(window.insert(11), Sight::Before, "too long ago to know");
        assert_eq!(window.insert(5000), Sight::Late);
        assert_eq!(window.insert(u64::MAX - 1), Sight::First(u64::MAX - 5013));
        assert_eq!(window.insert(u64::MAX - 1), Sight::Before);
    }

    proptest! {
        #[test]
        fn it_is_a_set_of_the_last_ones(numbers in proptest::collection::vec(prop_oneof![0..3000_u64, 2000..2100_u64], 0..300)) {
            let mut window = Window::default();
            let mut set = BTreeSet::new();
            let mut end = 0;
            for number in numbers {
                let known = !set.insert(number) || (end > 0 && number + WIDTH < end);
                prop_assert_eq!(window.insert(number) == Sight::Before, known, "{}", number);
                end = end.max(number + 1);
            }
        }
    }
}
