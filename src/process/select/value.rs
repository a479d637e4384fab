//! The values after an operator in the text form, and the conditions made of them.

use super::pattern::Pattern;
use crate::Text;
use crate::fault::Fault;
use crate::glob::looks_like_glob;

/// A value, without its quotes and escapes.
pub(super) struct Value {
    pub(super) at: usize,
    pub(super) len: usize,
    pub(super) bytes: Vec<u8>,
}

impl Value {
    pub(super) fn pattern(self, operator: &str) -> Result<Pattern, Fault> {
        match operator {
            "=" | "!=" => self.glob(),
            "*=" => Ok(Pattern::contains(self.bytes)),
            "~" | "!~" => self.regex(),
            _ => Ok(Pattern::exact(self.bytes)),
        }
    }

    fn glob(self) -> Result<Pattern, Fault> {
        if !looks_like_glob(&self.bytes) {
            return Ok(Pattern::exact(self.bytes));
        }
        let glob = self.utf8("a glob must be UTF-8; `==` compares any bytes")?;
        Pattern::try_glob(glob).map_err(|why| self.fault(format!("not a glob: {why}; `==` compares it as it is")))
    }

    fn regex(self) -> Result<Pattern, Fault> {
        let regex = self.utf8("a regular expression must be UTF-8; it can have bytes as `(?-u:\\xHH)`")?;
        Pattern::try_regex(regex).map_err(|why| self.fault(format!("not a regular expression: {why}")))
    }

    pub(super) fn number(&self) -> Result<u32, Fault> {
        let digits =
            std::str::from_utf8(&self.bytes).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        digits
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(|| self.fault(format!("expected a number from 0 to {}", u32::MAX)))
    }

    pub(super) fn unit(self) -> Result<Text, Fault> {
        if looks_like_glob(&self.bytes) {
            return Err(self.fault("the name of a unit is no glob; `cgroup=` takes one, as in `cgroup=/**/getty@*`"));
        }
        Ok(Text::from(self.bytes))
    }

    pub(super) fn duration(&self) -> Result<std::time::Duration, Fault> {
        let text = self.utf8("expected a duration, such as `5m` or `1h30m`")?;
        humantime::parse_duration(text)
            .map_err(|why| self.fault(format!("expected a duration, such as `5m` or `1h30m`: {why}")))
    }

    fn utf8(&self, otherwise: &str) -> Result<&str, Fault> {
        std::str::from_utf8(&self.bytes).map_err(|_| self.fault(otherwise))
    }

    fn fault(&self, what: impl Into<String>) -> Fault {
        Fault::new(self.at, self.len, what)
    }
}
