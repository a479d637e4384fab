//! A function over trees, at one process.

use super::expression::TreeFunction;

/// A function over trees, at one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Branch {
    /// The value of its operand for the process alone.
    pub(super) operand: Option<bool>,
    /// Its own.
    pub(super) value: Option<bool>,
    /// How many generations ago its operand was true, and how many ago it was not known.
    since_true: Option<u32>,
    since_unknown: Option<u32>,
}

impl Branch {
    /// That of a child of `above`, of which the operand is this.
    pub(super) fn below(above: Option<&Self>, operand: Option<bool>, function: TreeFunction) -> Self {
        let within = |since: Option<u32>, depth| since.is_some_and(|generations| generations <= depth);
        let any = |since_true, since_unknown, depth| match (within(since_true, depth), within(since_unknown, depth)) {
            (true, _) => Some(true),
            (false, true) => None,
            (false, false) => Some(false),
        };
        let (true_above, unknown_above) = above.map_or((None, None), |above| (above.since_true, above.since_unknown));
        let next = |since: Option<u32>| since.map(|generations| generations.saturating_add(1));
        let since_true = if operand == Some(true) { Some(0) } else { next(true_above) };
        let since_unknown = if operand.is_none() { Some(0) } else { next(unknown_above) };
        let value = match function {
            TreeFunction::WithDescendants(depth) => any(since_true, since_unknown, depth),
            TreeFunction::Topmost => match (operand, any(true_above, unknown_above, u32::MAX)) {
                (Some(false), _) | (_, Some(true)) => Some(false),
                (Some(true), Some(false)) => Some(true),
                _ => None,
            },
        };
        Self { operand, value, since_true, since_unknown }
    }
}
