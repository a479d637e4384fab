//! A place in a text that is read from its beginning to its end: what the parsers of texts that people write have in common.

use crate::fault::Fault;

/// A text, and how far it has been read.
pub(crate) struct Scanner<'a> {
    text: &'a str,
    /// The number of bytes read so far.
    pub(crate) at: usize,
}

impl<'a> Scanner<'a> {
    /// A scanner at the beginning of a text.
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Returns the whole text.
    pub(crate) fn text(&self) -> &'a str {
        self.text
    }

    /// Returns the text from this place on.
    pub(crate) fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Steps over a token, if it is here.
    pub(crate) fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at = self.at.saturating_add(token.len());
        }
        found
    }

    /// Steps over a word, if it is here as a whole.
    pub(crate) fn eat_word(&mut self, word: &str) -> bool {
        self.rest().strip_prefix(word).is_some_and(|after| !after.starts_with(is_of_word)) && self.eat(word)
    }

    /// Steps over white space.
    pub(crate) fn skip_space(&mut self) {
        self.take_until(|char| !char.is_whitespace());
    }

    /// Steps over a word, which may be empty, and returns it.
    pub(crate) fn word(&mut self) -> &'a str {
        self.take_until(|char| !is_of_word(char))
    }

    /// Steps over the text before the first character that ends it, and returns it.
    pub(crate) fn take_until(&mut self, ends: impl Fn(char) -> bool) -> &'a str {
        let taken = self.rest().split(ends).next().unwrap_or_default();
        self.at = self.at.saturating_add(taken.len());
        taken
    }

    /// A fault at this place.
    pub(crate) fn fault(&self, what: impl Into<String>) -> Fault {
        Fault::new(self.at, 1, what)
    }
}

fn is_of_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}
