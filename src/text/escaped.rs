//! Text for people: what a terminal would act on, or not show, is escaped.

use std::fmt;

/// Bytes in a form that is safe to show to people.
pub(crate) struct Escaped<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Ok(text) = std::str::from_utf8(self.0)
            && text.chars().all(is_plain)
        {
            return f.pad(text);
        }
        let mut text = String::with_capacity(self.0.len());
        for chunk in self.0.utf8_chunks() {
            for char in chunk.valid().chars() {
                if is_plain(char) {
                    text.push(char);
                } else {
                    text.extend(char.escape_debug());
                }
            }
            for byte in chunk.invalid() {
                text.push_str(&format!("\\x{byte:02x}"));
            }
        }
        f.pad(&text)
    }
}

/// Whether a character shows as itself, and does nothing else to a terminal or to the text around it.
pub(crate) fn is_plain(char: char) -> bool {
    if char.is_ascii() {
        return !char.is_ascii_control();
    }
    // The set that std escapes in a string: its tables know which characters are printed. Behind a letter, since a mark that combines with
    // the character before it is escaped at the beginning only.
    let mut buffer = [b'a'; 5];
    let length = buffer.get_mut(1..).map_or(0, |rest| char.encode_utf8(rest).len());
    let text = buffer.get(..length.saturating_add(1)).and_then(|text| std::str::from_utf8(text).ok());
    text.is_some_and(|text| text.escape_debug().count() == 2)
}

/// Passes text on with every character that is not plain escaped, except line breaks.
pub(crate) struct Lines<'a, 'b>(pub(crate) &'a mut fmt::Formatter<'b>);

impl fmt::Write for Lines<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (nth, line) in text.split('\n').enumerate() {
            if nth > 0 {
                self.0.write_char('\n')?;
            }
            write!(self.0, "{}", Escaped(line.as_bytes()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{Text, WirePath};

    #[test]
    fn control_characters_are_escaped() {
        for (bytes, shown) in [
            (&b"postgres: writer"[..], "postgres: writer"),
            (b"dev-disk-by\\x2duuid.device", r"dev-disk-by\x2duuid.device"),
            (b"it's \"quoted\"", "it's \"quoted\""),
            (b"", ""),
            (b"a\x1b[31mb\x1b]0;title\x07", r"a\u{1b}[31mb\u{1b}]0;title\u{7}"),
            (b"\t\r\n\0\x7f", r"\t\r\n\0\u{7f}"),
            ("\u{9b}31m".as_bytes(), r"\u{9b}31m"),
            (b"\x9b31m\xff", r"\x9b31m\xff"),
            ("gpj.\u{202e}exe \u{2066}\u{200f}".as_bytes(), r"gpj.\u{202e}exe \u{2066}\u{200f}"),
            ("a\u{2028}b\u{feff}\u{200b}".as_bytes(), r"a\u{2028}b\u{feff}\u{200b}"),
            ("größe 日本 ᾘ0".as_bytes(), "größe 日本 ᾘ0"),
            // A mark that combines with the letter before it.
            ("e\u{301}".as_bytes(), "e\u{301}"),
        ] {
            assert_eq!(Text::from(bytes).to_string(), shown);
            assert_eq!(WirePath::from(bytes).to_string(), shown);
            assert_eq!(WirePath::from(bytes).display().to_string(), shown);
            assert_eq!(format!("{:>3}", Escaped(bytes)), format!("{shown:>3}"));
        }
        for char in '\0'..=char::MAX {
            let is_control = char.is_control() || matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            assert!(!(is_control && is_plain(char)), "{}", char.escape_unicode());
        }
    }

    #[test]
    fn it_is_as_wide_as_it_is_shown() {
        assert_eq!(format!("{:<8}|", Text::from("a\nb")), r"a\nb    |");
        assert_eq!(format!("{:>8}|", WirePath::from("/a\nb")), r"   /a\nb|");
    }
}
