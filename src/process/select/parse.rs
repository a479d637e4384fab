//! The text form of a selection, read by recursive descent.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::str::FromStr;

use super::Select;
use super::condition::{NumberField, TextField};
use super::display::ends_bare_value;
use super::expression::{MAX_DEPTH, too_deep};
use super::pattern::Pattern;
use super::value::Value;
use crate::Error;
use crate::fault::Fault;
use crate::scanner::Scanner;
use crate::spelling::nearest;

/// The operators, such that none is the beginning of a later one.
const OPERATORS: [&str; 10] = ["==", "!=", "!~", "*=", ">=", "<=", "=", "~", ">", "<"];

/// The usual reason why something else follows a value.
const IN_QUOTES: &str = "a value with white space or any of `& | ( ) ,` in it must be in quotes";

impl FromStr for Select {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut parser = Parser { scanner: Scanner::new(text), depth: 0 };
        parser.whole().map_err(|fault| fault.explain("selection", text))
    }
}

/// An operator and a value, as [`Display`](std::fmt::Display) shows it.
impl FromStr for Pattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut parser = Parser { scanner: Scanner::new(text), depth: 0 };
        parser.whole_pattern().map_err(|fault| fault.explain("pattern", text))
    }
}

struct Parser<'a> {
    scanner: Scanner<'a>,
    /// How many parentheses are open.
    depth: usize,
}

/// A word of the text.
#[derive(Clone, Copy)]
struct Word<'a> {
    at: usize,
    text: &'a str,
}

impl<'a> Parser<'a> {
    fn whole(&mut self) -> Result<Select, Fault> {
        self.scanner.skip_space();
        if self.scanner.rest().is_empty() {
            return Err(self.scanner.fault("it is empty; `all` selects every process, `none` selects none"));
        }
        let select = self.any()?;
        self.scanner.skip_space();
        match self.scanner.rest().chars().next() {
            None => Ok(select),
            Some(')') => Err(self.scanner.fault("this `)` closes nothing")),
            Some(_) => Err(self.scanner.fault(format!("expected `&`, `|` or the end; {IN_QUOTES}"))),
        }
    }

    fn whole_pattern(&mut self) -> Result<Pattern, Fault> {
        let operator = self.operator("a pattern", &["=", "==", "*=", "~"])?;
        let pattern = self.value()?.pattern(operator)?;
        self.scanner.skip_space();
        if self.scanner.rest().is_empty() {
            Ok(pattern)
        } else {
            Err(self.scanner.fault(format!("expected the end; {IN_QUOTES}")))
        }
    }

    /// X | Y | …
    fn any(&mut self) -> Result<Select, Fault> {
        self.scanner.skip_space();
        let begin = self.scanner.at;
        let mut select = self.every()?;
        while self.infix('|', "or") {
            select = select | self.every()?;
        }
        if select.check().is_err() {
            return Err(Fault::new(begin, 1, too_deep()));
        }
        Ok(select)
    }

    /// X & Y & …
    fn every(&mut self) -> Result<Select, Fault> {
        let mut select = self.operand()?;
        while self.infix('&', "and") {
            select = select & self.operand()?;
        }
        Ok(select)
    }

    /// A condition, a function or parentheses, after any number of `!`.
    fn operand(&mut self) -> Result<Select, Fault> {
        let mut negated = false;
        loop {
            self.scanner.skip_space();
            if !self.scanner.eat("!") && !self.scanner.eat_word("not") {
                break;
            }
            negated = !negated;
        }
        let select = if self.scanner.rest().starts_with('(') {
            let open = self.open()?;
            let select = self.any()?;
            self.close(open)?;
            select
        } else {
            let word = self.word();
            match word.text {
                "" | "and" | "or" => {
                    self.scanner.at = word.at;
                    return Err(self.scanner.fault("expected a condition, such as `name=nginx`, or `(`"));
                }
                "all" => Select::all(),
                "none" => Select::none(),
                "kernel_thread" => Select::kernel_threads(),
                "with_descendants" => self.function(word, |parser, select| {
                    parser.scanner.skip_space();
                    Ok(if parser.scanner.eat(",") {
                        select.with_descendants_to(parser.depth()?)
                    } else {
                        select.with_descendants()
                    })
                })?,
                "topmost" => self.function(word, |_, select| Ok(select.topmost()))?,
                _ => self.condition(word)?,
            }
        };
        Ok(if negated { !select } else { select })
    }

    /// Parses the text after the name of a function; `finish` parses the text after its first argument.
    fn function(
        &mut self,
        name: Word<'a>,
        finish: impl FnOnce(&mut Self, Select) -> Result<Select, Fault>,
    ) -> Result<Select, Fault> {
        self.scanner.skip_space();
        if !self.scanner.rest().starts_with('(') {
            return Err(self.scanner.fault(format!("expected `(` after `{}`", name.text)));
        }
        let open = self.open()?;
        let argument = self.any()?;
        let select = finish(self, argument)?;
        self.close(open)?;
        Ok(select)
    }

    /// The number of generations.
    fn depth(&mut self) -> Result<u32, Fault> {
        self.value()?.number()
    }

