//! Subjects, topics and routing keys, made of the attributes of a message.

use std::fmt;
use std::str::FromStr;

use crate::forward::message::Message;
use crate::{Error, Result};

/// A pattern of subjects, topics, routing keys or stream names, such as `appmon.{kind}.{host}`.
///
/// `{kind}`, `{stream}` (the name of the [feed](crate::forward::Forwarder::feed), by default the kind) and `{host}` are replaced by those of the
/// message, escaped so that each is one level of the name; `{{` and `}}` are
/// braces. Other attributes are not supported: with a subject per process, their number would grow without bound.
///
/// ```
/// use appmon::forward::Template;
///
/// assert!("metrics.{kind}.{host}".parse::<Template>().is_ok());
/// let error = "metrics.{pid}".parse::<Template>().unwrap_err();
/// assert!(error.to_string().contains("{pid}"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Part {
    Text(String),
    Kind,
    Stream,
    Host,
}

impl Template {
    /// Returns the name for a message, with the inserted values escaped for the protocol of `escape`.
    #[must_use]
    pub fn render(&self, message: &Message, escape: Escape) -> String {
        let mut text = String::with_capacity(64);
        for part in &self.parts {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Kind => escape.push_kind(&mut text, &message.kind),
                Part::Stream => escape.push_kind(&mut text, &message.stream),
                Part::Host => escape.push(&mut text, &message.host),
            }
        }
        text
    }

    /// Returns the name for all messages of a kind; `None` if each host or each stream has its own.
    #[must_use]
    pub fn render_kind(&self, kind: &str, escape: Escape) -> Option<String> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Kind => escape.push_kind(&mut text, kind),
                Part::Stream | Part::Host => return None,
            }
        }
        Some(text)
    }

    /// Checks that the literal text of the template is allowed in this protocol.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`], with the first character that is not allowed, or for an empty template.
    pub fn check(&self, escape: Escape) -> Result<()> {
        if self.parts.is_empty() {
            return Err(Error::config("template \"\": it is empty"));
        }
        for part in &self.parts {
            if let Part::Text(literal) = part
                && let Some(wrong) = literal.chars().find(|char| !escape.allows_literal(*char))
            {
                return Err(Error::config(format!("template {self}: {wrong:?} is not allowed in it")));
            }
        }
        Ok(())
    }
}

impl FromStr for Template {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut chars = text.chars().peekable();
        while let Some(char) = chars.next() {
            match char {
                '{' if chars.next_if_eq(&'{').is_some() => literal.push('{'),
                '}' if chars.next_if_eq(&'}').is_some() => literal.push('}'),
                '{' => {
                    let mut name = String::new();
                    loop {
                        match chars.next() {
                            Some('}') => break,
                            Some(char) => name.push(char),
                            None => {
                                return Err(Error::config(format!("template {text:?}: {{{name} has no closing }}")));
                            }
                        }
                    }
                    if !literal.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut literal)));
                    }
                    parts.push(match name.as_str() {
                        "kind" => Part::Kind,
                        "stream" => Part::Stream,
                        "host" => Part::Host,
                        _ => {
                            let known = "use {kind}, {stream} or {host}";
                            return Err(Error::config(format!("template {text:?}: {{{name}}} is unknown; {known}")));
                        }
                    });
                }
                '}' => return Err(Error::config(format!("template {text:?}: a lone }}; write }}}} for a brace"))),
                char => literal.push(char),
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        if parts.is_empty() {
            return Err(Error::config("template \"\": it is empty"));
        }
        Ok(Self { parts })
    }
}

impl TryFrom<&str> for Template {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self> {
        text.parse()
    }
}

impl TryFrom<String> for Template {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl TryFrom<&String> for Template {
    type Error = Error;

    fn try_from(text: &String) -> Result<Self> {
        text.parse()
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            match part {
                Part::Text(literal) => f.write_str(&literal.replace('{', "{{").replace('}', "}}"))?,
                Part::Kind => f.write_str("{kind}")?,
                Part::Stream => f.write_str("{stream}")?,
                Part::Host => f.write_str("{host}")?,
            }
        }
        Ok(())
    }
}

