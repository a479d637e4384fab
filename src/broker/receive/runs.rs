//! The received ranges of samples of a message.

use std::collections::BTreeMap;

use crate::forward::Piece;

/// Disjoint, non-adjacent runs of samples.
#[derive(Debug, Default)]
pub(super) struct Runs {
    /// The end of each, by its beginning.
    ends: BTreeMap<u32, u32>,
}

impl Runs {
    pub(super) fn add(&mut self, piece: Piece) {
        let (mut from, mut to) = (piece.from, piece.to);
        // Merge it with all runs that overlap or touch it.
        while let Some((&begin, &end)) = self.ends.range(..=to).next_back()
            && end >= from
        {
            self.ends.remove(&begin);
            from = from.min(begin);
            to = to.max(end);
        }
        self.ends.insert(from, to);
    }

    /// Whether all samples of a piece are in it.
    pub(super) fn contains(&self, piece: Piece) -> bool {
        self.ends.range(..=piece.from).next_back().is_some_and(|(_, end)| *end >= piece.to)
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    proptest::proptest! {
        #[test]
        fn they_are_the_sets_of_samples_that_they_stand_for(
            pieces in proptest::collection::vec((0..40_u32, 1..12_u32), 0..40),
            asked in (0..40_u32, 1..12_u32),
        ) {
            let piece = |(from, length)| Piece::new(from, from + length, 100).unwrap();
            let (mut runs, mut samples) = (Runs::default(), BTreeSet::new());
            for one in pieces {
                runs.add(piece(one));
                samples.extend(one.0..one.0 + one.1);
            }
            let gaps = samples.iter().filter(|sample| !samples.contains(&(*sample + 1))).count();
            proptest::prop_assert_eq!(runs.len(), gaps);
            let contained = (asked.0..asked.0 + asked.1).all(|sample| samples.contains(&sample));
            proptest::prop_assert_eq!(runs.contains(piece(asked)), contained);
        }
    }
}
