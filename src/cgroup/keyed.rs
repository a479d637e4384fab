//! The flat keyed files of control groups: a name and a number in each line.

use crate::number::{decimal, lines, words};

/// The numbers of the lines `NAME NUMBER`, each by its name. Other lines are passed over.
pub(super) fn numbers(file: &[u8]) -> impl Iterator<Item = (&[u8], u64)> {
    lines(file).filter_map(|line| {
        let mut words = words(line);
        Some((words.next()?, decimal(words.next()?)?))
    })
}

/// The number of a file that holds nothing else; `Some(None)` for `max`.
pub(crate) fn limit(file: &[u8]) -> Option<Option<u64>> {
    match file.trim_ascii() {
        b"max" => Some(None),
        number => Some(Some(decimal(number)?)),
    }
}

/// The number of a file that holds nothing else.
pub(super) fn number(file: &[u8]) -> Option<u64> {
    decimal(file.trim_ascii())
}