/// The escaping of inserted values, which keeps each within one level of a protocol's names.
///
/// Bytes that are not allowed are written as `%` and two hexadecimal digits, and so is `%` itself, so that different hosts never
/// share a name. Kafka does not allow `%` in topics, so `_` takes its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Escape {
    /// A token of a NATS subject: no `.`, `*`, `>`, no spaces, ASCII only.
    Nats,
    /// A topic of Kafka: letters, digits, `.` and `-`.
    Kafka,
    /// A word of an AMQP routing key: no `.`, `*`, `#`.
    Amqp,
    /// A level of an MQTT topic: no `/`, `+`, `#`.
    Mqtt,
    /// A part of a Redis key: no `:`, and no braces, which choose a slot of a cluster.
    Redis,
}

impl Escape {
    /// Appends a kind. Kinds are chosen by the program, unlike hosts: those of letters, digits and `_` are not escaped.
    fn push_kind(self, to: &mut String, kind: &str) {
        if kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            to.push_str(kind);
        } else {
            self.push(to, kind);
        }
    }

    fn push(self, to: &mut String, value: &str) {
        let mark = if self == Self::Kafka { '_' } else { '%' };
        for byte in value.bytes() {
            if self.allows_filled(byte) {
                to.push(char::from(byte));
            } else {
                to.push(mark);
                for digit in [byte >> 4, byte & 15] {
                    to.push(char::from_digit(digit.into(), 16).unwrap_or('0').to_ascii_uppercase());
                }
            }
        }
    }

    fn allows_filled(self, byte: u8) -> bool {
        byte.is_ascii_alphanumeric()
            || byte == b'-'
            || match self {
                Self::Kafka => byte == b'.',
                Self::Nats | Self::Amqp => byte == b'_',
                // The separators of MQTT and Redis are other characters.
                Self::Mqtt | Self::Redis => byte == b'_' || byte == b'.',
            }
    }

    fn allows_literal(self, char: char) -> bool {
        match self {
            Self::Nats => char.is_ascii_graphic() && !"*>".contains(char),
            Self::Kafka => char.is_ascii_alphanumeric() || "._-".contains(char),
            Self::Amqp => !char.is_control() && !"*#".contains(char),
            Self::Mqtt => !char.is_control() && !"+#".contains(char),
            Self::Redis => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;
    use crate::forward::{Codec, Form};

    fn message(host: &str) -> Message {
        Message {
            id: "0d1c7a1e-9f2b-4c3d-8e4f-0123456789ab:0000000000000007:000000000000002a".parse().unwrap(),
            kind: "file_system".into(),
            stream: "file_system".into(),
            form: Form::Snapshot,
            host: host.into(),
            time: Timestamp::default(),
            codec: Codec::Json,
            samples: 0,
            key: 0,
            payload: bytes::Bytes::new(),
        }
    }

    fn render(template: &str, host: &str, escape: Escape) -> String {
        template.parse::<Template>().unwrap().render(&message(host), escape)
    }

    #[test]
    fn hosts_stay_one_level() {
        let template = "a.{kind}.{host}";
        assert_eq!(render(template, "web-17.eu", Escape::Nats), "a.file_system.web-17%2Eeu");
        assert_eq!(render(template, "a b>*%", Escape::Nats), "a.file_system.a%20b%3E%2A%25");
        assert_eq!(render(template, "ü_x", Escape::Kafka), "a.file_system._C3_BC_5Fx");
        assert_eq!(render("a/{host}", "x/+#", Escape::Mqtt), "a/x%2F%2B%23");
        assert_eq!(render("a:{host}", "{x}:y", Escape::Redis), "a:%7Bx%7D%3Ay");
        assert_eq!(render("{{{host}}}", "h", Escape::Redis), "{h}");
    }

    #[test]
    fn errors_name_the_unknown_attribute() {
        for (wrong, named) in [("", "empty"), ("a.{pid}", "{pid}"), ("a.{host", "{host"), ("a}", "lone }")] {
            let error = wrong.parse::<Template>().unwrap_err();
            assert!(error.is_config() && error.to_string().contains(named), "{error}");
        }
        let literal = "a b.{host}".parse::<Template>().unwrap();
        assert!(literal.check(Escape::Nats).unwrap_err().to_string().contains("' '"));
        assert!(literal.check(Escape::Amqp).is_ok());
        assert_eq!("x{{y}}.{kind}".parse::<Template>().unwrap().to_string(), "x{{y}}.{kind}");
    }
}
