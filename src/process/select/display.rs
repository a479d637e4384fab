//! A selection as text that reads back as the same selection.

use std::fmt;
use std::os::unix::ffi::OsStrExt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::pattern::{Kind, looks_like_glob};
use super::{ALL_GENERATIONS, Condition, Op, Pattern, Select};
use crate::text::is_plain;

/// The text form. A function of your own is shown as `<closure>`, which does not read back.
impl fmt::Display for Select {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// A group or function whose operands are being written.
        struct Open {
            end: usize,
            separator: &'static str,
            first: bool,
            close: Close,
        }
        enum Close {
            Nothing,
            Parenthesis,
            Depth(u32),
        }
        let mut open: Vec<Open> = Vec::new();
        for (at, node) in self.nodes.iter().enumerate() {
            let mut in_and = false;
            if let Some(outer) = open.last_mut() {
                in_and = outer.separator == AND;
                if !outer.first {
                    f.write_str(outer.separator)?;
                }
                outer.first = false;
            }
            if node.negated {
                f.write_str("!")?;
            }
            let end = at.saturating_add(node.span);
            let mut begin = |separator, close| open.push(Open { end, separator, first: true, close });
            match &node.op {
                Op::And if node.span == 1 => f.write_str("all")?,
                Op::Or if node.span == 1 => f.write_str("none")?,
                Op::And | Op::Or => {
                    let is_or = matches!(node.op, Op::Or);
                    let separator = if is_or { OR } else { AND };
                    if node.negated || (is_or && in_and) {
                        f.write_str("(")?;
                        begin(separator, Close::Parenthesis);
                    } else {
                        begin(separator, Close::Nothing);
                    }
                }
                Op::WithDescendants(depth) => {
                    f.write_str("with_descendants(")?;
                    begin("", if *depth == ALL_GENERATIONS { Close::Parenthesis } else { Close::Depth(*depth) });
                }
                Op::Topmost => {
                    f.write_str("topmost(")?;
                    begin("", Close::Parenthesis);
                }
                Op::Is(condition) => write!(f, "{condition}")?,
            }
            let done = at.saturating_add(1);
            while let Some(Open { close, .. }) = open.pop_if(|open| open.end <= done) {
                match close {
                    Close::Nothing => {}
                    Close::Parenthesis => f.write_str(")")?,
                    Close::Depth(depth) => write!(f, ", {depth})")?,
                }
            }
        }
        Ok(())
    }
}

const AND: &str = " & ";
const OR: &str = " | ";

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(field, Pattern(kind)) => {
                let (operator, value) = match kind {
                    Kind::Exact(text) if looks_like_glob(text.as_bytes()) => ("==", text.as_bytes()),
                    Kind::Exact(text) => ("=", text.as_bytes()),
                    Kind::Contains(part) => ("*=", part.as_bytes()),
                    Kind::Glob(glob) => ("=", glob.glob.as_bytes()),
                    Kind::Regex(regex) => ("~", regex.as_str().as_bytes()),
                };
                write!(f, "{}{operator}{}", field.name(), Quoted(value))
            }
            Self::Number(field, number) => write!(f, "{}={number}", field.name()),
            Self::Unit(unit) => write!(f, "unit={}", Quoted(unit.as_bytes())),
            Self::PidFile(path) => write!(f, "pid_file={}", Quoted(path.as_os_str().as_bytes())),
            Self::KernelThread => f.write_str("kernel_thread"),
            // Without its spaces a duration needs no quotes.
            Self::OlderThan(age) => write!(f, "age>{}", humantime::format_duration(*age).to_string().replace(' ', "")),
            Self::YoungerThan(age) => {
                write!(f, "age<{}", humantime::format_duration(*age).to_string().replace(' ', ""))
            }
            Self::Closure(_) => f.write_str("<closure>"),
        }
    }
}

/// What ends a value without quotes.
pub(super) fn ends_bare_value(char: char) -> bool {
    char.is_whitespace() || matches!(char, '&' | '|' | '(' | ')' | ',' | '"' | '\'')
}

/// A value, in quotes where it needs them.
struct Quoted<'a>(&'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;

        if let Ok(text) = std::str::from_utf8(self.0)
            && text.chars().all(is_plain)
        {
            if !text.is_empty() && !text.contains(ends_bare_value) && !text.starts_with('=') {
                // `name=` and `=x` would read as `name==` and `x`.
                return f.write_str(text);
            }
            if text.contains(['\\', '"']) && !text.contains('\'') {
                return write!(f, "'{text}'");
            }
        }
        f.write_str("\"")?;
        for chunk in self.0.utf8_chunks() {
            for char in chunk.valid().chars() {
                match char {
                    '"' | '\\' => write!(f, "\\{char}")?,
                    char if is_plain(char) => f.write_char(char)?,
                    char => {
                        for byte in char.encode_utf8(&mut [0; 4]).bytes() {
                            write!(f, "\\x{byte:02x}")?;
                        }
                    }
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        f.write_str("\"")
    }
}

impl Serialize for Select {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.conditions().any(|condition| matches!(condition, Condition::Closure(_))) {
            return Err(serde::ser::Error::custom("a selection by a function (Select::matching) has no text form"));
        }
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Select {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Select {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Select".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "Which processes, as in `(name=postgres | unit=nginx) & !user=root`.",
        })
    }
}
