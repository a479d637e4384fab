//! Lists of ascending positions.

use serde::{Deserialize, Serialize};

/// A list of ascending positions, as ranges: the first position of each and the one after its last, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct Ranges(Vec<u32>);

impl Ranges {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a position, which is larger than all before it.
    pub(super) fn push(&mut self, position: usize) {
        let position = u32::try_from(position).unwrap_or(u32::MAX);
        let next = position.saturating_add(1);
        match self.0.last_mut() {
            Some(end) if *end == position => *end = next,
            _ => self.0.extend([position, next]),
        }
    }

    /// Returns the positions in order; `None` if they are not ascending, or not all below `limit`.
    #[cfg(feature = "_receive")]
    pub(super) fn below(&self, limit: usize) -> Option<impl Iterator<Item = usize> + Clone> {
        let (pairs, rest) = self.0.as_chunks::<2>();
        let mut least = 0;
        for [from, to] in pairs {
            if *from < least || to <= from || usize::try_from(*to).ok()? > limit {
                return None;
            }
            least = *to;
        }
        let positions = pairs.iter().flat_map(|[from, to]| *from..*to);
        rest.is_empty().then(|| positions.filter_map(|position| usize::try_from(position).ok()))
    }
}
