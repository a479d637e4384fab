//! A selection as text that reads back as the same selection.

use std::fmt::{self, Write};
use std::os::unix::ffi::OsStrExt;

use super::Select;
use super::condition::Condition;
use super::expression::{ALL_GENERATIONS, Group, Node, TreeFunction};
use super::pattern::{Kind, Pattern};
use crate::glob::looks_like_glob;
use crate::text::is_plain;

/// The text form. A function of your own is shown as `<closure>`, and an expression that was built too deep as `<too deep>`; neither can be
/// parsed.
impl fmt::Display for Select {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.root.fmt(f)
    }
}

impl fmt::Debug for Select {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Select({self})")
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(condition) => condition.fmt(f),
            Self::Group(Group::All, operands) if operands.is_empty() => f.write_str("all"),
            Self::Group(Group::Any, operands) if operands.is_empty() => f.write_str("none"),
            Self::Group(group, operands) => {
                let (operator, is_all) = match group {
                    Group::All => (" & ", true),
                    Group::Any => (" | ", false),
                };
                for (nth, operand) in operands.iter().enumerate() {
                    if nth > 0 {
                        f.write_str(operator)?;
                    }
                    // `&` binds tighter than `|`.
                    operand.fmt_in(f, is_all && operand.is_several())?;
                }
                Ok(())
            }
            Self::Not(operand) => {
                f.write_str("!")?;
                operand.fmt_in(f, operand.is_several())
            }
            Self::Tree(tree) => match tree.function {
                TreeFunction::Topmost => write!(f, "topmost({})", tree.operand),
                TreeFunction::WithDescendants(ALL_GENERATIONS) => write!(f, "with_descendants({})", tree.operand),
                TreeFunction::WithDescendants(depth) => write!(f, "with_descendants({}, {depth})", tree.operand),
            },
            Self::TooDeep => f.write_str("<too deep>"),
        }
    }
}

impl Node {
    fn is_several(&self) -> bool {
        matches!(self, Self::Group(_, operands) if !operands.is_empty())
    }

    fn fmt_in(&self, f: &mut fmt::Formatter<'_>, parentheses: bool) -> fmt::Result {
        if parentheses { write!(f, "({self})") } else { write!(f, "{self}") }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(field, pattern) => write!(f, "{}{pattern}", field.name()),
            Self::Number(field, number) => write!(f, "{}={number}", field.name()),
            Self::Unit(unit) => write!(f, "unit={}", Quoted(unit.as_bytes())),
            Self::PidFile(path) => write!(f, "pid_file={}", Quoted(path.as_os_str().as_bytes())),
            Self::KernelThread => f.write_str("kernel_thread"),
            // Without its spaces a duration needs no quotes.
            Self::OlderThan(age) => write!(f, "age>{}", humantime::format_duration(*age).to_string().replace(' ', "")),
            Self::YoungerThan(age) => {
                write!(f, "age<{}", humantime::format_duration(*age).to_string().replace(' ', ""))
            }
            Self::Function(_) => f.write_str("<closure>"),
        }
    }
}

/// The operator and the value, as in a selection: `=nginx`, `*="-D FOREGROUND"`.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.0.as_bytes();
        let operator = match self.0 {
            Kind::Exact(_) if looks_like_glob(value) => "==",
            Kind::Exact(_) | Kind::Glob(_) => "=",
            Kind::Contains(_) => "*=",
            Kind::Regex(_) => "~",
        };
        write!(f, "{operator}{}", Quoted(value))
    }
}

/// The characters that end a value without quotes.
pub(super) fn ends_bare_value(char: char) -> bool {
    char.is_whitespace() || matches!(char, '&' | '|' | '(' | ')' | ',' | '"' | '\'')
}

/// A value, in quotes where it needs them.
struct Quoted<'a>(&'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
