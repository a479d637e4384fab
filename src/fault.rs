//! A fault in a text that people wrote, and its position.

use std::fmt::Write;

use crate::Error;

/// The description of a fault, and the bytes of the text it is about.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) at: usize,
    pub(crate) len: usize,
    pub(crate) what: String,
}

impl Fault {
    #[cold]
    pub(crate) fn new(at: usize, len: usize, what: impl Into<String>) -> Self {
        Self { at, len, what: what.into() }
    }

    /// The error, about a `subject` such as "selection", with the place drawn below the line it is on:
    ///
    /// ```text
    /// selection, column 17: there is no field `usr`; did you mean `user`?
    ///   name=postgres & usr=root
    ///                   ^^^
    /// ```
    pub(crate) fn explain(&self, subject: &str, text: &str) -> Error {
        /// How many characters are shown before the place, and from it on.
        const BEFORE: usize = 60;
        const AFTER: usize = 60;

        let (before, after) = text.split_at_checked(self.at).unwrap_or((text, ""));
        let line_number = before.matches('\n').count().saturating_add(1);
        let (_, before) = before.rsplit_once('\n').unwrap_or(("", before));
        let after = after.split('\n').next().unwrap_or_default();
        let column = before.chars().count();

        let mut message = format!("{subject}, ");
        // Writing to a String cannot fail.
        if text.contains('\n') {
            let _ = write!(message, "line {line_number}, ");
        }
        let _ = writeln!(message, "column {}: {}", column.saturating_add(1), self.what);
        let cut = column.saturating_sub(BEFORE);
        let shown: String = before.chars().skip(cut).chain(after.chars().take(AFTER)).map(printable).collect();
        let marked = text.get(self.at..self.at.saturating_add(self.len)).unwrap_or_default();
        let marks = marked.chars().take_while(|char| *char != '\n').count().clamp(1, AFTER);
        let ellipsis = if cut > 0 { "…" } else { "" };
        let indent = column.saturating_sub(cut).saturating_add(ellipsis.chars().count());
        let _ = write!(message, "  {ellipsis}{shown}\n  {:indent$}{}", "", "^".repeat(marks));
        Error::config(message)
    }
}

/// A character in a message on one line: a space for what is none. A tab would move marks below it away from their place, and an escape
/// sequence the terminal.
pub(crate) fn printable(char: char) -> char {
    if char.is_control() { ' ' } else { char }
}