    /// Parses the text after the name of a field.
    fn condition(&mut self, field: Word<'a>) -> Result<Select, Fault> {
        let name = field.text;
        if let Some(text) = TextField::ALL.into_iter().find(|candidate| candidate.name() == name) {
            let operator = self.operator(name, &["=", "==", "!=", "*=", "~", "!~"])?;
            let pattern = self.value()?.pattern(operator)?;
            return Ok(negate_for(operator, Select::text(text, pattern)));
        }
        if let Some(number) = NumberField::ALL.into_iter().find(|candidate| candidate.name() == name) {
            let operator = self.operator(name, &["=", "==", "!="])?;
            return Ok(negate_for(operator, Select::number(number, self.value()?.number()?)));
        }
        match name {
            "unit" => {
                let operator = self.operator(name, &["=", "==", "!="])?;
                Ok(negate_for(operator, Select::unit(self.value()?.unit()?)))
            }
            "pid_file" => {
                let operator = self.operator(name, &["=", "==", "!="])?;
                Ok(negate_for(operator, Select::pid_file(OsString::from_vec(self.value()?.bytes))))
            }
            "age" => {
                let operator = self.operator(name, &[">", "<"])?;
                let age = self.value()?.duration()?;
                Ok(if operator == ">" { Select::older_than(age) } else { Select::younger_than(age) })
            }
            _ => Err(field.unknown()),
        }
    }

    /// One of the operators that `what`, a field, takes.
    fn operator(&mut self, what: &str, takes: &[&str]) -> Result<&'static str, Fault> {
        self.scanner.skip_space();
        let at = self.scanner.at;
        let found = OPERATORS.into_iter().find(|operator| self.scanner.eat(operator));
        if let Some(operator) = found.filter(|operator| takes.contains(operator)) {
            return Ok(operator);
        }
        let takes: Vec<String> = takes.iter().map(|operator| format!("`{operator}`")).collect();
        let what = format!("expected an operator: `{what}` takes {}", takes.join(", "));
        Err(Fault::new(at, found.map_or(1, str::len), what))
    }

    fn value(&mut self) -> Result<Value, Fault> {
        self.scanner.skip_space();
        let at = self.scanner.at;
        let bytes = if self.scanner.eat("'") {
            let Some((value, _)) = self.scanner.rest().split_once('\'') else {
                return Err(Fault::new(at, 1, "this `'` is not closed"));
            };
            self.scanner.at = self.scanner.at.saturating_add(value.len()).saturating_add(1);
            value.as_bytes().to_vec()
        } else if self.scanner.eat("\"") {
            self.escaped(at)?
        } else {
            self.scanner.take_until(ends_bare_value).as_bytes().to_vec()
        };
        if self.scanner.at == at {
            return Err(self
                .scanner
                .fault(format!("expected a value; an empty one is written `\"\"`, and {IN_QUOTES}")));
        }
        Ok(Value { at, len: self.scanner.at.saturating_sub(at), bytes })
    }

    /// The rest of a value in double quotes, the first of which is at `open`.
    fn escaped(&mut self, open: usize) -> Result<Vec<u8>, Fault> {
        let mut bytes = Vec::new();
        loop {
            bytes.extend_from_slice(self.scanner.take_until(|char| matches!(char, '"' | '\\')).as_bytes());
            let escape = self.scanner.at;
            if self.scanner.eat("\"") {
                return Ok(bytes);
            }
            if self.scanner.rest().is_empty() {
                return Err(Fault::new(open, 1, "this `\"` is not closed"));
            }
            if self.scanner.eat("\\\\") {
                bytes.push(b'\\');
            } else if self.scanner.eat("\\\"") {
                bytes.push(b'"');
            } else if self.scanner.eat("\\x")
                && let Some(digits) = self.scanner.rest().get(..2)
                && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
                && let Ok(byte) = u8::from_str_radix(digits, 16)
            {
                self.scanner.at = self.scanner.at.saturating_add(2);
                bytes.push(byte);
            } else {
                let what = "in `\"…\"` a backslash is written `\\\\`, a quote `\\\"`, a byte `\\xHH`; in `'…'` nothing is escaped";
                return Err(Fault::new(escape, 2, what));
            }
        }
    }

    fn open(&mut self) -> Result<usize, Fault> {
        let at = self.scanner.at;
        self.depth = self.depth.saturating_add(1);
        if self.depth > MAX_DEPTH {
            return Err(self.scanner.fault(too_deep()));
        }
        self.scanner.eat("(");
        Ok(at)
    }

    fn close(&mut self, open: usize) -> Result<(), Fault> {
        self.scanner.skip_space();
        self.depth = self.depth.saturating_sub(1);
        if self.scanner.eat(")") {
            Ok(())
        } else if self.scanner.rest().is_empty() {
            Err(Fault::new(open, 1, "this `(` is not closed"))
        } else {
            Err(self.scanner.fault(format!("expected `&`, `|` or `)`; {IN_QUOTES}")))
        }
    }

    /// Eats an operator between operands: the sign, once or twice, or the word.
    fn infix(&mut self, sign: char, word: &str) -> bool {
        self.scanner.skip_space();
        let mut buffer = [0; 4];
        let sign = &*sign.encode_utf8(&mut buffer);
        let found = self.scanner.eat(sign);
        if found {
            self.scanner.eat(sign);
        }
        found || self.scanner.eat_word(word)
    }

    fn word(&mut self) -> Word<'a> {
        let at = self.scanner.at;
        Word { at, text: self.scanner.word() }
    }
}

fn negate_for(operator: &str, select: Select) -> Select {
    if operator.starts_with('!') { !select } else { select }
}

impl Word<'_> {
    fn unknown(&self) -> Fault {
        const OTHERS: [&str; 8] =
            ["unit", "pid_file", "age", "kernel_thread", "all", "none", "with_descendants", "topmost"];
        let names = || {
            let texts = TextField::ALL.into_iter().map(TextField::name);
            texts.chain(NumberField::ALL.into_iter().map(NumberField::name)).chain(OTHERS)
        };
        let shown: String = self.text.chars().take(40).collect();
        let what = match nearest(self.text, names()) {
            Some(near) => format!("there is no field `{shown}`; did you mean `{near}`?"),
            None => format!("there is no field `{shown}`; there are {}", names().collect::<Vec<_>>().join(", ")),
        };
        Fault::new(self.at, self.text.len(), what)
    }
}
